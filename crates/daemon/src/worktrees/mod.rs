//! The worktrees of write-capable delegations: taken when one is registered, laid out before it starts, collected
//! when it has ended, applied when somebody asks for it, and removed once nothing in them can be lost.
//!
//! What git and the files have to do is in `brigade-worktree`; here is decided when, and it is on record before.

mod apply;
mod prepare;
mod tend;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_core::clock::Clock;
use brigade_core::delegation::{ChangeKind, Changes, FileChange, Spec, Worktree};
use brigade_core::id::DelegationId;
use brigade_core::text::line::size;
use brigade_os::paths::ensure_private_dir;
use brigade_protocol::changes::ApplyReport;
use brigade_store::{Store, StoreError};
use brigade_worktree::{
    Change, ChangeKind as Kind, ChildCommits, Limits, Origin, Place, Snapshot, Step, collect,
    snapshot,
};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Configs};
use crate::failpoint;
use crate::hosts::Hub;
use crate::servers::Servers;
use crate::troubles::Troubles;

pub(crate) use apply::{Applied, ApplyRequest, NotApplied, Patch};
pub(crate) use tend::Kept;

/// How many worktrees are laid out at once: the disk is the same for all.
const AT_ONCE: usize = 2;
/// How long git may take to take the state of a tree: who delegates waits for it.
const TAKING: Duration = Duration::from_secs(25);
/// How long a failure waits before it is tried again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// What the worktrees are made of.
pub(crate) struct WorktreeParts {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) configs: Configs,
    pub(crate) servers: Servers,
    pub(crate) troubles: Troubles,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    /// The daemon's data, and the folder of all of them in it.
    pub(crate) data: PathBuf,
    pub(crate) root: PathBuf,
    /// What becomes a setup command behind its gate.
    pub(crate) program: PathBuf,
}

/// All worktrees. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Worktrees(Arc<Inner>);

struct Inner {
    parts: WorktreeParts,
    /// The fail points, between the steps of what is done to files.
    steps: Step,
    /// Those that were asked for since the daemon began.
    stands: Mutex<HashMap<DelegationId, Stand>>,
    building: Semaphore,
    /// The same for setup commands, which may take very long.
    setting_up: Semaphore,
    /// Notified when a delegation with one has ended.
    ended: Notify,
    /// What was applied in tool calls whose answers are not known to have arrived, by call.
    unconfirmed: Mutex<HashMap<String, (i64, ApplyReport)>>,
    /// Held by who writes in a person's tree or removes a worktree: one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// One that is being laid out.
#[derive(Clone, Default)]
struct Laying {
    /// Cancelled when nobody needs it any more.
    unneeded: CancellationToken,
    /// Cancelled when nothing works on it any more.
    ended: CancellationToken,
}

/// How the laying out of one fares.
enum Stand {
    Coming(Laying),
    Ready,
    Failed {
        why: String,
        count: u32,
        until: Instant,
    },
}

/// Whether a worktree can be worked in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It can.
    Ready,
    /// It is being laid out, or waits for that.
    Coming,
    /// That failed; it is tried again.
    Failing(String),
}

/// The state that a delegation is to begin with could not be taken; nothing was kept. The words say what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotTaken(pub(crate) String);

impl Worktrees {
    /// All of these places; none is looked at yet.
    pub(crate) fn new(parts: WorktreeParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            steps: Arc::new(failpoint::pass),
            stands: Mutex::default(),
            unconfirmed: Mutex::default(),
            building: Semaphore::new(AT_ONCE),
            setting_up: Semaphore::new(AT_ONCE),
            ended: Notify::new(),
            changing: tokio::sync::Mutex::default(),
        }))
    }

    /// The folder of all of them.
    pub(crate) fn root(&self) -> &Path {
        &self.0.parts.root
    }

    /// The folder of one.
    pub(crate) fn folder(&self, id: &DelegationId) -> PathBuf {
        self.0.parts.root.join(id.as_str())
    }

    /// Whether a worktree has, or had, this name.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(crate) async fn is_taken(&self, id: &DelegationId) -> Result<bool, StoreError> {
        Ok(self.folder(id).exists() || self.0.parts.store.worktree(id).await?.is_some())
    }

    fn place(&self, id: &DelegationId) -> Place {
        Place::new(self.folder(id))
    }

    /// The same for work in which git reads or writes the person's files: their configuration and their filter
    /// programs are found by the environment that the work was asked for in, as far as that is known.
    fn place_for(&self, id: &DelegationId, spec: &Spec) -> Place {
        let place = self.place(id);
        match self.0.parts.hub.environment(spec) {
            Some(environment) => place.with_environment(environment.variables.clone()),
            None => place,
        }
    }

    /// Takes the state that a delegation is to begin with: of the tree that a directory is in, or what another
    /// one has left, given as that one's ID, its worktree's name and the tree.
    ///
    /// # Errors
    /// [`NotTaken`]; nothing of it is left then.
    pub(crate) async fn take(
        &self,
        spec: &Spec,
        from: Option<(DelegationId, DelegationId, String)>,
        config: &Config,
    ) -> Result<Worktree, NotTaken> {
        let id = &spec.id;
        let used = self.0.parts.store.worktree_usage().await;
        let (_, used) = used.map_err(|error| NotTaken(error.to_string()))?;
        if used >= config.worktree.disk {
            return Err(NotTaken(format!(
                "the worktrees take up {} of the {} that [worktree] disk allows; discard \
                 some that are not needed (`brigade discard ID`)",
                size(used),
                size(config.worktree.disk)
            )));
        }
        let failed = |error: &dyn std::fmt::Display| NotTaken(error.to_string());
        ensure_private_dir(&self.0.parts.root).map_err(|error| failed(&error))?;
        let place = self.place_for(id, spec);
        let limits = Limits {
            untracked_bytes: config.worktree.untracked,
            time: TAKING,
            // Where the person's home is a repository, ours are in it.
            besides: vec![self.0.parts.data.clone()],
        };
        let origin = from.as_ref().map(|(_, worktree, tree)| Origin {
            place: self.place(worktree),
            result: tree.clone(),
        });
        let taken = snapshot(
            Path::new(&spec.directory),
            &place,
            &limits,
            origin.as_ref(),
            &self.0.steps,
        );
        let taken = match taken.await {
            Ok(taken) => taken,
            Err(error) => {
                self.forget(id).await;
                return Err(failed(&error));
            }
        };
        Ok(Worktree {
            id: id.clone(),
            top: taken.top.display().to_string(),
            directory: taken.directory(&place).display().to_string(),
            base: taken.base.clone(),
            from: from.map(|(from, _, _)| from),
            confine: config.worktree.confine,
            left_out: taken.left_out.iter().map(ToString::to_string).collect(),
        })
    }

    /// Clears away what was taken for a delegation that came to nothing.
    pub(crate) async fn forget(&self, id: &DelegationId) {
        if let Err(error) = brigade_worktree::remove_all(&self.place(id), &self.0.steps).await {
            tracing::warn!(%id, %error, "a worktree that nobody needs stays; `brigade gc` removes it");
        }
    }

    /// What an ended delegation has changed, its patch durably beside where its artifact will be.
    ///
    /// # Errors
    /// What went wrong, in words; it can be tried again.
    pub(crate) async fn collect(
        &self,
        spec: &Spec,
        worktree: &Worktree,
    ) -> Result<Changes, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let place = self.place_for(&worktree.id, spec);
        if !place.tree().exists() {
            // Waiting would not bring it back, and what it has said is there.
            return Ok(Changes {
                tree: worktree.base.clone(),
                files: 0,
                added: 0,
                removed: 0,
                shown: Vec::new(),
                patch: None,
                beside: vec![format!(
                    "all that it may have changed: its files in {} were removed by somebody",
                    place.tree().display()
                )],
            });
        }
        let begun = begun(&place)?;
        let collected = collect(&place, &begun, &self.0.steps).await;
        let collected = collected.map_err(|error| words(&error))?;
        failpoint::pass("changes-collected");
        let patch = match &collected.patch {
            Some(patch) => {
                let Spec {
                    project, root, id, ..
                } = spec;
                let written = self
                    .0
                    .parts
                    .store
                    .write_patch(project, root, id, patch.clone());
                let path = written.await.map_err(|error| words(&error))?;
                Some(path.display().to_string())
            }
            None => None,
        };
        failpoint::pass("patch-written");
        self.note_size(&worktree.id)
            .await
            .map_err(|error| words(&error))?;
        let mut beside: Vec<String> = collected.left_out.iter().map(ToString::to_string).collect();
        beside.extend(told(&collected.commits));
        let files = collected.changes;
        let sum =
            |of: fn((u64, u64)) -> u64| files.iter().filter_map(|file| file.lines).map(of).sum();
        Ok(Changes {
            tree: collected.result,
            files: u64::try_from(files.len()).unwrap_or(u64::MAX),
            added: sum(|(added, _)| added),
            removed: sum(|(_, removed)| removed),
            patch,
            beside,
            shown: files.iter().take(Changes::SHOWN).map(change).collect(),
        })
    }

    async fn note_size(&self, id: &DelegationId) -> Result<(), StoreError> {
        let store = &self.0.parts.store;
        let bytes = brigade_worktree::usage(&self.folder(id)).await;
        match store.worktree(id).await? {
            Some(row) => store.set_worktree(id, row.state, bytes, None).await,
            None => Ok(()),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.0.parts.stopping.clone();
        self.0.parts.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        });
    }
}

/// What a worktree began with.
fn begun(place: &Place) -> Result<Snapshot, String> {
    let loaded = Snapshot::load(place).map_err(|error| error.to_string())?;
    loaded.ok_or_else(|| {
        format!(
            "what it began with is not in {}: the folder was changed or removed by somebody",
            place.vault().display()
        )
    })
}

/// The commits that a child has made: their content is in the patch, they themselves are kept beside it.
fn told(commits: &ChildCommits) -> Vec<String> {
    let mut told = Vec::new();
    if !commits.made.is_empty() {
        let subjects: Vec<&str> = commits
            .made
            .iter()
            .map(|commit| commit.subject.as_str())
            .collect();
        told.push(format!(
            "commits of its own, of which the patch has what they come to: {}",
            subjects.join("; ")
        ));
    }
    for lost in &commits.lost {
        told.push(format!("commits that could not be read: {lost}"));
    }
    told
}

fn change(file: &Change) -> FileChange {
    FileChange {
        path: file.path.to_string_lossy().into_owned(),
        kind: match file.kind {
            Kind::Added => ChangeKind::Added,
            Kind::Deleted => ChangeKind::Deleted,
            Kind::Modified | Kind::Mode | Kind::Type => ChangeKind::Modified,
        },
        lines: file.lines,
    }
}
