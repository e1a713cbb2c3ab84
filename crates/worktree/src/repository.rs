//! The person's repository: where its parts are, and what of its configuration matters to us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bytes;
use crate::error::{Fault, SnapshotError};
use crate::git::{Git, check_version};
use crate::place::Place;

/// The repository that holds a directory.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    /// The top of the working tree.
    pub(crate) top: PathBuf,
    /// The directory, seen from the top.
    pub(crate) prefix: PathBuf,
    /// The working tree's git directory: of a linked worktree its own.
    pub(crate) git_dir: PathBuf,
    /// The git directory that all of its worktrees share.
    pub(crate) common_dir: PathBuf,
    /// Where its objects are.
    pub(crate) objects: PathBuf,
    /// Its index, which need not exist.
    pub(crate) index: PathBuf,
    /// `sha1` or `sha256`.
    pub(crate) format: String,
}

/// What of the person's configuration decides how files become objects and back.
const COPIED: [&str; 10] = [
    "core.autocrlf",
    "core.eol",
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.protecthfs",
    "core.protectntfs",
    "core.bigfilethreshold",
    "core.checkroundtripencoding",
];

impl Repository {
    /// Finds the repository of a directory.
    pub(crate) async fn of(place: &Place, directory: &Path) -> Result<Self, SnapshotError> {
        check_version(place).await?;
        if !directory.is_dir() {
            return Err(SnapshotError::NotGit {
                directory: directory.to_owned(),
                why: "there is no such directory".to_owned(),
            });
        }
        let is_copy = |path: &Path| {
            let below = |root: &Path| path.canonicalize().is_ok_and(|path| path.starts_with(root));
            place.all().is_some_and(|all| below(&all))
        };
        let in_copy = || SnapshotError::InCopy {
            directory: directory.to_owned(),
        };
        if is_copy(directory) {
            return Err(in_copy());
        }
        let asked = [
            "rev-parse",
            "--path-format=absolute",
            "--show-toplevel",
            "--absolute-git-dir",
            "--git-common-dir",
            "--git-path",
            "objects",
            "--git-path",
            "index",
            "--show-object-format",
            "--show-prefix",
        ];
        let said = Git::within(place, directory).args(asked).said().await?;
        if said.code != Some(0) {
            let why = bytes::text(&said.stderr);
            return Err(SnapshotError::NotGit {
                directory: directory.to_owned(),
                why: why.strip_prefix("fatal: ").unwrap_or(&why).to_owned(),
            });
        }
        let lines: Vec<&[u8]> = said.stdout.split(|byte| *byte == b'\n').collect();
        // The last line end makes an empty part; a path with a line end in it would make one more.
        let [top, git_dir, common_dir, objects, index, format, prefix, _] = lines[..] else {
            return Err(Fault::Strange {
                command: asked.join(" "),
                answer: bytes::text(&said.stdout),
            }
            .into());
        };
        let repository = Self {
            top: bytes::path(top),
            prefix: bytes::path(prefix.strip_suffix(b"/").unwrap_or(prefix)),
            git_dir: bytes::path(git_dir),
            common_dir: bytes::path(common_dir),
            objects: bytes::path(objects),
            index: bytes::path(index),
            format: bytes::text(format),
        };
        // A link, or a file that names a git directory, may have led there.
        let parts = [&repository.top, &repository.git_dir, &repository.common_dir];
        if parts.into_iter().any(|path| is_copy(path)) {
            return Err(in_copy());
        }
        Ok(repository)
    }

    /// The settings that decide how files become objects and back, who commits, and how the
    /// repository is extended.
    pub(crate) async fn settings(&self, place: &Place) -> Result<Settings, Fault> {
        let listed = Git::of_person(place, self, &self.index)
            .args(["config", "-z", "--list"])
            .output()
            .await?;
        let mut all = BTreeMap::new();
        for record in bytes::records(&listed) {
            let mut parts = record.splitn(2, |byte| *byte == b'\n');
            let name = bytes::text(parts.next().unwrap_or_default());
            // A name without a value means that it is so.
            let value = parts.next().unwrap_or(b"true").to_vec();
            all.insert(name, value);
        }
        // Where git is told a value by us, it is not the person's.
        let files = COPIED
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), all.get(*name)?.clone())))
            .collect();
        let mut paths = Vec::new();
        for name in ["core.excludesFile", "core.attributesFile"] {
            if all.contains_key(&name.to_ascii_lowercase()) {
                let value = Git::of_person(place, self, &self.index)
                    .args(["config", "-z", "--type=path", "--get", name])
                    .output()
                    .await?;
                let value = value.strip_suffix(&[0]).unwrap_or(&value).to_vec();
                paths.push((name.to_owned(), value));
            }
        }
        let is = |name: &str| all.get(name).is_some_and(|value| value == b"true");
        let value = |name: &str| all.get(name).cloned();
        Ok(Settings {
            files,
            paths,
            identity: ["user.name", "user.email"]
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), value(name)?)))
                .collect(),
            partial_clone: value("extensions.partialclone"),
            own_per_worktree: is("extensions.worktreeconfig"),
        })
    }
}

/// What of the person's configuration matters.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How files become objects and back.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// The person's own lists of what to ignore and of attributes.
    pub(crate) paths: Vec<(String, Vec<u8>)>,
    /// Who commits.
    pub(crate) identity: Vec<(String, Vec<u8>)>,
    /// The remote that a partial clone fetches from.
    pub(crate) partial_clone: Option<Vec<u8>>,
    /// Whether each worktree has a configuration of its own.
    pub(crate) own_per_worktree: bool,
}

/// A line of a git configuration, whatever the value holds.
pub(crate) fn setting(name: &str, value: &[u8]) -> Vec<u8> {
    let (section, key) = name.split_once('.').unwrap_or((name, ""));
    let mut text = format!("[{section}]\n\t{key} = \"").into_bytes();
    for byte in value {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            byte => text.push(*byte),
        }
    }
    text.extend(b"\"\n");
    text
}

/// A path in `objects/info/alternates`.
pub(crate) fn alternate(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let plain = !bytes.starts_with(b"\"") && !bytes.starts_with(b"#") && !bytes.contains(&b'\n');
    let mut line = Vec::new();
    if plain {
        line.extend(bytes);
    } else {
        line.push(b'"');
        for byte in bytes {
            match byte {
                b'"' | b'\\' => line.extend([b'\\', *byte]),
                b'\n' => line.extend(b"\\n"),
                byte => line.push(*byte),
            }
        }
        line.push(b'"');
    }
    line.push(b'\n');
    line
}
