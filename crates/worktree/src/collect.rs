//! What a child has changed: a tree, a patch, and what is in neither.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::bytes::{self, records};
use crate::commits::{ChildCommits, copy_commits};
use crate::diff::PATCH;
use crate::disk::{Kind, absent, beside, copy_index_file, kind_beneath, remove_pipes, sync_folder};
use crate::error::{CollectError, Fault, SnapshotError, io_at};
use crate::git::Git;
use crate::place::{Place, Step};
use crate::scan::{Eyes, Scanned, scan};
use crate::snapshot::{LeftOut, Reason, Snapshot, commit, keep};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content is another.
    Modified,
    /// It is gone.
    Deleted,
    /// Only whether it can be executed is another.
    Mode,
    /// It is something else now: a link instead of a file, or the other way round.
    Type,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path from the top.
    pub path: PathBuf,
    /// What became of it.
    pub kind: ChangeKind,
    /// Lines added and removed; none where it is binary.
    pub lines: Option<(u64, u64)>,
}

/// What a child has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// What the tree is now, as git names it. It is in the vault.
    pub result: String,
    /// The changed files, by path.
    pub changes: Vec<Change>,
    /// The patch; none where nothing is changed.
    pub patch: Option<PathBuf>,
    /// What the child has left that is not in the patch.
    pub left_out: Vec<LeftOut>,
    /// The commits that it has made.
    pub commits: ChildCommits,
}

impl Collected {
    /// Whether the tree is as it was.
    pub fn is_unchanged(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Collects what the tree is now, against the state that it began with. What was collected before is
/// replaced. Nothing that the child has written is run, whatever its git directory says; that may
/// even be gone, it is the files that count.
///
/// # Errors
/// When there is no tree, or git or the disk fails.
pub async fn collect(
    place: &Place,
    snapshot: &Snapshot,
    step: &Step,
) -> Result<Collected, CollectError> {
    let Scanned {
        tree: result,
        left_out,
        ..
    } = look(place, snapshot).await?;
    step("collect-objects");
    let by_us = commit(place, &result, &[&snapshot.base_commit]).await?;
    keep(place, "refs/brigade/result", &by_us).await?;
    step("collect-tree");

    let changes = changes(place, &snapshot.base, &result).await?;
    pack(
        place,
        &[&snapshot.base_commit, &by_us],
        &snapshot.base,
        &result,
    )
    .await?;
    step("collect-packed");
    let commits = copy_commits(place, snapshot).await?;
    step("collect-commits");

    let patch = place.vault().join("result.patch");
    if changes.is_empty() {
        match fs::remove_file(&patch) {
            Err(why) if !absent(&why) => return Err(io_at("removing", &patch)(why).into()),
            _ => {}
        }
    } else {
        write_patch(place, &snapshot.base, &result, &patch).await?;
    }
    step("collect-patch");
    Ok(Collected {
        result,
        patch: (!changes.is_empty()).then_some(patch),
        changes,
        left_out,
        commits,
    })
}

/// The child's tree as it is, in the vault. What was not in it from the start is not told.
pub(crate) async fn look(place: &Place, snapshot: &Snapshot) -> Result<Scanned, CollectError> {
    let tree = place.tree();
    if !tree.is_dir() {
        return Err(CollectError::NoTree {
            root: place.root().to_owned(),
        });
    }
    let top = tree.clone();
    let repositories = beside(move || remove_pipes(&top)).await?;
    // Each look begins with the index that the tree was built with: it knows which files are unchanged.
    let index = place.index("collect");
    let built = place.index("tree");
    copy_index_file(&built, &index)?;
    let mut scanned = scan(place, Eyes::Vault(&tree), &index, None, &[])
        .await
        .map_err(|error| match error {
            SnapshotError::Fault(fault) => CollectError::Fault(fault),
            // The others are of limits and of filters, of which there are none here.
            other => CollectError::Fault(Fault::Strange {
                command: "update-index".to_owned(),
                answer: other.to_string(),
            }),
        })?;
    // Git does not tell of one that was made in a folder whose files it knows.
    if !repositories.is_empty() {
        let listed = Git::of_vault_over(place, &tree, &index)
            .args(["ls-files", "-z"])
            .output()
            .await?;
        let has_files = |folder: &Path| {
            let mut files = records(&listed);
            files.any(|file| bytes::path(file).starts_with(folder))
        };
        for folder in repositories {
            let told = scanned.left_out.iter().any(|left| left.path == folder);
            if !told && has_files(&folder) {
                scanned
                    .left_out
                    .push(LeftOut::new(folder, Reason::NestedRepository));
            }
        }
        let by_path = |one: &LeftOut, other: &LeftOut| one.path.cmp(&other.path);
        scanned.left_out.sort_by(by_path);
    }
    let top = tree.clone();
    let base: Vec<LeftOut> = snapshot.left_out.clone();
    scanned.left_out = beside(move || {
        let left_out = scanned
            .left_out
            .into_iter()
            .filter(|left| match left.reason {
                // The folder of a submodule was empty.
                Reason::Submodule => !is_empty_folder(&top, &left.path),
                _ => !base.contains(left),
            });
        Ok(left_out.collect())
    })
    .await?;
    Ok(scanned)
}

fn is_empty_folder(top: &Path, path: &Path) -> bool {
    kind_beneath(top, path) == Kind::Folder
        && fs::read_dir(top.join(path)).is_ok_and(|mut entries| entries.next().is_none())
}

/// How two trees differ, by file.
pub(crate) async fn changes(place: &Place, from: &str, to: &str) -> Result<Vec<Change>, Fault> {
    let raw = raw_changes(place, from, to).await?;
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let counted = Git::of_vault(place)
        .args([
            "diff-tree",
            "-r",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
        ])
        .args(["--numstat", from, to])
        .output()
        .await?;
    let mut lines = std::collections::HashMap::new();
    for record in records(&counted) {
        // "ADDED\tREMOVED\tPATH", with dashes for what is binary.
        let mut parts = record.splitn(3, |byte| *byte == b'\t');
        let mut number = || {
            bytes::text(parts.next().unwrap_or_default())
                .parse::<u64>()
                .ok()
        };
        let both = (number(), number());
        if let (Some(added), Some(removed)) = both {
            lines.insert(
                bytes::path(parts.next().unwrap_or_default()),
                (added, removed),
            );
        }
    }
    Ok(raw
        .into_iter()
        .map(|change| Change {
            kind: change.kind(),
            lines: lines.get(&change.path).copied(),
            path: change.path,
        })
        .collect())
}

/// What stands at a path in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) mode: String,
    pub(crate) oid: String,
}

impl Entry {
    pub(crate) fn is_submodule(&self) -> bool {
        self.mode == "160000"
    }

    pub(crate) fn is_link(&self) -> bool {
        self.mode == "120000"
    }

    pub(crate) fn is_executable(&self) -> bool {
        self.mode == "100755"
    }
}

/// How two trees differ at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawChange {
    pub(crate) path: PathBuf,
    pub(crate) before: Option<Entry>,
    pub(crate) after: Option<Entry>,
}

impl RawChange {
    pub(crate) fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Deleted,
            (Some(before), Some(after)) if before.mode[..3] != after.mode[..3] => ChangeKind::Type,
            (Some(before), Some(after)) if before.oid == after.oid => ChangeKind::Mode,
            _ => ChangeKind::Modified,
        }
    }
}

pub(crate) async fn raw_changes(
    place: &Place,
    from: &str,
    to: &str,
) -> Result<Vec<RawChange>, Fault> {
    let output = Git::of_vault(place)
        .args([
            "diff-tree",
            "-r",
            "-z",
            "--raw",
            "--no-renames",
            "--full-index",
            from,
            to,
        ])
        .output()
        .await?;
    let strange = || Fault::Strange {
        command: "diff-tree --raw".to_owned(),
        answer: bytes::text(&output[..output.len().min(200)]),
    };
    let mut parts = records(&output);
    let mut changes = Vec::new();
    // ":MODE MODE OID OID STATUS", then the path.
    while let Some(about) = parts.next() {
        let about = bytes::text(about);
        let mut words = about.trim_start_matches(':').split(' ');
        let (Some(mode), Some(new_mode), Some(oid), Some(new_oid)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(strange());
        };
        let entry = |mode: &str, oid: &str| {
            (mode != "000000").then(|| Entry {
                mode: mode.to_owned(),
                oid: oid.to_owned(),
            })
        };
        changes.push(RawChange {
            path: bytes::path(parts.next().ok_or_else(strange)?),
            before: entry(mode, oid),
            after: entry(new_mode, new_oid),
        });
    }
    Ok(changes)
}

/// Copies what the difference of two trees needs into the vault: all folders, and the changed files of
/// both. The person's repository may lose its own, as soon as nothing there names them any more.
pub(crate) async fn pack(
    place: &Place,
    commits: &[&str],
    from: &str,
    to: &str,
) -> Result<(), Fault> {
    let mut wanted = Vec::new();
    let mut want = |oid: &str| {
        wanted.extend_from_slice(oid.as_bytes());
        wanted.push(b'\n');
    };
    for commit in commits {
        want(commit);
    }
    for tree in [from, to] {
        want(tree);
        let folders = Git::of_vault(place)
            .args(["ls-tree", "-r", "-d", "-z", tree])
            .output()
            .await?;
        for record in records(&folders) {
            // "040000 tree OID\tPATH"
            let about = record
                .split(|byte| *byte == b'\t')
                .next()
                .unwrap_or_default();
            let about = bytes::text(about);
            let mut words = about.split(' ').skip(1);
            if let (Some("tree"), Some(oid)) = (words.next(), words.next()) {
                want(oid);
            }
        }
    }
    for change in raw_changes(place, from, to).await? {
        for entry in [change.before, change.after].into_iter().flatten() {
            if !entry.is_submodule() {
                want(&entry.oid);
            }
        }
    }
    Git::of_vault(place)
        .args(["pack-objects", "--quiet", "--threads=1", "--window=0"])
        .arg(place.vault().join("objects/pack/pack"))
        .reading(wanted)
        .output()
        .await
        .map(drop)
}

async fn write_patch(place: &Place, from: &str, to: &str, patch: &Path) -> Result<(), Fault> {
    let beside = patch.with_extension("patch.new");
    let file = File::create(&beside).map_err(io_at("writing", &beside))?;
    Git::of_vault(place)
        .args(PATCH)
        .args([from, to])
        .into_file(&file)
        .await?;
    file.sync_all().map_err(io_at("writing", &beside))?;
    fs::rename(&beside, patch).map_err(io_at("writing", patch))?;
    sync_folder(&place.vault())
}
