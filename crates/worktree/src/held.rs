//! What a tree holds that is nowhere else, and how trees are removed.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::collect::{look, raw_changes};
use crate::commits::not_copied;
use crate::disk;
use crate::error::{CollectError, Fault};
use crate::place::{Place, Step};
use crate::snapshot::{LeftOut, Snapshot};

/// Something in a tree that is in no patch and no commit that was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A file that is otherwise than in the result.
    Changed(PathBuf),
    /// What a result can't have: a repository in the tree, the files of a submodule, what can't be read.
    Beside(LeftOut),
    /// A name that points to a commit which could not be copied, or was made since.
    Commit(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(path) => write!(f, "{} (changed since)", path.display()),
            Self::Beside(left) => left.fmt(f),
            Self::Commit(name) => write!(f, "{name} (a commit that is not copied)"),
        }
    }
}

/// Why it can't be said what a tree holds. It must stay then.
pub type HeldError = CollectError;

/// What the tree holds that is nowhere else: other than in `result`, in repositories of its own, in
/// commits that were not copied. Nothing where there is no tree. Ignored files are no work.
///
/// # Errors
/// When git or the disk fails; then it must be assumed that the tree holds something.
pub async fn held(
    place: &Place,
    snapshot: &Snapshot,
    result: &str,
) -> Result<Vec<Held>, HeldError> {
    let scanned = match look(place, snapshot).await {
        Ok(scanned) => scanned,
        Err(CollectError::NoTree { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let changed = raw_changes(place, result, &scanned.tree).await?;
    let commits = not_copied(place, snapshot).await?;
    Ok(changed
        .into_iter()
        .map(|change| Held::Changed(change.path))
        .chain(scanned.left_out.into_iter().map(Held::Beside))
        .chain(commits.into_iter().map(Held::Commit))
        .collect())
}

/// Removes what the child has worked in. The vault stays, and with it patch, result and commits.
/// Whether the tree holds anything is for [`held`] to say, before.
///
/// # Errors
/// When the disk fails; what is left is known to be on its way out, and calling it again removes it.
pub async fn remove_tree(place: &Place, step: &Step) -> Result<(), Fault> {
    let (root, tree, tmp) = (place.root().to_owned(), place.tree(), place.tmp());
    disk::beside(move || disk::remove_aside(&tree)).await?;
    step("remove-tree");
    disk::beside(move || {
        disk::remove_aside(&tmp)?;
        disk::sweep(&root).map(drop)
    })
    .await
}

/// Removes all of a worktree, the vault too.
///
/// # Errors
/// When the disk fails; [`sweep`] on the folder above removes what is left.
pub async fn remove_all(place: &Place, step: &Step) -> Result<(), Fault> {
    step("remove-all");
    let root = place.root().to_owned();
    disk::beside(move || disk::remove_aside(&root)).await
}

/// Removes what removals that were cut off have left in the folder of all worktrees. Says what that was.
///
/// # Errors
/// When the disk fails.
pub async fn sweep(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let folder = folder.to_owned();
    disk::beside(move || disk::sweep(&folder)).await
}

/// The bytes that a folder takes on disk: what is linked twice counts once, links are not followed.
pub async fn usage(folder: &Path) -> u64 {
    let folder = folder.to_owned();
    disk::beside(move || Ok(disk::bytes_on_disk(&folder)))
        .await
        .unwrap_or_default()
}
