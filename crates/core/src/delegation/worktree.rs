//! What a write-capable delegation works in, and what it has changed there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::DelegationId;

/// The worktree that a write-capable delegation works in: a private copy of the state that its parent had
/// when it delegated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worktree {
    /// The delegation that it was made for, which names its folder: a further round goes on in the same one.
    pub id: DelegationId,
    /// The top of the person's working tree that it was taken from.
    pub top: String,
    /// The directory in it that corresponds to the one in which was delegated.
    pub directory: String,
    /// The state it began with, as git names that tree.
    pub base: String,
    /// The delegation with whose result it began, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DelegationId>,
    /// Whether the kernel is to keep its writes inside.
    pub confine: bool,
    /// What of the person's state is not in it, in words.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// How far a run is kept from writing anywhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Confinement {
    /// By the kernel (Landlock): its server can't write outside the folders that it needs.
    Kernel {
        /// The version of the kernel's interface.
        abi: u32,
    },
    /// By the host's permission rules alone.
    Rules {
        /// Why not by the kernel.
        why: String,
    },
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Confinement::Kernel { abi } => write!(f, "by the kernel (Landlock {abi})"),
            Confinement::Rules { why } => write!(f, "by rules alone: {why}"),
        }
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content, its mode or its type is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path from the top of the working tree.
    pub path: String,
    /// What became of it.
    pub kind: ChangeKind,
    /// Lines added and removed; none where it is binary.
    pub lines: Option<(u64, u64)>,
}

/// What a write-capable delegation has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The state that it left, as git names that tree.
    pub tree: String,
    /// How many files are changed.
    pub files: u64,
    /// Lines added in all of them.
    pub added: u64,
    /// Lines removed.
    pub removed: u64,
    /// The changed files, the first [`Changes::SHOWN`] of them.
    pub shown: Vec<FileChange>,
    /// Where the patch lies; none where nothing is changed.
    pub patch: Option<String>,
    /// What it has left that is not in the patch, in words.
    #[serde(default)]
    pub beside: Vec<String>,
}

impl Changes {
    /// How many changed files are kept by name; the patch has all of them.
    pub const SHOWN: usize = 200;

    /// Whether there is something to apply.
    pub fn is_empty(&self) -> bool {
        self.files == 0
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.files {
            0 => f.write_str("no changes"),
            files => {
                let s = if files == 1 { "" } else { "s" };
                let (added, removed) = (self.added, self.removed);
                write!(f, "{files} file{s} changed, +{added} -{removed}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_in_one_line() {
        let changes = |files| Changes {
            tree: "t".into(),
            files,
            added: 10,
            removed: 2,
            shown: Vec::new(),
            patch: None,
            beside: Vec::new(),
        };
        assert_eq!(changes(0).to_string(), "no changes");
        assert_eq!(changes(1).to_string(), "1 file changed, +10 -2");
        assert_eq!(changes(3).to_string(), "3 files changed, +10 -2");
    }
}
