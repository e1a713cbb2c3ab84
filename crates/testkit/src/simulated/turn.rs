//! A turn of a session in one process: model requests until nothing is left to answer.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use super::host::Inner;
use super::script::{Step, parse};
use super::world::{Ask, Message, ModelRequest, State, text};

/// How a step of a turn ended.
enum End {
    /// With the model's last word.
    Stop,
    /// With a tool's result that the model is to see.
    Tools,
    Aborted,
    Failed(String),
}

/// A request under way.
struct Request {
    assistant: String,
    answers: String,
    prompt: String,
}

impl Inner {
    /// Carries a turn through; its run is in the state already.
    pub(super) async fn turn(self: Arc<Self>, session: String) {
        let mut script: (String, VecDeque<Step>) = Default::default();
        loop {
            self.emit(
                "session.status",
                &session,
                &json!({"status": {"type": "busy"}}),
            );
            let Some(request) = self.ask_model(&session) else {
                return;
            };
            breathe().await;
            if script.0 != request.answers {
                script = (request.answers.clone(), self.steps(&request.prompt));
            }
            let end = self.play(&session, &request, &mut script.1).await;
            let goes_on = match end {
                End::Stop | End::Tools => {
                    breathe().await;
                    self.complete(&session, &request, &end)
                }
                End::Aborted => {
                    let error =
                        json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
                    self.break_off(&session, &request, &error).await
                }
                End::Failed(words) => {
                    let data = json!({"message": words, "statusCode": 401, "isRetryable": false});
                    self.break_off(
                        &session,
                        &request,
                        &json!({"name": "APIError", "data": data}),
                    )
                    .await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    fn steps(&self, prompt: &str) -> VecDeque<Step> {
        if prompt.contains("<task-notification>") {
            self.world.read(|state| state.on_notice.clone().into())
        } else {
            parse(prompt)
        }
    }

    fn idle(&self, state: &State, session: &str) {
        let status = json!({"status": {"type": "idle"}});
        self.emit_in(state, "session.status", session, &status);
        self.emit_in(state, "session.idle", session, &json!({}));
    }

    fn forget(&self, state: &mut State, session: &str) {
        let ours = |run: &super::world::Run| run.process == self.name && run.session == session;
        state.runs.retain(|run| !ours(run));
    }

    /// Makes the assistant's message and notes the request. None when the turn is at its end: nothing is left to
    /// answer, or the session is gone.
    fn ask_model(&self, session: &str) -> Option<Request> {
        let (request, info) = self.world.state.update(|state| {
            if is_answered(state, session) {
                self.forget(state, session);
                self.idle(state, session);
                return None;
            }
            let last = state.latest(session, |message| !message.is_assistant())?;
            let (answers, prompt) = (last.id().to_owned(), last.text());
            let messages = state.messages(session).iter();
            let seen: Vec<String> = messages.map(Message::text).collect();
            let beside_another = self.is_beside_another(state, session);
            let assistant = state.new_id("msg");
            let info = json!({"id": assistant, "role": "assistant", "sessionID": session, "parentID": answers,
                "agent": "build", "providerID": "scripted", "modelID": "main", "time": {"created": state.now}});
            let part = json!({"id": state.new_id("prt"), "type": "step-start", "messageID": assistant});
            state.requests.push(ModelRequest {
                session: session.to_owned(),
                process: self.name.clone(),
                answers: answers.clone(),
                assistant: assistant.clone(),
                beside_another,
                seen: seen.join("\n"),
            });
            state.session_mut(session)?.messages.push(Message {
                info: info.clone(),
                parts: vec![part],
            });
            let request = Request {
                assistant,
                answers,
                prompt,
            };
            Some((request, info))
        })?;
        self.emit("message.updated", session, &json!({"info": info}));
        Some(request)
    }

    /// Whether the latest answer is another process's, and still being given.
    fn is_beside_another(&self, state: &State, session: &str) -> bool {
        let latest = state.latest(session, Message::is_assistant);
        latest.is_some_and(|answer| {
            let under_way = answer.info["finish"].is_null() && answer.info["error"].is_null();
            let mut requests = state.requests.iter();
            let asked = requests.find(|request| request.assistant == answer.id());
            under_way && asked.is_some_and(|request| request.process != self.name)
        })
    }

    async fn play(&self, session: &str, request: &Request, steps: &mut VecDeque<Step>) -> End {
        loop {
            match steps.pop_front() {
                Some(Step::Stream(gate)) => {
                    self.say(session, request, "so far, ", true);
                    if self.gate(session, &gate).await {
                        return End::Aborted;
                    }
                }
                Some(Step::Tool(gate)) => {
                    let part = self.tool(session, request, None, &Value::Null);
                    if self.gate(session, &gate).await {
                        return End::Aborted;
                    }
                    let state = json!({"status": "completed", "output": "done"});
                    self.tool(session, request, Some(part), &state);
                    return End::Tools;
                }
                Some(Step::Ask(permission)) => {
                    let part = self.tool(session, request, None, &Value::Null);
                    if self.permission(session, &permission).await {
                        return End::Aborted;
                    }
                    let state = json!({"status": "error", "error": "refused, go on without it"});
                    self.tool(session, request, Some(part), &state);
                    return End::Tools;
                }
                Some(Step::Say(words)) => {
                    self.say(session, request, &words, false);
                    return End::Stop;
                }
                Some(Step::Huge(megabytes)) => {
                    let words = huge(megabytes);
                    self.say(session, request, &words, false);
                    return End::Stop;
                }
                Some(Step::Deltas(count)) => self.deltas(session, request, count).await,
                Some(Step::Empty) => return End::Stop,
                Some(Step::Fail(words)) => return End::Failed(words),
                None => {
                    self.say(session, request, "ok", false);
                    return End::Stop;
                }
            }
        }
    }

    /// Streams text in many small pieces, no faster than the bridge posts them.
    async fn deltas(&self, session: &str, request: &Request, count: usize) {
        // As many as the bridge joins while its last batch is on the way.
        const JOINED: usize = 100;
        let part = self.world.state.update(|state| state.new_id("prt"));
        for first in (0..count).step_by(JOINED) {
            let pieces = first..count.min(first + JOINED);
            let delta: String = pieces.map(|n| format!("{n} ")).collect();
            let event = json!({"messageID": request.assistant, "partID": part, "field": "text", "delta": delta});
            self.emit("message.part.delta", session, &event);
            self.bridge
                .until(|bridge| bridge.queue.is_empty().then_some(()))
                .await;
        }
    }

    /// Waits for a gate. True when the run was aborted meanwhile.
    async fn gate(&self, session: &str, gate: &str) -> bool {
        let state = &self.world.state;
        state
            .until(|state| match self.aborted(state, session) {
                true => Some(true),
                false => state.gates.contains(gate).then_some(false),
            })
            .await
    }

    fn aborted(&self, state: &State, session: &str) -> bool {
        let mut runs = state.runs.iter();
        runs.any(|run| run.process == self.name && run.session == session && run.aborted)
    }

    async fn permission(&self, session: &str, permission: &str) -> bool {
        let id = self.world.state.update(|state| {
            let id = state.new_id("per");
            state.asks.push(Ask {
                id: id.clone(),
                session: session.to_owned(),
                permission: permission.to_owned(),
                process: self.name.clone(),
                answer: None,
            });
            id
        });
        let asked = json!({"id": id, "permission": permission, "patterns": ["*"], "metadata": {}, "always": ["*"]});
        self.emit("permission.asked", session, &asked);
        let answered = |state: &State| {
            let mut asks = state.asks.iter();
            asks.any(|ask| ask.id == id && ask.answer.is_some())
        };
        self.world
            .state
            .until(|state| match self.aborted(state, session) {
                true => Some(true),
                false => answered(state).then_some(false),
            })
            .await
    }

    /// Text: as a delta while it streams, stored once it is whole.
    fn say(&self, session: &str, request: &Request, words: &str, streams: bool) {
        let part = self.world.state.update(|state| {
            let id = state.new_id("prt");
            let part = json!({"id": id, "type": "text", "messageID": request.assistant, "text": words,
                "time": {"start": state.now, "end": state.now}});
            if !streams {
                store_part(state, session, &request.assistant, &part);
            }
            part
        });
        if streams {
            let delta = json!({"messageID": request.assistant, "partID": part["id"], "field": "text", "delta": words});
            self.emit("message.part.delta", session, &delta);
        } else {
            self.emit("message.part.updated", session, &json!({"part": part}));
        }
    }

    fn tool(&self, session: &str, request: &Request, part: Option<Value>, state: &Value) -> Value {
        let part = self.world.state.update(|world| {
            let mut part = part.unwrap_or_else(|| {
                let id = world.new_id("prt");
                json!({"id": id, "callID": format!("call_{id}"), "type": "tool", "tool": "read",
                    "messageID": request.assistant, "state": {"status": "running", "input": {}}})
            });
            if !state.is_null() {
                part["state"] = state.clone();
            }
            store_part(world, session, &request.assistant, &part);
            part
        });
        self.emit("message.part.updated", session, &json!({"part": part}));
        part
    }

    /// Ends a step regularly. True when another request follows; else the session is idle.
    fn complete(&self, session: &str, request: &Request, end: &End) -> bool {
        let finish = if matches!(end, End::Tools) {
            "tool-calls"
        } else {
            "stop"
        };
        self.world.state.update(|state| {
            let change = |info: &mut Value| info["finish"] = json!(finish);
            let info = edit(state, session, &request.assistant, change);
            self.emit_in(state, "message.updated", session, &json!({"info": info}));
            let now = state.tick();
            let change = |info: &mut Value| {
                info["time"]["completed"] = json!(now);
                info["tokens"] = json!({"input": 7, "output": 3});
                info["cost"] = json!(0.25);
            };
            let info = edit(state, session, &request.assistant, change);
            self.emit_in(state, "message.updated", session, &json!({"info": info}));
            let goes_on = !is_answered(state, session);
            if !goes_on {
                self.forget(state, session);
                self.idle(state, session);
            }
            goes_on
        })
    }

    /// Ends a turn with an error, in the host's order: told first, idle, and only then written, and idle again.
    async fn break_off(&self, session: &str, request: &Request, error: &Value) -> bool {
        self.world.state.update(|state| {
            if let Some(run) = state.run_mut(&self.name, session) {
                run.ending = true;
            }
            self.emit_in(state, "session.error", session, &json!({"error": error}));
            self.idle(state, session);
        });
        breathe().await;
        self.world.state.update(|state| {
            let now = state.tick();
            let info = edit(state, session, &request.assistant, |info| {
                info["error"] = error.clone();
                info["time"]["completed"] = json!(now);
            });
            self.emit_in(state, "message.updated", session, &json!({"info": info}));
            let again = state.run_mut(&self.name, session).is_some_and(|run| {
                run.ending = false;
                run.aborted = false;
                std::mem::take(&mut run.again)
            });
            if !again {
                self.forget(state, session);
                self.idle(state, session);
            }
            again
        })
    }
}

/// Whether nothing is left to answer, by the host's rule: the latest answer is through, and it is the answer to the
/// latest prompt.
fn is_answered(state: &State, session: &str) -> bool {
    let Some(prompt) = state.latest(session, |message| !message.is_assistant()) else {
        return true;
    };
    state
        .latest(session, Message::is_assistant)
        .is_some_and(|answer| {
            let finish = answer.info["finish"].as_str();
            finish.is_some_and(|finish| finish != "tool-calls")
                && answer.info["parentID"] == *prompt.id()
        })
}

/// Others get their turn.
async fn breathe() {
    tokio::task::yield_now().await;
}

/// An answer of so many megabytes.
fn huge(megabytes: usize) -> String {
    const LINE: &str = "all work and no play makes a dull delegation; ";
    let mut text = "# Huge\n\nVery long.\n\n".to_owned();
    text.push_str(&LINE.repeat((megabytes << 20) / LINE.len()));
    text.push_str("THE END");
    text
}

fn store_part(state: &mut State, session: &str, message: &str, part: &Value) {
    let messages = state
        .session_mut(session)
        .map(|session| &mut session.messages);
    let message = messages.and_then(|all| all.iter_mut().find(|known| known.id() == message));
    let Some(message) = message else {
        // The session was deleted under its run: the host's inserts fail too.
        return;
    };
    match message
        .parts
        .iter_mut()
        .find(|known| known["id"] == part["id"])
    {
        Some(known) => *known = part.clone(),
        None => message.parts.push(part.clone()),
    }
}

fn edit(state: &mut State, session: &str, message: &str, change: impl FnOnce(&mut Value)) -> Value {
    let messages = state
        .session_mut(session)
        .map(|session| &mut session.messages);
    let message = messages.and_then(|all| all.iter_mut().find(|known| known.id() == message));
    match message {
        Some(message) => {
            change(&mut message.info);
            message.info.clone()
        }
        None => json!({"id": text(&Value::Null), "role": "assistant"}),
    }
}
