//! A worktree as `show` has it.

use brigade_core::delegation::Delegation;
use brigade_protocol::changes::{AppliedEntry, WorktreeDetails};
use brigade_store::StoreError;

use super::Api;

/// The worktree of a delegation that may change files; none for one that only reads.
pub(super) async fn details(
    api: &Api,
    record: &Delegation,
) -> Result<Option<WorktreeDetails>, StoreError> {
    let Some(worktree) = &record.spec.worktree else {
        return Ok(None);
    };
    let store = api.engine.store();
    let row = store.worktree(&worktree.id).await?;
    let applies = store.applies(&record.spec.id).await?;
    Ok(Some(WorktreeDetails {
        directory: worktree.directory.clone(),
        top: worktree.top.clone(),
        state: row
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |row| row.state.to_string()),
        bytes: row.as_ref().map_or(0, |row| row.bytes),
        from: worktree.from.clone(),
        confinement: record.confinement.clone(),
        left_out: worktree.left_out.clone(),
        setup: row.and_then(|row| row.setup),
        changes: record.changes.clone(),
        applies: applies
            .into_iter()
            .map(|row| AppliedEntry {
                at: row.at,
                top: row.apply.top,
                state: row.state.to_string(),
                files: row.apply.files,
                whole: row.apply.whole,
                by: row.apply.by,
            })
            .collect(),
    }))
}
