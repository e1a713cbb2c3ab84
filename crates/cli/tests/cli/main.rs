//! The real binary, as people and scripts call it.
#![expect(clippy::unwrap_used, reason = "tests may")]

mod alone;
mod changes;
mod common;
#[cfg(target_os = "linux")]
mod confine;
mod daemon;
mod gate;
mod gc;
mod log;
#[cfg(target_os = "linux")]
mod machine;
mod reading;
mod watch;
