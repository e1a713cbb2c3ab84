//! What can go wrong. Each says what happened, what is kept, and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::journal::RolledBack;

/// What can fail in every operation.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no git.
    #[error("git could not be started ({why}); install git 2.38 or later, and have it in PATH")]
    NoGit {
        /// What the system said.
        why: io::Error,
    },
    /// The git that was found lacks what is needed.
    #[error(
        "this needs git 2.38 or later, and the one in PATH is {found}; install a newer one, nothing was changed"
    )]
    TooOld {
        /// What it says of its version.
        found: String,
    },
    /// A git command has failed.
    #[error("`git {command}` failed{}: {stderr}", ended(*.code))]
    Git {
        /// The command, without what every command has.
        command: String,
        /// Its exit code; none when it was ended by a signal.
        code: Option<i32>,
        /// What it said.
        stderr: String,
    },
    /// A git command was not done in time.
    #[error(
        "`git {command}` was not done after {} s and was ended; something may be wrong with the disk or a filter program, try again",
        limit.as_secs()
    )]
    Slow {
        /// The command.
        command: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Git has said something that is not understood.
    #[error("`git {command}` has answered with something that is not understood: {answer:?}")]
    Strange {
        /// The command.
        command: String,
        /// What it said.
        answer: String,
    },
    /// A file or folder could not be read or written.
    #[error("{what} {path}: {why}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A record of ours can't be read.
    #[error("the record {path} can't be understood: {why}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

fn ended(code: Option<i32>) -> String {
    code.map_or_else(
        || " (ended by a signal)".to_owned(),
        |code| format!(" ({code})"),
    )
}

/// For `map_err`: what was tried where.
pub(crate) fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
    let path = path.to_owned();
    move |why| Fault::Io { what, path, why }
}

/// Why there is no snapshot. The person's repository is as it was, whatever it is.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no working tree.
    #[error(
        "{directory} is in no git working tree ({why}); write-capable work needs one: `git init` makes it"
    )]
    NotGit {
        /// The directory.
        directory: PathBuf,
        /// What git says.
        why: String,
    },
    /// It is in a copy that was made for a child.
    #[error(
        "{directory} is in a copy that Brigade has made for an agent, where git would run what the agent has configured: do it in your own tree"
    )]
    InCopy {
        /// The directory.
        directory: PathBuf,
    },
    /// Untracked files are too large.
    #[error(
        "the untracked files in {top} take {bytes} bytes, and {limit} is the limit; the largest is {largest} with {largest_bytes} bytes: have git ignore it, commit it, or raise the limit"
    )]
    TooLarge {
        /// The top of the working tree.
        top: PathBuf,
        /// What they take together.
        bytes: u64,
        /// What they may take.
        limit: u64,
        /// The largest.
        largest: PathBuf,
        /// Its size.
        largest_bytes: u64,
    },
    /// It has taken too long.
    #[error(
        "the snapshot of {directory} was not done after {} s; nothing was changed, and trying again is safe",
        limit.as_secs()
    )]
    TooSlow {
        /// The directory.
        directory: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// A filter program of the person's has failed.
    #[error(
        "a filter program that the repository's attributes name has failed, as it would in `git add`: {stderr}"
    )]
    Filter {
        /// What git and the program said.
        stderr: String,
    },
    /// What the work was to start from is no longer there.
    #[error("the result {result} that this was to start from is no longer in {vault}")]
    NoOrigin {
        /// The result's tree.
        result: String,
        /// Where it should have been.
        vault: PathBuf,
    },
    /// Something else.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why the child's tree could not be made. What there is of it is removed by the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something has failed.
    #[error("the private copy could not be made: {0}")]
    Fault(#[from] Fault),
}

/// Why the child's changes could not be collected. Its tree stays as it is, and trying again is safe.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// There is no tree.
    #[error("there is no tree in {root} to collect changes from")]
    NoTree {
        /// The worktree's folder.
        root: PathBuf,
    },
    /// Something has failed.
    #[error("the changes could not be collected, and the tree stays as it is: {0}")]
    Fault(#[from] Fault),
}

/// Why there is no plan. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A path names nothing in the change.
    #[error("nothing at {path:?} was changed; paths are files or folders from the top of the tree")]
    NoSuchPath {
        /// The path.
        path: String,
    },
    /// A file was changed while the plan was made.
    #[error("{path} was changed just now, and nothing was written; try again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The target can't be read.
    #[error(transparent)]
    Target(#[from] SnapshotError),
    /// Something else.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why nothing was written, or everything was taken back.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There are conflicts.
    #[error("there are conflicts in {count} places, and nothing was written")]
    Conflicts {
        /// How many.
        count: usize,
    },
    /// There is a journal already.
    #[error(
        "the journal {journal} is of an apply that was cut off; it has to be rolled back first, and nothing was written"
    )]
    Unfinished {
        /// The journal.
        journal: PathBuf,
    },
    /// A file was changed since the plan was made.
    #[error("{path} was changed just now, and everything was left as it was, or taken back; try again{}", left(.rolled_back))]
    Changed {
        /// The file.
        path: PathBuf,
        /// What was taken back.
        rolled_back: RolledBack,
    },
    /// It was to stop.
    #[error("it was cancelled, and everything was taken back{}", left(.rolled_back))]
    Cancelled {
        /// What was taken back.
        rolled_back: RolledBack,
    },
    /// Writing has failed.
    #[error("{why}; everything was taken back{}", left(.rolled_back))]
    Failed {
        /// Why.
        why: Fault,
        /// What was taken back.
        rolled_back: RolledBack,
    },
    /// Writing has failed, and taking it back too. The journal has all that is needed to try again.
    #[error(
        "{why}; and what was written could not be taken back: {then}. {journal} still has what it was"
    )]
    Stuck {
        /// Why.
        why: String,
        /// Why it could not be taken back.
        then: Fault,
        /// The journal.
        journal: PathBuf,
    },
    /// It has failed before anything was written.
    #[error("nothing was written: {0}")]
    Fault(#[from] Fault),
}

fn left(rolled_back: &RolledBack) -> String {
    match rolled_back.left.len() {
        0 => String::new(),
        count => format!(", but for {count} files that somebody has changed since"),
    }
}
