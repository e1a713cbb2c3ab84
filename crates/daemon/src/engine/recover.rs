//! After a start of the daemon: take up every delegation that has not ended, where its record says
//! it stands. What needs a host waits for one; nothing is concluded from silence.

use std::sync::Arc;

use brigade_core::delegation::Effect;
use brigade_store::StoreError;

use super::{Engine, Entry, Live};
use crate::failpoint;
use crate::hosts::lock;

impl Engine {
    /// Loads the active delegations and carries their pending effects out.
    ///
    /// # Errors
    /// When the store can't be read: the daemon must not start then.
    pub(crate) async fn recover(&self) -> Result<(), StoreError> {
        self.0.worktrees.recover().await?;
        self.0.servers.recover().await?;
        let rows = self.0.store.load_active().await?;
        let count = rows.len();
        for mut row in rows {
            failpoint::pass("recovering");
            let effects = row.delegation.pending_effects();
            let live = Live {
                progress: row.progress,
                partial: Arc::from(""),
                ran_ms: row.ran_ms,
            };
            self.0.rules.share(&mut row.delegation.spec.access.rules);
            let (id, record) = (row.delegation.spec.id.clone(), row.delegation.clone());
            let entry = Entry::new(row.delegation, row.version, live);
            lock(&self.0.entries).insert(id.clone(), Arc::clone(&entry));
            if record.is_startable() {
                self.enqueue(&id, row.order);
            } else if record.holds_slot() {
                self.occupy(&id, row.order);
                let runner = record.runner.as_ref();
                if let Some(process) = runner.and_then(|runner| runner.parse().ok()) {
                    self.0.servers.hold(&process, &id);
                }
            }
            for effect in effects {
                match effect {
                    // The run's task takes a stop from its entry, so both begin with the same task; what
                    // an earlier daemon asked of the host is looked for.
                    Effect::Launch { attempt } | Effect::Abort { attempt } => {
                        self.launch(&entry, attempt, false);
                    }
                    other => self.carry_out(&entry, &record, &other),
                }
            }
        }
        if count > 0 {
            tracing::info!(count, "took up what an earlier daemon left");
        }
        let worktrees = self.0.worktrees.clone();
        self.spawn(async move { worktrees.expire().await });
        for parent in self.0.store.parents_with_pending().await? {
            self.0.delivery.poke(parent.as_str());
        }
        self.schedule();
        Ok(())
    }
}
