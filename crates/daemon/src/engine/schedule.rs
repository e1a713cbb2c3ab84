//! Slots: how many run at once, and who is next. First come, first served; one that has no host to
//! run on does not hold up those behind it.
//!
//! A first attempt goes to the person's own host; what was cut off once goes on in a server of our own,
//! which no terminal takes with it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_core::delegation::{Command, Delegation, Phase, Spec};
use brigade_core::id::DelegationId;
use brigade_os::process::ProcessId;

use super::{DispatchError, Engine, Entry};
use crate::hosts::lock;
use crate::servers::Place;

/// Who holds a slot and who waits for one.
#[derive(Default)]
pub(super) struct Schedule {
    state: Mutex<State>,
    /// One pass at a time, so that no two give the same slot away. Holds the pause after which a pass that
    /// the store refused is tried again.
    pass: tokio::sync::Mutex<Option<Duration>>,
}

#[derive(Default)]
struct State {
    /// In the order of registration, which IDs of the store's sequence give.
    waiting: BTreeMap<i64, DelegationId>,
    order: std::collections::HashMap<DelegationId, i64>,
    holding: HashSet<DelegationId>,
    /// Processes whose exit is awaited.
    exits: HashSet<ProcessId>,
}

/// Where a delegation that waits for its start stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// This process can run it; `own` says whether it is a server of our own.
    Ready {
        /// The process.
        process: ProcessId,
        /// Whether it is a server of our own.
        own: bool,
    },
    /// Its host lives and is not connected: nothing may be concluded from that.
    HostSilent(ProcessId),
    /// There is no place yet.
    Waiting(Place),
}

impl Engine {
    /// Queues a delegation that could start; `order` is its place in the store's sequence.
    pub(super) fn enqueue(&self, id: &DelegationId, order: i64) {
        let mut state = lock(&self.0.schedule.state);
        state.waiting.insert(order, id.clone());
        state.order.insert(id.clone(), order);
    }

    /// A delegation that already holds a slot, found at recovery.
    pub(super) fn occupy(&self, id: &DelegationId, order: i64) {
        let mut state = lock(&self.0.schedule.state);
        state.holding.insert(id.clone());
        state.order.insert(id.clone(), order);
    }

    /// A slot was freed; the delegation waits again if it was only interrupted.
    pub(super) fn free_slot(&self, entry: &Arc<Entry>, after: &Delegation) {
        self.0.servers.release(&entry.id);
        {
            let mut state = lock(&self.0.schedule.state);
            state.holding.remove(&entry.id);
            if !after.is_startable() {
                state.order.remove(&entry.id);
            } else if let Some(order) = state.order.get(&entry.id).copied() {
                state.waiting.insert(order, entry.id.clone());
            }
        }
        self.schedule();
    }

    /// A delegation that waited was decided: it needs no slot any more.
    pub(super) fn dequeue(&self, id: &DelegationId) {
        let mut state = lock(&self.0.schedule.state);
        // What holds a slot may be interrupted yet, and needs its place in the order then.
        if state.holding.contains(id) {
            return;
        }
        if let Some(order) = state.order.remove(id) {
            state.waiting.remove(&order);
        }
    }

    /// The first that wait for their start, in order.
    pub(crate) fn next_in_line(&self, count: usize) -> Vec<DelegationId> {
        let state = lock(&self.0.schedule.state);
        state.waiting.values().take(count).cloned().collect()
    }

    /// Looks whether anybody can start; called whenever a slot, a host or a delegation comes.
    pub(crate) fn schedule(&self) {
        let engine = self.clone();
        self.spawn(async move { engine.schedule_pass().await });
    }

    /// Who holds a slot.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> Vec<DelegationId> {
        lock(&self.0.schedule.state)
            .holding
            .iter()
            .cloned()
            .collect()
    }

    async fn schedule_pass(&self) {
        let mut pause = self.0.schedule.pass.lock().await;
        let limit = self.0.configs.user().limits.concurrent as usize;
        let mut passed = i64::MIN;
        // Those for which a place is being made: no more of them than could start.
        let mut coming = 0;
        loop {
            let next = {
                let state = lock(&self.0.schedule.state);
                if state.holding.len() + coming >= limit {
                    break;
                }
                let behind = (Bound::Excluded(passed), Bound::Unbounded);
                let mut waiting = state.waiting.range(behind);
                waiting.next().map(|(order, id)| (*order, id.clone()))
            };
            let Some((order, id)) = next else {
                break;
            };
            passed = order;
            let prospect = match self.entry(&id) {
                Some(entry) => {
                    let active = entry.active.lock().await;
                    let record = &active.delegation;
                    record.is_startable().then(|| {
                        let prospect = self.prospect(record, |spec| self.demand(spec));
                        (prospect, self.0.servers.confinement(&record.spec))
                    })
                }
                None => None,
            };
            let Some((prospect, confinement)) = prospect else {
                lock(&self.0.schedule.state).waiting.remove(&order);
                continue;
            };
            let (process, own) = match prospect {
                Prospect::Ready { process, own } => (process, own),
                Prospect::HostSilent(process) => {
                    self.await_exit(process);
                    continue;
                }
                Prospect::Waiting(Place::Coming) => {
                    coming += 1;
                    continue;
                }
                Prospect::Waiting(_) => continue,
            };
            {
                let mut state = lock(&self.0.schedule.state);
                state.waiting.remove(&order);
                state.holding.insert(id.clone());
            }
            let start = Command::Start {
                runner: process.to_string(),
                own,
                // A host that a person works in is confined by nothing.
                confinement: confinement.filter(|_| own),
            };
            if let Err(error) = self.dispatch(&id, start).await {
                let mut state = lock(&self.0.schedule.state);
                state.holding.remove(&id);
                self.0.servers.release(&id);
                if let DispatchError::Store(error) = error {
                    state.waiting.insert(order, id.clone());
                    drop(state);
                    self.0
                        .troubles
                        .note(format!("{id}: its start could not be recorded: {error}"));
                    // A store that takes this one not takes none; whatever happens next starts a pass as well.
                    let now = pause.map_or(super::RETRY.0, |last| (last * 2).min(super::RETRY.1));
                    *pause = Some(now);
                    self.schedule_after(now);
                    break;
                }
                // Decided meanwhile.
                state.order.remove(&id);
            } else {
                *pause = None;
                self.0.troubles.clear(id.as_str());
            }
        }
    }

    /// Where a delegation that waits for its start stands; `place` asks the servers of our own.
    pub(crate) fn prospect(&self, record: &Delegation, place: impl Fn(&Spec) -> Place) -> Prospect {
        let spec = &record.spec;
        let process = |text: &Option<String>| -> Option<ProcessId> {
            text.as_ref().and_then(|process| process.parse().ok())
        };
        let lives = |process: &ProcessId| self.0.hub.processes().is_alive(process);
        let host = || {
            // That runs where no window is.
            if spec.needs_own_server() {
                return None;
            }
            let host = self.0.hub.host_for(spec)?;
            let process = host.process;
            Some(Prospect::Ready {
                process,
                own: false,
            })
        };
        // It may still do what nobody could follow: who goes on there finds that.
        if let Some(last) = process(&record.interrupted_in).filter(lives) {
            match self.0.hub.of_process(&last) {
                Some(connection) if connection.is_worker() => {}
                Some(_) => {
                    return Prospect::Ready {
                        process: last,
                        own: false,
                    };
                }
                None => return Prospect::HostSilent(last),
            }
        }
        if matches!(record.phase, Phase::Queued) {
            if let Some(ready) = host() {
                return ready;
            }
            if let Some(origin) = process(&spec.origin).filter(|_| !spec.needs_own_server())
                && self.0.hub.of_process(&origin).is_none()
                && lives(&origin)
            {
                return Prospect::HostSilent(origin);
            }
        }
        match place(spec) {
            Place::Ready(process) => Prospect::Ready { process, own: true },
            Place::Coming => Prospect::Waiting(Place::Coming),
            // The next best: a host that a person has open.
            other => host().unwrap_or(Prospect::Waiting(other)),
        }
    }

    /// Looks again who can start once a process is gone.
    pub(super) fn await_exit(&self, process: ProcessId) {
        if !lock(&self.0.schedule.state).exits.insert(process) {
            return;
        }
        let engine = self.clone();
        let exit = self.0.hub.processes().wait_exit(process);
        self.spawn(async move {
            if let Err(error) = exit.await {
                tracing::error!(%process, %error, "a host's exit can't be noticed; what waits for it waits until a host connects");
                std::future::pending::<()>().await;
            }
            lock(&engine.0.schedule.state).exits.remove(&process);
            engine.schedule();
        });
    }

    fn schedule_after(&self, pause: Duration) {
        let engine = self.clone();
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            engine.schedule();
        });
    }
}
