//! What the bridge keeps, and which of the host's events it passes on: as `bridge.js` does.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use brigade_client::Client;
use brigade_protocol::bridge::{Activity, Directory, Down, OwnedSession, Up};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::world::text;

/// An offer that the bridge holds, or has used or given back without the daemon knowing yet.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) session: String,
    pub(super) parts: Option<Vec<Value>>,
    pub(super) message: Option<String>,
}

/// A root session that was seen at work.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) busy: bool,
    pub(super) tools: BTreeSet<String>,
    pub(super) activity: Activity,
    pub(super) active_ms: i64,
}

/// The connection as it stands.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) id: String,
    pub(super) cut: CancellationToken,
}

/// What the bridge keeps.
#[derive(Debug, Default)]
pub(super) struct BridgeState {
    pub(super) directory: String,
    pub(super) roots: BTreeMap<String, Root>,
    pub(super) watched: HashSet<String>,
    pub(super) delegating: HashSet<String>,
    pub(super) told: HashSet<String>,
    pub(super) leases: BTreeMap<u64, Lease>,
    pub(super) queue: VecDeque<Up>,
    pub(super) link: Option<Link>,
    /// Who carries what is said on it; none where that is the test itself.
    pub(super) client: Option<Client>,
    /// When the directory's instance was opened; 0 for what is not told.
    pub(super) opened_ms: i64,
    /// The directory's instance is gone.
    pub(super) disposed: bool,
    /// Kept away from the daemon by the test.
    pub(super) offline: bool,
    /// Does not post what it has to say.
    pub(super) mute: bool,
    /// A batch is on its way.
    pub(super) posting: bool,
    pub(super) connections: u32,
    /// Everything that came down, without calls.
    pub(super) heard: Vec<Down>,
}

/// Answers belong to a connection, a registration tells sessions, and streamed text is read again.
pub(super) fn outlives(message: &Up) -> bool {
    match message {
        Up::Event { event, .. } => event["type"] != "message.part.delta",
        Up::Reply { .. }
        | Up::Failed { .. }
        | Up::Pong {}
        | Up::Opened(_)
        | Up::Disposed { .. } => false,
        Up::Session(_) => false,
        _ => true,
    }
}

impl BridgeState {
    /// A connection stands. What was held on an earlier one was told at the registration.
    pub(super) fn linked(&mut self, link: Link) {
        self.leases.clear();
        self.connections += 1;
        self.link = Some(link);
    }

    /// A batch was heard, or it is not known whether it was.
    pub(super) fn posted(&mut self, messages: Vec<Up>, heard: bool) {
        self.posting = false;
        if heard {
            for message in &messages {
                if let Up::Taken { lease, .. } | Up::Released { lease, .. } = message {
                    self.leases.remove(lease);
                }
            }
        } else {
            for message in messages.into_iter().rev().filter(outlives) {
                self.queue.push_front(message);
            }
        }
    }

    pub(super) fn send(&mut self, message: Up) {
        if self.link.is_some() || !matches!(message, Up::Reply { .. } | Up::Failed { .. }) {
            self.queue.push_back(message);
        }
    }

    fn forward(&mut self, kind: &str, properties: &Value) {
        const SHOWN: usize = 8_000_000;
        let mut properties = properties.clone();
        if let Some(Value::String(text)) = properties.pointer_mut("/part/text") {
            text.truncate(text.floor_char_boundary(SHOWN));
        }
        self.send(Up::Event {
            directory: self.directory.clone(),
            event: json!({"type": kind, "properties": properties}),
        });
    }

    /// Notes what a root session does, and tells it when it is another thing than before.
    pub(super) fn touch(
        &mut self,
        session: &str,
        now: u64,
        force: bool,
        change: impl FnOnce(&mut Root),
    ) {
        let known = self.roots.get(session).cloned();
        let before = known.as_ref().map(|root| root.activity);
        let mut root = known.unwrap_or(Root {
            busy: false,
            tools: BTreeSet::new(),
            activity: Activity::Idle,
            active_ms: 0,
        });
        change(&mut root);
        root.activity = match (root.busy, root.tools.is_empty()) {
            (false, _) => Activity::Idle,
            (true, true) => Activity::Streaming,
            (true, false) => Activity::Tool,
        };
        if before != Some(root.activity) || force {
            root.active_ms = i64::try_from(now).unwrap_or(0);
            let owned = self.owned(session, &root);
            self.send(Up::Session(owned));
        }
        self.roots.insert(session.to_owned(), root);
    }

    /// The directory, as long as its instance is there.
    pub(super) fn opened(&self) -> Option<Directory> {
        (!self.disposed).then(|| Directory {
            directory: self.directory.clone(),
            worktree: self.directory.clone(),
            opened_ms: self.opened_ms,
        })
    }

    pub(super) fn owned(&self, session: &str, root: &Root) -> OwnedSession {
        OwnedSession {
            session: session.to_owned(),
            directory: self.directory.clone(),
            active_ms: root.active_ms,
            activity: root.activity,
            agent: None,
        }
    }

    /// Passes an event on, if it concerns the daemon.
    pub(super) fn on_event(
        &mut self,
        session: &str,
        is_root: bool,
        now: u64,
        kind: &str,
        properties: &Value,
    ) {
        if self.watched.contains(session) {
            return self.forward(kind, properties);
        }
        if kind == "session.deleted" {
            self.roots.remove(session);
            return self.forward(kind, properties);
        }
        if !is_root {
            return;
        }
        let (info, part) = (&properties["info"], &properties["part"]);
        match kind {
            "session.status"
                if properties["status"]["type"] == "idle" && !self.roots.contains_key(session) => {}
            "session.status" if properties["status"]["type"] == "idle" => {
                self.touch(session, now, false, |root| {
                    root.busy = false;
                    root.tools.clear();
                });
            }
            "session.status" => self.touch(session, now, false, |root| root.busy = true),
            "message.part.updated" if part["type"] == "tool" => {
                let call = text(&part["callID"]).to_owned();
                let running = part["state"]["status"] == "running";
                self.touch(session, now, false, |root| {
                    if running {
                        root.tools.insert(call);
                    } else {
                        root.tools.remove(&call);
                    }
                });
            }
            "message.part.updated" if text(&part["text"]).starts_with("<task-notification>") => {
                self.forward(kind, properties);
            }
            "message.updated" => {
                let completed = !info["time"]["completed"].is_null();
                let new = self
                    .told
                    .insert(format!("{} {completed}", text(&info["id"])));
                if new && self.delegating.contains(session) {
                    self.forward(kind, properties);
                }
            }
            "session.error" | "session.compacted" if self.delegating.contains(session) => {
                self.forward(kind, properties);
            }
            _ => {}
        }
    }

    /// Takes what the daemon pushes.
    pub(super) fn down(&mut self, message: &Down) {
        match message {
            Down::Watch { sessions, .. } => self.watched.extend(sessions.iter().cloned()),
            Down::Unwatch { sessions } => {
                for session in sessions {
                    self.watched.remove(session);
                }
            }
            Down::Ledger { session, .. } => {
                self.delegating.insert(session.clone());
            }
            Down::Offer {
                session,
                lease,
                parts,
            } => {
                self.delegating.insert(session.clone());
                let held = Lease {
                    session: session.clone(),
                    parts: Some(parts.clone()),
                    message: None,
                };
                self.leases.insert(*lease, held);
            }
            Down::Withdraw { session, lease } => {
                let used = self
                    .leases
                    .get(lease)
                    .is_some_and(|held| held.message.is_some());
                if !used {
                    self.leases.remove(lease);
                    self.send(Up::Released {
                        session: session.clone(),
                        lease: *lease,
                    });
                }
            }
            Down::Ping {} => self.send(Up::Pong {}),
            _ => {}
        }
        if !matches!(message, Down::Call { .. }) {
            self.heard.push(message.clone());
        }
    }
}
