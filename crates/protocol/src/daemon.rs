//! The daemon itself: greeting, status, stopping, the event log.

use brigade_core::delegation::Event;
use brigade_core::id::DelegationId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a client says first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The client's [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The client's version.
    pub version: String,
    /// The data folder the client means (absolute).
    pub data_dir: String,
}

/// The daemon's answer to [`Hello`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// The daemon's [`crate::PROTOCOL`].
    pub protocol: u32,
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// How the daemon is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's [`crate::PROTOCOL`].
    pub protocol: u32,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// The data folder.
    pub data_dir: String,
    /// The socket it listens on.
    pub socket: String,
    /// The store's file.
    pub store: String,
    /// The store's schema version.
    pub schema: u32,
    /// Delegations that occupy a slot.
    pub running: u64,
    /// Delegations that wait for a slot.
    pub queued: u64,
    /// Interrupted delegations that wait for a host.
    pub waiting: u64,
    /// Terminal delegations whose result nobody has read.
    pub unread: u64,
    /// Notices that have not reached their parent yet.
    pub notices_waiting: u64,
    /// Delegations on file.
    pub total: u64,
    /// How many may run at once.
    pub concurrent: u32,
    /// What goes wrong right now and is retried, in words (a full disk, a failing write).
    pub troubles: Vec<String>,
    /// The connected bridges.
    pub bridges: Vec<BridgeStatus>,
    /// The servers of Brigade's own.
    #[serde(default)]
    pub servers: Vec<ServerStatus>,
    /// The worktrees; none from a daemon that has none.
    #[serde(default)]
    pub worktrees: Option<WorktreesStatus>,
    /// The panels in hosts' terminal UIs that have been heard of.
    #[serde(default)]
    pub panels: Vec<Panel>,
    /// Whether the desktop shows notifications, in words; empty from a daemon that has none.
    #[serde(default)]
    pub desktop: String,
}

/// What the panel in a host's terminal UI says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panel {
    /// The host's process.
    pub pid: u32,
    /// The panel's version.
    pub version: String,
    /// The host's version, if it tells.
    #[serde(default)]
    pub host: Option<String>,
    /// What this host lacks and the panel had to leave out, in words.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// The worktrees that take up room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorktreesStatus {
    /// How many have their files there.
    pub count: u64,
    /// What these take up, in bytes, as last seen.
    pub bytes: u64,
    /// What they may take up before no new one is made, in bytes.
    pub limit: u64,
    /// How far those who work in them are kept inside, in words.
    pub confinement: String,
}

/// A server of Brigade's own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name; also in the name of its log.
    pub id: String,
    /// Its process; none while it is being started.
    pub pid: Option<u32>,
    /// What confines it: `open`, `read-only`, or `worktree` and the folder.
    #[serde(default)]
    pub profile: String,
    /// How many delegations run on it.
    pub running: usize,
}

/// One connected bridge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BridgeStatus {
    /// The host's process.
    pub pid: u32,
    /// The host's name and version.
    pub host: String,
    /// The bridge's version.
    pub bridge_version: String,
    /// How the host was started: `tui`, `run`, `serve` or `other`.
    pub mode: String,
    /// The directories it serves, with their agents.
    pub directories: Vec<DirectoryStatus>,
}

/// One directory that a bridge serves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// The directory.
    pub directory: String,
    /// The agents there, as `delegate` would take them. Empty until the host has been asked.
    pub agents: Vec<AgentStatus>,
}

/// One agent, as `delegate` would take it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its name.
    pub name: String,
    /// `read-only`, `write-capable` or `refused`.
    pub class: String,
    /// The particulars: what stays open, what is withheld, why it is refused.
    pub detail: String,
}

/// Asks the daemon to go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop {
    /// Why, for the log: `stop`, `upgrade`.
    pub reason: String,
}

/// What the daemon writes into its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLevel {
    /// What is logged now: a level, or directives of `tracing`.
    pub directives: String,
    /// Until then; none for until the daemon ends.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// What is logged after that.
    pub then: String,
    /// What the person's configuration says, which holds for each new daemon.
    pub setting: String,
    /// The person's configuration.
    pub config: String,
    /// The log.
    pub file: String,
}

/// Has something else be logged, until the daemon ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetLogLevel {
    /// A level, or directives of `tracing`.
    pub directives: String,
    /// Only for so long.
    #[serde(default)]
    pub for_ms: Option<u64>,
}

/// From where to read the event log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventsQuery {
    /// Only events with a greater sequence number; 0 for all.
    #[serde(default)]
    pub after: i64,
}

/// One event of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Its place in the log.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// Whose event it is.
    pub delegation: DelegationId,
    /// What happened.
    pub event: Event,
}
