//! A delegation: its states and the only way through them.
//!
//! [`Delegation::apply`] takes a command and says which events follow and which effects the outside
//! world has to carry out; [`Delegation::evolve`] folds an event into the record. Both are pure: the
//! time comes in, nothing goes out.

mod apply;
mod record;
mod state;
mod take_back;
mod worktree;

pub use apply::{Command, Effect, Rejected, Transition};
pub use record::{Access, Delegation, Earlier, Event, Model, Phase, Sender, Spec};
pub use state::{Actor, Outcome, Reason, RunEnd, State, StopCause, UnknownState, span, unspan};
pub use worktree::{ChangeKind, Changes, Confinement, FileChange, Worktree};

#[cfg(test)]
mod tests;
