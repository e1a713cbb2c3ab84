//! A process of the host without a socket: whoever holds it carries what goes up and down, and lets everything
//! in it go on step by step. So one thread can play hosts and daemon, in an order that a seed decides.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use brigade_protocol::bridge::{Activity, Down, Register, Up};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::filter::Link;
use super::host::{Inner, Typed};
use super::tools::Confirm;
use super::world::World;

/// A request of the daemon that has arrived and was not carried out yet.
#[derive(Debug)]
struct Arrived {
    id: u64,
    connection: String,
    method: String,
    path: String,
    body: Value,
}

/// A process of the host that goes on only as far as it is told to.
#[derive(Debug)]
pub struct DirectHost {
    inner: Arc<Inner>,
    arrived: Mutex<VecDeque<Arrived>>,
}

impl DirectHost {
    /// A process that has just started, with its directory open and no connection.
    #[must_use]
    pub fn start(world: &Arc<World>, name: &str, mode: &str, pid: u32) -> Self {
        Self {
            inner: Inner::by_hand(world, name, mode, pid),
            arrived: Mutex::default(),
        }
    }

    /// Whether it ends as soon as its session idles (`opencode run`).
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.inner.mode == "run"
    }

    /// Its name in what is recorded.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    fn arrived(&self) -> MutexGuard<'_, VecDeque<Arrived>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its bridge registers with. What is queued from here on is newer.
    #[must_use]
    pub fn registration(&self) -> Register {
        self.inner.registration()
    }

    /// The bridge is registered, and its stream is open.
    pub fn linked(&self, connection: &str) {
        let link = Link {
            id: connection.to_owned(),
            cut: CancellationToken::new(),
        };
        self.inner.bridge.update(|bridge| bridge.linked(link));
    }

    /// The connection is lost.
    pub fn unlinked(&self) {
        self.inner.bridge.update(|bridge| bridge.link = None);
    }

    /// The connection that stands.
    #[must_use]
    pub fn link(&self) -> Option<String> {
        let link = |bridge: &super::filter::BridgeState| bridge.link.clone();
        self.inner.bridge.read(link).map(|link| link.id)
    }

    /// Something came down on this connection. Requests wait to be carried out.
    pub fn take(&self, connection: &str, message: Down) {
        self.inner.bridge.update(|bridge| bridge.down(&message));
        if let Down::Call {
            id,
            method,
            path,
            body,
            ..
        } = message
        {
            self.arrived().push_back(Arrived {
                id,
                connection: connection.to_owned(),
                method,
                path,
                body: body.unwrap_or(Value::Null),
            });
        }
    }

    /// How many requests wait to be carried out.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.arrived().len()
    }

    /// Whether one of them is a prompt, which the host accepts before it stores it.
    #[must_use]
    pub fn is_prompt(&self, at: usize) -> bool {
        let arrived = self.arrived();
        arrived
            .get(at)
            .is_some_and(|call| call.path.ends_with("/prompt_async"))
    }

    /// Carries one of them out, as far as the fault lets it. The answer goes up on the connection that it came
    /// on, or nowhere. Returns what it was.
    pub fn carry_out(&self, at: usize, fault: Option<&Fault>) -> Option<String> {
        let call = self.arrived().remove(at)?;
        let answer = self
            .inner
            .carry_out(fault, call.id, &call.method, &call.path, &call.body);
        let silent = matches!(
            fault,
            Some(Fault::BreakBefore | Fault::BreakAfter | Fault::CrashBefore | Fault::CrashAfter)
        );
        if !silent && self.link().as_deref() == Some(&call.connection) {
            self.inner.bridge.update(|bridge| bridge.send(answer));
        }
        Some(format!("{} {}", call.method, call.path))
    }

    /// What the bridge posts next; none while it has nothing to say or a batch is under way.
    #[must_use]
    pub fn batch(&self) -> Option<Vec<Up>> {
        self.inner.bridge.update(|bridge| {
            if bridge.queue.is_empty() || bridge.posting || bridge.link.is_none() {
                return None;
            }
            bridge.posting = true;
            Some(bridge.queue.drain(..).collect())
        })
    }

    /// The batch was heard, or it is not known whether it was.
    pub fn posted(&self, messages: Vec<Up>, heard: bool) {
        self.inner
            .bridge
            .update(|bridge| bridge.posted(messages, heard));
    }

    /// Whether the bridge has something to say that it can say now.
    #[must_use]
    pub fn has_to_say(&self) -> bool {
        self.inner
            .bridge
            .read(|bridge| !bridge.queue.is_empty() && !bridge.posting && bridge.link.is_some())
    }

    /// How many things go on in it: turns of its sessions, prompts that it has only accepted.
    #[must_use]
    pub fn going_on(&self) -> usize {
        self.inner.going_on()
    }

    /// One of them goes on, as far as it gets by itself.
    pub fn go_on(&self, at: usize) {
        self.inner.go_on(at);
    }

    /// A person types a message and sends it; returns its ID.
    pub fn person(&self, session: &str, words: &str) -> String {
        let typed = self.types(session);
        self.stores(typed, words)
    }

    /// The first half of [`Self::person`]: the hook has seen the message and put offered notices into it.
    pub fn types(&self, session: &str) -> Typed {
        self.inner.types(session)
    }

    /// The second half of [`Self::person`]: the message is stored and answered.
    pub fn stores(&self, typed: Typed, words: &str) -> String {
        self.inner.stores(typed, words)
    }

    /// A person presses escape in a session.
    pub fn aborts(&self, session: &str) {
        self.inner.abort(session);
    }

    /// A person deletes a session, and with it its children.
    pub fn deletes(&self, session: &str) {
        self.inner.deletes(session);
    }

    /// The session's model has called a tool of the bridge: it is at work until [`Self::ends_tool`].
    pub fn begins_tool(&self, session: &str) {
        self.inner.begins_tool(session);
    }

    /// The tool's call has ended, however it did.
    pub fn ends_tool(&self, session: &str) {
        self.inner.ends_tool(session);
    }

    /// What the bridge says after a result was handed to a tool's call.
    pub fn confirm(&self, session: &str, id: &str, confirm: Confirm) {
        self.inner.confirm(session, id.to_owned(), confirm);
    }

    /// Everything that runs in it is aborted, as when it quits or disposes of its directory.
    pub fn aborts_all(&self) {
        self.inner.world.state.update(|state| {
            let ours = state.runs.iter_mut();
            for run in ours.filter(|run| run.process == self.inner.name) {
                run.aborted = true;
            }
        });
    }

    /// The directory's instance is gone, and the bridge says so.
    pub fn disposes(&self) {
        self.inner.bridge.update(|bridge| {
            bridge.disposed = true;
            for root in bridge.roots.values_mut() {
                root.busy = false;
                root.tools.clear();
                root.activity = Activity::Idle;
            }
            let directory = bridge.directory.clone();
            bridge.send(Up::Disposed { directory });
        });
    }

    /// The directory is there again, opened at this time (in milliseconds since 1970).
    pub fn opens(&self, at_ms: i64) {
        self.inner.bridge.update(|bridge| {
            bridge.opened_ms = at_ms;
            bridge.disposed = false;
            if let Some(directory) = bridge.opened() {
                bridge.send(Up::Opened(directory));
            }
        });
    }

    /// Whether the directory's instance is there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.bridge.read(|bridge| !bridge.disposed)
    }

    /// The process ends where it stands.
    pub fn dies(&self) {
        self.inner.dies();
        self.arrived().clear();
        self.unlinked();
    }
}
