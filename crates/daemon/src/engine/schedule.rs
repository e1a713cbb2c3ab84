//! Slots: how many run at once, and who is next. First come, first served; one that has no host to
//! run on does not hold up those behind it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_core::delegation::{Command, Delegation};
use brigade_core::id::{DelegationId, ProjectId, SessionId};

use super::{DispatchError, Engine, Entry};
use crate::hosts::lock;

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
}

impl Entry {
    /// Where it may run, if it waits for that: installation, project and parent session.
    async fn startable_at(&self) -> Option<(String, ProjectId, SessionId)> {
        let active = self.active.lock().await;
        let spec = &active.delegation.spec;
        active
            .delegation
            .is_startable()
            .then(|| (spec.host.clone(), spec.project.clone(), spec.parent.clone()))
    }
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
        if let Some(order) = state.order.remove(id) {
            state.waiting.remove(&order);
        }
    }

    /// Looks whether anybody can start; called whenever a slot, a host or a delegation comes.
    pub(crate) fn schedule(&self) {
        let engine = self.clone();
        self.spawn(async move { engine.schedule_pass().await });
    }

    async fn schedule_pass(&self) {
        let mut pause = self.0.schedule.pass.lock().await;
        let limit = self.0.configs.user().limits.concurrent as usize;
        let mut passed = i64::MIN;
        loop {
            let next = {
                let state = lock(&self.0.schedule.state);
                if state.holding.len() >= limit {
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
            let place = match self.entry(&id) {
                Some(entry) => entry.startable_at().await,
                None => None,
            };
            let Some((host, project, parent)) = place else {
                lock(&self.0.schedule.state).waiting.remove(&order);
                continue;
            };
            let Some(host) = self.0.hub.candidate(&host, &project, &parent) else {
                continue;
            };
            {
                let mut state = lock(&self.0.schedule.state);
                state.waiting.remove(&order);
                state.holding.insert(id.clone());
            }
            let start = Command::Start {
                runner: host.process.to_string(),
            };
            if let Err(error) = self.dispatch(&id, start).await {
                let mut state = lock(&self.0.schedule.state);
                state.holding.remove(&id);
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
            } else {
                *pause = None;
                self.0.troubles.clear(id.as_str());
            }
        }
    }

    fn schedule_after(&self, pause: Duration) {
        let engine = self.clone();
        self.spawn(async move {
            tokio::time::sleep(pause).await;
            engine.schedule();
        });
    }
}
