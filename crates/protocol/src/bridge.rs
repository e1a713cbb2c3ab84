//! Bridge and daemon: one connection per host process, whatever number of directories it serves.
//!
//! The bridge registers, opens the stream, and posts batches up. All state is the daemon's; the
//! bridge holds only what it was last pushed, so that no hook ever waits for the daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Registers a host process.
#[derive(Clone, Serialize, Deserialize)]
pub struct Register {
    /// The bridge's [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The bridge's version.
    pub bridge_version: String,
    /// Drawn once per loaded module: the same over reconnections of one process.
    pub instance: String,
    /// The data folder the bridge means, where `BRIGADE_DATA_DIR` is set for it.
    #[serde(default)]
    pub data_dir: Option<String>,
    /// The host.
    pub host: Host,
    /// The directories that have been initialised and not disposed.
    pub directories: Vec<Directory>,
    /// The sessions that this process has been seen to own, so that a restarted daemon knows.
    #[serde(default)]
    pub sessions: Vec<OwnedSession>,
    /// The offers it held: used ones with the message they went into; the others are given back.
    #[serde(default)]
    pub leases: Vec<HeldLease>,
}

/// An offer that a bridge held when it registered (again).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldLease {
    /// The session.
    pub session: String,
    /// The lease's number.
    pub lease: u64,
    /// The message it went into; none when it was not used and never will be.
    #[serde(default)]
    pub message: Option<String>,
}

/// The host's program and surroundings.
#[derive(Clone, Serialize, Deserialize)]
pub struct Host {
    /// `opencode`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its process ID; the daemon checks it against the socket's peer.
    pub pid: u32,
    /// Its executable.
    pub executable: String,
    /// How it was started: `tui`, `run`, `serve` or `other`.
    pub mode: String,
    /// HOME.
    pub home: String,
    /// Its environment. Values stay in memory, never in store or log.
    pub env: BTreeMap<String, String>,
}

/// What a host's terminal shows. Told whenever it changes, and kept as long as the process lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Terminal {
    /// The host's process; the daemon checks it against the socket's peer.
    pub pid: u32,
    /// The root session that is shown; none where it is none.
    #[serde(default)]
    pub session: Option<String>,
    /// Whether the terminal has the focus; none where that is not known.
    #[serde(default)]
    pub focused: Option<bool>,
}

impl std::fmt::Debug for Host {
    /// Leaves the environment's values out, so that no log can hold them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("pid", &self.pid)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register")
            .field("instance", &self.instance)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// A directory of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Directory {
    /// The directory itself.
    pub directory: String,
    /// The top of its working tree, as the host says.
    pub worktree: String,
    /// When its instance was opened, in milliseconds since 1970: what ran there before has ended then. 0
    /// where it is not told.
    #[serde(default)]
    pub opened_ms: i64,
}

/// A root session that the process owns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OwnedSession {
    /// The session.
    pub session: String,
    /// Its directory.
    pub directory: String,
    /// When it was last active, in milliseconds since 1970.
    pub active_ms: i64,
    /// What it is doing.
    pub activity: Activity,
    /// The agent of its latest user message.
    #[serde(default)]
    pub agent: Option<String>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Nothing.
    Idle,
    /// A model request is under way, or about to be.
    Streaming,
    /// At least one tool runs and nothing streams.
    Tool,
}

/// The answer to [`Register`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Registered {
    /// The connection's name, in the path of stream and batches.
    pub connection: String,
    /// The daemon's version.
    pub version: String,
}

/// What the daemon sends down the stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Down {
    /// Make this request on the in-process server and answer with [`Up::Reply`] or [`Up::Failed`].
    Call {
        /// The call's number.
        id: u64,
        /// HTTP method.
        method: String,
        /// Path with query, without the directory.
        path: String,
        /// The instance's directory, sent as `x-opencode-directory`.
        directory: String,
        /// JSON body.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
        /// When to give the request up, in milliseconds.
        timeout_ms: u64,
        /// When it went down the stream, in milliseconds since 1970. A host that was suspended finds what nobody
        /// waits for any more, and must not make it: it was asked for anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent_ms: Option<i64>,
    },
    /// Forward everything of these child sessions. Adds to what is watched.
    Watch {
        /// The children.
        sessions: Vec<String>,
        /// What these children's shell may run; the last rule that matches decides, none means no. A
        /// person's "always" comes after the session's own rules in the host, so the bridge holds it.
        #[serde(default)]
        shell: Vec<ShellRule>,
        /// Whether the host's own rules alone hold their shell: what writes in a worktree has it open.
        #[serde(default)]
        open_shell: bool,
    },
    /// Forward nothing more of these children.
    Unwatch {
        /// The children.
        sessions: Vec<String>,
    },
    /// The ledger of a root session, for hooks to use as it is.
    Ledger {
        /// The root session.
        session: String,
        /// What to show at each step after a compaction; none for nothing.
        step: Option<String>,
        /// What to add to a summarising request; none for nothing.
        summary: Option<String>,
    },
    /// The agents for which `task` is to be refused in this directory; replaces the earlier list.
    Guard {
        /// The directory.
        directory: String,
        /// The agents' names.
        agents: Vec<String>,
        /// What to answer; `{agent}` stands for the name.
        guidance: String,
    },
    /// Waiting notices for a session, leased to this connection and to the `chat.message` hook alone:
    /// put them into the person's next message there and confirm with [`Up::Taken`].
    Offer {
        /// The session.
        session: String,
        /// The lease's number.
        lease: u64,
        /// The parts, ready but for `messageID`: `id`, `sessionID`, `type`, `text`, `synthetic`, `ignored`.
        parts: Vec<Value>,
    },
    /// Give the lease back with [`Up::Released`], unless it was taken already ([`Up::Taken`] went first).
    Withdraw {
        /// The session.
        session: String,
        /// The lease's number.
        lease: u64,
    },
    /// A person has stopped the daemon: do not start it again by yourself, only for a tool call.
    Stopping {},
    /// Answer with [`Up::Pong`]: a sign of life asked for after a suspended machine or process.
    Ping {},
}

/// One rule of a child's shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellRule {
    /// A regular expression (of JavaScript, anchored) for the whole command.
    pub pattern: String,
    /// Whether it may run.
    pub allow: bool,
}

/// What the bridge sends up, in order, batch by batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    /// Counts up by one per batch of a connection, so that a batch posted twice is heard once.
    pub seq: u64,
    /// The messages.
    pub messages: Vec<Up>,
}

/// One message from the bridge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Up {
    /// The in-process server's answer to a [`Down::Call`].
    Reply {
        /// The call's number.
        id: u64,
        /// HTTP status.
        status: u16,
        /// The body, parsed; null where there is none or it is no JSON.
        body: Value,
    },
    /// The request could not be made or was given up.
    Failed {
        /// The call's number.
        id: u64,
        /// Why.
        error: String,
    },
    /// An event of a watched child, or one of a root session that the daemon may need
    /// (`session.created|updated|deleted|status|idle|error|compacted`, `message.updated`), as the host sent it.
    /// Text deltas are coalesced: consecutive ones of one part are one event.
    Event {
        /// The directory of the host's instance.
        directory: String,
        /// `{type, properties}`.
        event: Value,
    },
    /// A root session's activity has changed.
    Session(OwnedSession),
    /// A directory was initialised.
    Opened(Directory),
    /// A directory's instance was disposed.
    Disposed {
        /// The directory.
        directory: String,
    },
    /// The offered parts went into a person's message.
    Taken {
        /// The session.
        session: String,
        /// The lease's number.
        lease: u64,
        /// The person's message.
        message: String,
    },
    /// The offer was withdrawn before anybody wrote: it was not used and never will be.
    Released {
        /// The session.
        session: String,
        /// The lease's number.
        lease: u64,
    },
    /// A terminal result has been handed to a tool call that was not aborted.
    Handed {
        /// The delegation.
        id: String,
        /// The session whose tool call it was.
        session: String,
    },
    /// A tool call that was to get a terminal result was aborted before it got it.
    NotHanded {
        /// The delegation.
        id: String,
        /// The session whose tool call it was.
        session: String,
        /// What the bridge knows the call by, where that counts.
        #[serde(default)]
        call: Option<String>,
    },
    /// A step of the model was shown the ledger.
    LedgerShown {
        /// The root session.
        session: String,
        /// The latest user message: one turn, however many steps it has.
        turn: String,
    },
    /// The answer to [`Down::Ping`].
    Pong {},
}
