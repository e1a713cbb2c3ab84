//! What the hub tells the engine.

use brigade_agents::opencode::HostEvent;
use brigade_os::process::ProcessId;
use brigade_store::StoreError;
use tokio::sync::oneshot;

/// Told once what was reported is on record, or why it is not.
pub(crate) type Record = oneshot::Sender<Result<(), StoreError>>;
/// The other end, for whoever answers the bridge: it forgets what it is answered for.
pub(crate) type Recorded = oneshot::Receiver<Result<(), StoreError>>;

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
    SessionChanged {
        /// The session.
        session: String,
        /// Whether it certainly did nothing at that moment.
        idle: bool,
    },
    /// A session was deleted in the host.
    SessionDeleted(String),
    /// A host event of a root session.
    ParentEvent(HostEvent),
    /// Offered notices went into a person's message.
    Taken {
        /// The host's process.
        process: ProcessId,
        /// The session.
        session: String,
        /// The lease.
        lease: u64,
        /// The person's message.
        message: String,
        /// Who waits for it to be recorded.
        record: Record,
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
        /// Who waits for it to be recorded.
        record: Record,
    },
    /// A tool call was aborted before the result reached it.
    NotHanded {
        /// The delegation.
        id: String,
        /// The session of the tool call.
        session: String,
        /// What its bridge knows it by, where that counts.
        call: Option<String>,
    },
    /// A step was shown the ledger.
    LedgerShown {
        /// The root session.
        session: String,
        /// The turn.
        turn: String,
    },
}
