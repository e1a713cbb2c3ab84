//! What write-capable delegations have changed: shown, applied, undone, discarded.

use brigade_core::delegation::{Changes, Confinement};
use brigade_core::id::DelegationId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is wanted of a delegation's changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffQuery {
    /// Only a delegation of this directory's project; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only these files and folders, each from the top of the working tree, one a line; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<String>,
}

/// Brings a delegation's changes into a tree, or takes them out again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apply {
    /// Only a delegation of this directory's project; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The directory of the tree to apply to; none for the one that was delegated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only these files and folders, from the top of the working tree; none for all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Whether files with conflicts are written with both sides marked. Without it a conflict leaves everything as
    /// it is.
    #[serde(default)]
    pub markers: bool,
    /// Whether what was applied last is to be taken out again.
    #[serde(default)]
    pub undo: bool,
    /// Whether it is only looked what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplyOutcome {
    /// The files are written.
    Applied,
    /// What was applied is taken out again.
    Undone,
    /// There are conflicts, and nothing is written.
    Conflicts,
    /// There is nothing to do: the tree has all of it.
    Nothing,
    /// It was only looked; this would be written.
    DryRun,
}

/// A conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The file.
    pub path: String,
    /// What conflicts, in words.
    pub what: String,
    /// The file with both sides marked, where it is text; cut where it is long.
    pub text: Option<String>,
}

/// One file that is, or would be, written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedFile {
    /// Its path from the top of the working tree.
    pub path: String,
    /// `added`, `modified` or `deleted`.
    pub kind: String,
}

/// How an apply or its undoing went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyReport {
    /// Whose changes.
    pub id: DelegationId,
    /// What came of it.
    pub outcome: ApplyOutcome,
    /// The top of the tree.
    pub top: String,
    /// The files.
    pub files: Vec<AppliedFile>,
    /// The conflicts.
    pub conflicts: Vec<Conflict>,
    /// What can't be applied, in words, and is left out.
    pub left_out: Vec<String>,
    /// Whether all of the delegation's changes are in the tree now.
    pub whole: bool,
}

/// Throws a delegation's worktree away. Its patch stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discard {
    /// Only a delegation of this directory's project; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Also what is in no patch.
    #[serde(default)]
    pub force: bool,
}

/// What became of a worktree that was to be discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Whose.
    pub id: DelegationId,
    /// Whether it is gone. It stays where it holds what is in no patch.
    pub gone: bool,
    /// What it holds that is in no patch, in words.
    pub held: Vec<String>,
    /// How much room that gave, in bytes.
    pub freed: u64,
    /// Where the patch lies, which stays.
    pub patch: Option<String>,
}

/// The worktree of a write-capable delegation, as `show` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorktreeDetails {
    /// Where its files are, or were.
    pub directory: String,
    /// The tree that it was taken from.
    pub top: String,
    /// `taken`, `ready`, `removed` or `discarded`.
    pub state: String,
    /// The size of its files in bytes, as last seen.
    pub bytes: u64,
    /// The delegation with whose changes it began.
    pub from: Option<DelegationId>,
    /// How far the run was kept from writing elsewhere; none before it ran.
    pub confinement: Option<Confinement>,
    /// What of the person's state is not in it.
    pub left_out: Vec<String>,
    /// How the setup command ended.
    pub setup: Option<String>,
    /// What was changed, once it has ended.
    pub changes: Option<Changes>,
    /// What was applied and undone, in order.
    pub applies: Vec<AppliedEntry>,
}

/// One apply on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedEntry {
    /// When.
    pub at: Timestamp,
    /// To which tree.
    pub top: String,
    /// `writing`, `applied`, `rolled_back` or `undone`.
    pub state: String,
    /// How many files.
    pub files: u64,
    /// Whether it was all of the changes.
    pub whole: bool,
    /// `model` or `person`.
    pub by: String,
}
