//! Git for write-capable delegations: a snapshot of the person's repository as it is, a private copy
//! of it for the child, the child's changes as a patch, and their way into the person's tree.
//!
//! What is kept, whatever happens:
//!
//! - Nothing in the person's git directory is ever written. The child works in a repository of its
//!   own, which only borrows the person's objects.
//! - Git never runs with a configuration that the child could have written: all commands use the
//!   *vault*, a git directory outside the child's reach, or the person's own.
//! - The person's files are changed by [`write`] alone, under a journal: what is cut off is taken back
//!   by [`roll_back`], never finished later.
//!
//! Files that the repository ignores are no work: they are not in the snapshot and not in the patch,
//! and do not keep a tree from being removed (as `git worktree remove` has it).

mod build;
mod bytes;
mod collect;
mod commits;
mod diff;
mod disk;
mod error;
mod found;
mod git;
mod held;
mod journal;
mod merge;
mod place;
mod plan;
mod refs;
mod repository;
mod scan;
mod snapshot;
mod write;

pub use build::{Built, build, rebuild};
pub use collect::{Change, ChangeKind, Collected, collect};
pub use commits::{ChildCommits, Commit};
pub use diff::diff;
pub use disk::GONE;
pub use error::{BuildError, CollectError, Fault, PlanError, SnapshotError, WriteError};
pub use held::{Held, HeldError, held, remove_all, remove_tree, sweep, usage};
pub use journal::{Left, RolledBack, is_done, is_open, roll_back};
pub use place::{Place, Step, no_step};
pub use plan::{Conflict, ConflictKind, Operation, Plan, Target, plan};
pub use snapshot::{LeftOut, Limits, Origin, Reason, Snapshot, snapshot};
pub use write::{Written, write};
