//! What the host knows of its sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use brigade_testkit::simulated::page;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

#[derive(Default)]
pub(super) struct State {
    pub(super) sessions: HashMap<String, Session>,
    serial: u64,
    last: u64,
    /// Whether children work without end.
    pub(super) held: bool,
    /// Permissions that were asked for, with who waits for the answer.
    pub(super) asked: HashMap<String, oneshot::Sender<()>>,
}

pub(super) struct Session {
    pub(super) info: Value,
    pub(super) messages: Vec<Message>,
    children: Vec<String>,
    /// The message that is being answered.
    pub(super) busy: Option<String>,
    /// How many delegations it has called for.
    pub(super) delegated: u32,
    /// How many wakings have been answered.
    pub(super) woken: Arc<watch::Sender<u32>>,
}

pub(super) struct Message {
    pub(super) info: Value,
    pub(super) parts: Vec<Value>,
}

impl Message {
    fn id(&self) -> &str {
        self.info["id"].as_str().unwrap_or_default()
    }

    pub(super) fn json(&self) -> Value {
        json!({"info": self.info, "parts": self.parts})
    }
}

impl Session {
    pub(super) fn is_child(&self) -> bool {
        !self.info["parentID"].is_null()
    }
}

impl State {
    /// An ID that sorts after all earlier ones, as the host's do.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.serial += 1;
        self.last = (self.last + 1).max(now_ms() * 4096);
        let stamp = self.last & ((1 << 48) - 1);
        format!("{prefix}_{stamp:012x}{:014}", self.serial)
    }

    pub(super) fn create(&mut self, directory: &str, body: &Value) -> Value {
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
            delegated: 0,
            woken: Arc::default(),
        };
        self.sessions.insert(id, session);
        info
    }

    pub(super) fn statuses(&self) -> Value {
        let busy = self.sessions.iter().filter(|(_, s)| s.busy.is_some());
        let busy = busy.map(|(id, _)| (id.clone(), json!({"type": "busy"})));
        Value::Object(busy.collect())
    }

    pub(super) fn children_of(&self, id: &str) -> Value {
        let children = self.sessions.get(id).into_iter().flat_map(|s| &s.children);
        let infos = children.filter_map(|child| self.sessions.get(child));
        json!(infos.map(|child| &child.info).collect::<Vec<_>>())
    }

    /// A page of a session's messages. None where there is no such session.
    pub(super) fn messages(&self, id: &str, query: &str) -> Option<(u16, Value)> {
        let all = &self.sessions.get(id)?.messages;
        Some(match page(all, query, Message::id) {
            Some(page) => (200, page.iter().map(Message::json).collect()),
            None => (400, json!({"_tag": "BadRequest"})),
        })
    }
}

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
