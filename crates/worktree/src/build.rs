//! The child's tree, and the private repository in it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bytes;
use crate::disk::{
    Kind, beside, bytes_on_disk, copy_if_there, copy_index_file, kind_beneath, make_folder,
    read_if_there, remove_aside, sweep, write_plainly,
};
use crate::error::{BuildError, Fault, io_at};
use crate::git::Git;
use crate::place::{Place, Step};
use crate::refs::Refs;
use crate::repository::alternate;
use crate::snapshot::{Snapshot, record};

/// A tree that a child can work in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The bytes that it takes on disk.
    pub bytes: u64,
    /// The submodules, whose folders are empty.
    pub submodules: Vec<PathBuf>,
}

/// Makes the child's tree from the vault, from scratch: whatever was there before is removed.
///
/// Line ends are converted as the person's configuration has it. Filter programs are not run, so a
/// file of LFS is its pointer.
///
/// # Errors
/// When git or the disk fails. Calling it again is safe.
pub async fn build(place: &Place, snapshot: &Snapshot, step: &Step) -> Result<Built, BuildError> {
    rebuild(place, snapshot, &snapshot.base, step).await
}

/// The same with these files, a tree that the vault has: what the work in it had come to.
///
/// # Errors
/// As [`build`].
pub async fn rebuild(
    place: &Place,
    snapshot: &Snapshot,
    files: &str,
    step: &Step,
) -> Result<Built, BuildError> {
    let (tree, tmp) = (place.tree(), place.tmp());
    let (root, old_tree, old_tmp) = (place.root().to_owned(), tree.clone(), tmp.clone());
    beside(move || {
        remove_aside(&old_tree)?;
        remove_aside(&old_tmp)?;
        sweep(&root).map(drop)
    })
    .await?;
    step("build-cleared");
    make_folder(&tmp)?;
    make_folder(&tree)?;

    let index = place.index("tree");
    let git = || Git::of_vault_over(place, &tree, &index);
    git().args(["read-tree", files]).output().await?;
    let listed = git().args(["ls-files", "-z", "-s"]).output().await?;
    let submodules: Vec<PathBuf> = bytes::records(&listed)
        .filter(|record| record.starts_with(b"160000 "))
        .filter_map(|record| Some(bytes::path(record.splitn(2, |byte| *byte == b'\t').nth(1)?)))
        .collect();
    leave_out(place, &listed, &git).await?;
    git()
        .args(["checkout-index", "--all", "--index", "--quiet"])
        .output()
        .await?;
    step("build-files");

    make_git_dir(place, snapshot)?;
    link_host_folders(place, snapshot)?;
    // What the person has staged is in the index, and git is to know that the files are as they are.
    let child_index = tree.join(".git/index");
    copy_index_file(&place.index("person"), &child_index)?;
    let refreshed = Git::of_vault_over(place, &tree, &child_index)
        .args(["update-index", "-q", "--refresh"])
        .said()
        .await?;
    // One means that there are changes, which is no failure.
    if !matches!(refreshed.code, Some(0 | 1)) {
        return Err(refreshed
            .failed("update-index -q --refresh".to_owned())
            .into());
    }
    step("build-repository");

    let bytes = beside(move || Ok(bytes_on_disk(&tree))).await?;
    Ok(Built { bytes, submodules })
}

/// Has what the person has not checked out not checked out here either.
async fn leave_out(place: &Place, listed: &[u8], git: &impl Fn() -> Git) -> Result<(), Fault> {
    let skipped = read_if_there(&place.vault().join(record::SKIPPED))?.unwrap_or_default();
    let there: std::collections::HashSet<&[u8]> = bytes::records(listed)
        .filter_map(|record| record.splitn(2, |byte| *byte == b'\t').nth(1))
        .collect();
    let paths: Vec<PathBuf> = bytes::records(&skipped)
        .filter(|path| there.contains(path))
        .map(bytes::path)
        .collect();
    if paths.is_empty() {
        return Ok(());
    }
    git()
        .args(["update-index", "--skip-worktree", "-z", "--stdin"])
        .reading(bytes::listed(paths.iter().map(PathBuf::as_path)))
        .output()
        .await
        .map(drop)
}

/// Makes the git directory of the tree: all that the person's has, and nothing shared with it but the
/// objects, which are borrowed.
fn make_git_dir(place: &Place, snapshot: &Snapshot) -> Result<(), Fault> {
    let (vault, git_dir) = (place.vault(), place.tree().join(".git"));
    for folder in ["objects/info", "objects/pack", "info", "hooks"] {
        make_folder(&git_dir.join(folder))?;
    }
    let mut alternates = alternate(&vault.join("objects"));
    alternates.extend(alternate(&snapshot.objects));
    write_plainly(&git_dir.join("objects/info/alternates"), &alternates)?;
    let copies = [
        (record::TREE_CONFIG, "config"),
        ("shallow", "shallow"),
        ("info/exclude", "info/exclude"),
        ("info/attributes", "info/attributes"),
        (record::SPARSE, "info/sparse-checkout"),
        (record::STASHES, "logs/refs/stash"),
        (record::PROJECT, "opencode"),
    ];
    for (from, to) in copies {
        copy_if_there(&vault.join(from), &git_dir.join(to))?;
    }
    refs(place)?.write(&git_dir)
}

/// What the person's names pointed to when the snapshot was taken.
pub(crate) fn refs(place: &Place) -> Result<Refs, Fault> {
    let text = read_if_there(&place.vault().join(record::REFS))?.unwrap_or_default();
    Ok(Refs::from_text(&String::from_utf8_lossy(&text)))
}

/// Gives the tree what a host keeps in its `.opencode` folders beside git, so that it installs nothing:
/// a link to the dependencies, and copies of the small files that name them.
fn link_host_folders(place: &Place, snapshot: &Snapshot) -> Result<(), Fault> {
    let mut placed = Vec::new();
    for folder in snapshot.prefix.ancestors() {
        let relative = folder.join(".opencode");
        if kind_beneath(&snapshot.top, &relative) != Kind::Folder {
            continue;
        }
        let free = |name: &str| {
            let path = relative.join(name);
            let parent = kind_beneath(&place.tree(), &relative);
            let empty = kind_beneath(&place.tree(), &path) == Kind::Nothing;
            (empty && matches!(parent, Kind::Folder | Kind::Nothing)).then_some(path)
        };
        for name in [
            "package.json",
            "package-lock.json",
            "bun.lock",
            "bun.lockb",
            ".gitignore",
        ] {
            let Some(path) = free(name) else { continue };
            if kind_beneath(&snapshot.top, &path) == Kind::File
                && copy_if_there(&snapshot.top.join(&path), &place.tree().join(&path))?
            {
                placed.push(path);
            }
        }
        let Some(path) = free("node_modules") else {
            continue;
        };
        // What the person's is, a folder or a link to one, is what is linked to.
        if snapshot.top.join(&path).is_dir() {
            make_folder(&place.tree().join(&relative))?;
            let link = place.tree().join(&path);
            std::os::unix::fs::symlink(snapshot.top.join(&path), &link)
                .map_err(io_at("linking", &link))?;
            placed.push(path);
        }
    }
    exclude(&place.vault(), &place.tree(), &placed)
}

/// Has neither us nor the child take for work what was placed here.
fn exclude(vault: &Path, tree: &Path, placed: &[PathBuf]) -> Result<(), Fault> {
    const MARK: &[u8] = b"\n# Placed by Brigade\n";
    let path = vault.join("info/exclude");
    let mut content = read_if_there(&path)?.unwrap_or_default();
    if let Some(at) = content.windows(MARK.len()).position(|part| part == MARK) {
        content.truncate(at);
    }
    if !placed.is_empty() {
        content.extend(MARK);
    }
    for path in placed {
        content.push(b'/');
        for byte in path.as_os_str().as_bytes() {
            if b"*?[\\ ".contains(byte) {
                content.push(b'\\');
            }
            content.push(*byte);
        }
        content.push(b'\n');
    }
    write_plainly(&path, &content)?;
    write_plainly(&tree.join(".git/info/exclude"), &content)
}
