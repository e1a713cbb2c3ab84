//! What bridges report, put to the right place.

use std::collections::HashSet;
use std::sync::Arc;

use brigade_agents::opencode::{Api, ApiError, EventKind};
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_core::permission::Plan;
use brigade_core::text::replies::TASK_GUARD;
use brigade_protocol::bridge::Down;
use brigade_store::{Listed, StoreError};
use tokio::sync::mpsc;

use super::Engine;
use crate::hosts::{Catalogue, Connection, Signal, lock};
use crate::project;

/// The number of the apply that a bridge tells of, where it is none of a result.
fn apply_of(id: &str) -> Option<i64> {
    id.strip_prefix("apply:")?.parse().ok()
}

impl Engine {
    /// Handles signals one after the other until the hub is gone. Whatever takes time becomes a task.
    pub(crate) async fn listen(self, mut signals: mpsc::UnboundedReceiver<Signal>) {
        while let Some(signal) = signals.recv().await {
            self.0.activity.notify_one();
            self.hear(signal).await;
        }
    }

    async fn hear(&self, signal: Signal) {
        match signal {
            Signal::Connected(connection) => self.connected(&connection),
            Signal::Disconnected { process, sessions } => {
                self.0.delivery.disconnected(&process);
                self.await_exit(process);
                for session in sessions {
                    self.0.delivery.poke(&session);
                }
            }
            Signal::Opened {
                connection,
                directory,
            } => {
                let engine = self.clone();
                self.spawn(async move {
                    if let Some(connection) = engine.hub().connection(&connection)
                        && let Err(error) = engine.introduce(&connection, &directory).await
                    {
                        tracing::warn!(%directory, %error, "a host did not tell its agents; it is asked again when they are needed");
                    }
                });
            }
            Signal::ServersChanged => self.schedule(),
            Signal::SessionChanged { session, idle } => {
                if !idle {
                    self.0.delivery.acted(&session);
                }
                self.0.delivery.poke(&session);
                self.0.ledgers.touch(self, &session);
            }
            Signal::SessionDeleted(session) => self.session_deleted(&session).await,
            Signal::ParentEvent(event) => {
                if matches!(
                    event.kind,
                    EventKind::Message(_) | EventKind::Part(_) | EventKind::Idle
                ) && let Some(session) = event.session
                {
                    if let EventKind::Part(part) = event.kind {
                        self.0.delivery.stored(&part.message, &part.id);
                    }
                    self.0.delivery.poke(&session);
                }
            }
            Signal::Taken {
                process,
                session,
                lease,
                message,
                record,
            } => {
                let delivery = &self.0.delivery;
                let taken = delivery.taken(process, &session, lease, &message).await;
                // A bridge that waits no longer tells it again.
                drop(record.send(taken));
            }
            Signal::Released { session, lease } => self.0.delivery.released(&session, lease),
            Signal::Handed {
                id,
                session,
                record,
            } => {
                if let Some(seq) = apply_of(&id) {
                    self.0.worktrees.confirmed(seq);
                }
                let handed = match id.parse::<DelegationId>() {
                    Ok(id) => self.handed(&id, &session).await,
                    Err(_) => Ok(()),
                };
                drop(record.send(handed));
            }
            Signal::NotHanded { id, session, call } => {
                let worktrees = &self.0.worktrees;
                let applied = apply_of(&id).inspect(|seq| worktrees.confirmed(*seq));
                let applied = applied.or_else(|| worktrees.unanswered(call.as_deref()?));
                if let Some(seq) = applied {
                    // Others must not wait for it: it may take long.
                    let engine = self.clone();
                    self.0
                        .tasks
                        .spawn(async move { engine.take_back(seq).await });
                } else if let Ok(id) = id.parse::<DelegationId>() {
                    self.0.delivery.release_hold(&id, &session);
                }
            }
            Signal::LedgerShown { session, turn } => self.ledger_shown(&session, &turn).await,
        }
    }

    /// A bridge is there (again): tell it which children to forward, and see who can start.
    fn connected(&self, connection: &str) {
        let Some(connection) = self.hub().connection(connection) else {
            return;
        };
        if connection.is_worker() && !self.0.servers.bridge_came(&connection.process) {
            self.0.servers.dismiss(connection.process);
            return;
        }
        let engine = self.clone();
        self.spawn(async move {
            for session in engine.hub().sessions_of(&connection.process) {
                engine.0.ledgers.touch(&engine, &session);
                engine.0.delivery.poke(&session);
            }
            engine.0.delivery.reconnected(&connection).await;
            engine.schedule();
        });
    }

    /// Learns a directory's project and agents, and pushes what hooks need of them.
    ///
    /// # Errors
    /// When the host does not answer.
    pub(super) async fn introduce(
        &self,
        connection: &Arc<Connection>,
        directory: &str,
    ) -> Result<Catalogue, ApiError> {
        let project = project::of(directory).await;
        self.hub().set_project(directory, project.clone());
        if connection.is_worker() {
            // It runs what it is given: nobody asks it which agents there are.
            self.schedule();
            return Ok(Catalogue::default());
        }
        let catalogue = self.learn(connection, directory).await?;
        self.push_guard(connection, directory, &catalogue);
        self.scan_predecessor(&project).await;
        self.poke_project(&project).await;
        self.schedule();
        Ok(catalogue)
    }

    /// Asks a host, or a server of our own, for a directory's agents.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn learn(
        &self,
        connection: &Arc<Connection>,
        directory: &str,
    ) -> Result<Catalogue, ApiError> {
        let api = Api::new(Arc::clone(connection) as _, directory.to_owned());
        let (agents, mcp, tools) = tokio::join!(api.agents(), api.mcp_servers(), api.tool_ids());
        let agents = agents?;
        // A host without MCP or plugins has nothing to tell; what cannot be listed is not allowed.
        let optional = |what: &str, result: Result<Vec<String>, ApiError>| {
            result.unwrap_or_else(|error| {
                tracing::warn!(%error, what, "the host did not list them; none is taken for known");
                Vec::new()
            })
        };
        let catalogue = Catalogue::new(
            agents,
            optional("MCP servers", mcp),
            optional("tools", tools),
        );
        self.hub()
            .set_catalogue(connection, directory, catalogue.clone());
        Ok(catalogue)
    }

    fn push_guard(&self, connection: &Connection, directory: &str, catalogue: &Catalogue) {
        let config = self.configs().for_directory(directory);
        let agents = if config.guard.task && !connection.is_transient() {
            catalogue
                .agents()
                .filter(|agent| matches!(catalogue.plan(agent, None, &config), Plan::ReadOnly(_)))
                .map(|agent| agent.name.clone())
                .collect()
        } else {
            Vec::new()
        };
        connection.send(Down::Guard {
            directory: directory.to_owned(),
            agents,
            guidance: TASK_GUARD.to_owned(),
        });
    }

    /// Waiting notices of a project may have found a host to ride with.
    async fn poke_project(&self, project: &ProjectId) {
        match self.0.store.parents_with_pending().await {
            Ok(parents) => {
                for parent in parents {
                    self.0.delivery.poke(parent.as_str());
                }
            }
            Err(error) => {
                tracing::error!(%error, %project, "the waiting notices could not be read");
            }
        }
    }

    async fn session_deleted(&self, session: &str) {
        for entry in self.entries() {
            let record = entry.record().await;
            if record
                .child
                .as_ref()
                .is_some_and(|child| child.as_str() == session)
            {
                // Its own run hears of it as an event and concludes.
                return;
            }
        }
        let engine = self.clone();
        let session = session.to_owned();
        self.spawn(async move {
            engine.parent_deleted(&session).await;
            engine.0.delivery.parent_gone(&session).await;
        });
    }

    async fn handed(&self, id: &DelegationId, session: &str) -> Result<(), StoreError> {
        let handed = self.0.delivery.handed(id, session).await;
        if let Ok(root) = session.parse::<SessionId>() {
            self.touch_ledger(&root);
        }
        handed
    }

    async fn ledger_shown(&self, session: &str, turn: &str) {
        let Ok(root) = session.parse::<SessionId>() else {
            return;
        };
        match self.0.store.open_of_root(&root).await {
            Ok(rows) => {
                let listed: HashSet<DelegationId> =
                    rows.into_iter().map(|row| row.delegation.spec.id).collect();
                if self.0.ledgers.shown(session, turn, &listed) {
                    self.0.ledgers.touch(self, session);
                }
            }
            Err(error) => {
                tracing::warn!(%session, %error, "the ledger's entries could not be read");
            }
        }
    }

    /// Pushes a root session's ledger anew.
    pub(crate) fn touch_ledger(&self, root: &SessionId) {
        self.0.ledgers.touch(self, root.as_str());
    }

    /// Takes in what the predecessor has left for a project. A failure is a warning: the delegations
    /// of our own are not touched by it.
    pub(crate) async fn scan_predecessor(&self, project: &ProjectId) {
        if let Err(error) = self.0.store.scan_predecessor(project).await {
            tracing::warn!(%project, %error, "the predecessor's artifacts could not be read");
        }
        lock(&self.0.predecessor).insert(project.clone(), false);
    }

    /// The same for a list, which does not wait for it: what has come since the last look is in the next list. Only the
    /// first look at a project is waited for.
    pub(crate) async fn look_for_predecessor(&self, project: &ProjectId) {
        match lock(&self.0.predecessor).get_mut(project) {
            None => {}
            Some(true) => return,
            Some(looking) => {
                *looking = true;
                let (engine, project) = (self.clone(), project.clone());
                self.spawn(async move { engine.scan_predecessor(&project).await });
                return;
            }
        }
        self.scan_predecessor(project).await;
    }

    /// The text of an artifact, from its file; where that is gone, from the store.
    ///
    /// # Errors
    /// When neither can be read.
    pub(crate) async fn artifact_text(&self, row: &Listed) -> Result<String, StoreError> {
        self.0.store.artifact_text(row).await
    }
}
