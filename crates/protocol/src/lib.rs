//! What travels on Brigade's socket: HTTP/1.1 with JSON bodies, and server-sent events whose data is
//! JSON. One module per conversation; the paths stand beside the types in [`paths`].
//!
//! The version is a single number. Within one version fields are only ever added, and readers ignore
//! what they do not know; anything else counts the version up.

pub mod bridge;
pub mod changes;
pub mod daemon;
pub mod delegations;
mod error;
pub mod gc;
pub mod run;
pub mod stats;
pub mod tools;

pub use error::{ErrorBody, ErrorCode};

/// The protocol's version. A client that is newer than the daemon asks it to drain and starts its own.
pub const PROTOCOL: u32 = 1;

/// The paths of the API.
pub mod paths {
    /// `POST`: [`crate::daemon::Hello`] → [`crate::daemon::Welcome`]. The first request of each client.
    pub const HELLO: &str = "/v1/hello";
    /// `GET` → [`crate::daemon::Status`].
    pub const STATUS: &str = "/v1/status";
    /// `POST`: [`crate::daemon::Panel`] → 204.
    pub const PANEL: &str = "/v1/panel";
    /// `POST`: [`crate::daemon::Stop`]; answered before the daemon goes.
    pub const STOP: &str = "/v1/stop";
    /// `GET` → [`crate::daemon::LogLevel`]; `POST`: [`crate::daemon::SetLogLevel`] → the same.
    pub const LOG: &str = "/v1/log";
    /// `GET`, query [`crate::daemon::EventsQuery`] → SSE of [`crate::daemon::LoggedEvent`].
    pub const EVENTS: &str = "/v1/events";
    /// `POST`: [`crate::bridge::Register`] → [`crate::bridge::Registered`].
    pub const BRIDGE_REGISTER: &str = "/v1/bridge/register";
    /// `GET` → SSE of [`crate::bridge::Down`]. Ends when the connection is replaced.
    pub const BRIDGE_STREAM: &str = "/v1/bridge/{connection}/stream";
    /// `POST`: [`crate::bridge::Batch`] → 204.
    pub const BRIDGE_UP: &str = "/v1/bridge/{connection}/up";
    /// `POST`: [`crate::tools::Delegate`] → [`crate::tools::Answer`].
    pub const TOOL_DELEGATE: &str = "/v1/tools/delegate";
    /// `POST`: [`crate::tools::Read`] → [`crate::tools::Answer`]. Closing the connection ends the wait.
    pub const TOOL_READ: &str = "/v1/tools/read";
    /// `POST`: [`crate::tools::List`] → [`crate::tools::Answer`].
    pub const TOOL_LIST: &str = "/v1/tools/list";
    /// `POST`: [`crate::tools::Cancel`] → [`crate::tools::Answer`]. Answers once the run has stopped.
    pub const TOOL_CANCEL: &str = "/v1/tools/cancel";
    /// `POST`: [`crate::tools::Send`] → [`crate::tools::Answer`].
    pub const TOOL_SEND: &str = "/v1/tools/send";
    /// `POST`: [`crate::tools::Apply`] → [`crate::tools::Answer`]. Closing the connection takes back what is written.
    pub const TOOL_APPLY: &str = "/v1/tools/apply";
    /// `GET`, query [`crate::delegations::ListQuery`] → [`crate::delegations::Listing`].
    pub const DELEGATIONS: &str = "/v1/delegations";
    /// `GET`, query [`crate::delegations::Scope`] → [`crate::delegations::Details`]. `{id}` may be a unique prefix.
    pub const DELEGATION: &str = "/v1/delegations/{id}";
    /// `GET`, query [`crate::delegations::Scope`] → [`crate::delegations::Text`]: artifact, or what there is so far.
    pub const DELEGATION_TEXT: &str = "/v1/delegations/{id}/text";
    /// `GET`, query [`crate::delegations::Scope`] → SSE of [`crate::delegations::Follow`].
    pub const DELEGATION_FOLLOW: &str = "/v1/delegations/{id}/follow";
    /// `GET`, query [`crate::stats::StatsQuery`] → [`crate::stats::Stats`].
    pub const STATS: &str = "/v1/stats";
    /// `GET`, query [`crate::delegations::WatchQuery`] → SSE of [`crate::delegations::Watched`].
    pub const WATCH: &str = "/v1/watch";
    /// `GET`, query [`crate::delegations::SearchQuery`] → [`crate::delegations::SearchResults`].
    pub const SEARCH: &str = "/v1/search";
    /// `POST`: [`crate::delegations::Cancel`] → [`crate::delegations::Cancelled`].
    pub const CANCEL: &str = "/v1/cancel";
    /// `POST`: [`crate::delegations::Message`] → [`crate::delegations::Sent`]. `{id}` may be a unique prefix.
    pub const DELEGATION_SEND: &str = "/v1/delegations/{id}/send";
    /// `POST`: [`crate::delegations::Scope`] → [`crate::delegations::Retried`]. `{id}` may be a unique prefix.
    pub const DELEGATION_RETRY: &str = "/v1/delegations/{id}/retry";
    /// `GET`, query [`crate::changes::DiffQuery`] → the patch, as bytes. `{id}` may be a unique prefix.
    pub const DELEGATION_DIFF: &str = "/v1/delegations/{id}/diff";
    /// `POST`: [`crate::changes::Apply`] → [`crate::changes::ApplyReport`]. `{id}` may be a unique prefix. Hanging up
    /// before the answer takes back what is written.
    pub const DELEGATION_APPLY: &str = "/v1/delegations/{id}/apply";
    /// `POST`: [`crate::changes::Discard`] → [`crate::changes::Discarded`]. `{id}` may be a unique prefix.
    pub const DELEGATION_DISCARD: &str = "/v1/delegations/{id}/discard";
    /// `POST`: [`crate::run::Run`] → [`crate::run::Begun`]. May take as long as a server of ours takes to come up.
    pub const RUN: &str = "/v1/run";
    /// `POST`: [`crate::bridge::Host`] → 204. A shell's command shows its environment (again), for what it has asked
    /// for there.
    pub const SHELL: &str = "/v1/shell";
    /// `POST`: [`crate::bridge::Terminal`] → 204.
    pub const TERMINAL: &str = "/v1/terminal";
    /// `POST`: [`crate::gc::Gc`] → [`crate::gc::GcReport`].
    pub const GC: &str = "/v1/gc";
}
