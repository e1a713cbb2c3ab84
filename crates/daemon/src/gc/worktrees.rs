//! Folders of worktrees that fit no record, and records whose folders are gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brigade_core::id::DelegationId;
use brigade_core::text::line::size as amount;
use brigade_protocol::gc::{Fate, Finding, FindingKind};
use brigade_store::{StoreError, WorktreeState};
use brigade_worktree::{GONE, Place, no_step, remove_all};

use super::Mended;
use crate::engine::Engine;
use crate::worktrees::Kept;

/// How long a folder must have been left alone to count as nobody's: who has just made it is about to register.
const SETTLED: Duration = Duration::from_secs(60);

/// What was found.
pub(crate) struct Found {
    path: PathBuf,
    what: What,
    bytes: u64,
}

enum What {
    /// A folder that no record names; with what it holds that is in no patch.
    Unknown(Vec<String>),
    /// A folder that was to be removed.
    Leftover,
    /// A record whose folder is gone.
    Gone(DelegationId),
    /// Files that are needed no more: nothing was changed, or all of it is applied.
    Needless(DelegationId),
}

/// Looks through the folder of worktrees and their records.
pub(super) async fn look(engine: &Engine) -> Result<Vec<Found>, StoreError> {
    let worktrees = engine.worktrees();
    let store = engine.store();
    let mut found = Vec::new();
    for path in folders(worktrees.root()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.parse::<DelegationId>().ok());
        let what = match &id {
            None if is_leftover(name) => Some(What::Leftover),
            None => None,
            Some(id) => match store.worktree(id).await? {
                Some(row) if row.state == WorktreeState::Discarded => Some(What::Leftover),
                Some(_) => None,
                None if !settled(&path) => None,
                None => Some(What::Unknown(worktrees.unrecorded(id).await)),
            },
        };
        if let Some(what) = what {
            let bytes = brigade_worktree::usage(&path).await;
            found.push(Found { path, what, bytes });
        }
    }
    for row in store.worktrees().await? {
        let path = worktrees.folder(&row.id);
        if !path.exists() {
            let what = What::Gone(row.id);
            found.push(Found {
                path,
                what,
                bytes: 0,
            });
            continue;
        }
        let there = matches!(row.state, WorktreeState::Taken | WorktreeState::Ready);
        if there && row.ended_at.is_some() && needless(engine, &row.delegation).await? {
            let bytes = row.bytes;
            let what = What::Needless(row.delegation);
            found.push(Found { path, what, bytes });
        }
    }
    Ok(found)
}

/// Whether everything an ended delegation has changed is applied, or there is nothing.
async fn needless(engine: &Engine, id: &DelegationId) -> Result<bool, StoreError> {
    let Some(row) = engine.store().get(id).await? else {
        return Ok(false);
    };
    let unchanged = row
        .delegation
        .changes
        .as_ref()
        .is_none_or(brigade_core::delegation::Changes::is_empty);
    Ok(unchanged || engine.worktrees().is_applied(id).await?)
}

/// Whether a folder bears the name that a removal gives it first.
fn is_leftover(name: Option<&str>) -> bool {
    name.is_some_and(|name| name.starts_with(GONE))
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

fn settled(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| {
        let age = SystemTime::now().duration_since(at);
        age.is_ok_and(|age| age >= SETTLED)
    })
}

impl Found {
    /// The finding, with what is going to be done.
    pub(super) fn finding(&self) -> Finding {
        let size = amount(self.bytes);
        let (what, fate, action) = match &self.what {
            What::Unknown(holds) if holds.is_empty() => (
                format!("a worktree of {size} that no record names, in which nothing was changed"),
                Fate::Planned,
                "remove it".to_owned(),
            ),
            What::Unknown(holds) => (
                format!(
                    "a worktree of {size} that no record names, with {}",
                    holds.join("; ")
                ),
                Fate::Left,
                "look into its folder `tree`, save what you need, and remove it yourself"
                    .to_owned(),
            ),
            What::Leftover => (
                format!("{size} of a worktree that was to be removed"),
                Fate::Planned,
                "remove it".to_owned(),
            ),
            What::Gone(id) => (
                format!("the folder of the worktree of {id} is gone"),
                Fate::Planned,
                "note that; its patch is beside its artifact".to_owned(),
            ),
            What::Needless(id) => (
                format!("{size} of the worktree of {id}, of which nothing is needed any more"),
                Fate::Planned,
                "remove its files".to_owned(),
            ),
        };
        Finding {
            kind: FindingKind::Worktree,
            subject: self.path.display().to_string(),
            what,
            fate,
            action,
        }
    }

    /// Does that.
    pub(super) async fn mend(&self, engine: &Engine) -> Mended {
        let worktrees = engine.worktrees();
        match &self.what {
            What::Unknown(..) | What::Leftover => {
                match remove_all(&Place::new(&self.path), &no_step()).await {
                    Ok(()) => Mended {
                        freed: self.bytes,
                        ..Mended::done("removed")
                    },
                    Err(error) => Mended::failed(&error),
                }
            }
            What::Gone(id) => {
                let noted = engine
                    .store()
                    .set_worktree(id, WorktreeState::Discarded, 0, None);
                match noted.await {
                    Ok(()) => Mended::done("noted"),
                    Err(error) => Mended::failed(&error),
                }
            }
            What::Needless(id) => {
                let row = match engine.store().get(id).await {
                    Ok(Some(row)) => row,
                    Ok(None) => return Mended::left("its record is gone"),
                    Err(error) => return Mended::failed(&error),
                };
                match worktrees.let_go(&row.delegation).await {
                    Kept::Gone => Mended {
                        freed: self.bytes,
                        ..Mended::done("its files are removed")
                    },
                    Kept::Holds(holds) => Mended::left(format!(
                        "it holds what is in no patch: {}",
                        holds.join("; ")
                    )),
                    Kept::Failed(why) => Mended {
                        fate: Fate::Failed,
                        ..Mended::done(why)
                    },
                }
            }
        }
    }
}
