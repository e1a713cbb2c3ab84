//! What becomes of a delegation in the real OpenCode: how it ends, what it may do, who may stop it.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod access;
mod asks;
mod calls;
mod endings;
mod limits;
mod rig;
mod shell;
mod steering;
mod stops;
mod task;
