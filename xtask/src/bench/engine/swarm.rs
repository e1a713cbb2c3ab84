//! A host that only answers: an OpenCode in memory behind a bridge, for more sessions than a real one bears.
//!
//! It knows of its sessions what the daemon asks for, finds each at once, and has children answer when they are let.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use brigade_client::{Client, StartPolicy};
use brigade_os::paths::Dirs;
use brigade_protocol::PROTOCOL;
use brigade_protocol::bridge::{
    Activity, Batch, Directory, Down, Host, OwnedSession, Register, Up,
};
use brigade_protocol::tools::{Caller, Delegate};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

use super::failed;
use crate::error::{Error, Result};

/// How much the bridge posts at once.
const BATCH: usize = 512;

/// A host with its bridge, connected to a daemon as long as it is kept.
pub(super) struct Swarm {
    host: Arc<Inner>,
    client: Client,
    connection: String,
}

struct Inner {
    directory: String,
    state: Mutex<State>,
    up: mpsc::UnboundedSender<Up>,
    /// How many children work.
    working: watch::Sender<usize>,
    /// How many children have been told to begin.
    begun: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Session>,
    serial: u64,
    last: u64,
    /// Whether children work until they are let go.
    held: bool,
}

struct Session {
    info: Value,
    messages: Vec<Message>,
    children: Vec<String>,
    /// The message that is being answered.
    busy: Option<String>,
    /// Told when a waking has been answered.
    woken: Arc<Notify>,
}

struct Message {
    info: Value,
    parts: Vec<Value>,
}

impl Message {
    fn json(&self) -> Value {
        json!({"info": self.info, "parts": self.parts})
    }
}

impl State {
    /// An ID that sorts after all earlier ones, as the host's do.
    fn new_id(&mut self, prefix: &str) -> String {
        self.serial += 1;
        self.last = (self.last + 1).max(now_ms() * 4096);
        let stamp = self.last & ((1 << 48) - 1);
        format!("{prefix}_{stamp:012x}{:014}", self.serial)
    }

    fn create(&mut self, directory: &str, body: &Value) -> Value {
        let id = self.new_id("ses");
        let mut info = body.clone();
        info["id"] = json!(id);
        info["directory"] = json!(directory);
        info["time"] = json!({"created": now_ms(), "updated": now_ms()});
        if let Some(parent) = body["parentID"].as_str()
            && let Some(parent) = self.sessions.get_mut(parent)
        {
            parent.children.push(id.clone());
        }
        let session = Session {
            info: info.clone(),
            messages: Vec::new(),
            children: Vec::new(),
            busy: None,
            woken: Arc::default(),
        };
        self.sessions.insert(id, session);
        info
    }
}

impl Swarm {
    /// Connects to the daemon of these places, as a host that has a directory open.
    pub(super) async fn connect(dirs: &Dirs, directory: &str) -> Result<Self> {
        let client = Client::connect(dirs, StartPolicy::Never)
            .await
            .map_err(failed)?;
        let opened = Directory {
            directory: directory.to_owned(),
            worktree: directory.to_owned(),
            opened_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
        };
        let register = Register {
            protocol: PROTOCOL,
            bridge_version: "0.1.0".to_owned(),
            instance: "swarm".to_owned(),
            data_dir: None,
            host: Host {
                name: "opencode".to_owned(),
                version: brigade_testkit::opencode::VERSION.to_owned(),
                pid: std::process::id(),
                executable: "opencode".to_owned(),
                mode: "serve".to_owned(),
                home: dirs.home.display().to_string(),
                env: std::collections::BTreeMap::new(),
            },
            directories: vec![opened],
            sessions: Vec::new(),
            leases: Vec::new(),
        };
        let registered = client.register(&register).await.map_err(failed)?;
        let connection = registered.connection;
        let mut stream = client.bridge_stream(&connection).await.map_err(failed)?;
        let (up, said) = mpsc::unbounded_channel();
        let host = Arc::new(Inner {
            directory: directory.to_owned(),
            state: Mutex::default(),
            up,
            working: watch::Sender::default(),
            begun: watch::Sender::default(),
        });
        tokio::spawn(post(client.clone(), connection.clone(), said));
        let answering = Arc::clone(&host);
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                answering.take(message);
            }
        });
        Ok(Self {
            host,
            client,
            connection,
        })
    }

    /// A new root session.
    pub(super) fn root(&self) -> String {
        let mut state = self.host.state();
        let info = state.create(&self.host.directory, &json!({"title": "root"}));
        info["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Calls `delegate` in a root session, as its model would; gives the delegation's ID.
    pub(super) async fn delegate(&self, root: &str, prompt: &str) -> Result<String> {
        self.host.touch(root, Activity::Tool);
        let call = Delegate {
            caller: Caller {
                connection: self.connection.clone(),
                session: root.to_owned(),
                message: None,
                agent: Some("build".to_owned()),
                parent: None,
                directory: self.host.directory.clone(),
            },
            args: json!({"agent": "explore", "prompt": prompt}),
        };
        let answer = self.client.tool_delegate(&call).await.map_err(failed)?;
        self.host.touch(root, Activity::Idle);
        let id = answer.title.split(" · ").nth(1).map(str::to_owned);
        id.ok_or_else(|| Error::Wrong(format!("delegate: {}", answer.output)))
    }

    /// Waits until a waking of this session has been answered, since the last time that this was waited for.
    pub(super) async fn woken(&self, root: &str) {
        let woken = {
            let state = self.host.state();
            state.sessions.get(root).map(|root| Arc::clone(&root.woken))
        };
        if let Some(woken) = woken {
            woken.notified().await;
        }
    }

    /// From now on children work until they are let go, or, once they are, answer at once.
    pub(super) fn hold(&self, held: bool) {
        let waiting: Vec<String> = {
            let mut state = self.host.state();
            state.held = held;
            let busy = state.sessions.iter().filter(|(_, session)| {
                session.busy.is_some() && !session.info["parentID"].is_null()
            });
            busy.map(|(id, _)| id.clone()).collect()
        };
        if !held {
            for child in waiting {
                self.host.answer(&child);
            }
        }
    }

    /// Waits until this many children work.
    pub(super) async fn working(&self, count: usize) -> Result<()> {
        let mut working = self.host.working.subscribe();
        let enough = working.wait_for(|now| *now >= count).await;
        enough.map(drop).map_err(failed)
    }

    /// The children that work.
    pub(super) fn children(&self) -> Vec<String> {
        let state = self.host.state();
        let busy = state
            .sessions
            .iter()
            .filter(|(_, session)| session.busy.is_some() && !session.info["parentID"].is_null());
        busy.map(|(id, _)| id.clone()).collect()
    }

    /// Has a child stream a piece of text.
    pub(super) fn delta(&self, child: &str, delta: &str) {
        let (message, part) = (format!("msg_of_{child}"), format!("prt_of_{child}"));
        let properties = json!({"sessionID": child, "messageID": message, "partID": part, "field": "text", "delta": delta});
        self.host.event("message.part.delta", &properties);
    }
}

/// Posts what the bridge has to say, in order, batch by batch, until nobody can say anything more.
async fn post(client: Client, connection: String, mut said: mpsc::UnboundedReceiver<Up>) {
    let mut seq = 0;
    let mut messages = Vec::new();
    while said.recv_many(&mut messages, BATCH).await > 0 {
        seq += 1;
        let batch = Batch {
            seq,
            messages: std::mem::take(&mut messages),
        };
        // Without the daemon there is nothing to measure, which shows at once.
        if client.bridge_up(&connection, &batch).await.is_err() {
            return;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody hears it once the connection is gone.
    fn say(&self, message: Up) {
        let _ = self.up.send(message);
    }

    fn event(&self, kind: &str, properties: &Value) {
        self.say(Up::Event {
            directory: self.directory.clone(),
            event: json!({"type": kind, "properties": properties}),
        });
    }

    fn touch(&self, root: &str, activity: Activity) {
        self.say(Up::Session(OwnedSession {
            session: root.to_owned(),
            directory: self.directory.clone(),
            active_ms: i64::try_from(now_ms()).unwrap_or(i64::MAX),
            activity,
            agent: None,
        }));
    }

    fn take(self: &Arc<Self>, message: Down) {
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
            ("GET", ["session", "status"]) => (200, self.statuses()),
            ("GET" | "PATCH", ["session", id]) => {
                let state = self.state();
                let found = state.sessions.get(*id);
                found.map_or_else(missing, |found| (200, found.info.clone()))
            }
            ("GET", ["session", id, "children"]) => (200, self.children_of(id)),
            ("GET", ["session", id, "message"]) => self.messages(id, query).unwrap_or_else(missing),
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

    fn statuses(&self) -> Value {
        let state = self.state();
        let busy = state.sessions.iter().filter(|(_, s)| s.busy.is_some());
        let busy = busy.map(|(id, _)| (id.clone(), json!({"type": "busy"})));
        Value::Object(busy.collect())
    }

    fn children_of(&self, id: &str) -> Value {
        let state = self.state();
        let children = state.sessions.get(id).into_iter().flat_map(|s| &s.children);
        let infos = children.filter_map(|child| state.sessions.get(child));
        json!(infos.map(|child| &child.info).collect::<Vec<_>>())
    }

    fn messages(&self, id: &str, query: &str) -> Option<(u16, Value)> {
        let mut limit = usize::MAX;
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "before" => return Some((400, json!({"_tag": "BadRequest"}))),
                "limit" => limit = value.parse().unwrap_or(usize::MAX),
                _ => {}
            }
        }
        let state = self.state();
        let all = &state.sessions.get(id)?.messages;
        let page = &all[all.len().saturating_sub(limit)..];
        Some((
            200,
            json!(page.iter().map(Message::json).collect::<Vec<_>>()),
        ))
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
            (!session.info["parentID"].is_null(), held, stored)
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
                self.begun.send_modify(|begun| *begun += 1);
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
            let woken = session.info["parentID"]
                .is_null()
                .then(|| Arc::clone(&session.woken));
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
                woken.notify_one();
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

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
