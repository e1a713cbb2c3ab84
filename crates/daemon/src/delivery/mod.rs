//! Notices on their way to the parent, each once, and the waking that follows a batch.
//!
//! Per parent session one worker at a time looks at what the store holds for it and does what is
//! possible now: [`Delivery::poke`] is called whenever that may have changed. What was sent stays
//! `sending` until it has been seen in the session; after any doubt the session is read.

mod compose;
mod doubt;
mod gather;
mod offer;
mod send;
mod step;
mod tail;
mod wake;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_core::clock::Clock;
use brigade_core::id::{DelegationId, SessionId};
use brigade_os::process::ProcessId;
use brigade_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Chance;
use crate::config::Configs;
use crate::hosts::{Connection, Hub, lock};
use crate::parts::Parts;
use crate::troubles::Troubles;
use gather::Gathering;
use offer::Offer;
use wake::Woken;

/// How long a step that failed waits before it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The notices' delivery. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Delivery(Arc<Inner>);

struct Inner {
    store: Store,
    hub: Hub,
    configs: Configs,
    clock: Arc<dyn Clock>,
    chance: Chance,
    troubles: Troubles,
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// Ends the pauses of those who wait to try again.
    hurry: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Parents that a worker is at, and whether it has to look again.
    working: HashMap<String, bool>,
    /// Results that a tool call of the parent is about to get: by delegation, who reads.
    holds: HashMap<DelegationId, Vec<Hold>>,
    /// Offers that a bridge holds, by parent.
    offers: HashMap<String, Offer>,
    /// Leases that a bridge says it has not used, by parent, until that is on record.
    returned: HashMap<String, u64>,
    /// Offers that a bridge says went into a message which may not be stored yet, with its process.
    taken: HashMap<DelegationId, ProcessId>,
    /// What is known of messages that were asked for and not seen.
    unseen: HashMap<DelegationId, Unseen>,
    /// Wakings that went out to a process that still lives: their proof may be on its way.
    woken: HashMap<DelegationId, Woken>,
    /// Notices that wait for others of their batch.
    gathering: Gathering,
    /// Processes whose exit is awaited.
    exits: HashSet<ProcessId>,
    /// The last lease's number.
    last_lease: u64,
}

/// A message that was asked for and is not in the session.
#[derive(Debug, Clone, Copy)]
enum Unseen {
    /// The host surely did not take it: it can't come yet.
    Refused,
    /// It was looked for in vain, at first at this time.
    Since(Instant),
}

/// A read in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hold {
    session: String,
    connection: String,
}

/// Why a step could not finish.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Host(#[from] brigade_agents::opencode::ApiError),
}

impl Delivery {
    /// A delivery that nobody has poked yet.
    pub(crate) fn new(parts: &Parts) -> Self {
        Self(Arc::new(Inner {
            store: parts.store.clone(),
            hub: parts.hub.clone(),
            configs: parts.configs.clone(),
            clock: Arc::clone(&parts.clock),
            chance: parts.chance.clone(),
            troubles: parts.troubles.clone(),
            tasks: parts.tasks.clone(),
            stopping: parts.stopping.clone(),
            hurry: Notify::new(),
            state: Mutex::default(),
        }))
    }

    /// Something changed for this parent: look whether its notices can go.
    pub(crate) fn poke(&self, parent: &str) {
        {
            let mut state = lock(&self.0.state);
            if let Some(again) = state.working.get_mut(parent) {
                *again = true;
                return;
            }
            state.working.insert(parent.to_owned(), false);
        }
        let delivery = self.clone();
        let parent = parent.to_owned();
        let stopping = self.0.stopping.clone();
        self.0.tasks.spawn(async move {
            // What is cut off here is in the store as `sending` and settled by the next daemon.
            tokio::select! {
                () = delivery.work(&parent) => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Looks again after a while, whatever happens until then.
    fn poke_after(&self, parent: &SessionId, pause: Duration) {
        let (delivery, parent) = (self.clone(), parent.to_string());
        let stopping = self.0.stopping.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => delivery.poke(&parent),
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn work(&self, parent: &str) {
        let Ok(session) = parent.parse::<SessionId>() else {
            lock(&self.0.state).working.remove(parent);
            return;
        };
        let mut pause = RETRY.0;
        loop {
            let failed = match self.step(&session).await {
                Ok(()) => {
                    self.0.troubles.clear(parent);
                    pause = RETRY.0;
                    false
                }
                Err(error) => {
                    tracing::warn!(%parent, %error, "notices could not go out; trying again");
                    self.0.troubles.note(format!(
                        "{parent}: its notices could not go out yet: {error}"
                    ));
                    true
                }
            };
            if failed {
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY.1),
                    // What was in the way may be gone.
                    () = self.0.hurry.notified() => pause = RETRY.0,
                }
            }
            let mut state = lock(&self.0.state);
            let again = state.working.get_mut(parent).is_some_and(std::mem::take);
            if !again && !failed {
                state.working.remove(parent);
                return;
            }
        }
    }

    /// A tool call is about to get this result: its notice waits.
    pub(crate) fn hold(&self, id: &DelegationId, session: &str, connection: &str) {
        lock(&self.0.state)
            .holds
            .entry(id.clone())
            .or_default()
            .push(Hold {
                session: session.to_owned(),
                connection: connection.to_owned(),
            });
    }

    /// A tool call did not get the result: its notice may go.
    pub(crate) fn release_hold(&self, id: &DelegationId, session: &str) {
        {
            let mut state = lock(&self.0.state);
            if let Some(holds) = state.holds.get_mut(id) {
                if let Some(at) = holds.iter().position(|hold| hold.session == session) {
                    holds.swap_remove(at);
                }
                if holds.is_empty() {
                    state.holds.remove(id);
                }
            }
        }
        self.poke(session);
    }

    /// A result has reached a tool call. In the parent's own session that makes its notice needless;
    /// in any other it is only a read.
    ///
    /// # Errors
    /// When the store can't be written. The bridge tells it again; until then the notice may go out too.
    pub(crate) async fn handed(&self, id: &DelegationId, session: &str) -> Result<(), StoreError> {
        let result = self.note_handed(id, session).await;
        self.release_hold(id, session);
        result
    }

    async fn note_handed(&self, id: &DelegationId, session: &str) -> Result<(), StoreError> {
        let Some(row) = self.0.store.get(id).await? else {
            return Ok(());
        };
        if row.delegation.spec.parent.as_str() == session {
            self.0.store.mark_read(id, session).await?;
            self.0.store.notice_needless(id).await?;
        } else {
            self.0.store.record_read(id, session).await?;
        }
        Ok(())
    }

    fn is_held(&self, id: &DelegationId, parent: &SessionId) -> bool {
        lock(&self.0.state)
            .holds
            .get(id)
            .is_some_and(|holds| holds.iter().any(|hold| hold.session == parent.as_str()))
    }

    /// A bridge's connection is gone: reads through it will not be confirmed, and wakings sent on it
    /// are in doubt.
    pub(crate) fn disconnected(&self, process: &ProcessId) {
        let hub = &self.0.hub;
        let mut poke = Vec::new();
        {
            let mut state = lock(&self.0.state);
            for holds in state.holds.values_mut() {
                holds.retain(|hold| {
                    let alive = hub.connection(&hold.connection).is_some();
                    if !alive {
                        poke.push(hold.session.clone());
                    }
                    alive
                });
            }
            state.holds.retain(|_, holds| !holds.is_empty());
            state
                .woken
                .retain(|_, woken| woken.may_be_proven(hub.processes()));
            poke.extend(
                state
                    .offers
                    .iter()
                    .filter(|(_, offer)| offer.process == *process)
                    .map(|(parent, _)| parent.clone()),
            );
        }
        for parent in poke {
            self.poke(&parent);
        }
        self.await_exit(*process);
    }

    /// Leases of a process end with it, and with nothing less.
    fn await_exit(&self, process: ProcessId) {
        if !lock(&self.0.state).exits.insert(process) {
            return;
        }
        let delivery = self.clone();
        let stopping = self.0.stopping.clone();
        let ended = self.0.hub.processes().wait_exit(process);
        self.0.tasks.spawn(async move {
            let exit = tokio::select! {
                exit = ended => exit,
                () = stopping.cancelled() => return,
            };
            lock(&delivery.0.state).exits.remove(&process);
            if let Err(error) = exit {
                tracing::error!(%process, %error, "a host's exit can't be noticed; its leases stand until it connects again");
                return;
            }
            delivery.poke_all().await;
        });
    }

    /// Looks at every parent that has something waiting.
    pub(crate) async fn poke_all(&self) {
        match self.0.store.parents_with_pending().await {
            Ok(parents) => {
                for parent in parents {
                    self.poke(parent.as_str());
                }
            }
            Err(error) => tracing::error!(%error, "the waiting notices could not be read"),
        }
    }

    /// A bridge is there (again). What it was offered on an earlier connection it may never have heard:
    /// that is asked back.
    pub(crate) async fn reconnected(&self, connection: &Connection) {
        lock(&self.0.state)
            .offers
            .retain(|_, offer| offer.process != connection.process);
        self.0.hurry.notify_waiters();
        self.poke_all().await;
    }

    /// The parent session was deleted: nobody is left to be told.
    pub(crate) async fn parent_gone(&self, parent: &str) {
        let Ok(session) = parent.parse::<SessionId>() else {
            return;
        };
        let gone = match self.0.store.parent_gone(&session).await {
            Ok(gone) => gone,
            Err(error) => {
                tracing::error!(%parent, %error, "the notices of a deleted session could not be put aside");
                return;
            }
        };
        for id in &gone {
            self.forget_doubt(id);
        }
        self.forget_offer(&session);
        let mut state = lock(&self.0.state);
        state.woken.retain(|_, woken| !woken.is_for(parent));
        state.gathering.forget(&session);
    }
}
