//! What an apply would do, to the last file, before anything is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::collect::{ChangeKind, RawChange, raw_changes};
use crate::disk::{Kind, beside, kind, kind_beneath};
use crate::error::{Fault, PlanError, SnapshotError};
use crate::found::{Found, look_at};
use crate::merge::{changed_tree, merge};
use crate::place::{Place, Step};
use crate::repository::Repository;
use crate::scan::{Eyes, changed_since, scan};
use crate::snapshot::{Limits, commit, keep};

/// The tree to apply to.
#[derive(Debug, Clone)]
pub struct Target {
    /// A directory in the working tree; changes are placed from its top.
    pub directory: PathBuf,
    /// How much it may take to look at it.
    pub limits: Limits,
}

impl Target {
    /// The working tree that holds a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            limits: Limits::default(),
        }
    }
}

/// What kind of conflict it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictKind {
    /// Both sides have changed it, so that git can't say what it is to be.
    Both,
    /// Something that is not part of the repository's state is in the way: an ignored file, a folder.
    InTheWay,
}

/// Something that can't be applied as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its path from the top.
    pub path: PathBuf,
    /// What kind.
    pub kind: ConflictKind,
    /// What conflicts, in words.
    pub what: String,
    /// The lines that conflict, with both sides marked, where it is text.
    pub hunks: Option<String>,
}

/// One file that would be written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub(crate) change: RawChange,
    /// What lies there now.
    pub(crate) found: Found,
}

impl Operation {
    /// Its path from the top.
    pub fn path(&self) -> &Path {
        &self.change.path
    }

    /// What is done.
    pub fn kind(&self) -> ChangeKind {
        self.change.kind()
    }
}

/// What an apply would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The top of the tree.
    pub top: PathBuf,
    /// The tree's state before, as git names it. It is in the vault, and stays there.
    pub before: String,
    /// Its state afterwards.
    pub after: String,
    /// What is written.
    pub operations: Vec<Operation>,
    /// What can't be.
    pub conflicts: Vec<Conflict>,
    /// The submodules of which another commit is wanted: that can't be written into a working tree.
    pub submodules: Vec<PathBuf>,
    /// Whether files with conflicts are among the operations, with both sides marked.
    pub marked: bool,
    marked_operations: Vec<Operation>,
    marked_after: String,
    pub(crate) place: Place,
    pub(crate) repository: Repository,
}

impl Plan {
    /// Whether there is nothing to do: the tree has all of it.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.conflicts.is_empty()
    }

    /// Has files with conflicts written too, with both sides marked, as a merge would leave them.
    #[must_use]
    pub fn with_markers(mut self) -> Self {
        if !self.marked {
            self.marked = true;
            self.operations.append(&mut self.marked_operations);
            self.operations
                .sort_by(|one, other| one.change.path.cmp(&other.change.path));
            self.after.clone_from(&self.marked_after);
        }
        self
    }
}

/// Plans to bring what leads from the tree `base` to the tree `result` into the target as it is now,
/// by a three-way merge. Nothing of the target is touched. To undo a plan that was written, plan from
/// its `after` to its `before`.
///
/// With `paths`, only these files and folders of the change are taken. Plans in one place must not be
/// made at the same time.
///
/// # Errors
/// Where the target can't be read, a path names nothing, or git fails.
pub async fn plan(
    place: &Place,
    base: &str,
    result: &str,
    target: &Target,
    paths: &[String],
    step: &Step,
) -> Result<Plan, PlanError> {
    let limits = &target.limits;
    let planning = make(place, base, result, target, paths, step);
    tokio::time::timeout(limits.time, planning)
        .await
        .unwrap_or_else(|_| {
            Err(SnapshotError::TooSlow {
                directory: target.directory.clone(),
                limit: limits.time,
            }
            .into())
        })
}

async fn make(
    place: &Place,
    base: &str,
    result: &str,
    target: &Target,
    paths: &[String],
    step: &Step,
) -> Result<Plan, PlanError> {
    let repository = Repository::of(place, &target.directory).await?;
    let theirs = select(place, base, result, paths).await?;
    let index = place.index("target");
    crate::snapshot::copy_index_to(place, &repository, &index).await?;
    let mut besides = target.limits.besides.clone();
    besides.push(place.root().to_owned());
    let eyes = Eyes::Person(&repository);
    // Without a limit: what lies where a change leads must be known, whatever its size.
    let scanned = scan(place, eyes, &index, None, &besides).await?;
    let ours = scanned.tree;
    step("plan-target");

    let merged = merge(place, &repository.top, base, &ours, &theirs).await?;
    let mut conflicts = Vec::new();
    let (mut clean, mut marked, mut submodules) = (Vec::new(), Vec::new(), Vec::new());
    let mut shown = BTreeMap::new();
    for mut change in raw_changes(place, &ours, &merged.tree).await? {
        let entries = [&change.before, &change.after];
        if entries
            .into_iter()
            .flatten()
            .any(crate::collect::Entry::is_submodule)
        {
            submodules.push(change.path);
        } else if merged.conflicts.contains_key(&change.path) {
            if let Some(entry) = &change.after {
                let (entry, hunks) = merged.marked(place, entry).await?;
                change.after = Some(entry);
                shown.insert(change.path.clone(), hunks);
            }
            marked.push(change);
        } else {
            clean.push(change);
        }
    }
    for (path, what) in merged.conflicts {
        conflicts.push(Conflict {
            hunks: shown.remove(&path).flatten(),
            kind: ConflictKind::Both,
            what,
            path,
        });
    }
    step("plan-merged");

    let top = repository.top.clone();
    let skipped: BTreeSet<PathBuf> = scanned.skipped.into_iter().collect();
    let (clean, marked, in_the_way) = beside(move || {
        let gone: BTreeSet<PathBuf> = clean
            .iter()
            .chain(&marked)
            .filter(|change| change.after.is_none())
            .map(|change| change.path.clone())
            .collect();
        let mut in_the_way = Vec::new();
        let clean = on_disk(&top, clean, &gone, &skipped, &mut in_the_way)?;
        let marked = on_disk(&top, marked, &gone, &skipped, &mut in_the_way)?;
        Ok((clean, marked, in_the_way))
    })
    .await?;
    // What lies there now is what was looked at, or the tree of before would not have it.
    let changed = changed_since(place, eyes, &index).await?;
    let operations = clean.iter().chain(&marked);
    if let Some(path) = operations
        .map(Operation::path)
        .find(|path| changed.contains(*path))
    {
        return Err(PlanError::Changed {
            path: path.to_owned(),
        });
    }
    conflicts.extend(in_the_way);
    conflicts.sort_by(|one, other| one.path.cmp(&other.path));

    let changes = clean.iter().map(|operation| &operation.change);
    let after = changed_tree(place, &ours, changes.clone()).await?;
    let both = changes.chain(marked.iter().map(|operation| &operation.change));
    let marked_after = changed_tree(place, &ours, both).await?;
    for tree in [&ours, &after, &marked_after] {
        let by_us = commit(place, tree, &[]).await?;
        keep(place, &format!("refs/brigade/states/{tree}"), &by_us).await?;
    }
    step("plan-kept");
    Ok(Plan {
        top: repository.top.clone(),
        before: ours,
        after,
        operations: clean,
        conflicts,
        submodules,
        marked: false,
        marked_operations: marked,
        marked_after,
        place: place.clone(),
        repository,
    })
}

/// The result of which only these paths are changed.
async fn select(
    place: &Place,
    base: &str,
    result: &str,
    paths: &[String],
) -> Result<String, PlanError> {
    if paths.is_empty() {
        return Ok(result.to_owned());
    }
    let changes = raw_changes(place, base, result).await?;
    let mut chosen = BTreeSet::new();
    for path in paths {
        // "." is all of it; "./a/" is "a".
        let wanted: PathBuf = Path::new(path)
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        let mut any = false;
        for (number, change) in changes.iter().enumerate() {
            if change.path.starts_with(&wanted) {
                any = true;
                chosen.insert(number);
            }
        }
        if !any {
            return Err(PlanError::NoSuchPath { path: path.clone() });
        }
    }
    let chosen = chosen.into_iter().map(|number| &changes[number]);
    Ok(changed_tree(place, base, chosen).await?)
}

/// Looks what lies where changes lead. What can't be written there is in the way.
fn on_disk(
    top: &Path,
    changes: Vec<RawChange>,
    gone: &BTreeSet<PathBuf>,
    skipped: &BTreeSet<PathBuf>,
    in_the_way: &mut Vec<Conflict>,
) -> Result<Vec<Operation>, Fault> {
    let mut operations = Vec::new();
    for change in changes {
        let found = look_at(top, &change.path)?;
        match hindrance(top, &change, &found, gone, skipped) {
            None => operations.push(Operation {
                // A folder that is emptied before counts for nothing.
                found: if found == Found::Folder {
                    Found::Nothing
                } else {
                    found
                },
                change,
            }),
            Some(what) => in_the_way.push(Conflict {
                path: change.path,
                kind: ConflictKind::InTheWay,
                what,
                hunks: None,
            }),
        }
    }
    Ok(operations)
}

fn hindrance(
    top: &Path,
    change: &RawChange,
    found: &Found,
    gone: &BTreeSet<PathBuf>,
    skipped: &BTreeSet<PathBuf>,
) -> Option<String> {
    if change.after.is_some() {
        let folders = change.path.ancestors().skip(1);
        for folder in folders.filter(|folder| !folder.as_os_str().is_empty()) {
            let Ok(found) = fs::symlink_metadata(top.join(folder)) else {
                continue;
            };
            // Were it behind a link, it would not be where it seems.
            if kind(&found) != Kind::Folder && !gone.contains(folder) {
                let what = if found.is_symlink() {
                    "a link"
                } else {
                    "a file"
                };
                return Some(format!(
                    "{} is {what}, and would have to be a folder",
                    folder.display()
                ));
            }
        }
    }
    match (&change.before, found) {
        (None, Found::Nothing) | (Some(_), Found::File { .. } | Found::Link { .. }) => None,
        (Some(_), Found::Nothing) if skipped.contains(&change.path) => None,
        (None, Found::Folder) if emptied(top, &change.path, gone) => None,
        (_, Found::Folder) => Some("a folder with files in it is there".to_owned()),
        (None, Found::File { .. } | Found::Link { .. }) => {
            Some("a file that git ignores or can't read is there, and would be lost".to_owned())
        }
        (_, Found::Other) => Some("something that is no file is there".to_owned()),
        (Some(_), Found::Nothing) => Some("it has just been removed".to_owned()),
    }
}

/// Whether all that a folder holds is going to be removed.
fn emptied(top: &Path, folder: &Path, gone: &BTreeSet<PathBuf>) -> bool {
    let Ok(entries) = fs::read_dir(top.join(folder)) else {
        return false;
    };
    entries.flatten().all(|entry| {
        let path = folder.join(entry.file_name());
        match kind_beneath(top, &path) {
            Kind::Folder => emptied(top, &path, gone),
            _ => gone.contains(&path),
        }
    })
}
