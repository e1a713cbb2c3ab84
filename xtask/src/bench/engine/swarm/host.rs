//! What the host does: it answers the daemon's calls, and tells what happens in its sessions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brigade_protocol::bridge::{Activity, Down, OwnedSession, Up};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::sessions::{Message, State, now_ms};

pub(super) struct Inner {
    pub(super) directory: String,
    state: Mutex<State>,
    up: mpsc::UnboundedSender<Up>,
    /// How many children work.
    pub(super) working: watch::Sender<usize>,
}

impl Inner {
    /// A host without sessions, which has `up` posted.
    pub(super) fn new(directory: &str, up: mpsc::UnboundedSender<Up>) -> Self {
        Self {
            directory: directory.to_owned(),
            state: Mutex::default(),
            up,
            working: watch::Sender::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody hears it once the connection is gone.
    fn say(&self, message: Up) {
        let _ = self.up.send(message);
    }

    pub(super) fn event(&self, kind: &str, properties: &Value) {
        self.say(Up::Event {
            directory: self.directory.clone(),
            event: json!({"type": kind, "properties": properties}),
        });
    }

    pub(super) fn touch(&self, root: &str, activity: Activity) {
        self.say(Up::Session(OwnedSession {
            session: root.to_owned(),
            directory: self.directory.clone(),
            active_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
            activity,
            agent: None,
        }));
    }

    pub(super) fn take(self: &Arc<Self>, message: Down) {
        match message {
            Down::Call {
                id,
                method,
                path,
                body,
                ..
            } => {
                let (status, body) = self.serve(&method, &path, &body.unwrap_or_default());
                self.say(Up::Reply { id, status, body });
            }
            Down::Ping {} => self.say(Up::Pong {}),
            // No person types here: what is offered goes back.
            Down::Withdraw { session, lease } => self.say(Up::Released { session, lease }),
            _ => {}
        }
    }

    fn serve(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (route, query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<&str> = route.trim_matches('/').split('/').collect();
        let missing = || (404, json!({"name": "NotFoundError"}));
        match (method, &segments[..]) {
            ("GET", ["agent"]) => (200, agents()),
            ("GET", ["mcp"]) => (200, json!({})),
            ("GET", ["experimental", "tool", "ids"]) => (200, json!(["read", "grep", "edit"])),
            ("GET", ["permission" | "question"]) => (200, json!([])),
            ("POST", ["session"]) => (200, self.state().create(&self.directory, body)),
            ("GET", ["session", "status"]) => (200, self.state().statuses()),
            ("GET" | "PATCH", ["session", id]) => {
                let state = self.state();
                let found = state.sessions.get(*id);
                found.map_or_else(missing, |found| (200, found.info.clone()))
            }
            ("GET", ["session", id, "children"]) => (200, self.state().children_of(id)),
            ("GET", ["session", id, "message"]) => {
                let state = self.state();
                state.messages(id, query).unwrap_or_else(missing)
            }
            ("POST", ["permission", id, "reply"]) => {
                let asked = self.state().asked.remove(*id);
                // Who has given up waiting is told nothing.
                asked.map_or_else(missing, |asked| (200, json!(asked.send(()).is_ok())))
            }
            ("GET", ["session", id, "message", message]) => {
                let state = self.state();
                let messages = state.sessions.get(*id).map(|found| &found.messages);
                let found = messages.and_then(|all| all.iter().find(|m| m.info["id"] == *message));
                found.map_or_else(missing, |found| (200, found.json()))
            }
            ("POST", ["session", id, "prompt_async"]) => match self.prompt(id, body) {
                Some(()) => (204, Value::Null),
                None => missing(),
            },
            ("POST", ["session", id, "abort"]) => {
                self.answer(id);
                (200, json!(true))
            }
            _ => missing(),
        }
    }

    /// Stores a message, and has it answered unless no reply is asked for.
    fn prompt(&self, id: &str, body: &Value) -> Option<()> {
        let (is_child, held, stored) = {
            let mut state = self.state();
            let (message, part) = (state.new_id("msg"), state.new_id("prt"));
            let held = state.held;
            let session = state.sessions.get_mut(id)?;
            let message = body["messageID"].as_str().map_or(message, str::to_owned);
            let info = json!({"id": message, "role": "user", "sessionID": id, "agent": body["agent"],
                "model": {"providerID": "scripted", "modelID": "main"}, "time": {"created": now_ms()}});
            let parts = body["parts"].as_array().cloned().unwrap_or_default();
            let parts: Vec<Value> = parts
                .into_iter()
                .map(|mut one| {
                    one["sessionID"] = json!(id);
                    one["messageID"] = json!(message);
                    if one["id"].is_null() {
                        one["id"] = json!(part);
                    }
                    one
                })
                .collect();
            let stored = (info.clone(), parts.clone());
            // A person's or the daemon's IDs need not be the newest.
            let at = session
                .messages
                .partition_point(|known| known.info["id"].as_str() < Some(message.as_str()));
            session.messages.insert(at, Message { info, parts });
            if body["noReply"] != true {
                session.busy = Some(message);
            }
            (session.is_child(), held, stored)
        };
        let (info, parts) = stored;
        self.event("message.updated", &json!({"sessionID": id, "info": info}));
        for part in parts {
            self.event(
                "message.part.updated",
                &json!({"sessionID": id, "part": part}),
            );
        }
        if body["noReply"] == true {
            return Some(());
        }
        match is_child {
            true => {
                let busy = json!({"sessionID": id, "status": {"type": "busy"}});
                self.event("session.status", &busy);
                self.working.send_modify(|working| *working += 1);
                if !held {
                    self.answer(id);
                }
            }
            false => {
                self.touch(id, Activity::Streaming);
                self.answer(id);
            }
        }
        Some(())
    }

    /// The session's model says its word, and the session is idle.
    fn answer(&self, id: &str) {
        let (info, part, woken) = {
            let mut state = self.state();
            let (message, part) = (state.new_id("msg"), state.new_id("prt"));
            let Some(session) = state.sessions.get_mut(id) else {
                return;
            };
            let Some(answers) = session.busy.take() else {
                return;
            };
            let info = json!({"id": message, "role": "assistant", "sessionID": id, "parentID": answers,
                "agent": "explore", "providerID": "scripted", "modelID": "main", "finish": "stop", "cost": 0.01,
                "time": {"created": now_ms(), "completed": now_ms()}, "tokens": {"input": 700, "output": 30}});
            let part = json!({"id": part, "type": "text", "messageID": message, "sessionID": id,
                "text": ANSWER, "time": {"start": now_ms(), "end": now_ms()}});
            let stored = Message {
                info: info.clone(),
                parts: vec![part.clone()],
            };
            session.messages.push(stored);
            let woken = (!session.is_child()).then(|| Arc::clone(&session.woken));
            (info, part, woken)
        };
        self.event("message.updated", &json!({"sessionID": id, "info": info}));
        self.event(
            "message.part.updated",
            &json!({"sessionID": id, "part": part}),
        );
        match woken {
            Some(woken) => {
                self.touch(id, Activity::Idle);
                woken.send_modify(|woken| *woken += 1);
            }
            None => {
                let idle = json!({"sessionID": id, "status": {"type": "idle"}});
                self.event("session.status", &idle);
                self.event("session.idle", &json!({"sessionID": id}));
                self.working
                    .send_modify(|working| *working = working.saturating_sub(1));
            }
        }
    }
}

/// What every child answers: as long as a short real result.
const ANSWER: &str = "# How tokens are refreshed\n\nThey are refreshed a minute before they expire.\n\n\
    The client keeps the time of expiry beside each token and asks for a new one in time, once for all that wait. \
    A refused refresh ends the session, and the person signs in again. Nothing is written to disk but the new token.\n";

/// `build`, which may do everything, and `explore`, which may only read.
fn agents() -> Value {
    let rule = |permission: &str, action: &str| json!({"permission": permission, "pattern": "*", "action": action});
    let explore: Vec<Value> = std::iter::once(rule("*", "deny"))
        .chain(["read", "grep"].map(|name| rule(name, "allow")))
        .collect();
    json!([
        {"name": "build", "mode": "primary", "native": true, "permission": [rule("*", "allow")], "options": {}},
        {"name": "explore", "mode": "subagent", "native": true, "permission": explore, "options": {}},
    ])
}
