//! The HTTP API on the Unix socket: one file per request.

mod apply;
mod attempts;
mod bridge_register;
mod bridge_stream;
mod bridge_up;
mod cancel;
mod delegation;
mod delegation_follow;
mod delegation_text;
mod delegations;
mod diff;
#[cfg(test)]
pub(crate) mod direct;
mod discard;
mod error;
mod events;
mod gc;
mod hello;
mod inside;
mod log;
mod panel;
mod retry;
mod run;
mod search;
mod send;
mod shell;
mod stats;
mod status;
mod stop;
mod terminal;
mod tool;
mod tool_apply;
mod tool_cancel;
mod tool_delegate;
mod tool_list;
mod tool_read;
mod tool_send;
mod view;
mod watch;
mod worktree;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::Connected;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use brigade_os::process::{Lineage, ProcessId};
use brigade_protocol::paths;
use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::log_level::LogLevel;

pub(crate) use error::Failure;
pub(crate) use inside::Untold;
pub(crate) use panel::Panels;

/// Largest request body, in bytes: a batch from a bridge may hold a whole answer.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// From how many bytes on a body or an artifact is handled when no other such one is.
const LARGE: u64 = 4 * 1024 * 1024;
/// How long something large waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) about: Arc<About>,
    /// Held by who takes in something large.
    pub(crate) large: Arc<Semaphore>,
    /// Cancelled to make the daemon go.
    pub(crate) stop: CancellationToken,
    /// What is logged.
    pub(crate) log: LogLevel,
    /// The panels in hosts' terminal UIs.
    pub(crate) panels: Arc<Panels>,
    /// Held while something is cleared up: two at once would be in each other's way.
    pub(crate) clearing: Arc<tokio::sync::Mutex<()>>,
}

impl Api {
    /// Waits until nobody else handles something large, and is in nobody's way with something small. A bridge that
    /// has sent half of a batch keeps the others waiting for a while only.
    pub(crate) async fn turn(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        if bytes <= LARGE {
            return None;
        }
        let turn = tokio::time::timeout(TURN, self.large.acquire()).await;
        turn.ok().and_then(Result::ok)
    }
}

/// What the daemon says of itself.
pub(crate) struct About {
    pub(crate) started_at: Timestamp,
    pub(crate) data_dir: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) store: PathBuf,
    pub(crate) config: PathBuf,
}

/// The peer of a connection; only the daemon's own user is served.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The peer's process, where the system tells.
    pub(crate) pid: Option<i32>,
    /// Whether it is the daemon's own user (or root).
    pub(crate) allowed: bool,
    /// Who started it, as things stood when it connected; none where it was gone by then.
    pub(crate) lineage: Result<Option<Lineage>, Untold>,
}

impl Peer {
    /// The peer's process, as long as it is there.
    fn process(&self) -> Option<ProcessId> {
        ProcessId::of(u32::try_from(self.pid?).ok()?)
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(credentials) => Self {
                pid: credentials.pid(),
                lineage: inside::lineage(credentials.pid()),
                allowed: brigade_os::peer_is_me(credentials.uid()),
            },
            Err(error) => {
                tracing::warn!(%error, "a peer's user could not be read; it is refused");
                Self {
                    pid: None,
                    allowed: false,
                    lineage: Err(Untold),
                }
            }
        }
    }
}

/// The whole API.
pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route(paths::HELLO, post(hello::handle))
        .route(paths::STATUS, get(status::handle))
        .route(paths::PANEL, post(panel::handle))
        .route(paths::STOP, post(stop::handle))
        .route(paths::LOG, get(log::get).post(log::set))
        .route(paths::EVENTS, get(events::handle))
        .route(paths::BRIDGE_REGISTER, post(bridge_register::handle))
        .route(paths::BRIDGE_STREAM, get(bridge_stream::handle))
        .route(paths::BRIDGE_UP, post(bridge_up::handle))
        .route(paths::TOOL_DELEGATE, post(tool_delegate::handle))
        .route(paths::TOOL_READ, post(tool_read::handle))
        .route(paths::TOOL_LIST, post(tool_list::handle))
        .route(paths::TOOL_CANCEL, post(tool_cancel::handle))
        .route(paths::TOOL_SEND, post(tool_send::handle))
        .route(paths::TOOL_APPLY, post(tool_apply::handle))
        .route(paths::DELEGATIONS, get(delegations::handle))
        .route(paths::DELEGATION, get(delegation::handle))
        .route(paths::DELEGATION_TEXT, get(delegation_text::handle))
        .route(paths::DELEGATION_FOLLOW, get(delegation_follow::handle))
        .route(paths::DELEGATION_SEND, post(send::handle))
        .route(paths::DELEGATION_RETRY, post(retry::handle))
        .route(paths::DELEGATION_DIFF, get(diff::handle))
        .route(paths::DELEGATION_APPLY, post(apply::handle))
        .route(paths::DELEGATION_DISCARD, post(discard::handle))
        .route(paths::STATS, get(stats::handle))
        .route(paths::WATCH, get(watch::handle))
        .route(paths::SEARCH, get(search::handle))
        .route(paths::CANCEL, post(cancel::handle))
        .route(paths::RUN, post(run::handle))
        .route(paths::SHELL, post(shell::handle))
        .route(paths::TERMINAL, post(terminal::handle))
        .route(paths::GC, post(gc::handle))
        .layer(axum::middleware::from_fn_with_state(
            api.clone(),
            inside::only_looking,
        ))
        .layer(axum::middleware::from_fn(error::only_own_user))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}
