//! What can go wrong between a client and the daemon.

use std::path::PathBuf;

use brigade_protocol::{ErrorBody, PROTOCOL};

/// Why a request has no answer, or another one than was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon runs, and it was not to be started.
    #[error("Brigade's daemon is not running (nothing listens on {socket})")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
    },
    /// The daemon can't be reached although it may run.
    #[error("Brigade's daemon can't be reached on {socket}: {why}")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What failed.
        why: String,
    },
    /// The daemon did not come up.
    #[error("Brigade's daemon could not be started: {why}")]
    NotStarted {
        /// What failed.
        why: String,
        /// What to do, where the daemon could tell.
        hint: Option<String>,
    },
    /// Another process holds the daemon's lock, but doesn't answer.
    #[error(
        "another daemon holds the lock {lock} (process {holder}), but doesn't answer on {socket}"
    )]
    Stuck {
        /// The lock's file.
        lock: PathBuf,
        /// The socket.
        socket: PathBuf,
        /// The process that holds the lock, as it has written it there.
        holder: String,
    },
    /// The daemon speaks a newer protocol than we do.
    #[error(
        "this brigade speaks protocol {PROTOCOL}, but the running daemon (version {version}) already speaks {protocol}"
    )]
    TooOld {
        /// The daemon's protocol.
        protocol: u32,
        /// The daemon's version.
        version: String,
    },
    /// The daemon speaks an older protocol and was not to be replaced.
    #[error(
        "the running daemon (version {version}) speaks protocol {protocol}, this brigade already speaks {PROTOCOL}"
    )]
    DaemonTooOld {
        /// The daemon's protocol.
        protocol: u32,
        /// The daemon's version.
        version: String,
    },
    /// A daemon was asked to go and did not.
    #[error("the daemon (process {pid}) was asked to stop, but still runs after {waited_s} s")]
    StillRunning {
        /// The daemon's process.
        pid: u32,
        /// How long it was waited for, in seconds.
        waited_s: u64,
    },
    /// The daemon answered with an error.
    #[error(transparent)]
    Api(#[from] ErrorBody),
    /// The connection broke before the answer was complete.
    #[error(
        "the connection to Brigade's daemon broke during {request}: {why}; the daemon may have done what was asked"
    )]
    Lost {
        /// Method and path.
        request: String,
        /// What failed.
        why: String,
    },
    /// The answer is not what the protocol says.
    #[error("the daemon's answer to {request} is not understood: {why}")]
    Protocol {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// What the person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => "start it with: brigade daemon start",
            Self::Unreachable { .. } => "brigade doctor looks for the cause",
            Self::NotStarted { hint, .. } => {
                return Some(
                    hint.clone()
                        .unwrap_or_else(|| "brigade doctor looks for the cause".to_owned()),
                );
            }
            Self::Stuck { holder, .. } => {
                return Some(format!(
                    "look at that process; if it hangs, end it with: kill {holder}; what is on file stays"
                ));
            }
            Self::TooOld { version, .. } => {
                return Some(format!("update this brigade to version {version} or later"));
            }
            Self::DaemonTooOld { .. } => "replace it with: brigade daemon start",
            Self::StillRunning { pid, .. } => {
                return Some(format!(
                    "if it hangs, end it with: kill {pid}; what is on file stays"
                ));
            }
            Self::Api(body) => return body.hint.clone(),
            Self::Lost { .. } => "see what became of it with: brigade list",
            Self::Protocol { .. } => {
                "client and daemon may be of different builds: brigade daemon stop, then try again"
            }
        };
        Some(hint.to_owned())
    }
}
