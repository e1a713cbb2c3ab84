//! What the hub tells the engine.

use brigade_agents::opencode::HostEvent;
use brigade_os::process::ProcessId;
use tokio::sync::oneshot;

/// One thing that a bridge reported and the engine has to act on.
#[derive(Debug)]
pub(crate) enum Signal {
    /// A bridge has registered (again).
    Connected(String),
    /// A bridge's stream is gone; its process may live on.
    Disconnected {
        /// The host's process.
        process: ProcessId,
        /// The sessions that were seen in it.
        sessions: Vec<String>,
    },
    /// A directory was initialised in a host.
    Opened {
        /// The bridge's connection.
        connection: String,
        /// The directory.
        directory: String,
    },
    /// A server of our own has come up, or gone, or may be tried again.
    ServersChanged,
    /// A session's owner or activity changed.
    SessionChanged(String),
    /// A session was deleted in the host.
    SessionDeleted(String),
    /// A host event of a root session.
    ParentEvent(HostEvent),
    /// Offered notices went into a person's message.
    Taken {
        /// The bridge's connection.
        connection: String,
        /// The session.
        session: String,
        /// The lease.
        lease: u64,
        /// The person's message.
        message: String,
    },
    /// An offer was withdrawn unused.
    Released {
        /// The session.
        session: String,
        /// The lease.
        lease: u64,
    },
    /// A result reached a tool call.
    Handed {
        /// The delegation.
        id: String,
        /// The session of the tool call.
        session: String,
    },
    /// A tool call was aborted before the result reached it.
    NotHanded {
        /// The delegation.
        id: String,
        /// The session of the tool call.
        session: String,
    },
    /// Whoever holds the other end waits until everything reported before has been acted on.
    Heard(oneshot::Sender<()>),
    /// A step was shown the ledger.
    LedgerShown {
        /// The root session.
        session: String,
        /// The turn.
        turn: String,
    },
}
