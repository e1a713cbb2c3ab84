//! The daemon with simulated hosts: what goes wrong between them, on order and by chance.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod budgets;
mod delivery;
#[cfg(target_os = "linux")]
mod desktop;
#[cfg(target_os = "linux")]
mod disks;
mod doubts;
mod gc;
mod gone;
mod histories;
mod idle;
mod leases;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod memory;
mod reading;
mod rig;
mod watch;

use brigade_testkit::simulated::{Role, relay};

/// What every other test here starts as a process of its own: the daemon, or a host's process. By itself it is
/// no test.
#[test]
fn helper_process() {
    match Role::of_this_process() {
        Some(Role(role)) if role == "relay" => relay().unwrap(),
        Some(Role(role)) if role == "daemon" => rig::daemon().unwrap(),
        Some(role) => panic!("{role:?} is no role"),
        None => {}
    }
}
