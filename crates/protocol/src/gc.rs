//! Clearing up: what a crash, a restored backup or a helping hand has left, and what was done about it.

use serde::{Deserialize, Serialize};

/// Asks for a clearing up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Gc {
    /// Only look, and say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Also end processes that a dead host has left behind.
    #[serde(default)]
    pub processes: bool,
}

/// What was found and done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct GcReport {
    /// Whether it was only looked.
    pub dry_run: bool,
    /// What was found, in the order in which it was dealt with.
    pub findings: Vec<Finding>,
    /// Bytes that were freed.
    pub freed: u64,
    /// What could not be looked at, and why, in words.
    pub notes: Vec<String>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// Which: an ID, a file, a process.
    pub subject: String,
    /// What is wrong with it, in words.
    pub what: String,
    /// Whether it was, or will be, dealt with.
    pub fate: Fate,
    /// What was done, will be done, or is left to the person, in words.
    pub action: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// An artifact without a record.
    UnrecordedArtifact,
    /// An artifact without a record that can't be taken back.
    UnfitArtifact,
    /// A record without its artifact.
    MissingArtifact,
    /// A file or folder that can't be looked at.
    Unreadable,
    /// What is left of the writing of an artifact.
    PartialFile,
    /// A folder without results.
    EmptyFolder,
    /// A log that nobody needs any more.
    OldLog,
    /// A child session in a host that belongs to nothing that runs.
    Session,
    /// A server of Brigade's own that no daemon knows.
    Server,
    /// A process that a dead host has left behind.
    Process,
    /// A worktree that fits no record, or is needed no more.
    Worktree,
    /// The store's own upkeep.
    Store,
}

impl FindingKind {
    /// Whether it is only something to tidy up: nothing is lost or at work because of it.
    pub fn is_housekeeping(self) -> bool {
        matches!(
            self,
            FindingKind::PartialFile
                | FindingKind::EmptyFolder
                | FindingKind::OldLog
                | FindingKind::Worktree
                | FindingKind::Store
        )
    }
}

/// What becomes of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It would be dealt with.
    Planned,
    /// It was dealt with.
    Done,
    /// It is left as it is.
    Left,
    /// It was to be dealt with, and that failed.
    Failed,
}
