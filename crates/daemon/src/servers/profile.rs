//! What a server of our own is kept from changing, and which such server a delegation needs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use brigade_agents::opencode::Confine;
use brigade_core::delegation::{Confinement, Spec};
use brigade_os::confine::NotAvailable;

use crate::config;

/// How long a worktree's server stays that nothing needs. Nobody else can use it, and others may wait for its place.
const LINGER: Duration = Duration::from_secs(10);
/// The folder in a worktree's own that its work is in.
const TREE: &str = "tree";
/// The one for temporary files.
const TEMPORARY: &str = "tmp";

/// What a server of our own is kept from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Profile {
    /// Nothing beyond what the host itself enforces.
    Open,
    /// The kernel has it change only this worktree, by the folder that holds it.
    Worktree(PathBuf),
    /// The kernel has it change no project at all.
    ReadOnly,
}

impl Profile {
    /// What confines such a server, of which `own` is a folder for it alone. Worktrees' may write to `also` besides.
    pub(super) fn confine(&self, own: &Path, also: &[PathBuf]) -> Option<Confine> {
        match self {
            Profile::Open => None,
            Profile::Worktree(root) => Some(Confine {
                folders: vec![root.join(TREE)],
                also: also.to_owned(),
                temporary: root.join(TEMPORARY),
            }),
            Profile::ReadOnly => Some(Confine {
                folders: Vec::new(),
                also: Vec::new(),
                temporary: own.to_owned(),
            }),
        }
    }

    /// Whether it is one of those of which there are only a few at once.
    pub(super) fn is_limited(&self) -> bool {
        matches!(self, Profile::Worktree(_))
    }

    /// How long such a server stays that nothing needs; none for as long as the daemon.
    pub(super) fn linger(&self, config: &config::Server) -> Option<Duration> {
        if self.is_limited() {
            Some(config.linger.map_or(LINGER, |linger| linger.min(LINGER)))
        } else {
            config.linger
        }
    }
}

/// As it stands on record.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Profile::Open => f.write_str("open"),
            Profile::Worktree(root) => write!(f, "worktree {}", root.display()),
            Profile::ReadOnly => f.write_str("read-only"),
        }
    }
}

/// The text is no profile.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no profile of a server")]
pub(crate) struct NoProfile(String);

impl FromStr for Profile {
    type Err = NoProfile;

    fn from_str(text: &str) -> Result<Self, NoProfile> {
        match text {
            "open" => Ok(Profile::Open),
            "read-only" => Ok(Profile::ReadOnly),
            _ => match text.strip_prefix("worktree ") {
                Some(root) => Ok(Profile::Worktree(PathBuf::from(root))),
                None => Err(NoProfile(text.to_owned())),
            },
        }
    }
}

/// The profile of the server that a delegation runs on, and what the record is to say of it, if anything.
pub(super) fn profile_of(
    spec: &Spec,
    config: &config::Server,
    kernel: &Result<u32, NotAvailable>,
) -> (Profile, Option<Confinement>) {
    let rules = |why: String| (Profile::Open, Some(Confinement::Rules { why }));
    let profile = match &spec.worktree {
        Some(worktree) if !worktree.confine => {
            return rules("the configuration wants it so".to_owned());
        }
        Some(worktree) => match root_of(&worktree.directory, worktree.id.as_str()) {
            Some(root) => Profile::Worktree(root),
            None => return rules(format!("{} is no worktree's folder", worktree.directory)),
        },
        None if config.confine_read_only => Profile::ReadOnly,
        None => return (Profile::Open, None),
    };
    match kernel {
        Ok(abi) => (profile, Some(Confinement::Kernel { abi: *abi })),
        Err(why) => rules(why.to_string()),
    }
}

/// The folder that holds a worktree: it bears the worktree's name, and the tree in it holds the directory.
fn root_of(directory: &str, id: &str) -> Option<PathBuf> {
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|own| own == name);
    Path::new(directory)
        .ancestors()
        .filter(|path| named(path, TREE))
        .filter_map(Path::parent)
        .find(|root| named(root, id))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_they_are_written() {
        for profile in [
            Profile::Open,
            Profile::ReadOnly,
            Profile::Worktree("/w/a b".into()),
        ] {
            let read: Profile = profile.to_string().parse().unwrap();
            assert_eq!(read, profile);
        }
        assert!("else".parse::<Profile>().is_err());
    }

    #[test]
    fn a_worktrees_folder_is_the_one_that_bears_its_name() {
        let root = |directory| root_of(directory, "brave-amber-otter");
        let own = Some(PathBuf::from("/w/brave-amber-otter"));
        assert_eq!(root("/w/brave-amber-otter/tree"), own);
        // Folders of the project may be called so, too.
        assert_eq!(root("/w/brave-amber-otter/tree/src/tree/x"), own);
        assert_eq!(root("/w/brave-amber-otter/src"), None);
        assert_eq!(root("/w/other/tree"), None);
    }
}
