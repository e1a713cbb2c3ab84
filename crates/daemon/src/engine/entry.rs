//! What the engine keeps of each active delegation.

use std::sync::{Arc, Mutex};

use brigade_core::delegation::{Delegation, Phase, StopCause};
use brigade_core::id::DelegationId;
use brigade_store::Progress;
use tokio::sync::watch;

use crate::hosts::lock;

/// One active delegation.
pub(crate) struct Entry {
    /// Its ID.
    pub(crate) id: DelegationId,
    pub(super) active: tokio::sync::Mutex<Active>,
    pub(super) live: Mutex<Live>,
    /// Tells the run that a stop was ordered.
    pub(super) stop: watch::Sender<Option<StopCause>>,
    /// How many messages were sent to it: the run puts to the child what it has not yet.
    pub(super) messages: watch::Sender<u32>,
    /// Counts up with each change, for those who wait or follow.
    pub(crate) changed: watch::Sender<u64>,
}

/// The record with its version in the store.
pub(super) struct Active {
    pub(super) delegation: Delegation,
    pub(super) version: i64,
}

/// What is known of the run beyond the record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    /// What it has done.
    pub(crate) progress: Progress,
    /// The text so far.
    pub(crate) partial: Arc<str>,
    /// Running time of the current attempt in milliseconds, as of the last report.
    pub(crate) ran_ms: u64,
}

impl Entry {
    pub(super) fn new(delegation: Delegation, version: i64, live: Live) -> Arc<Self> {
        let stop = match delegation.phase {
            Phase::Stopping { cause } => Some(cause),
            _ => None,
        };
        let messages = delegation.messages;
        Arc::new(Self {
            id: delegation.spec.id.clone(),
            active: tokio::sync::Mutex::new(Active {
                delegation,
                version,
            }),
            live: Mutex::new(live),
            stop: watch::Sender::new(stop),
            messages: watch::Sender::new(messages),
            changed: watch::Sender::new(0),
        })
    }

    /// A copy of the record as it stands.
    pub(crate) async fn record(&self) -> Delegation {
        self.active.lock().await.delegation.clone()
    }

    /// A copy of what the run has shown.
    pub(crate) fn live(&self) -> Live {
        lock(&self.live).clone()
    }

    pub(super) fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}
