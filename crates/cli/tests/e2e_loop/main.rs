//! The loop in the real OpenCode: notices and wakings, what survives what, and what the model sees.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod asked;
mod compaction;
#[cfg(target_os = "linux")]
mod confined;
mod delivery;
mod gc;
mod hosts;
mod killed_daemon;
#[cfg(target_os = "linux")]
mod own_server;
mod reading;
mod rounds;
mod run;
mod servers;
mod stage;
#[cfg(feature = "otel")]
mod traces;
mod tui;
mod without;
mod worktrees;
