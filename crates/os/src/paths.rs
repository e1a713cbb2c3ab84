//! Where Brigade's files are.
//!
//! The places follow the XDG base directories on every system, as OpenCode does, and each can be
//! overridden by an environment variable. The bridge finds the socket by the same rules.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The shortest socket name, in bytes, that some system refuses: macOS holds 104 bytes with the
/// closing NUL.
const SOCKET_NAME_LIMIT: usize = 104;
/// The socket's file name.
const SOCKET: &str = "daemon.sock";

/// Why a place can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Neither `HOME` nor the user database tells.
    #[error(
        "the home folder is unknown: HOME is not set; set it, or set BRIGADE_CONFIG_DIR, BRIGADE_DATA_DIR and the XDG folders"
    )]
    NoHome,
    /// The folder can't be made or looked at.
    #[error("the folder {path} can't be used: {source}; nothing was changed")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is a symbolic link where everybody may place one.
    #[error(
        "{path} is a symbolic link, which another user may have placed there; remove it, or set BRIGADE_RUNTIME_DIR to a folder of your own"
    )]
    Symlink {
        /// The folder.
        path: PathBuf,
    },
    /// It is something else.
    #[error(
        "{path} is no folder; move it away, or choose another place with BRIGADE_RUNTIME_DIR or BRIGADE_DATA_DIR"
    )]
    NotAFolder {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another user.
    #[error(
        "the folder {path} belongs to user {owner}, not to you; choose another place with BRIGADE_RUNTIME_DIR or BRIGADE_DATA_DIR"
    )]
    NotOwned {
        /// The folder.
        path: PathBuf,
        /// Its owner's user ID.
        owner: u32,
    },
    /// Others may write into it.
    #[error(
        "others may write into the folder {path} (mode {mode:o}); close it with: chmod go-w {path}"
    )]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Brigade's places, and those of OpenCode's that it writes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The person's home folder.
    pub home: PathBuf,
    /// `$XDG_CONFIG_HOME/brigade`, or `BRIGADE_CONFIG_DIR`.
    pub config: PathBuf,
    /// `$XDG_DATA_HOME/brigade`, or `BRIGADE_DATA_DIR`.
    pub data: PathBuf,
    /// `$XDG_RUNTIME_DIR/brigade`, or `BRIGADE_RUNTIME_DIR`, or a folder of the user's in the
    /// temporary folder.
    pub runtime: PathBuf,
    /// `$XDG_CONFIG_HOME/opencode`.
    pub opencode_config: PathBuf,
    /// `$XDG_DATA_HOME/opencode`: the artifacts are in `delegations` there.
    pub opencode_data: PathBuf,
    /// The user's folder in the temporary folder, whether it is used or not.
    temp: PathBuf,
}

impl Dirs {
    /// The places as this process's environment has them.
    ///
    /// # Errors
    /// When no home folder is known and it is needed.
    pub fn from_env() -> Result<Self, PathError> {
        let lookup = |name: &str| std::env::var_os(name);
        Self::from_lookup(lookup, std::env::home_dir(), crate::user_id())
    }

    /// The places as an environment has them, given as a look-up of its variables; `home` is used
    /// where `HOME` is not set, `uid` names the folder in the temporary folder.
    ///
    /// # Errors
    /// When no home folder is known and it is needed.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        uid: u32,
    ) -> Result<Self, PathError> {
        let set = |name: &str| {
            lookup(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        // The XDG specification has relative values ignored.
        let xdg = |name: &str| set(name).filter(|path| path.is_absolute());
        let own = |name: &str| {
            set(name)
                .map(|path| {
                    std::path::absolute(&path).map_err(|source| PathError::Io { path, source })
                })
                .transpose()
        };
        let home = set("HOME").or(home).filter(|path| path.is_absolute());
        let below_home = |rest: &str| {
            home.as_ref()
                .map(|home| home.join(rest))
                .ok_or(PathError::NoHome)
        };

        let config_home = xdg("XDG_CONFIG_HOME").map_or_else(|| below_home(".config"), Ok)?;
        let data_home = xdg("XDG_DATA_HOME").map_or_else(|| below_home(".local/share"), Ok)?;
        let temp = ["TMPDIR", "TMP", "TEMP"]
            .into_iter()
            .find_map(set)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| PathBuf::from("/tmp"))
            .join(format!("brigade-{uid}"));
        let runtime = match own("BRIGADE_RUNTIME_DIR")? {
            Some(path) => path,
            None => {
                xdg("XDG_RUNTIME_DIR").map_or_else(|| temp.clone(), |path| path.join("brigade"))
            }
        };
        // One folder has one name, as the bridge writes it: no doubled or closing slashes.
        let runtime = runtime.components().collect();
        Ok(Self {
            config: own("BRIGADE_CONFIG_DIR")?.unwrap_or_else(|| config_home.join("brigade")),
            data: own("BRIGADE_DATA_DIR")?.unwrap_or_else(|| data_home.join("brigade")),
            runtime,
            opencode_config: config_home.join("opencode"),
            opencode_data: data_home.join("opencode"),
            home: home.unwrap_or_else(|| PathBuf::from("/")),
            temp,
        })
    }

    /// The person's config file.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.data.join("brigade.db")
    }

    /// The folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// The folder of the worktrees.
    pub fn worktrees(&self) -> PathBuf {
        self.data.join("worktrees")
    }

    /// The lock that makes the daemon the only one.
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("daemon.lock")
    }

    /// The daemon's socket: in the runtime folder, or where that makes too long a name in a folder
    /// under the temporary one that is called after it.
    pub fn socket(&self) -> PathBuf {
        self.socket_dir().join(SOCKET)
    }

    /// The folder of the socket.
    pub fn socket_dir(&self) -> PathBuf {
        let path = self.runtime.as_os_str();
        if path.len() + 1 + SOCKET.len() < SOCKET_NAME_LIMIT {
            return self.runtime.clone();
        }
        let digest = Sha256::digest(path.as_bytes());
        let name: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.temp.join(name)
    }

    /// Makes the folders of socket and lock, for the user alone.
    ///
    /// # Errors
    /// When a folder can't be made or isn't the user's alone.
    pub fn prepare_runtime(&self) -> Result<(), PathError> {
        let socket_dir = self.socket_dir();
        for dir in [&self.runtime, &socket_dir] {
            if dir.starts_with(&self.temp) {
                // Everybody may write into the temporary folder: whatever stands there is looked at
                // before it is followed.
                ensure_folder(&self.temp, Links::Refused)?;
                ensure_folder(dir, Links::Refused)?;
            } else {
                ensure_folder(dir, Links::Followed)?;
            }
        }
        Ok(())
    }
}

/// Whether a symbolic link to a folder will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

/// Makes a folder with mode 0700, with its parents, unless it is there. One that is there stays as
/// it is, and has to be the user's own and closed to other users' writing.
///
/// # Errors
/// When it can't be made, is no folder, or is open to others.
pub fn ensure_private_dir(path: &Path) -> Result<(), PathError> {
    ensure_folder(path, Links::Followed)
}

fn ensure_folder(path: &Path, links: Links) -> Result<(), PathError> {
    let io = |source| PathError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let mut metadata = fs::symlink_metadata(path).map_err(io)?;
    let path = path.to_owned();
    if metadata.is_symlink() {
        if links == Links::Refused {
            return Err(PathError::Symlink { path });
        }
        metadata = fs::metadata(&path).map_err(|source| PathError::Io {
            path: path.clone(),
            source,
        })?;
    }
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_dir() {
        Err(PathError::NotAFolder { path })
    } else if metadata.uid() != crate::user_id() {
        let owner = metadata.uid();
        Err(PathError::NotOwned { path, owner })
    } else if mode & 0o022 != 0 {
        Err(PathError::Open { path, mode })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs(vars: &[(&str, &str)]) -> Dirs {
        let lookup = |name: &str| {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Dirs::from_lookup(lookup, None, 1000).unwrap()
    }

    #[test]
    fn defaults_hang_below_home_and_the_temporary_folder() {
        let dirs = dirs(&[("HOME", "/home/x")]);
        assert_eq!(
            dirs.config_file(),
            Path::new("/home/x/.config/brigade/config.toml")
        );
        assert_eq!(
            dirs.store(),
            Path::new("/home/x/.local/share/brigade/brigade.db")
        );
        assert_eq!(dirs.logs(), Path::new("/home/x/.local/share/brigade/logs"));
        assert_eq!(
            dirs.opencode_data,
            Path::new("/home/x/.local/share/opencode")
        );
        assert_eq!(dirs.opencode_config, Path::new("/home/x/.config/opencode"));
        assert_eq!(dirs.socket(), Path::new("/tmp/brigade-1000/daemon.sock"));
        assert_eq!(dirs.lock(), Path::new("/tmp/brigade-1000/daemon.lock"));
    }

    #[test]
    fn xdg_folders_count_unless_relative_or_empty() {
        let dirs = dirs(&[
            ("HOME", "/home/x"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_DATA_HOME", "relative"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
            ("TMPDIR", ""),
        ]);
        assert_eq!(dirs.config, Path::new("/c/brigade"));
        assert_eq!(dirs.data, Path::new("/home/x/.local/share/brigade"));
        assert_eq!(
            dirs.socket(),
            Path::new("/run/user/1000/brigade/daemon.sock")
        );
    }

    #[test]
    fn brigades_own_variables_win() {
        let dirs = dirs(&[
            ("HOME", "/home/x"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
            ("BRIGADE_CONFIG_DIR", "/b/config"),
            ("BRIGADE_DATA_DIR", "/b/data"),
            ("BRIGADE_RUNTIME_DIR", "/b//run/"),
        ]);
        assert_eq!(dirs.runtime.as_os_str(), "/b/run");
        assert_eq!(dirs.config, Path::new("/b/config"));
        assert_eq!(dirs.store(), Path::new("/b/data/brigade.db"));
        assert_eq!(dirs.socket(), Path::new("/b/run/daemon.sock"));
        // The artifacts are where the host's data is, whatever the store's place.
        assert_eq!(
            dirs.opencode_data,
            Path::new("/home/x/.local/share/opencode")
        );
    }

    #[test]
    fn without_a_home_the_places_are_unknown() {
        let result = Dirs::from_lookup(|_| None, None, 1000);
        assert!(matches!(result, Err(PathError::NoHome)));
        let result = Dirs::from_lookup(|_| None, Some("/from/passwd".into()), 1000);
        assert_eq!(
            result.unwrap().data,
            Path::new("/from/passwd/.local/share/brigade")
        );
    }

    #[test]
    fn too_long_a_socket_name_moves_to_the_temporary_folder() {
        let with = |length: usize| {
            let run = format!("/{}", "r".repeat(length - 1));
            dirs(&[
                ("HOME", "/h"),
                ("TMPDIR", "/t"),
                ("BRIGADE_RUNTIME_DIR", &run),
            ])
            .socket()
        };
        assert_eq!(with(91).as_os_str().len(), 103);
        assert!(!with(91).starts_with("/t"));
        assert!(with(92).starts_with("/t/brigade-1000"));
        assert_ne!(with(92), with(93), "each runtime folder has its own");
        // printf '/rrr…' (100 bytes) | sha256sum
        let digest = Sha256::digest(format!("/{}", "r".repeat(99)));
        let head: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            with(100),
            Path::new("/t/brigade-1000").join(head).join("daemon.sock")
        );
    }

    fn in_temp(temp: &Path) -> Dirs {
        let temp = temp.to_str().unwrap();
        dirs(&[("HOME", "/h"), ("TMPDIR", temp)])
    }

    #[test]
    fn runtime_folders_are_made_private() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = in_temp(temp.path());
        dirs.prepare_runtime().unwrap();
        dirs.prepare_runtime().unwrap();
        let mode = fs::metadata(&dirs.runtime).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_link_in_the_temporary_folder_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = in_temp(temp.path());
        let elsewhere = temp.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &dirs.runtime).unwrap();
        assert!(matches!(
            dirs.prepare_runtime(),
            Err(PathError::Symlink { .. })
        ));
        // Below the person's own folders a link is their choice.
        ensure_private_dir(&dirs.runtime).unwrap();
    }

    #[test]
    fn a_folder_open_to_others_is_refused_with_its_mend() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = ensure_private_dir(&path).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(
            ensure_private_dir(&file),
            Err(PathError::NotAFolder { .. })
        ));
    }
}
