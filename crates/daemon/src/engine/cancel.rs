//! Stopping: by a person's command, or because the parent is gone.

use brigade_core::delegation::{Actor, Command, Phase, StopCause};
use brigade_core::id::DelegationId;
use brigade_core::text::replies::Stood;
use brigade_store::Along;

use super::{DispatchError, Engine};

impl Engine {
    /// Orders a stop, and says where it stood. What runs is aborted and ends with what it had said; what waits ends
    /// at once.
    ///
    /// # Errors
    /// See [`DispatchError`].
    pub(crate) async fn cancel(
        &self,
        id: &DelegationId,
        by: Actor,
    ) -> Result<Stood, DispatchError> {
        let stood = match self.entry(id) {
            Some(entry) => match entry.record().await.phase {
                Phase::Queued => Stood::Queued,
                Phase::Waiting { why } => Stood::CutOff { why },
                _ => Stood::Running,
            },
            None => Stood::Running,
        };
        let stop = Command::Stop {
            attempt: None,
            cause: StopCause::Cancel { by },
        };
        let result = self.dispatch(id, stop).await;
        let waits_no_more = match self.entry(id) {
            Some(entry) => !entry.record().await.is_startable(),
            None => true,
        };
        if waits_no_more {
            self.dequeue(id);
        }
        result.map(|()| stood)
    }

    /// Cancels everything that a deleted parent had delegated.
    pub(crate) async fn parent_deleted(&self, parent: &str) {
        for entry in self.entries() {
            let record = entry.record().await;
            if record.spec.parent.as_str() != parent {
                continue;
            }
            let stop = Command::Stop {
                attempt: None,
                cause: StopCause::Cancel {
                    by: Actor::ParentDeleted,
                },
            };
            self.insist(&entry.id, stop, Along::default()).await;
            self.dequeue(&entry.id);
        }
    }

    /// The active delegations.
    pub(crate) fn entries(&self) -> Vec<std::sync::Arc<super::Entry>> {
        crate::hosts::lock(&self.0.entries)
            .values()
            .cloned()
            .collect()
    }
}
