//! The person's current state as a git tree, taken without touching anything of theirs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bytes::{self, in_json};
use crate::disk::{
    absent, beside, copy_if_there, copy_index_file, make_folder, read_if_there, remove_aside,
    set_changed, write_durably, write_plainly,
};
use crate::error::{Fault, SnapshotError, io_at};
use crate::git::Git;
use crate::place::{Place, Step};
use crate::refs::Refs;
use crate::repository::{Repository, Settings, alternate, setting};
use crate::scan::{Eyes, not_checked_out, scan};

/// How much a snapshot may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most bytes that untracked files may have together.
    pub untracked_bytes: u64,
    /// The most time.
    pub time: Duration,
    /// Folders of which nothing is ever taken, like Brigade's own where the person's home is a
    /// repository.
    pub besides: Vec<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            untracked_bytes: 512 * 1024 * 1024,
            time: Duration::from_secs(5 * 60),
            besides: Vec::new(),
        }
    }
}

/// Another worktree's result, to start from instead of the person's state.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The other worktree, of which the vault is enough.
    pub place: Place,
    /// Its result, as [`collect`](crate::collect) has named it.
    pub result: String,
}

/// Why something is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is a repository of its own.
    NestedRepository,
    /// It is a submodule: which commit it is at is taken, its files are not.
    Submodule,
    /// It can't be read.
    Unreadable,
}

/// Something that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path from the top of the working tree.
    #[serde(with = "in_json")]
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
    /// What the system said, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl LeftOut {
    pub(crate) fn new(path: PathBuf, reason: Reason) -> Self {
        Self {
            path,
            reason,
            why: None,
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (self.reason, &self.why) {
            (Reason::NestedRepository, _) => write!(f, "{path} (a repository of its own)"),
            (Reason::Submodule, _) => write!(f, "{path} (the files of a submodule)"),
            (Reason::Unreadable, None) => write!(f, "{path} (can't be read)"),
            (Reason::Unreadable, Some(why)) => write!(f, "{path} (can't be read: {why})"),
        }
    }
}

/// The state that a child begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The top of the person's working tree.
    #[serde(with = "in_json")]
    pub top: PathBuf,
    /// The directory that was asked for, seen from the top.
    #[serde(with = "in_json")]
    pub prefix: PathBuf,
    /// The state, as git names that tree.
    pub base: String,
    /// A commit of it in the vault, by us.
    pub base_commit: String,
    /// `sha1` or `sha256`.
    pub format: String,
    /// What of the person's state is not in it.
    pub left_out: Vec<LeftOut>,
    /// How many tracked files are not checked out (sparse checkout).
    pub not_checked_out: usize,
    /// The person's objects, which are borrowed.
    #[serde(with = "in_json")]
    pub(crate) objects: PathBuf,
}

/// The names of the vault's records.
pub(crate) mod record {
    pub(crate) const SNAPSHOT: &str = "snapshot.json";
    pub(crate) const REFS: &str = "person-refs";
    pub(crate) const SKIPPED: &str = "not-checked-out";
    pub(crate) const TREE_CONFIG: &str = "tree-config";
    pub(crate) const SPARSE: &str = "tree-sparse-checkout";
    pub(crate) const STASHES: &str = "tree-stashes";
    pub(crate) const PROJECT: &str = "tree-opencode";
}

impl Snapshot {
    /// The directory that was asked for, in the child's tree.
    pub fn directory(&self, place: &Place) -> PathBuf {
        // An empty prefix would leave a slash at the end.
        if self.prefix.as_os_str().is_empty() {
            place.tree()
        } else {
            place.tree().join(&self.prefix)
        }
    }

    /// The snapshot that was taken into a place; none where none was, or not to the end.
    ///
    /// # Errors
    /// When its record can't be read.
    pub fn load(place: &Place) -> Result<Option<Self>, Fault> {
        let path = place.vault().join(record::SNAPSHOT);
        let Some(content) = read_if_there(&path)? else {
            return Ok(None);
        };
        serde_json::from_slice(&content)
            .map(Some)
            .map_err(|why| Fault::Record {
                path,
                why: why.to_string(),
            })
    }
}

/// Takes the state of the repository that holds `directory` into the vault of `place`: uncommitted and
/// untracked files included, ignored ones not. Nothing of the person's is written: not the tree, the
/// index, a ref, a hook or an object.
///
/// Filter programs that the person's configuration names run as they would in `git add`; what they
/// keep beside git (like the objects of LFS) goes where they put it.
///
/// With `from`, the state is another worktree's result, and only the rest (refs, index, configuration)
/// is the person's. A snapshot that is there already, whole, is returned as it is.
///
/// # Errors
/// Outside git, with an old git, when limits are passed, when git or a filter program fails.
pub async fn snapshot(
    directory: &Path,
    place: &Place,
    limits: &Limits,
    from: Option<&Origin>,
    step: &Step,
) -> Result<Snapshot, SnapshotError> {
    if let Some(there) = Snapshot::load(place)? {
        return Ok(there);
    }
    tokio::time::timeout(limits.time, take(directory, place, limits, from, step))
        .await
        .unwrap_or_else(|_| {
            Err(SnapshotError::TooSlow {
                directory: directory.to_owned(),
                limit: limits.time,
            })
        })
}

async fn take(
    directory: &Path,
    place: &Place,
    limits: &Limits,
    from: Option<&Origin>,
    step: &Step,
) -> Result<Snapshot, SnapshotError> {
    let repository = Repository::of(place, directory).await?;
    remove_aside(&place.vault())?;
    // Without a folder for objects git would not take anything for a repository.
    make_folder(&place.vault().join("objects"))?;
    let settings = repository.settings(place).await?;
    make_vault(place, &repository, &settings).await?;
    step("snapshot-vault");

    let person = copy_index(place, &repository).await?;
    step("snapshot-index");

    let ours = place.index("snapshot");
    copy_index_file(&person, &ours)?;
    let mut besides = limits.besides.clone();
    besides.push(place.root().to_owned());
    let (base, left_out, skipped) = match from {
        None => {
            let eyes = Eyes::Person(&repository);
            let scanned = scan(place, eyes, &ours, Some(limits), &besides).await?;
            (scanned.tree, scanned.left_out, scanned.skipped)
        }
        Some(origin) => {
            let left_out = take_over(place, origin).await?;
            let git = Git::of_vault_over(place, &place.nowhere(), &ours);
            (origin.result.clone(), left_out, not_checked_out(git).await?)
        }
    };
    step("snapshot-objects");

    let base_commit = commit(place, &base, &[]).await?;
    keep(place, "refs/brigade/base", &base_commit).await?;
    write_durably(
        &place.vault().join(record::SKIPPED),
        &bytes::listed(skipped.iter().map(PathBuf::as_path)),
    )?;
    step("snapshot-tree");

    let taken = Snapshot {
        top: repository.top,
        prefix: repository.prefix,
        base,
        base_commit,
        format: repository.format,
        left_out,
        not_checked_out: skipped.len(),
        objects: repository.objects,
    };
    let path = place.vault().join(record::SNAPSHOT);
    let json = serde_json::to_vec_pretty(&taken).map_err(|why| Fault::Record {
        path: path.clone(),
        why: why.to_string(),
    })?;
    write_durably(&path, &json)?;
    step("snapshot-record");
    Ok(taken)
}

/// A commit of a tree, by us, in the vault.
pub(crate) async fn commit(place: &Place, tree: &str, parents: &[&str]) -> Result<String, Fault> {
    let mut git = Git::of_vault(place).args(["commit-tree", "-m", "Brigade", tree]);
    for parent in parents {
        git = git.args(["-p", *parent]);
    }
    git.line().await
}

/// Has a name in the vault keep an object.
pub(crate) async fn keep(place: &Place, name: &str, object: &str) -> Result<(), Fault> {
    Git::of_vault(place)
        .args(["update-ref", name, object])
        .output()
        .await
        .map(drop)
}

/// Makes the vault: a git directory with a configuration of ours, and copies of what the child's own
/// git directory is going to be made of.
async fn make_vault(
    place: &Place,
    repository: &Repository,
    settings: &Settings,
) -> Result<(), Fault> {
    let vault = place.vault();
    for folder in ["objects/info", "objects/pack", "refs", "info", "nowhere"] {
        make_folder(&vault.join(folder))?;
    }
    write_plainly(&vault.join("HEAD"), b"ref: refs/heads/none\n")?;
    write_plainly(
        &vault.join("objects/info/alternates"),
        &alternate(&repository.objects),
    )?;

    let mut config = format(repository, None);
    for (name, value) in settings.files.iter().chain(&settings.paths) {
        config.extend(setting(name, value));
    }
    write_plainly(&vault.join("config"), &config)?;
    write_plainly(
        &vault.join(record::TREE_CONFIG),
        &tree_config(repository, settings),
    )?;

    // What a worktree shares with the others, and what it has for itself.
    let (common, own) = (&repository.common_dir, &repository.git_dir);
    let copies = [
        (common.join("shallow"), "shallow"),
        (common.join("info/exclude"), "info/exclude"),
        (common.join("info/attributes"), "info/attributes"),
        (own.join("info/sparse-checkout"), record::SPARSE),
        (common.join("logs/refs/stash"), record::STASHES),
        (common.join("opencode"), record::PROJECT),
    ];
    for (from, to) in copies {
        copy_if_there(&from, &vault.join(to))?;
    }
    let refs = Refs::of_person(place, repository).await?;
    write_plainly(&vault.join(record::REFS), refs.to_text().as_bytes())
}

/// How the repository's own format is written, which git takes from no included file.
fn format(repository: &Repository, partial_clone: Option<&[u8]>) -> Vec<u8> {
    let sha256 = repository.format == "sha256";
    let version: &[u8] = if sha256 || partial_clone.is_some() {
        b"1"
    } else {
        b"0"
    };
    let mut config = setting("core.repositoryformatversion", version);
    if sha256 {
        config.extend(setting("extensions.objectFormat", b"sha256"));
    }
    if let Some(remote) = partial_clone {
        config.extend(setting("extensions.partialClone", remote));
    }
    config
}

/// The configuration of the child's git directory: the person's, and after it what must be otherwise.
fn tree_config(repository: &Repository, settings: &Settings) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let mut config = format(repository, settings.partial_clone.as_deref());
    let mut include = |path: PathBuf| {
        config.extend(setting("include.path", path.as_os_str().as_bytes()));
    };
    include(repository.common_dir.join("config"));
    if settings.own_per_worktree {
        include(repository.git_dir.join("config.worktree"));
    }
    let ours: [(&str, &[u8]); 7] = [
        ("core.bare", b"false"),
        ("core.hooksPath", b"/dev/null"),
        ("core.fsmonitor", b"false"),
        ("core.untrackedCache", b"false"),
        ("core.splitIndex", b"false"),
        ("gc.auto", b"0"),
        ("maintenance.auto", b"false"),
    ];
    for (name, value) in ours {
        config.extend(setting(name, value));
    }
    // Conditions on the place of the repository hold for the person's, and not for this one.
    for (name, value) in settings.identity.iter().chain(&settings.paths) {
        config.extend(setting(name, value));
    }
    config
}

/// A copy of the person's index, whole: neither split nor sparse.
async fn copy_index(place: &Place, repository: &Repository) -> Result<PathBuf, Fault> {
    let copy = place.index("person");
    copy_index_to(place, repository, &copy).await?;
    Ok(copy)
}

pub(crate) async fn copy_index_to(
    place: &Place,
    repository: &Repository,
    copy: &Path,
) -> Result<(), Fault> {
    let git = || Git::of_vault_over(place, &place.nowhere(), copy);
    let Some(changed) = copy_index_file(&repository.index, copy)? else {
        git().args(["read-tree", "--empty"]).output().await?;
        return Ok(());
    };
    // A split index names its shared part, which git looks for in its own directory.
    let shared = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"sharedindex.");
    let entries =
        fs::read_dir(&repository.git_dir).map_err(io_at("reading", &repository.git_dir))?;
    let mut copied = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_at("reading", &repository.git_dir))?;
        if shared(&entry.file_name()) {
            let to = place.vault().join(entry.file_name());
            copy_if_there(&entry.path(), &to)?;
            copied.push(to);
        }
    }
    git()
        .args(["update-index", "--no-split-index", "--force-write-index"])
        .output()
        .await?;
    // Git was not shown the files, and has doubted nothing.
    set_changed(copy, changed)?;
    for part in copied {
        fs::remove_file(&part).map_err(io_at("removing", &part))?;
    }
    Ok(())
}

/// Takes the objects of another worktree over, so that the two don't depend on each other, and what it
/// has left out itself.
async fn take_over(place: &Place, origin: &Origin) -> Result<Vec<LeftOut>, SnapshotError> {
    let no_origin = || SnapshotError::NoOrigin {
        result: origin.result.clone(),
        vault: origin.place.vault(),
    };
    let theirs = Snapshot::load(&origin.place)?.ok_or_else(no_origin)?;
    let (from, to) = (origin.place.vault(), place.vault());
    beside(move || copy_objects(&from.join("objects"), &to.join("objects"))).await?;
    let whole = Git::of_vault(place)
        .args(["cat-file", "-e"])
        .arg(format!("{}^{{tree}}", origin.result))
        .said()
        .await?;
    if whole.code == Some(0) {
        Ok(theirs.left_out)
    } else {
        Err(no_origin())
    }
}

/// Copies objects, by link where that can be: they never change.
fn copy_objects(from: &Path, to: &Path) -> Result<(), Fault> {
    let folders = fs::read_dir(from).map_err(io_at("reading", from))?;
    for folder in folders {
        let folder = folder.map_err(io_at("reading", from))?;
        let name = folder.file_name();
        // `info` names where else objects are, which is known.
        if name == "info" || !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let into = to.join(&name);
        make_folder(&into)?;
        for file in fs::read_dir(folder.path()).map_err(io_at("reading", &folder.path()))? {
            let file = file.map_err(io_at("reading", &folder.path()))?;
            let copy = into.join(file.file_name());
            if file.file_name().as_encoded_bytes().starts_with(b"tmp_") || copy.exists() {
                continue;
            }
            match fs::hard_link(file.path(), &copy) {
                Err(why) if absent(&why) => return Err(io_at("copying", &file.path())(why)),
                Err(_) => {
                    fs::copy(file.path(), &copy).map_err(io_at("copying", &file.path()))?;
                }
                Ok(()) => {}
            }
        }
    }
    Ok(())
}
