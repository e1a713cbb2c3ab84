//! A host that only answers: an OpenCode in memory behind a bridge, for more sessions than a real one bears.
//!
//! It knows of its sessions what the daemon asks for, finds each at once, and has children answer when they are let.

mod host;
mod post;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use brigade_client::{Client, StartPolicy};
use brigade_os::paths::Dirs;
use brigade_protocol::PROTOCOL;
use brigade_protocol::bridge::{Activity, Directory, Host, Register};
use brigade_protocol::delegations::Scope;
use brigade_protocol::tools::{Caller, Delegate};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::failed;
use crate::error::{Error, Result};
use host::Inner;
pub(super) use post::Pieces;
use sessions::{Message, now_ms};

/// How long anything that is bound to happen may take on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// A host with its bridge, connected to a daemon as long as it is kept.
pub(super) struct Swarm {
    host: Arc<Inner>,
    client: Client,
    connection: String,
}

impl Swarm {
    /// Connects to the daemon of these places, as a host that has a directory open.
    pub(super) async fn connect(dirs: &Dirs, directory: &str, pieces: Pieces) -> Result<Self> {
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
        let host = Arc::new(Inner::new(directory, up));
        tokio::spawn(post::post(client.clone(), connection.clone(), pieces, said));
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

    /// A new root session, in which a person has asked for something.
    pub(super) fn root(&self) -> String {
        let mut state = self.host.state();
        let info = state.create(&self.host.directory, &json!({"title": "root"}));
        let root = info["id"].as_str().unwrap_or_default().to_owned();
        let asked = state.new_id("msg");
        let info = json!({"id": asked, "role": "user", "sessionID": root, "agent": "build",
            "model": {"providerID": "scripted", "modelID": "main"}, "time": {"created": now_ms()}});
        if let Some(session) = state.sessions.get_mut(&root) {
            session.messages.push(Message {
                info,
                parts: Vec::new(),
            });
        }
        root
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
        if let Some(root) = self.host.state().sessions.get_mut(root) {
            root.delegated += 1;
        }
        let id = answer.title.split(" · ").nth(1).map(str::to_owned);
        id.ok_or_else(|| Error::Wrong(format!("delegate: {}", answer.output)))
    }

    /// Waits until as many wakings of this session have been answered.
    ///
    /// # Errors
    /// When there were more, or there are fewer for too long. `id` is the delegation that is to wake it.
    pub(super) async fn woken(&self, root: &str, wanted: u32, id: &str) -> Result<()> {
        let sender = {
            let state = self.host.state();
            let root = state.sessions.get(root);
            root.map(|root| Arc::clone(&root.woken))
        };
        let sender = sender.ok_or_else(|| Error::Wrong(format!("there is no session {root}")))?;
        let mut woken = sender.subscribe();
        let enough = timeout(LIMIT, woken.wait_for(|now| *now >= wanted)).await;
        let now = *sender.borrow();
        match enough {
            Ok(_) if now == wanted => Ok(()),
            Ok(_) => Err(Error::Wrong(format!(
                "{root} was woken {now} times for {wanted} delegations, {id} the last of them"
            ))),
            Err(_) => {
                let row = self.client.show(id, &Scope::default()).await;
                let row = row.map_err(failed)?.summary;
                Err(Error::Wrong(format!(
                    "{id} has not woken {root} within {} s: it is {}, {}, and there were {now} wakings of {wanted}",
                    LIMIT.as_secs(),
                    row.state.name(),
                    row.phase
                )))
            }
        }
    }

    /// Looks whether every session was woken once for each delegation of its own.
    ///
    /// # Errors
    /// When one was not.
    pub(super) fn woken_once_each(&self) -> Result<()> {
        let state = self.host.state();
        let wrong = state.sessions.iter().filter(|(_, session)| {
            !session.is_child() && *session.woken.borrow() != session.delegated
        });
        let wrong: Vec<String> = wrong
            .map(|(id, session)| {
                format!(
                    "{id} {} times for {}",
                    *session.woken.borrow(),
                    session.delegated
                )
            })
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(Error::Wrong(format!(
            "{} sessions were not woken once for each delegation, each alone in its batch: {}",
            wrong.len(),
            wrong.join(", ")
        )))
    }

    /// From now on children work without end.
    pub(super) fn hold(&self) {
        self.host.state().held = true;
    }

    /// Waits until this many children work.
    ///
    /// # Errors
    /// When no further one begins for too long.
    pub(super) async fn working(&self, count: usize) -> Result<()> {
        let mut working = self.host.working.subscribe();
        loop {
            let now = *working.borrow_and_update();
            if now >= count {
                return Ok(());
            }
            let Ok(more) = timeout(LIMIT, working.changed()).await else {
                return Err(Error::Wrong(format!(
                    "{now} children of {count} were working, and no other one began within {} s",
                    LIMIT.as_secs()
                )));
            };
            more.map_err(failed)?;
        }
    }

    /// Has a child stream a piece of text.
    pub(super) fn delta(&self, child: &str, delta: &str) {
        let (message, part) = (format!("msg_of_{child}"), format!("prt_of_{child}"));
        let properties = json!({"sessionID": child, "messageID": message, "partID": part, "field": "text", "delta": delta});
        self.host.event("message.part.delta", &properties);
    }

    /// Waits until the daemon has taken all that a child has said: it asks for a permission, which nobody gives, and the
    /// daemon can only answer that when it has come to it.
    ///
    /// # Errors
    /// When the answer does not come.
    pub(super) async fn heard(&self, child: &str) -> Result<()> {
        let (answered, answer) = oneshot::channel();
        let id = {
            let mut state = self.host.state();
            let id = state.new_id("per");
            state.asked.insert(id.clone(), answered);
            id
        };
        let asked =
            json!({"id": id, "sessionID": child, "permission": "edit", "patterns": ["notes.md"]});
        self.host.event("permission.asked", &asked);
        match timeout(LIMIT, answer).await {
            Ok(answered) => answered.map_err(failed),
            Err(_) => Err(Error::Wrong(format!(
                "the daemon has not come to the last word of {child} within {} s",
                LIMIT.as_secs()
            ))),
        }
    }
}
