//! What Brigade asks of the operating system: paths, process identity, exits, locks.
//!
//! The only crate that knows Linux from macOS, and the only one in which `unsafe` may stand.

pub mod confine;
pub mod lock;
pub mod paths;
pub mod process;
pub mod spawn;
pub mod terminal;

use rustix::process::geteuid;

/// The user this process acts for.
pub fn user_id() -> u32 {
    geteuid().as_raw()
}

/// Has every file and folder that this process makes from now on be the user's alone, whoever makes it: a
/// library that opens a log knows no modes.
pub fn keep_files_private() {
    use rustix::fs::Mode;
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Has a write beyond the limit on the size of files (`ulimit -f`) fail instead of ending this process.
///
/// # Errors
/// When the system refuses, or outside a tokio runtime.
pub fn outlive_file_size_limit() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // The handler stays when the stream is dropped, and is not inherited by programs that are started.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Whether the peer of a connection, by the user ID the socket reports, is the user we act for.
/// Root is somebody else: what runs as root has no business in a user's daemon.
pub fn peer_is_me(uid: u32) -> bool {
    uid == user_id()
}
