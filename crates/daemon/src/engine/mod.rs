//! The engine: the only caller of the state machine.
//!
//! Each active delegation has an [`Entry`] with a lock of its own. [`Engine::dispatch`] takes the lock,
//! asks the state machine, stores what follows in one transaction, and only then carries the effects
//! out. Delegations do not wait for each other; the store groups their commits.

mod artifact;
mod attention;
mod budget;
mod cancel;
mod child_rules;
mod entry;
mod ledgers;
mod recover;
mod register;
mod run;
mod run_log;
mod schedule;
mod shell;
mod signals;
mod steer;
mod worktree;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_core::clock::Clock;
use brigade_core::delegation::{Command, Delegation, Effect, Event, Phase, Rejected};
use brigade_core::id::{Attempt, DelegationId, ProjectId};
use brigade_store::{Along, Change, CommitError, Store, StoreError};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Chance;
use crate::config::Configs;
use crate::delivery::Delivery;
use crate::desktop::Desktop;
use crate::failpoint;
use crate::hosts::{Hub, lock};
use crate::parts::Parts;
use crate::servers::{ServerParts, Servers};
use crate::telemetry::Telemetry;
use crate::troubles::Troubles;
use crate::worktrees::{WorktreeParts, Worktrees};
pub(crate) use attention::{Terminal, Terminals};
pub(crate) use entry::Entry;
use entry::{Active, Live};
pub(crate) use ledgers::Ledgers;
pub(crate) use register::{NotStarted, Request as DelegateRequest, Started};
pub(crate) use schedule::Prospect;
pub(crate) use shell::ShellRequest;
pub(crate) use steer::{NotSteered, Steered};

/// How long a failed write waits before it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// By how many reports of progress a listener may be behind.
const PROGRESS: usize = 4_096;

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DispatchError {
    /// It is not active: terminal long ago, or unknown.
    #[error("{0} is not active")]
    NotActive(DelegationId),
    /// The state machine refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The store could not be written; nothing changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Arc<dyn Clock>,
    chance: Chance,
    configs: Configs,
    hub: Hub,
    delivery: Delivery,
    ledgers: Ledgers,
    servers: Servers,
    worktrees: Worktrees,
    troubles: Troubles,
    telemetry: Telemetry,
    desktop: Arc<dyn Desktop>,
    terminals: Terminals,
    entries: Mutex<HashMap<DelegationId, Arc<Entry>>>,
    schedule: schedule::Schedule,
    /// Projects that were looked through for what the predecessor has left, and whether they are just now, once more.
    predecessor: Mutex<HashMap<ProjectId, bool>>,
    rules: child_rules::SharedRules,
    /// One message at a time, so that no two begin a further round in one session.
    sending: tokio::sync::Mutex<()>,
    /// Pieces of work that a server is held for and that are not registered yet.
    admitting: AtomicUsize,
    tasks: TaskTracker,
    stopping: CancellationToken,
    activity: Arc<Notify>,
    /// Which of the running ones has gone on.
    progressed: broadcast::Sender<DelegationId>,
}

impl Engine {
    /// An engine that has recovered nothing yet.
    pub(crate) fn new(parts: Parts) -> Self {
        let delivery = Delivery::new(&parts);
        let servers = Servers::new(ServerParts {
            store: parts.store.clone(),
            hub: parts.hub.clone(),
            clock: Arc::clone(&parts.clock),
            launcher: parts.launcher,
            troubles: parts.troubles.clone(),
            tasks: parts.tasks.clone(),
            stopping: parts.stopping.clone(),
            logs: parts.logs,
            variables: parts.variables,
            config: parts.configs.user().server.clone(),
            writable: parts.configs.user().worktree.writable.clone(),
        });
        let worktrees = Worktrees::new(WorktreeParts {
            store: parts.store.clone(),
            hub: parts.hub.clone(),
            configs: parts.configs.clone(),
            servers: servers.clone(),
            troubles: parts.troubles.clone(),
            clock: Arc::clone(&parts.clock),
            tasks: parts.tasks.clone(),
            stopping: parts.stopping.clone(),
            data: parts.data,
            root: parts.worktrees,
            program: parts.program,
        });
        Self(Arc::new(Inner {
            store: parts.store,
            clock: parts.clock,
            chance: parts.chance,
            configs: parts.configs,
            hub: parts.hub,
            delivery,
            ledgers: Ledgers::default(),
            servers,
            worktrees,
            troubles: parts.troubles,
            telemetry: parts.telemetry,
            desktop: parts.desktop,
            terminals: Terminals::default(),
            entries: Mutex::default(),
            schedule: schedule::Schedule::default(),
            predecessor: Mutex::default(),
            rules: child_rules::SharedRules::default(),
            sending: tokio::sync::Mutex::default(),
            admitting: AtomicUsize::new(0),
            tasks: parts.tasks,
            stopping: parts.stopping,
            activity: parts.activity,
            progressed: broadcast::Sender::new(PROGRESS),
        }))
    }

    /// The store, for requests that only read.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The connected hosts.
    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// The configuration.
    pub(crate) fn configs(&self) -> &Configs {
        &self.0.configs
    }

    /// The notices.
    pub(crate) fn delivery(&self) -> &Delivery {
        &self.0.delivery
    }

    /// The servers of our own.
    pub(crate) fn servers(&self) -> &Servers {
        &self.0.servers
    }

    /// The worktrees.
    pub(crate) fn worktrees(&self) -> &Worktrees {
        &self.0.worktrees
    }

    /// Whether the desktop shows notifications, in words.
    pub(crate) fn desktop_state(&self) -> String {
        if self.configs().user().notice.desktop {
            self.0.desktop.state()
        } else {
            "off by [notice] desktop".to_owned()
        }
    }

    /// The traces.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// What goes wrong right now.
    pub(crate) fn troubles(&self) -> &Troubles {
        &self.0.troubles
    }

    /// An active delegation.
    pub(crate) fn entry(&self, id: &DelegationId) -> Option<Arc<Entry>> {
        lock(&self.0.entries).get(id).cloned()
    }

    /// How many delegations are active, terminal ones left out.
    pub(crate) fn active(&self) -> usize {
        lock(&self.0.entries).len()
    }

    /// Whether nothing is active, and nothing is about to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.active() == 0 && self.0.admitting.load(Ordering::Relaxed) == 0
    }

    /// Tells which of the running ones has gone on; who falls behind has to look at all of them.
    pub(crate) fn progress(&self) -> broadcast::Receiver<DelegationId> {
        self.0.progressed.subscribe()
    }

    /// A run has shown something new.
    fn went_on(&self, entry: &Entry) {
        entry.bump();
        if self.0.progressed.receiver_count() > 0 {
            // The last listener may have gone just now.
            drop(self.0.progressed.send(entry.id.clone()));
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.0.stopping.clone();
        // Moved into another future it would stand in that twice.
        let task = Box::pin(task);
        self.0.tasks.spawn(async move {
            // A task that is cut off here is one whose intent is in the store: recovery takes it up.
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Puts a command to a delegation: decide, store, carry out.
    ///
    /// # Errors
    /// See [`DispatchError`]; in every case nothing has changed.
    pub(crate) async fn dispatch(
        &self,
        id: &DelegationId,
        command: Command,
    ) -> Result<(), DispatchError> {
        self.dispatch_with(id, command, Along::default()).await
    }

    /// The same, carried through by a task of its own: whoever asks may be dropped at any moment (a client
    /// hangs up, a run loses its host), and the record in memory must not part from the one in the store.
    async fn dispatch_with(
        &self,
        id: &DelegationId,
        command: Command,
        along: Along,
    ) -> Result<(), DispatchError> {
        let entry = self
            .entry(id)
            .ok_or_else(|| DispatchError::NotActive(id.clone()))?;
        let engine = self.clone();
        // Boxed, since the runtime moves what it is given several times.
        let step = Box::pin(async move { engine.step(&entry, &command, along).await });
        match self.0.tasks.spawn(step).await {
            Ok(result) => result,
            Err(error) => {
                Err(StoreError::internal(format!("a transition broke off: {error}")).into())
            }
        }
    }

    async fn step(
        &self,
        entry: &Arc<Entry>,
        command: &Command,
        along: Along,
    ) -> Result<(), DispatchError> {
        let (effects, after) = {
            let mut active = entry.active.lock().await;
            let transition = active.delegation.apply(command)?;
            self.store_events(&mut active, transition.events, along)
                .await?;
            (transition.effects, active.delegation.clone())
        };
        if let Phase::Stopping { cause } = after.phase {
            entry.stop.send_replace(Some(cause));
        }
        // Steps that overlap come here in any order.
        entry.messages.send_if_modified(|known| {
            let grown = *known < after.messages;
            *known = after.messages.max(*known);
            grown
        });
        self.0.activity.notify_one();
        self.0.ledgers.touch(self, after.spec.root.as_str());
        for effect in effects {
            self.carry_out(entry, &after, &effect);
        }
        // Last, so that who is woken by the end finds the entry gone: no later change would wake it.
        entry.bump();
        Ok(())
    }

    /// Folds events in and stores them; the record changes only once they are durable.
    async fn store_events(
        &self,
        active: &mut Active,
        events: Vec<Event>,
        along: Along,
    ) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let now = self.0.clock.now();
        let mut next = active.delegation.clone();
        for event in &events {
            next.evolve(event, now);
        }
        let change = Change {
            id: next.spec.id.clone(),
            expect_version: active.version,
            delegation: next.clone(),
            events,
            at: now,
            along,
        };
        failpoint::pass("before-commit");
        let committed = self
            .0
            .store
            .commit(change)
            .await
            .map_err(|error| match error {
                CommitError::Store(error) => error,
                // The entry's lock makes this engine the only writer of the record.
                CommitError::Stale(id) => {
                    StoreError::internal(format!("{id} changed under its lock"))
                }
            })?;
        failpoint::pass("after-commit");
        active.version = committed.version;
        active.delegation = next;
        let record = &active.delegation;
        tracing::debug!(id = %record.spec.id, state = %record.state, attempt = %record.attempt, "committed");
        Ok(())
    }

    fn carry_out(&self, entry: &Arc<Entry>, after: &Delegation, effect: &Effect) {
        match effect {
            // Its start was recorded only just now: of a first attempt the host can know nothing, unless it goes on in
            // an earlier one's session.
            Effect::Launch { attempt } => {
                let fresh = *attempt == Attempt(1) && after.spec.continues.is_none();
                self.launch(entry, *attempt, fresh);
            }
            // The run's own task hears of it through the entry's stop channel.
            Effect::Abort { .. } => {}
            Effect::FreeSlot => self.free_slot(entry, after),
            Effect::WriteArtifact => {
                let (engine, entry) = (self.clone(), Arc::clone(entry));
                self.spawn(async move { engine.write_artifact(entry).await });
            }
            Effect::Announce => {
                failpoint::pass("ended");
                lock(&self.0.entries).remove(&entry.id);
                self.0.delivery.poke(after.spec.parent.as_str());
                self.call_attention(entry, after);
                self.tidy_worktree(after);
                if self.0.telemetry.is_on() {
                    let (engine, id) = (self.clone(), entry.id.clone());
                    // A daemon that goes waits for it.
                    self.0.tasks.spawn(async move {
                        engine.0.telemetry.ended(&engine.0.store, &id).await;
                    });
                }
            }
        }
    }

    fn launch(&self, entry: &Arc<Entry>, attempt: Attempt, fresh: bool) {
        let (engine, entry) = (self.clone(), Arc::clone(entry));
        self.spawn(async move { engine.run(entry, attempt, fresh).await });
    }

    /// Repeats a command until the store takes it or the state machine refuses, and says whether it was
    /// taken. The host's session stays the source as long as the store can't be written.
    async fn insist(&self, id: &DelegationId, command: Command, along: Along) -> bool {
        let mut pause = RETRY.0;
        let taken = loop {
            match self.dispatch_with(id, command.clone(), along.clone()).await {
                Ok(()) => break true,
                Err(DispatchError::Store(error)) => {
                    self.0
                        .troubles
                        .note(format!("{id}: the store could not be written: {error}"));
                    tracing::error!(%id, %error, "the store could not be written; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                Err(error) => {
                    tracing::debug!(%id, %error, "a command came to nothing");
                    break false;
                }
            }
        };
        self.0.troubles.clear(id.as_str());
        taken
    }
}
