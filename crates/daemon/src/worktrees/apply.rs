//! Bringing changes into a person's tree, and taking them out again. A crash or a hang-up midway is rolled back,
//! never finished later: whoever asked has not been told, and an undo of the host's would not know of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_core::delegation::{Changes, Delegation, Worktree};
use brigade_core::id::DelegationId;
use brigade_protocol::changes::{AppliedFile, ApplyOutcome, ApplyReport, Conflict};
use brigade_store::{ApplyRow, ApplyState, NewApply, StoreError, WorktreeState};
use brigade_worktree::{
    ChangeKind, ConflictKind, Limits, Plan, PlanError, Target, WriteError, is_done, plan,
    roll_back, write,
};
use tokio_util::sync::CancellationToken;

use super::Worktrees;
use crate::failpoint;
use crate::hosts::lock;

/// How long it may take to look at the tree and to merge.
const APPLYING: Duration = Duration::from_secs(100);
/// How much of what would be changed is shown to who is asked, in bytes.
const DIFF: usize = 200_000;
/// What the folder of journals is called, in a worktree's folder.
const JOURNALS: &str = "applies";
/// What the journal of an undo ends with; before it stands the number of what is undone.
const UNDO: &str = "-undo";

/// What is to be applied, and where.
#[derive(Debug, Clone)]
pub(crate) struct ApplyRequest {
    /// The directory of the tree to apply to; none for the one that was delegated from.
    pub(crate) to: Option<String>,
    /// Only these files and folders; none for all.
    pub(crate) paths: Vec<String>,
    /// Whether conflicts are written as markers.
    pub(crate) markers: bool,
    /// Whether it is only looked.
    pub(crate) dry_run: bool,
    /// The files that may be written, where that was asked for; with more than these it is only looked.
    pub(crate) allowed: Option<Vec<String>>,
    /// The tool call that applies, if one does: repeated, it is answered as before.
    pub(crate) call: Option<String>,
    /// `model` or `person`.
    pub(crate) by: &'static str,
}

/// What came of it, and how it is known on record where something was written.
#[derive(Debug)]
pub(crate) struct Applied {
    /// What to tell.
    pub(crate) report: ApplyReport,
    /// Its number on record.
    pub(crate) seq: Option<i64>,
    /// What would be changed, where it is only looked.
    pub(crate) diff: Option<String>,
}

impl ApplyRequest {
    /// Whether everything that would be written may be.
    fn allows(&self, report: &ApplyReport) -> bool {
        let allowed = |file: &AppliedFile| match &self.allowed {
            Some(allowed) => allowed.contains(&file.path),
            None => true,
        };
        report.files.iter().all(allowed)
    }
}

impl Applied {
    fn nothing(report: ApplyReport) -> Self {
        Self {
            report,
            seq: None,
            diff: None,
        }
    }
}

/// What was changed, as a patch.
#[derive(Debug)]
pub(crate) enum Patch {
    /// All of it, in this file.
    File(PathBuf),
    /// A part of it.
    Part(Vec<u8>),
    /// Nothing was changed.
    Nothing,
}

/// Why nothing was applied. The tree is as it was, unless the words say otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotApplied {
    /// It makes no sense with this delegation, in words that say what does.
    #[error("{0}")]
    Refused(String),
    /// It could not begin.
    #[error("{0}")]
    Failed(String),
    /// It broke off midway; the words say what became of the tree.
    #[error("{0}")]
    BrokeOff(String),
    /// The store failed; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn failed(error: &dyn std::fmt::Display) -> NotApplied {
    NotApplied::Failed(error.to_string())
}

fn not_planned(error: PlanError) -> NotApplied {
    match error {
        PlanError::NoSuchPath { .. } | PlanError::Target(_) | PlanError::Changed { .. } => {
            NotApplied::Refused(error.to_string())
        }
        PlanError::Fault(fault) => failed(&fault),
    }
}

impl Worktrees {
    /// Applies what a delegation has changed. `cancel` takes back what is written by then.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub(crate) async fn apply(
        &self,
        record: &Delegation,
        request: &ApplyRequest,
        cancel: &CancellationToken,
    ) -> Result<Applied, NotApplied> {
        let (worktree, changes) = self.applicable(record).await?;
        let id = &record.spec.id;
        let target = match &request.to {
            Some(to) => self.target(record, to).await?,
            None => self.target_at(record, &worktree.top),
        };
        let _turn = self.0.changing.lock().await;
        self.settle_all(&worktree.id).await?;
        let place = self.place_for(&worktree.id, &record.spec);
        let planned = plan(
            &place,
            &worktree.base,
            &changes.tree,
            &target,
            &request.paths,
            &self.0.steps,
        );
        let mut planned = planned.await.map_err(not_planned)?;
        if !planned.conflicts.is_empty()
            && let Some(before) = self.applied_before(record, &planned.top).await?
        {
            // What a round before has brought in is no edit of the person's.
            let since = plan(
                &place,
                &before,
                &changes.tree,
                &target,
                &request.paths,
                &self.0.steps,
            );
            let since = since.await.map_err(not_planned)?;
            if since.conflicts.len() < planned.conflicts.len() {
                planned = since;
            }
        }
        let planned = marked(planned, request.markers);
        let mut report = report(id, &planned);
        report.whole = request.paths.is_empty() && planned.submodules.is_empty();
        if is_blocked(&planned) {
            report.outcome = ApplyOutcome::Conflicts;
            report.whole = false;
            return Ok(Applied::nothing(report));
        }
        if planned.operations.is_empty() {
            report.outcome = ApplyOutcome::Nothing;
            return Ok(Applied::nothing(report));
        }
        if request.dry_run || !request.allows(&report) {
            report.outcome = ApplyOutcome::DryRun;
            let diff = brigade_worktree::diff(&place, &planned.before, &planned.after, &[]).await;
            let diff = diff.map_err(|error| failed(&error))?;
            return Ok(Applied {
                diff: Some(String::from_utf8_lossy(&diff[..diff.len().min(DIFF)]).into_owned()),
                ..Applied::nothing(report)
            });
        }
        let new = NewApply {
            delegation: id.clone(),
            top: report.top.clone(),
            before: planned.before.clone(),
            after: planned.after.clone(),
            whole: report.whole,
            files: u64::try_from(report.files.len()).unwrap_or(u64::MAX),
            by: request.by.to_owned(),
        };
        let seq = self.0.parts.store.begin_apply(new).await?;
        failpoint::pass("apply-recorded");
        let journal = self.journals(&worktree.id).join(seq.to_string());
        let written = write(&planned, &journal, cancel, &self.0.steps).await;
        if let Err(error) = written {
            return Err(self
                .taken_back(id, seq, ApplyState::RolledBack, &error)
                .await);
        }
        failpoint::pass("apply-written");
        self.note(id, seq, ApplyState::Applied).await;
        report.outcome = ApplyOutcome::Applied;
        tracing::info!(%id, top = report.top, files = report.files.len(), by = request.by, "applied");
        Ok(Applied {
            seq: Some(seq),
            ..Applied::nothing(report)
        })
    }

    /// What the latest earlier round in the same worktree had come to that is wholly applied to this tree, if any is.
    async fn applied_before(
        &self,
        record: &Delegation,
        top: &Path,
    ) -> Result<Option<String>, StoreError> {
        let store = &self.0.parts.store;
        let mut before = record.spec.continues.clone();
        while let Some(earlier) = before {
            let Some(row) = store.get(&earlier.id).await? else {
                break;
            };
            let here = |row: &ApplyRow| {
                row.apply.whole
                    && row.state == ApplyState::Applied
                    && Path::new(&row.apply.top) == top
            };
            let changes = row.delegation.changes;
            if let Some(changes) = changes
                && store.applies(&earlier.id).await?.iter().any(here)
            {
                return Ok(Some(changes.tree));
            }
            before = row.delegation.spec.continues;
        }
        Ok(None)
    }

    /// Takes out again what was applied last, and not undone yet; or what has this number.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub(crate) async fn undo(
        &self,
        record: &Delegation,
        seq: Option<i64>,
        request: &ApplyRequest,
        cancel: &CancellationToken,
    ) -> Result<Applied, NotApplied> {
        let (worktree, _) = self.applicable(record).await?;
        let id = &record.spec.id;
        let _turn = self.0.changing.lock().await;
        self.settle_all(&worktree.id).await?;
        let applies = self.0.parts.store.applies(id).await?;
        let applied = |row: &&ApplyRow| {
            row.state == ApplyState::Applied && seq.is_none_or(|seq| row.seq == seq)
        };
        let Some(row) = applies.iter().rev().find(applied) else {
            return Err(NotApplied::Refused(format!(
                "nothing of {id} is applied that could be taken out again"
            )));
        };
        let place = self.place_for(&worktree.id, &record.spec);
        let target = self.target_at(record, &row.apply.top);
        let planned = plan(
            &place,
            &row.apply.after,
            &row.apply.before,
            &target,
            &[],
            &self.0.steps,
        );
        let planned = planned.await.map_err(not_planned)?;
        let planned = marked(planned, request.markers);
        let mut report = report(id, &planned);
        if is_blocked(&planned) {
            report.outcome = ApplyOutcome::Conflicts;
            return Ok(Applied::nothing(report));
        }
        if request.dry_run {
            report.outcome = ApplyOutcome::DryRun;
            return Ok(Applied::nothing(report));
        }
        if !planned.operations.is_empty() {
            let journal = self
                .journals(&worktree.id)
                .join(format!("{}{UNDO}", row.seq));
            set_aside(&journal).map_err(|error| failed(&error))?;
            let written = write(&planned, &journal, cancel, &self.0.steps).await;
            if let Err(error) = written {
                return Err(self
                    .taken_back(id, row.seq, ApplyState::Applied, &error)
                    .await);
            }
        }
        failpoint::pass("undo-written");
        self.note(id, row.seq, ApplyState::Undone).await;
        report.outcome = ApplyOutcome::Undone;
        tracing::info!(%id, top = report.top, files = report.files.len(), "undone");
        Ok(Applied {
            seq: Some(row.seq),
            ..Applied::nothing(report)
        })
    }

    /// A tool call has applied something; its host is not known to have the answer.
    pub(crate) fn answering(&self, call: &str, report: &ApplyReport, seq: i64) {
        let report = report.clone();
        lock(&self.0.unconfirmed).insert(call.to_owned(), (seq, report));
    }

    /// What this tool call has applied without its host being known to have the answer.
    pub(crate) fn answered(&self, call: &str) -> Option<(i64, ApplyReport)> {
        lock(&self.0.unconfirmed).get(call).cloned()
    }

    /// The host has the answer.
    pub(crate) fn confirmed(&self, seq: i64) {
        lock(&self.0.unconfirmed).retain(|_, (known, _)| *known != seq);
    }

    /// What was applied in a tool call whose answer is lost for good, if anything.
    pub(crate) fn unanswered(&self, call: &str) -> Option<i64> {
        let known = lock(&self.0.unconfirmed).remove(call);
        known.map(|(seq, _)| seq)
    }

    /// The patch of what a delegation has changed, or of a part of that.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub(crate) async fn patch(
        &self,
        record: &Delegation,
        paths: &[String],
    ) -> Result<Patch, NotApplied> {
        let id = &record.spec.id;
        if !paths.is_empty() {
            let (worktree, changes) = self.applicable(record).await?;
            let place = self.place(&worktree.id);
            let part = brigade_worktree::diff(&place, &worktree.base, &changes.tree, paths).await;
            return Ok(Patch::Part(part.map_err(|error| failed(&error))?));
        }
        if record.spec.worktree.is_none() {
            let why = format!("{id} only reads: it has changed nothing");
            return Err(NotApplied::Refused(why));
        }
        match &record.changes {
            Some(changes) => Ok(match &changes.patch {
                Some(path) => Patch::File(PathBuf::from(path)),
                None => Patch::Nothing,
            }),
            None if record.state.is_terminal() => Ok(Patch::Nothing),
            None => Err(NotApplied::Refused(format!(
                "{id} is {}: what it has changed is known once it has ended",
                record.state
            ))),
        }
    }

    /// What there is to apply, or words on what to do instead.
    async fn applicable<'a>(
        &self,
        record: &'a Delegation,
    ) -> Result<(&'a Worktree, &'a Changes), NotApplied> {
        let id = &record.spec.id;
        let refused = |why: String| Err(NotApplied::Refused(why));
        let Some(worktree) = &record.spec.worktree else {
            return refused(format!("{id} only reads: it has changed nothing"));
        };
        if !record.state.is_terminal() {
            return refused(format!(
                "{id} is {}: its changes can be applied once it has ended",
                record.state
            ));
        }
        let Some(changes) = &record.changes else {
            return refused(format!("{id} ended before it could change anything"));
        };
        let row = self.0.parts.store.worktree(&worktree.id).await?;
        if row.is_none_or(|row| row.state == WorktreeState::Discarded) {
            let patch = changes.patch.as_deref().unwrap_or("its patch");
            return refused(format!(
                "{id} was discarded. What it has changed is in {patch}: `git apply --3way {patch}` brings it in"
            ));
        }
        Ok((worktree, changes))
    }

    /// The tree that a directory is in, which has to be one of the same project.
    async fn target(&self, record: &Delegation, to: &str) -> Result<Target, NotApplied> {
        let project = crate::project::of(to).await;
        if project != record.spec.project {
            return Err(NotApplied::Refused(format!(
                "{to} belongs to another project than {}; apply its patch there by hand",
                record.spec.id
            )));
        }
        Ok(self.target_at(record, to))
    }

    fn target_at(&self, record: &Delegation, directory: &str) -> Target {
        let config = self.0.parts.configs.for_directory(&record.spec.directory);
        Target {
            directory: PathBuf::from(directory),
            limits: Limits {
                untracked_bytes: config.worktree.untracked,
                time: APPLYING,
                besides: vec![self.0.parts.data.clone()],
            },
        }
    }

    fn journals(&self, id: &DelegationId) -> PathBuf {
        self.folder(id).join(JOURNALS)
    }

    /// Notes how an apply stands. Should that fail, its journal says it to the next daemon.
    async fn note(&self, id: &DelegationId, seq: i64, state: ApplyState) {
        if let Err(error) = self.0.parts.store.set_apply(seq, state).await {
            tracing::error!(%id, seq, %error, "how an apply ended could not be recorded; its journal knows");
        }
    }

    async fn taken_back(
        &self,
        id: &DelegationId,
        seq: i64,
        state: ApplyState,
        error: &WriteError,
    ) -> NotApplied {
        if matches!(error, WriteError::Stuck { .. }) {
            self.0.parts.troubles.note(format!(
                "{id}: an apply that broke off could not be taken back: {error}"
            ));
        } else {
            self.note(id, seq, state).await;
        }
        tracing::warn!(%id, %error, "an apply broke off");
        NotApplied::BrokeOff(error.to_string())
    }

    /// Rolls back what an earlier daemon was writing when it ended. To be called before anybody can ask.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub(crate) async fn recover(&self) -> Result<(), StoreError> {
        match brigade_worktree::sweep(self.root()).await {
            Ok(swept) if swept.is_empty() => {}
            Ok(swept) => tracing::info!(count = swept.len(), "removed what was on its way out"),
            Err(error) => tracing::warn!(%error, "what was on its way out stays for now"),
        }
        let store = &self.0.parts.store;
        let mut stuck = Vec::new();
        for row in store.worktrees().await? {
            if row.state == WorktreeState::Removed
                && self.still_there(&row).await?
                && let Some(found) = store.get(&row.delegation).await?
            {
                // Somebody may have used them meanwhile: whether they may go is looked at anew.
                let worktrees = self.clone();
                self.spawn(async move {
                    worktrees.let_go(&found.delegation).await;
                });
            }
            for journal in journals_in(&self.journals(&row.id)) {
                stuck.extend(self.settle(&row.id, &journal).await?);
            }
        }
        // What is still being written by its record has no journal, but for these: nothing of it was begun.
        for row in store.open_applies().await? {
            if !stuck.contains(&row.seq) {
                store.set_apply(row.seq, ApplyState::RolledBack).await?;
            }
        }
        Ok(())
    }

    /// Rolls back what of this worktree was broken off and could not be taken back then: what comes after must not be
    /// mixed up with it.
    async fn settle_all(&self, id: &DelegationId) -> Result<(), NotApplied> {
        for journal in journals_in(&self.journals(id)) {
            if self.settle(id, &journal).await?.is_some() {
                return Err(NotApplied::Refused(format!(
                    "an earlier apply broke off, and what it had written can't be taken back: see to the disk and its \
                     rights, then call again. What the files were before is in {}",
                    journal.display()
                )));
            }
        }
        Ok(())
    }

    /// What the folder of a worktree has of files of a person's that are nowhere else, in words: what an apply that
    /// broke off found there, and could not or would not put back.
    pub(super) fn holds_of_others(&self, id: &DelegationId) -> Vec<String> {
        let journals = journals_in(&self.journals(id)).into_iter();
        let kept = journals.filter(|journal| brigade_worktree::is_open(journal));
        kept.map(|journal| {
            let journal = journal.display();
            format!("{journal} (what files of yours were before an apply that broke off)")
        })
        .collect()
    }

    /// Settles a journal; gives the number of its apply where it can't be rolled back.
    async fn settle(&self, id: &DelegationId, journal: &Path) -> Result<Option<i64>, StoreError> {
        let name = journal.file_name().unwrap_or_default().to_string_lossy();
        let (seq, undo) = match name.strip_suffix(UNDO) {
            Some(seq) => (seq, true),
            None => (&*name, false),
        };
        let Ok(seq) = seq.parse::<i64>() else {
            return Ok(None);
        };
        let state = match roll_back(journal, &self.0.steps).await {
            _ if is_done(journal) && undo => ApplyState::Undone,
            _ if is_done(journal) => ApplyState::Applied,
            Ok(outcome) => {
                for left in &outcome.left {
                    self.0.parts.troubles.note(format!(
                        "{id}: {} was changed by somebody while an apply broke off, and is left so; what it was before \
                         is in {}",
                        left.path.display(),
                        journal.display()
                    ));
                }
                if undo {
                    ApplyState::Applied
                } else {
                    ApplyState::RolledBack
                }
            }
            Err(error) => {
                self.0.parts.troubles.note(format!(
                    "{id}: an apply that broke off could not be rolled back: {error}"
                ));
                tracing::error!(%id, seq, %error, "an apply could not be rolled back");
                return Ok(Some(seq));
            }
        };
        let store = &self.0.parts.store;
        // What is settled stays so.
        let open = match store.apply_of(seq).await?.map(|row| row.state) {
            Some(ApplyState::Writing) => !undo,
            Some(ApplyState::Applied) => undo,
            _ => false,
        };
        if open {
            store.set_apply(seq, state).await?;
        }
        Ok(None)
    }
}

/// Gives way to a journal of the same name: what an earlier one still has stays beside it.
fn set_aside(journal: &Path) -> std::io::Result<()> {
    if !brigade_worktree::is_open(journal) {
        return Ok(());
    }
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    let mut names =
        (1..).map(|number: u32| journal.with_file_name(format!("{name}.left-{number}")));
    match names.find(|aside| !aside.exists()) {
        Some(aside) => std::fs::rename(journal, aside),
        None => Ok(()),
    }
}

/// The journals in a folder, by their names.
fn journals_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut journals: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    journals.sort();
    journals
}

/// Has conflicts written as markers, where that is wanted.
fn marked(plan: Plan, markers: bool) -> Plan {
    if markers { plan.with_markers() } else { plan }
}

/// Whether something is in the way of writing it. A file that is not part of the repository's state has no other
/// side to be marked.
fn is_blocked(plan: &Plan) -> bool {
    let mut conflicts = plan.conflicts.iter();
    conflicts.any(|conflict| !plan.marked || conflict.kind == ConflictKind::InTheWay)
}

fn report(id: &DelegationId, plan: &Plan) -> ApplyReport {
    let lossy = |path: &Path| path.to_string_lossy().into_owned();
    let submodules = plan.submodules.iter();
    ApplyReport {
        id: id.clone(),
        outcome: ApplyOutcome::Nothing,
        top: lossy(&plan.top),
        files: plan
            .operations
            .iter()
            .map(|operation| AppliedFile {
                path: lossy(operation.path()),
                kind: match operation.kind() {
                    ChangeKind::Added => "added",
                    ChangeKind::Deleted => "deleted",
                    ChangeKind::Modified | ChangeKind::Mode | ChangeKind::Type => "modified",
                }
                .to_owned(),
            })
            .collect(),
        conflicts: plan
            .conflicts
            .iter()
            .map(|conflict| Conflict {
                path: lossy(&conflict.path),
                what: conflict.what.clone(),
                text: conflict.hunks.clone(),
            })
            .collect(),
        left_out: submodules
            .map(|path| {
                let path = path.display();
                format!("another commit of the submodule {path}: check it out there yourself")
            })
            .collect(),
        whole: false,
    }
}
