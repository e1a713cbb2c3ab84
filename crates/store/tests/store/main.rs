//! The store on real files.

#![expect(clippy::unwrap_used, reason = "tests may")]

mod artifacts;
mod common;
mod delegations;
mod notices;
mod opening;
mod predecessor;
mod search;
mod upkeep;
mod usage;
mod worktrees;
