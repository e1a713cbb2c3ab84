//! A host in memory: sessions, messages, faults on order, and one timeline of what was asked of it and what was
//! reported.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use brigade_agents::opencode::{
    AbortVerdict, DriveOutcome, Fenced, HostEvent, Progress, Refusal, Reply, Request, RunLog,
    RunSpec, Signal, Transport, TransportError, drive,
};
use brigade_core::delegation::StopCause;
use brigade_core::id::{Attempt, SessionId};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) const PARENT: &str = "ses_parent";

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    NotSent,
    /// Carried out, and the answer lost.
    LostAnswer,
    /// Not carried out, and nobody knows.
    LostRequest,
    /// Carried out at once, and answered when [`Host::deliver`] is called.
    Late,
    Status(u16),
}

#[derive(Default)]
struct State {
    sessions: Vec<Value>,
    messages: Vec<(String, Value)>,
    status: Vec<(String, Value)>,
    faults: VecDeque<(String, Fault)>,
    timeline: Vec<String>,
    fence_at: Option<String>,
    verdict: Option<AbortVerdict>,
    partials: Vec<String>,
    now: u64,
}

/// The host, the record, and the clock of IDs in one.
pub(crate) struct Host {
    state: Mutex<State>,
    signals: Mutex<Option<mpsc::Sender<Signal>>>,
    changed: watch::Sender<u64>,
}

impl Host {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                now: 1_000,
                ..State::default()
            }),
            signals: Mutex::new(None),
            changed: watch::Sender::new(0),
        })
    }

    /// The next request whose line begins so goes wrong; in the order given.
    pub(crate) fn fault(&self, line: &str, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.faults.push_back((line.to_owned(), fault));
    }

    /// The record refuses the report that begins so, and all after it.
    pub(crate) fn fence_at(&self, report: &str) {
        self.state.lock().unwrap().fence_at = Some(report.to_owned());
    }

    /// Who is behind an unordered abort.
    pub(crate) fn verdict(&self, verdict: AbortVerdict) {
        self.state.lock().unwrap().verdict = Some(verdict);
    }

    pub(crate) fn timeline(&self) -> Vec<String> {
        self.state.lock().unwrap().timeline.clone()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.timeline()
            .iter()
            .filter(|entry| entry.starts_with(line))
            .count()
    }

    pub(crate) fn last_partial(&self) -> Option<String> {
        self.state.lock().unwrap().partials.last().cloned()
    }

    fn note(&self, line: String) {
        self.state.lock().unwrap().timeline.push(line);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits until the timeline holds a line that begins so, `count` times.
    pub(crate) async fn until(&self, line: &str, count: usize) {
        let mut changed = self.changed.subscribe();
        while self.count(line) < count {
            changed.changed().await.unwrap();
        }
    }

    /// Waits until the driver has taken in every signal.
    pub(crate) async fn heard(&self) {
        let sender = self.signals.lock().unwrap().clone().unwrap();
        while sender.capacity() < sender.max_capacity() {
            tokio::task::yield_now().await;
        }
    }

    /// Lets an answer that is late go out.
    pub(crate) fn deliver(&self) {
        self.note("deliver".to_owned());
    }

    /// A child that is there before the run begins.
    pub(crate) fn child(&self, attempt: u32) -> String {
        let body = json!({"parentID": PARENT, "title": "t", "metadata":
            {"brigade": {"delegation": "brave-amber-otter", "attempt": attempt}}});
        let made = self.create(&body);
        made["id"].as_str().unwrap().to_owned()
    }

    fn create(&self, body: &Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.now += 10;
        let mut session = body.clone();
        session["id"] = json!(format!("ses_child{}", state.sessions.len() + 1));
        session["time"] = json!({"created": state.now});
        state.sessions.push(session.clone());
        session
    }

    /// Stores a user message with the fixed part of an attempt's prompt, as an earlier drive left it.
    pub(crate) fn prompted_before(&self, child: &str, attempt: u32) {
        let part = brigade_agents::opencode::fixed_part_id(
            &"brave-amber-otter".parse().unwrap(),
            &format!("prompt/{attempt}"),
            REGISTERED_MS,
        );
        self.store_user(
            child,
            &json!({"messageID": format!("msg_{attempt:012x}before"),
            "parts": [{"id": part, "type": "text", "text": "earlier"}]}),
        );
    }

    /// Stores a message that was sent to the run, as an earlier drive left it.
    pub(crate) fn sent_before(&self, child: &str, number: u32) {
        let part = brigade_agents::opencode::fixed_part_id(
            &"brave-amber-otter".parse().unwrap(),
            &format!("sent/{number}"),
            REGISTERED_MS,
        );
        let body = json!({"messageID": format!("msg_sent{number:08x}before"),
            "parts": [{"id": part, "type": "text", "text": format!("message {number}")}]});
        self.store_user(child, &body);
    }

    fn store_user(&self, child: &str, body: &Value) {
        let mut state = self.state.lock().unwrap();
        state.now += 10;
        let id = body["messageID"].clone();
        if state
            .messages
            .iter()
            .any(|(_, message)| message["info"]["id"] == id)
        {
            return;
        }
        let info =
            json!({"id": id, "role": "user", "sessionID": child, "time": {"created": state.now}});
        let mut parts = body["parts"].clone();
        for part in parts.as_array_mut().unwrap() {
            part["messageID"] = id.clone();
        }
        state
            .messages
            .push((child.to_owned(), json!({"info": info, "parts": parts})));
    }

    /// The model's message as it is stored now, with what differs from a finished answer.
    pub(crate) fn assistant(&self, child: &str, text: &str, info: &Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.now += 10;
        let number = state.messages.len();
        let mut message = json!({"id": format!("msg_{number:012x}assistant"), "role": "assistant", "sessionID": child,
            "time": {"created": state.now, "completed": state.now + 1}, "finish": "stop",
            "tokens": {"input": 10, "output": 5}});
        for (key, value) in info.as_object().unwrap() {
            message[key] = value.clone();
        }
        let parts = json!([{"id": "prt_s", "type": "step-start"}, {"id": "prt_t", "type": "text", "text": text}]);
        state
            .messages
            .retain(|(_, known)| known["info"]["id"] != message["id"]);
        state
            .messages
            .push((child.to_owned(), json!({"info": message, "parts": parts})));
        message
    }

    /// Takes the last stored message back, to be stored anew.
    pub(crate) fn forget_last(&self) {
        self.state.lock().unwrap().messages.pop();
    }

    pub(crate) fn messages(&self) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state
            .messages
            .iter()
            .map(|(_, message)| message.clone())
            .collect()
    }

    pub(crate) fn delete(&self, child: &str) {
        let mut state = self.state.lock().unwrap();
        state.sessions.retain(|session| session["id"] != child);
    }

    pub(crate) fn set_busy(&self, child: &str, busy: bool) {
        let kind = if busy { "busy" } else { "idle" };
        self.set_status(child, &json!({"type": kind}));
    }

    /// What the status map says; it leaves out what is idle.
    pub(crate) fn set_status(&self, child: &str, status: &Value) {
        let mut state = self.state.lock().unwrap();
        state.status.retain(|(session, _)| session != child);
        if status["type"] != "idle" {
            state.status.push((child.to_owned(), status.clone()));
        }
    }

    pub(crate) async fn signal(&self, signal: Signal) {
        let sender = self.signals.lock().unwrap().clone();
        if let Some(sender) = sender {
            // A driver that has left does not listen.
            let _left = sender.send(signal).await;
        }
    }

    pub(crate) async fn event(&self, kind: &str, child: &str, properties: &Value) {
        let mut all = json!({"sessionID": child});
        for (key, value) in properties.as_object().unwrap() {
            all[key] = value.clone();
        }
        let event = HostEvent::parse(json!({"type": kind, "properties": all})).unwrap();
        self.signal(Signal::Event(Box::new(event))).await;
    }

    pub(crate) async fn busy(&self, child: &str) {
        self.set_busy(child, true);
        self.event(
            "session.status",
            child,
            &json!({"status": {"type": "busy"}}),
        )
        .await;
    }

    pub(crate) async fn idle(&self, child: &str) {
        self.set_busy(child, false);
        self.event(
            "session.status",
            child,
            &json!({"status": {"type": "idle"}}),
        )
        .await;
        self.event("session.idle", child, &json!({})).await;
    }

    pub(crate) async fn stream(&self, child: &str, text: &str) {
        let delta =
            json!({"messageID": "msg_x", "partID": "prt_t", "field": "text", "delta": text});
        self.event("message.part.delta", child, &delta).await;
    }

    /// The run answers and ends, as the host tells it.
    pub(crate) async fn answer(&self, child: &str, text: &str) {
        let info = self.assistant(child, text, &json!({}));
        self.event("message.updated", child, &json!({"info": info}))
            .await;
        self.idle(child).await;
    }

    fn serve(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let body = request.body.clone().unwrap_or(Value::Null);
        let ok = |body: Value| Reply { status: 200, body };
        let known = |id: &str| {
            let state = self.state.lock().unwrap();
            id == PARENT || state.sessions.iter().any(|session| session["id"] == id)
        };
        if let ["session", id, ..] = segments[..]
            && id != "status"
            && !known(id)
        {
            return Reply {
                status: 404,
                body: json!({"name": "NotFoundError", "data": {"message": "Session not found"}}),
            };
        }
        match (request.method.name(), &segments[..]) {
            ("POST", ["session"]) => ok(self.create(&body)),
            ("GET", ["session", "status"]) => {
                let state = self.state.lock().unwrap();
                ok(json!(
                    state
                        .status
                        .iter()
                        .cloned()
                        .collect::<std::collections::BTreeMap<_, _>>()
                ))
            }
            ("GET", ["session", parent, "children"]) => {
                let state = self.state.lock().unwrap();
                let children = state
                    .sessions
                    .iter()
                    .filter(|session| session["parentID"] == **parent);
                ok(json!(children.collect::<Vec<_>>()))
            }
            ("GET", ["session", id, "message"]) => {
                let state = self.state.lock().unwrap();
                let all: Vec<&Value> = state
                    .messages
                    .iter()
                    .filter(|(child, _)| child == id)
                    .map(|(_, message)| message)
                    .collect();
                if request.path.contains("before=") {
                    // A host whose cursors are not known.
                    return Reply {
                        status: 400,
                        body: json!({"_tag": "BadRequest"}),
                    };
                }
                let limit: usize = request
                    .path
                    .split("limit=")
                    .nth(1)
                    .unwrap()
                    .parse()
                    .unwrap();
                let first = if limit == 0 {
                    0
                } else {
                    all.len().saturating_sub(limit)
                };
                ok(json!(all[first..]))
            }
            ("GET", ["session", id]) => {
                let state = self.state.lock().unwrap();
                ok(state
                    .sessions
                    .iter()
                    .find(|session| session["id"] == **id)
                    .unwrap()
                    .clone())
            }
            ("PATCH", ["session", _]) => ok(json!({})),
            ("POST", ["session", id, "prompt_async"]) => {
                self.store_user(id, &body);
                Reply {
                    status: 204,
                    body: Value::Null,
                }
            }
            ("POST", ["session", _, "abort"] | ["permission" | "question", _, "reply"]) => {
                ok(json!(true))
            }
            ("GET", ["permission" | "question"]) => ok(json!([])),
            other => panic!("not expected: {other:?}"),
        }
    }

    fn report(&self, line: String) -> Result<(), Fenced> {
        let fenced = {
            let state = self.state.lock().unwrap();
            state
                .fence_at
                .as_ref()
                .is_some_and(|fence| line.starts_with(fence))
        };
        self.note(line);
        if fenced { Err(Fenced) } else { Ok(()) }
    }
}

impl Transport for Host {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            let line = format!("{} {}", request.method, request.path);
            let fault = {
                let mut state = self.state.lock().unwrap();
                match state.faults.front() {
                    Some((prefix, _)) if line.starts_with(prefix) => {
                        state.faults.pop_front().map(|(_, fault)| fault)
                    }
                    _ => None,
                }
            };
            self.note(line);
            let why = String::new();
            match fault {
                None => Ok(self.serve(&request)),
                Some(Fault::NotSent) => Err(TransportError::NotSent { why }),
                Some(Fault::LostRequest) => Err(TransportError::Doubt { why }),
                Some(Fault::LostAnswer) => {
                    self.serve(&request);
                    Err(TransportError::Doubt { why })
                }
                Some(Fault::Late) => {
                    let reply = self.serve(&request);
                    self.until("deliver", 1).await;
                    Ok(reply)
                }
                Some(Fault::Status(status)) => Ok(Reply {
                    status,
                    body: json!({"message": "inner"}),
                }),
            }
        }
        .boxed()
    }
}

impl RunLog for Host {
    fn watch<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()> {
        async move { self.note(format!("log watch {session}")) }.boxed()
    }

    fn message(&self, number: u32) -> BoxFuture<'_, Result<String, Fenced>> {
        async move { Ok(format!("message {number}")) }.boxed()
    }

    fn child_ready<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<(), Fenced>> {
        async move { self.report(format!("log child {session}")) }.boxed()
    }

    fn prompted(&self) -> BoxFuture<'_, Result<(), Fenced>> {
        async move { self.report("log prompted".to_owned()) }.boxed()
    }

    fn progress<'a>(
        &'a self,
        _progress: &'a Progress,
        partial: Option<&'a str>,
        _ran_ms: u64,
    ) -> BoxFuture<'a, Result<(), Fenced>> {
        async move {
            self.state
                .lock()
                .unwrap()
                .partials
                .extend(partial.map(str::to_owned));
            self.report("log progress".to_owned())
        }
        .boxed()
    }

    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), Fenced>> {
        async move { self.report(format!("log refused {}", refusal.words())) }.boxed()
    }

    fn stop(&self, cause: StopCause) -> BoxFuture<'_, Result<(), Fenced>> {
        async move { self.report(format!("log stop {cause:?}")) }.boxed()
    }

    fn stray<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()> {
        async move { self.note(format!("log stray {session}")) }.boxed()
    }

    fn unordered_abort(&self) -> BoxFuture<'_, AbortVerdict> {
        async move {
            self.note("log unordered abort".to_owned());
            self.state.lock().unwrap().verdict.clone().unwrap()
        }
        .boxed()
    }
}

pub(crate) const REGISTERED_MS: u64 = 500;

pub(crate) fn spec(attempt: u32) -> RunSpec {
    RunSpec {
        delegation: "brave-amber-otter".parse().unwrap(),
        attempt: Attempt(attempt),
        registered_ms: REGISTERED_MS,
        parent: PARENT.parse().unwrap(),
        directory: "/project".to_owned(),
        title: "title".to_owned(),
        rules: Vec::new(),
        agent: "reader".to_owned(),
        model: None,
        system: None,
        prompt: "the work".to_owned(),
        continuation: "go on".to_owned(),
        child: None,
        fresh: false,
        collect: false,
        spent_ms: 0,
        max_run_ms: None,
        stall_ms: None,
    }
}

/// A drive under way.
pub(crate) struct Driving {
    pub(crate) outcome: JoinHandle<DriveOutcome>,
    pub(crate) stop: watch::Sender<Option<StopCause>>,
    pub(crate) messages: watch::Sender<u32>,
}

pub(crate) fn start(host: &Arc<Host>, spec: RunSpec) -> Driving {
    start_with(host, spec, 0)
}

/// The same with so many messages on record.
pub(crate) fn start_with(host: &Arc<Host>, spec: RunSpec, messages: u32) -> Driving {
    let (signals, receiver) = mpsc::channel(64);
    *host.signals.lock().unwrap() = Some(signals);
    let (stop, stopped) = watch::channel(None);
    let (messages, sent) = watch::channel(messages);
    let run = drive(spec, host.clone(), receiver, stopped, sent, host.clone());
    Driving {
        outcome: tokio::spawn(run),
        stop,
        messages,
    }
}

/// Lets go of the driver, as a daemon that leaves.
pub(crate) fn hang_up(host: &Host) {
    host.signals.lock().unwrap().take();
}
