//! A working tree as a git tree, without touching its index: what is tracked, changed, untracked and
//! not ignored.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bytes::{self, records};
use crate::disk::{Kind, beside, kind_beneath, readable};
use crate::error::{Fault, SnapshotError};
use crate::git::Git;
use crate::place::Place;
use crate::repository::Repository;
use crate::snapshot::{LeftOut, Limits, Reason};

/// With whose configuration a working tree is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Eyes<'a> {
    /// The person's repository, as the person's own git sees it: with filter programs.
    Person(&'a Repository),
    /// A tree that a child has written: with nobody's, so that nothing is run.
    Vault(&'a Path),
}

impl Eyes<'_> {
    fn git(self, place: &Place, index: &Path) -> Git {
        match self {
            Self::Person(repository) => Git::of_person(place, repository, index),
            Self::Vault(tree) => Git::of_vault_over(place, tree, index),
        }
    }

    fn top(&self) -> &Path {
        match self {
            Self::Person(repository) => &repository.top,
            Self::Vault(tree) => tree,
        }
    }
}

/// A working tree as it is.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// As a git tree.
    pub(crate) tree: String,
    /// What of it is not in there.
    pub(crate) left_out: Vec<LeftOut>,
    /// What is in there and not on the disk, since it is not checked out.
    pub(crate) skipped: Vec<PathBuf>,
}

/// What an index holds.
#[derive(Debug, Default)]
struct Listed {
    skipped: Vec<PathBuf>,
    assumed: Vec<PathBuf>,
    unmerged: BTreeSet<PathBuf>,
    submodules: Vec<PathBuf>,
}

/// Takes the tree that `eyes` look at, by means of the index at `index`, which is ours and changes.
///
/// Nothing below the folders in `besides` is taken.
pub(crate) async fn scan(
    place: &Place,
    eyes: Eyes<'_>,
    index: &Path,
    limits: Option<&Limits>,
    besides: &[PathBuf],
) -> Result<Scanned, SnapshotError> {
    let git = || eyes.git(place, index);
    let top = eyes.top().to_owned();
    let mut listed = list(git()).await?;

    // What git was told to look away from counts as it is. What is not checked out stays so.
    let there: Vec<PathBuf>;
    (there, listed.skipped) = listed
        .skipped
        .into_iter()
        .partition(|path| kind_beneath(&top, path) != Kind::Nothing);
    mark(git(), "--no-skip-worktree", &there).await?;
    mark(git(), "--no-assume-unchanged", &listed.assumed).await?;

    let dirty = git()
        .args(["diff-files", "-z", "--name-only", "--ignore-submodules=all"])
        .output()
        .await?;
    let mut looked_at: BTreeSet<PathBuf> = records(&dirty).map(bytes::path).collect();
    looked_at.extend(there);
    looked_at.extend(listed.assumed);
    looked_at.extend(listed.unmerged.iter().cloned());

    let others = git()
        .args(["ls-files", "-z", "--others", "--exclude-standard"])
        .heard()
        .await?;
    let mut left_out = closed_folders(&others.stderr);
    let mut untracked = BTreeSet::new();
    for record in records(&others.stdout) {
        let path = bytes::path(record.strip_suffix(b"/").unwrap_or(record));
        if besides
            .iter()
            .any(|folder| top.join(&path).starts_with(folder))
        {
            continue;
        }
        if record.ends_with(b"/") {
            left_out.push(LeftOut::new(path, Reason::NestedRepository));
        } else {
            untracked.insert(path);
        }
    }
    if let Some(limits) = limits {
        check_size(&top, &untracked, limits)?;
    }
    looked_at.extend(untracked);
    for path in listed.submodules {
        looked_at.remove(&path);
        left_out.push(LeftOut::new(path, Reason::Submodule));
    }

    let unmerged = listed.unmerged;
    let sorted = beside(move || Ok(sort(&top, looked_at, &unmerged))).await?;
    left_out.extend(sorted.unreadable.into_iter().map(|(path, why)| LeftOut {
        path,
        reason: Reason::Unreadable,
        why: Some(why),
    }));
    if !sorted.gone.is_empty() {
        git()
            .args(["update-index", "--force-remove", "-z", "--stdin"])
            .reading(bytes::listed(sorted.gone.iter().map(PathBuf::as_path)))
            .output()
            .await?;
    }
    add(place, eyes, index, &sorted.there).await?;
    left_out.extend(not_taken(git(), &sorted.there).await?);

    let tree = git().args(["write-tree", "--missing-ok"]).line().await?;
    left_out.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Scanned {
        tree,
        left_out,
        skipped: listed.skipped,
    })
}

/// The paths in an index that are not checked out.
pub(crate) async fn not_checked_out(git: Git) -> Result<Vec<PathBuf>, Fault> {
    Ok(list(git).await?.skipped)
}

async fn list(git: Git) -> Result<Listed, Fault> {
    let output = git.args(["ls-files", "-z", "-s", "-v"]).output().await?;
    let mut listed = Listed::default();
    for record in records(&output) {
        let strange = || Fault::Strange {
            command: "ls-files -s -v".to_owned(),
            answer: bytes::text(record),
        };
        // "H 100644 OID STAGE\tPATH"
        let tab = record.iter().position(|byte| *byte == b'\t');
        let (about, path) = record.split_at(tab.ok_or_else(strange)?);
        let path = bytes::path(&path[1..]);
        let &[tag, b' ', ..] = about else {
            return Err(strange());
        };
        if about[2..].starts_with(b"160000") {
            listed.submodules.push(path);
            continue;
        }
        match tag.to_ascii_uppercase() {
            b'S' => listed.skipped.push(path.clone()),
            b'M' => {
                listed.unmerged.insert(path.clone());
            }
            _ => {}
        }
        if tag.is_ascii_lowercase() {
            listed.assumed.push(path);
        }
    }
    listed.submodules.dedup();
    Ok(listed)
}

async fn mark(git: Git, how: &str, paths: &[PathBuf]) -> Result<(), Fault> {
    if paths.is_empty() {
        return Ok(());
    }
    git.args(["update-index", how, "-z", "--stdin"])
        .reading(bytes::listed(paths.iter().map(PathBuf::as_path)))
        .output()
        .await
        .map(drop)
}

/// The folders that git says it could not look into.
fn closed_folders(stderr: &[u8]) -> Vec<LeftOut> {
    bytes::lines(stderr)
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let rest = line.strip_prefix("warning: could not open directory '")?;
            let (folder, why) = rest.rsplit_once("': ")?;
            Some(LeftOut {
                path: PathBuf::from(folder.trim_end_matches('/')),
                reason: Reason::Unreadable,
                why: Some(why.to_owned()),
            })
        })
        .collect()
}

fn check_size(
    top: &Path,
    untracked: &BTreeSet<PathBuf>,
    limits: &Limits,
) -> Result<(), SnapshotError> {
    let mut bytes = 0;
    let mut largest = (0, None);
    for path in untracked {
        // What is gone by now is of no size.
        let size = fs::symlink_metadata(top.join(path)).map_or(0, |found| found.len());
        bytes += size;
        if size >= largest.0 {
            largest = (size, Some(path));
        }
    }
    match largest.1 {
        Some(path) if bytes > limits.untracked_bytes => Err(SnapshotError::TooLarge {
            top: top.to_owned(),
            bytes,
            limit: limits.untracked_bytes,
            largest: path.clone(),
            largest_bytes: largest.0,
        }),
        _ => Ok(()),
    }
}

/// What to do with paths that may have changed.
#[derive(Debug, Default)]
struct Sorted {
    there: Vec<PathBuf>,
    gone: Vec<PathBuf>,
    unreadable: Vec<(PathBuf, String)>,
}

fn sort(top: &Path, paths: BTreeSet<PathBuf>, unmerged: &BTreeSet<PathBuf>) -> Sorted {
    let mut sorted = Sorted::default();
    for path in paths {
        let whole = top.join(&path);
        let readable = match kind_beneath(top, &path) {
            Kind::Link => Ok(()),
            Kind::File => readable(&whole).map_err(|why| why.to_string()),
            Kind::Other => Err("it is neither a file nor a link".to_owned()),
            Kind::Nothing | Kind::Folder => {
                sorted.gone.push(path);
                continue;
            }
        };
        match readable {
            Ok(()) => sorted.there.push(path),
            Err(why) => {
                // No tree can be made of an index with unmerged paths.
                if unmerged.contains(&path) {
                    sorted.gone.push(path.clone());
                }
                sorted.unreadable.push((path, why));
            }
        }
    }
    sorted
}

/// Takes files into the index, and their content into the vault.
async fn add(
    place: &Place,
    eyes: Eyes<'_>,
    index: &Path,
    paths: &[PathBuf],
) -> Result<(), SnapshotError> {
    if paths.is_empty() {
        return Ok(());
    }
    let update = |paths: &[PathBuf]| {
        eyes.git(place, index)
            .args([
                "update-index",
                "--add",
                "--remove",
                "--replace",
                "-z",
                "--stdin",
            ])
            .reading(bytes::listed(paths.iter().map(PathBuf::as_path)))
            .output()
    };
    let Err(fault) = update(paths).await else {
        return Ok(());
    };
    match (eyes, fault) {
        (Eyes::Person(_), Fault::Git { stderr, .. }) if stderr.contains("filter") => {
            Err(SnapshotError::Filter { stderr })
        }
        (Eyes::Vault(tree), Fault::Git { .. }) => {
            // A child may have written attributes that its files don't fit, like an encoding.
            for path in paths {
                if update(std::slice::from_ref(path)).await.is_err() {
                    add_raw(place, tree, index, path).await?;
                }
            }
            Ok(())
        }
        (_, fault) => Err(fault.into()),
    }
}

/// Those of the files that git has not taken into the index, without a word: names that are some repository's own on
/// another system.
async fn not_taken(git: Git, paths: &[PathBuf]) -> Result<Vec<LeftOut>, Fault> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let listed = git.args(["ls-files", "-z"]).output().await?;
    let taken: std::collections::HashSet<PathBuf> = records(&listed).map(bytes::path).collect();
    let left = paths.iter().filter(|path| !taken.contains(*path));
    Ok(left
        .map(|path| LeftOut {
            path: path.clone(),
            reason: Reason::Unreadable,
            why: Some("git takes no file of this name, or it went just now".to_owned()),
        })
        .collect())
}

/// The files that are otherwise than when a tree was taken by means of this index.
pub(crate) async fn changed_since(
    place: &Place,
    eyes: Eyes<'_>,
    index: &Path,
) -> Result<BTreeSet<PathBuf>, Fault> {
    let changed = eyes
        .git(place, index)
        .args(["diff-files", "-z", "--name-only", "--ignore-submodules=all"])
        .output()
        .await?;
    Ok(records(&changed).map(bytes::path).collect())
}

/// Takes a file into the index just as its bytes are.
async fn add_raw(place: &Place, tree: &Path, index: &Path, path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt;
    let whole = tree.join(path);
    let Ok(found) = fs::symlink_metadata(&whole) else {
        return Ok(());
    };
    let executable = found.permissions().mode() & 0o100 != 0;
    let oid = Git::of_vault_over(place, tree, index)
        .args(["hash-object", "-w", "--no-filters", "--"])
        .arg(path)
        .line()
        .await?;
    let mode = if executable { "100755" } else { "100644" };
    let mut line = format!("{mode} {oid}\t").into_bytes();
    line.extend(path.as_os_str().as_bytes());
    line.push(0);
    Git::of_vault_over(place, tree, index)
        .args(["update-index", "--add", "--replace", "-z", "--index-info"])
        .reading(line)
        .output()
        .await
        .map(drop)
}
