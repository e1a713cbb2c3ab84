//! One module per command.

pub(crate) mod apply;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod discard;
pub(crate) mod doctor;
pub(crate) mod gate;
pub(crate) mod gc;
pub(crate) mod install;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod read;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod send;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod uninstall;
pub(crate) mod watch;
