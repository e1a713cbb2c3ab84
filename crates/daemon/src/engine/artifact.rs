//! From a decided outcome to a terminal state: render the artifact, write it durably, end.

use std::path::PathBuf;
use std::sync::Arc;

use brigade_agents::opencode::fixed_part_id;
use brigade_core::delegation::{Command, Delegation, Outcome, Phase, Spec, State, span};
use brigade_core::id::DelegationId;
use brigade_core::text::artifact::{self, Artifact, Header};
use brigade_core::text::changes;
use brigade_core::text::line::Line;
use brigade_core::text::title;
use brigade_store::{Along, Ended, Progress, ResultError, StoreError};

use super::{DispatchError, Engine, Entry, RETRY};
use crate::failpoint;

/// Why an artifact could not be written anew; its record and the store's text are as they were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be written.
    #[error(transparent)]
    Artifact(#[from] ResultError),
}

impl Engine {
    /// Writes the artifact and makes the state terminal; retries with back-off as long as the disk
    /// or the store refuses. The outcome is in the store, so a crash loses nothing.
    pub(super) async fn write_artifact(&self, entry: Arc<Entry>) {
        failpoint::pass("outcome-decided");
        let mut pause = RETRY.0;
        loop {
            match self.try_end(&entry).await {
                Ok(()) => break,
                Err(error) => {
                    self.0.troubles.note(format!(
                        "{}: its artifact could not be written: {error}",
                        entry.id
                    ));
                    tracing::error!(id = %entry.id, %error, "the artifact could not be written; trying again");
                    let failed = Command::ArtifactFailed {
                        error: error.clone(),
                    };
                    if let Err(error) = self.note_failure(&entry, failed).await {
                        tracing::warn!(id = %entry.id, %error, "the failure could not be recorded either");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
        self.0.troubles.clear(entry.id.as_str());
    }

    /// Records a failed write without starting another writer: this task goes on by itself.
    async fn note_failure(
        &self,
        entry: &Arc<Entry>,
        command: Command,
    ) -> Result<(), DispatchError> {
        let mut active = entry.active.lock().await;
        let transition = active.delegation.apply(&command)?;
        self.store_events(&mut active, transition.events, Along::default())
            .await?;
        Ok(())
    }

    /// Writes the artifact of an ended delegation anew, as it was: from its record and the store's text.
    /// None where there is no such record.
    pub(crate) async fn rewrite_artifact(
        &self,
        id: &DelegationId,
    ) -> Result<Option<PathBuf>, RewriteError> {
        let store = &self.0.store;
        let Some(row) = store.get(id).await? else {
            return Ok(None);
        };
        let record = &row.delegation;
        let Phase::Ended { outcome } = &record.phase else {
            return Ok(None);
        };
        let text = store.beginning(id).await?;
        let heading = title::Heading {
            title: row.title,
            summary: row.summary,
        };
        let artifact = describe(record, outcome, &row.progress, &heading, text);
        let Spec { project, root, .. } = &record.spec;
        let rendered = artifact::render(&artifact);
        let tail = tail(record);
        let written = store.write_result(project, root, id, rendered, &tail);
        let path = written.await?;
        store.set_artifact(id, &path).await?;
        Ok(Some(path))
    }

    async fn try_end(&self, entry: &Arc<Entry>) -> Result<(), String> {
        let record = entry.record().await;
        let Some(outcome) = record.outcome().cloned() else {
            return Ok(());
        };
        if record.state.is_terminal() {
            return Ok(());
        }
        let words = |error: &dyn std::error::Error| error.to_string();
        let record = match &record.spec.worktree {
            Some(worktree) if record.lacks_changes() => {
                let changes = self.0.worktrees.collect(&record.spec, worktree).await?;
                let collected = Command::Collected { changes };
                self.dispatch(&record.spec.id, collected)
                    .await
                    .map_err(|error| words(&error))?;
                failpoint::pass("changes-recorded");
                entry.record().await
            }
            _ => record,
        };
        let text = self
            .0
            .store
            .beginning(&record.spec.id)
            .await
            .map_err(|error| words(&error))?;
        let progress = entry.live().progress;
        let heading = title::of_answer(&text, &record.spec.prompt);
        let artifact = describe(&record, &outcome, &progress, &heading, text);
        let path = self
            .0
            .store
            .write_result(
                &record.spec.project,
                &record.spec.root,
                &record.spec.id,
                artifact::render(&artifact),
                &tail(&record),
            )
            .await
            .map_err(|error| words(&error))?;
        failpoint::pass("artifact-written");
        let decided_ms = record
            .decided_at
            .map_or(0, |at| u64::try_from(at.as_millisecond()).unwrap_or(0));
        let config = self.0.configs.for_directory(&record.spec.directory);
        let ended = Ended {
            title: heading.title,
            summary: heading.summary,
            artifact: path,
            notify: record.notifies(),
            wake: config.notice.wake,
            model_part: fixed_part_id(&record.spec.id, "notice/model", decided_ms),
            person_part: fixed_part_id(&record.spec.id, "notice/person", decided_ms),
        };
        let along = Along {
            ended: Some(ended),
            ..Along::default()
        };
        match self
            .dispatch_with(&record.spec.id, Command::ArtifactWritten, along)
            .await
        {
            Ok(()) | Err(DispatchError::Rejected(_) | DispatchError::NotActive(_)) => Ok(()),
            Err(error) => Err(words(&error)),
        }
    }
}

fn line(what: Option<&impl ToString>) -> Option<Line> {
    what.map(|what| Line::new(&what.to_string()))
}

/// What follows the answer: what was changed.
fn tail(record: &Delegation) -> String {
    let changes = record.changes.as_ref();
    changes.map_or_else(String::new, |changes| {
        changes::section(&record.spec.id, changes)
    })
}

fn describe(
    record: &Delegation,
    outcome: &Outcome,
    progress: &Progress,
    heading: &title::Heading,
    text: String,
) -> Artifact {
    let given = record.spec.model.as_ref().map(ToString::to_string);
    let model = progress.model.clone().or(given);
    let words = record.reason_words().unwrap_or_default();
    let answer = if outcome.state == State::Complete {
        text
    } else {
        artifact::partial(&text, &words)
    };
    let writes = record.spec.worktree.is_some();
    Artifact {
        title: Line::new(&heading.title),
        summary: Line::new(&heading.summary),
        header: Header {
            id: Line::new(record.spec.id.as_str()),
            agent: Line::new(&record.spec.agent),
            status: Ok(outcome.state),
            session: Line::new(record.child.as_ref().map_or("none", |child| child.as_str())),
            started: record.started_at,
            completed: record.decided_at,
            model: model.map(|model| Line::new(&model)),
            tokens: Some(Line::new(&format!(
                "{} in, {} out",
                progress.tokens_in, progress.tokens_out
            ))),
            cost: Some(Line::new(&format!("${:.4}", progress.cost))),
            duration: Some(Line::new(&span(record.spent_ms))),
            attempts: Some(record.attempts()),
            reason: Some(Line::new(&words)),
            confined: line(record.confinement.as_ref().filter(|_| writes)),
            changes: line(record.changes.as_ref()),
            patch: line(
                record
                    .changes
                    .as_ref()
                    .and_then(|changes| changes.patch.as_ref()),
            ),
        },
        answer,
    }
}
