//! The folder of one worktree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Called with a name between each two durable steps of an operation. The daemon has its fail points
/// there, tests their kills.
pub type Step = Arc<dyn Fn(&'static str) + Send + Sync>;

/// A [`Step`] that does nothing.
pub fn no_step() -> Step {
    Arc::new(|_| {})
}

/// The folder of one worktree, and the environment that the person's git runs in there.
///
/// It holds `tree/` (what the child works in), `vault/` (a git directory that the child must not be
/// able to write) and `tmp/` (a temporary folder for the child).
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
    environment: Option<Arc<BTreeMap<OsString, OsString>>>,
}

impl Place {
    /// The worktree in the folder `root`, which must be absolute and need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            environment: None,
        }
    }

    /// Has git run in this environment instead of the process's own: the person's configuration is
    /// found by its `HOME`, filter programs by its `PATH`. What starts with `GIT_` is left out of it.
    #[must_use]
    pub fn with_environment<K, V>(mut self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self.environment = Some(Arc::new(variables));
        self
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the vault has what a child has changed.
    pub fn has_result(&self) -> bool {
        self.vault().join("refs/brigade/result").exists()
    }

    /// The folder that holds all worktrees, without links; none where it can't be looked at.
    pub(crate) fn all(&self) -> Option<PathBuf> {
        self.root.parent()?.canonicalize().ok()
    }

    /// What the child works in.
    pub fn tree(&self) -> PathBuf {
        self.root.join("tree")
    }

    /// The git directory that the child must not be able to write.
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault")
    }

    /// A temporary folder for the child.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn environment(&self) -> Option<&BTreeMap<OsString, OsString>> {
        self.environment.as_deref()
    }

    /// An index of ours in the vault.
    pub(crate) fn index(&self, name: &str) -> PathBuf {
        self.vault().join(format!("index.{name}"))
    }

    /// An empty folder: where no attributes of any tree are to count.
    pub(crate) fn nowhere(&self) -> PathBuf {
        self.vault().join("nowhere")
    }
}
