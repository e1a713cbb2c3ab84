//! A person's repository, and the worktree of one delegation beside it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use brigade_worktree::{
    Built, Collected, Limits, Place, Snapshot, build, collect, no_step, snapshot,
};

pub(crate) struct Rig {
    folder: tempfile::TempDir,
}

impl Rig {
    /// A repository with one commit of `kept`, `changed`, `deleted` and `sub/inner`.
    pub(crate) fn new() -> Self {
        let rig = Self::empty(&[]);
        rig.write("kept", "kept\n");
        rig.write("changed", "one\ntwo\nthree\n");
        rig.write("deleted", "deleted\n");
        rig.write("sub/inner", "inner\n");
        rig.write(".gitignore", "ignored\n*.log\n");
        rig.commit("first");
        rig
    }

    /// A repository without a commit.
    pub(crate) fn empty(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "repo", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let rig = Self { folder };
        let mut init = vec!["init", "-q", "-b", "main"];
        init.extend(options);
        rig.git(&init);
        rig.git(&["config", "user.name", "Person"]);
        rig.git(&["config", "user.email", "person@example.com"]);
        rig
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn top(&self) -> PathBuf {
        self.path().join("repo")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("HOME".to_owned(), self.home().to_str().unwrap().to_owned()),
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
        ])
    }

    /// The worktree of a delegation with this name.
    pub(crate) fn place(&self, name: &str) -> Place {
        Place::new(self.path().join("work").join(name)).with_environment(self.environment())
    }

    pub(crate) fn command_in(&self, directory: &Path, arguments: &[&str]) -> Output {
        Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .envs(self.environment())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_DATE", "@1700000000 +0000")
            .env("GIT_COMMITTER_DATE", "@1700000000 +0000")
            .output()
            .unwrap()
    }

    pub(crate) fn git_in(&self, directory: &Path, arguments: &[&str]) -> String {
        let output = self.command_in(directory, arguments);
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.top(), arguments)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        put(&self.top(), path, content);
    }

    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    pub(crate) async fn take(&self, place: &Place) -> Snapshot {
        self.take_from(place, &self.top()).await
    }

    pub(crate) async fn take_from(&self, place: &Place, directory: &Path) -> Snapshot {
        snapshot(directory, place, &Limits::default(), None, &no_step())
            .await
            .unwrap()
    }

    /// A snapshot with its tree.
    pub(crate) async fn begin(&self, place: &Place) -> Snapshot {
        let taken = self.take(place).await;
        built(place, &taken).await;
        taken
    }

    /// What git says is wrong with the person's repository.
    pub(crate) fn check(&self) {
        self.git(&["fsck", "--full", "--strict", "--no-dangling"]);
    }
}

pub(crate) async fn built(place: &Place, taken: &Snapshot) -> Built {
    build(place, taken, &no_step()).await.unwrap()
}

pub(crate) async fn collected(place: &Place, taken: &Snapshot) -> Collected {
    collect(place, taken, &no_step()).await.unwrap()
}

pub(crate) fn put(top: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = top.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn link(top: &Path, path: &str, to: &str) {
    symlink(to, top.join(path)).unwrap();
}

pub(crate) fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// All below a folder, byte for byte: kind and mode, and content or where a link leads. Times are left
/// out, and the folder's own `.git` where that is wanted.
pub(crate) fn everything(top: &Path, with_git: bool) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    fn add(top: &Path, at: &Path, with_git: bool, all: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
        for entry in fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            if !with_git && entry.file_name() == ".git" {
                continue;
            }
            let path = entry.path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if found.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            all.insert(
                path.strip_prefix(top).unwrap().to_owned(),
                (found.mode(), content),
            );
            if found.is_dir() {
                add(top, &path, with_git, all);
            }
        }
    }
    let mut all = BTreeMap::new();
    add(top, top, with_git, &mut all);
    all
}
