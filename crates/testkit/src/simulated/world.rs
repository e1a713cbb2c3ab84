//! One installation of the host: what all its processes share.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::script::Step;
use crate::{Result, Watched};

/// How long anything that is waited for may take on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// When the host's clock starts, in milliseconds since 1970.
const EPOCH: u64 = 1_795_366_675_000;

/// A stored message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its description, in the host's form.
    pub info: Value,
    /// Its parts, in the host's form.
    pub parts: Vec<Value>,
}

impl Message {
    /// Its ID.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.info["id"])
    }

    /// Whether the model wrote it.
    #[must_use]
    pub fn is_assistant(&self) -> bool {
        self.info["role"] == "assistant"
    }

    /// Whether it holds this part.
    #[must_use]
    pub fn holds(&self, part: &str) -> bool {
        self.parts.iter().any(|known| known["id"] == part)
    }

    /// What the model sees of it.
    #[must_use]
    pub fn text(&self) -> String {
        let seen = self.parts.iter().filter(|part| part["ignored"] != true);
        let texts = seen.map(|part| text(&part["text"]));
        let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
        texts.join("\n")
    }

    pub(super) fn json(&self) -> Value {
        json!({"info": self.info, "parts": self.parts})
    }
}

/// A session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its ID.
    pub id: String,
    /// Its parent; none for a root.
    pub parent: Option<String>,
    /// Its description, in the host's form.
    pub info: Value,
    /// Its messages, in the host's order.
    pub messages: Vec<Message>,
}

/// A request to the model.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// The session.
    pub session: String,
    /// The process that made it.
    pub process: String,
    /// The user message that it answers.
    pub answers: String,
    /// The assistant's message that holds the answer.
    pub assistant: String,
    /// Whether another process was answering in the session just then. A process takes the latest answer for its own
    /// last one, so two that are in one session at once ask again for as long as the other is not through.
    pub beside_another: bool,
    /// Everything the model was sent.
    pub seen: String,
}

/// A request that the daemon made to a process.
#[derive(Debug, Clone)]
pub struct Call {
    /// The process.
    pub process: String,
    /// Method and path.
    pub line: String,
    /// The body.
    pub body: Value,
    /// Whether the host carried it out.
    pub done: bool,
}

/// What a session does in one process.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) process: String,
    pub(super) session: String,
    pub(super) aborted: bool,
    /// It says idle already, but has not written its end.
    pub(super) ending: bool,
    /// A reply was asked for while it was ending.
    pub(super) again: bool,
}

/// A permission that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) id: String,
    pub(super) session: String,
    pub(super) permission: String,
    pub(super) process: String,
    pub(super) answer: Option<String>,
}

/// Everything that is stored or goes on.
#[derive(Debug, Default)]
pub struct State {
    pub(super) now: u64,
    pub(super) serial: u64,
    pub(super) sessions: Vec<Session>,
    pub(super) runs: Vec<Run>,
    pub(super) asks: Vec<Ask>,
    pub(super) gates: BTreeSet<String>,
    pub(super) on_notice: Vec<Step>,
    /// All requests to models, in order.
    pub requests: Vec<ModelRequest>,
    /// All requests of the daemon, in order.
    pub calls: Vec<Call>,
}

impl State {
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    /// An ID as the host makes it: by its clock, later than all before it.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        let now = self.tick();
        self.serial += 1;
        let stamp = (now * 4_096 + 1) & ((1 << 48) - 1);
        format!("{prefix}_{stamp:012x}{:014}", self.serial)
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    pub(super) fn session_mut(&mut self, id: &str) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// A session's messages, in the host's order.
    #[must_use]
    pub fn messages(&self, id: &str) -> &[Message] {
        self.session(id).map_or(&[], |session| &session.messages)
    }

    /// The latest of these messages of a session. The host lists messages as they were stored first, and goes by their
    /// times.
    pub(super) fn latest(&self, id: &str, which: impl Fn(&Message) -> bool) -> Option<&Message> {
        let of_them = self.messages(id).iter().filter(|message| which(message));
        of_them.max_by_key(|message| (message.info["time"]["created"].as_u64(), message.id()))
    }

    /// A session's children, in the order in which they were made.
    #[must_use]
    pub fn children(&self, id: &str) -> Vec<&Session> {
        let is_child = |session: &&Session| session.parent.as_deref() == Some(id);
        self.sessions.iter().filter(is_child).collect()
    }

    /// What the host tells of its root sessions.
    pub(super) fn roots(&self) -> Vec<&Value> {
        let is_root = |session: &&Session| session.parent.is_none();
        let roots = self.sessions.iter().filter(is_root);
        roots.map(|session| &session.info).collect()
    }

    /// The requests that were made for a session.
    #[must_use]
    pub fn requests_of(&self, session: &str) -> Vec<&ModelRequest> {
        let of = |request: &&ModelRequest| request.session == session;
        self.requests.iter().filter(of).collect()
    }

    /// How often a session's messages hold the notice of a delegation.
    #[must_use]
    pub fn notices(&self, session: &str, delegation: &str) -> usize {
        let tag = format!("<task-id>{delegation}</task-id>");
        let parts = self.messages(session).iter().flat_map(|m| &m.parts);
        let hits = parts.filter(|part| {
            text(&part["text"]).contains("<task-notification>")
                && text(&part["text"]).contains(&tag)
        });
        hits.count()
    }

    /// Whether anything goes on in a session, in any process.
    #[must_use]
    pub fn is_busy(&self, session: &str) -> bool {
        self.runs.iter().any(|run| run.session == session)
    }

    /// The processes in which something goes on in a session.
    #[must_use]
    pub fn processes_in(&self, session: &str) -> Vec<&str> {
        let runs = self.runs.iter().filter(|run| run.session == session);
        runs.map(|run| run.process.as_str()).collect()
    }

    /// Moves on with everything that is stored.
    #[must_use]
    pub fn moment(&self) -> u64 {
        self.now
    }

    /// How many of the daemon's requests that were carried out begin so.
    #[must_use]
    pub fn done(&self, line: &str) -> usize {
        let calls = self.calls.iter();
        calls
            .filter(|call| call.done && call.line.starts_with(line))
            .count()
    }

    pub(super) fn run_mut(&mut self, process: &str, session: &str) -> Option<&mut Run> {
        let mut runs = self.runs.iter_mut();
        runs.find(|run| run.process == process && run.session == session)
    }

    /// Everything in words, to read a failure without running again.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut all = String::new();
        for session in &self.sessions {
            // Writing to a string cannot fail.
            let _ = writeln!(
                all,
                "{} (parent {:?}) {}",
                session.id, session.parent, session.info["metadata"]
            );
            for message in &session.messages {
                let short: String = message.text().replace('\n', " ").chars().take(90).collect();
                let info = &message.info;
                let _ = writeln!(
                    all,
                    "  {} {} parent={} finish={} error={} {short}",
                    message.id(),
                    info["role"],
                    info["parentID"],
                    info["finish"],
                    info["error"]["name"]
                );
            }
        }
        for call in &self.calls {
            let done = if call.done { "" } else { " (not done)" };
            let _ = writeln!(
                all,
                "{} {}{done} {}",
                call.process, call.line, call.body["messageID"]
            );
        }
        let _ = write!(all, "runs {:?} asks {:?}", self.runs, self.asks);
        all
    }
}

/// One installation of the host, with its sessions and models.
#[derive(Debug)]
pub struct World {
    pub(super) state: Watched<State>,
    directory: PathBuf,
}

impl World {
    /// An installation without sessions, whose processes work in this folder.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            state: Watched::new(State {
                now: EPOCH,
                on_notice: vec![Step::Say("noted".to_owned())],
                ..State::default()
            }),
            directory: directory.into(),
        }
    }

    /// When its clock started, in milliseconds since 1970.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        i64::try_from(EPOCH).unwrap_or(i64::MAX)
    }

    /// The folder its processes work in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a root session.
    pub fn root(&self) -> String {
        let body = json!({"title": "root"});
        self.state.update(|state| {
            let info = self.create(state, &body);
            text(&info["id"]).to_owned()
        })
    }

    pub(super) fn create(&self, state: &mut State, body: &Value) -> Value {
        let id = state.new_id("ses");
        let now = state.now;
        let parent = body["parentID"].as_str().map(str::to_owned);
        let mut info = body.clone();
        info["id"] = json!(id);
        info["directory"] = json!(self.directory);
        info["time"] = json!({"created": now, "updated": now});
        state.sessions.push(Session {
            id,
            parent,
            info: info.clone(),
            messages: Vec::new(),
        });
        info
    }

    /// Opens a gate for good.
    pub fn open(&self, gate: &str) {
        self.state
            .update(|state| state.gates.insert(gate.to_owned()));
    }

    /// What models answer to a message that holds a notice, written as in a prompt.
    pub fn answer_notices_with(&self, script: &str) {
        let steps = super::script::parse(script);
        self.state.update(|state| state.on_notice = steps.into());
    }

    /// Looks at everything.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.state.read(look)
    }

    /// Waits for something.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`], with everything in it.
    pub async fn until<T>(&self, what: &str, look: impl FnMut(&State) -> Option<T>) -> Result<T> {
        self.state
            .until_within(LIMIT, what, State::dump, look)
            .await
    }

    /// Stores a user message: a new one, or a known one with other parts and a new time.
    pub(super) fn store_user(state: &mut State, session: &str, body: &Value) -> Option<Message> {
        let now = state.tick();
        let id = match body["messageID"].as_str() {
            Some(id) => id.to_owned(),
            None => state.new_id("msg"),
        };
        let parts: Vec<Value> = body["parts"].as_array().cloned().unwrap_or_default();
        let unnamed = state.new_id("prt");
        let session = state.session_mut(session)?;
        let name = session.id.clone();
        if !session.messages.iter().any(|message| message.id() == id) {
            let model = match &body["model"] {
                Value::Null => json!({"providerID": "scripted", "modelID": "main"}),
                model => model.clone(),
            };
            let agent = body["agent"].as_str().unwrap_or("build");
            let info = json!({"id": id, "role": "user", "sessionID": name, "agent": agent, "model": model});
            session.messages.push(Message {
                info,
                parts: Vec::new(),
            });
        }
        let message = session
            .messages
            .iter_mut()
            .find(|message| message.id() == id)?;
        message.info["time"] = json!({"created": now});
        for mut part in parts {
            part["sessionID"] = json!(name);
            part["messageID"] = json!(id);
            if part["id"].is_null() {
                part["id"] = json!(unnamed);
            }
            match message
                .parts
                .iter_mut()
                .find(|known| known["id"] == part["id"])
            {
                Some(known) => *known = part,
                None => message.parts.push(part),
            }
        }
        Some(message.clone())
    }
}

/// A string, or nothing.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
