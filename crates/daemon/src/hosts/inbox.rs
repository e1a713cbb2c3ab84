//! What bridges send up, sorted: answers to their calls, a child's events to its run, the rest to the engine.

use brigade_agents::opencode::{EventKind, HostEvent, Reply, Signal as RunSignal};
use brigade_protocol::bridge::{Activity, Directory, OwnedSession, Up};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Connection, Hub, Recorded, Signal, lock};

impl Hub {
    /// Hears one message of a bridge. What has to be on record before the bridge is answered says so by what it
    /// returns.
    pub(crate) async fn receive(&self, connection: &Connection, message: Up) -> Option<Recorded> {
        match message {
            Up::Reply { id, status, body } => {
                connection.answer(id, Ok(Reply { status, body }));
            }
            Up::Failed { id, error } => connection.answer(id, Err(error)),
            Up::Event { directory, event } => self.event(connection, &directory, event).await,
            Up::Session(owned) => self.session(connection, &owned),
            Up::Opened(directory) => self.opened(connection, directory),
            Up::Disposed { directory } => self.disposed(connection, &directory),
            Up::Taken {
                session,
                lease,
                message,
            } => return Some(self.taken(connection.process, session, lease, message)),
            Up::Released { session, lease } => self.signal(Signal::Released { session, lease }),
            Up::Handed { id, session } => {
                let (record, recorded) = oneshot::channel();
                self.signal(Signal::Handed {
                    id,
                    session,
                    record,
                });
                return Some(recorded);
            }
            Up::NotHanded { id, session, call } => {
                self.signal(Signal::NotHanded { id, session, call });
            }
            Up::LedgerShown { session, turn } => self.signal(Signal::LedgerShown { session, turn }),
            Up::Pong {} => connection.pong(),
        }
        None
    }

    async fn event(&self, connection: &Connection, directory: &str, event: Value) {
        let Some(event) = HostEvent::parse(event) else {
            tracing::debug!(directory, "the bridge forwarded something that is no event");
            return;
        };
        let Some(session) = event.session.clone() else {
            return;
        };
        let deleted = matches!(event.kind, EventKind::Deleted);
        let route = lock(&self.state).routes.get(&session).cloned();
        if let Some((process, route)) = route {
            if process != connection.process && !deleted {
                tracing::debug!(%session, process = %connection.process, "an earlier attempt's host still speaks of its child");
                return;
            }
            if route.send(RunSignal::Event(Box::new(event))).await.is_err() {
                lock(&self.state).routes.remove(&session);
            }
            return;
        }
        if deleted {
            lock(&self.state).sessions.forget_session(&session);
            self.signal(Signal::SessionDeleted(session));
            return;
        }
        tracing::trace!(%session, directory, process = %connection.process, "an event of a root session");
        self.signal(Signal::ParentEvent(event));
    }

    fn session(&self, connection: &Connection, owned: &OwnedSession) {
        if connection.is_worker() {
            return;
        }
        {
            let mut state = lock(&self.state);
            let current = state
                .by_process
                .get(&connection.process)
                .is_some_and(|current| current.id == connection.id);
            if !current {
                // Heard after the connection's end: a process that is gone would own the session for ever, and
                // one that is back has told it anew.
                return;
            }
            state.sessions.heard(
                &owned.session,
                &connection.process,
                &owned.directory,
                owned.activity,
                owned.active_ms,
            );
        }
        self.signal(Signal::SessionChanged {
            session: owned.session.clone(),
            idle: owned.activity == Activity::Idle,
        });
    }

    fn opened(&self, connection: &Connection, directory: Directory) {
        let name = directory.directory.clone();
        connection.open_directory(directory);
        self.signal(Signal::Opened {
            connection: connection.id.clone(),
            directory: name,
        });
        self.bump();
    }

    fn disposed(&self, connection: &Connection, directory: &str) {
        connection.close_directory(directory);
        let touched = {
            let mut state = lock(&self.state);
            *state
                .disposals
                .entry((connection.process, directory.to_owned()))
                .or_default() += 1;
            state
                .sessions
                .forget_directory(&connection.process, directory)
        };
        for session in touched {
            self.signal(Signal::SessionChanged {
                session,
                idle: false,
            });
        }
        self.bump();
    }
}
