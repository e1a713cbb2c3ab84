//! What may be asked from inside the servers of our own: a child's shell reaches the socket like any program.

use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use brigade_os::process::{Lineage, ProcessId};
use brigade_protocol::{ErrorBody, ErrorCode, paths};

use super::{Api, Failure, Peer};

/// What bridges alone ask for.
const BRIDGE: &str = "/v1/bridge/";

/// Where a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// A program of the person's.
    Outside,
    /// A server of our own, or code that it has loaded.
    Server,
    /// What such a server has started, or who may be that and can't be told any more.
    Inside,
}

/// Lets those inside look, and nothing else; and their servers be servers.
pub(super) async fn only_looking(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let known = |process: &ProcessId| api.engine.servers().knows(process);
    let stand = stand(&peer.lineage, known);
    let (method, path) = (request.method(), request.uri().path());
    if may(stand, method, path) {
        return next.run(request).await;
    }
    tracing::warn!(?stand, pid = peer.pid, %method, path, "a request from inside a server of our own is refused");
    Failure(
        ErrorBody::new(
            ErrorCode::Refused,
            "asked from inside a delegation's own server: from there delegations can be looked at only; nothing was done",
        )
        .with_hint("end with what you have: the person or the session that has delegated decides about the rest"),
    )
    .into_response()
}

fn stand(lineage: &Result<Option<Lineage>, Untold>, known: impl Fn(&ProcessId) -> bool) -> Stand {
    match lineage {
        // The system shows nobody's parents, or the peer is where none of ours can be.
        Err(Untold) => Stand::Outside,
        // It has connected and ended: who asks in its name can't be known.
        Ok(None) => Stand::Inside,
        Ok(Some(lineage)) => match lineage.line.iter().position(known) {
            Some(0) => Stand::Server,
            Some(_) => Stand::Inside,
            // Its server may have ended before it.
            None if lineage.adrift => Stand::Inside,
            None => Stand::Outside,
        },
    }
}

fn may(stand: Stand, method: &Method, path: &str) -> bool {
    let bridge = path.starts_with(BRIDGE);
    match stand {
        Stand::Outside => true,
        Stand::Server => bridge || method == Method::GET,
        // Every client greets first.
        Stand::Inside => path == paths::HELLO || (method == Method::GET && !bridge),
    }
}

/// The system does not tell where a peer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untold;

/// Where a peer comes from, to be asked at once: it may be gone soon.
pub(super) fn lineage(pid: Option<i32>) -> Result<Option<Lineage>, Untold> {
    // 0 is a process that this one can't see, in a container: none of our servers' could be there.
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.filter(|pid| *pid > 0).ok_or(Untold)?;
    Lineage::of(pid).map_err(|error| {
        tracing::warn!(pid, %error, "it can't be told where a peer comes from");
        Untold
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pids: &[u32], adrift: bool) -> Option<Lineage> {
        let line = pids.iter().map(|&pid| ProcessId { pid, start: 1 });
        Some(Lineage {
            line: line.collect(),
            adrift,
        })
    }

    #[test]
    fn who_descends_from_a_server_is_inside_whoever_is_between() {
        let known = |process: &ProcessId| process.pid == 50;
        let stand = |lineage| stand(&Ok(lineage), known);
        assert_eq!(stand(line(&[9, 8, 1], false)), Stand::Outside);
        assert_eq!(stand(line(&[50, 8, 1], false)), Stand::Server);
        assert_eq!(stand(line(&[51, 50, 8, 1], false)), Stand::Inside);
        assert_eq!(stand(line(&[60, 55, 51, 50, 1], false)), Stand::Inside);
        assert_eq!(stand(line(&[60, 1], true)), Stand::Inside);
        assert_eq!(stand(None), Stand::Inside);
    }

    #[test]
    fn inside_one_can_look_and_do_nothing() {
        let asks = |stand, method: Method, path| may(stand, &method, path);
        let list = paths::DELEGATIONS;
        assert!(asks(Stand::Inside, Method::GET, list));
        assert!(asks(Stand::Inside, Method::POST, paths::HELLO));
        for path in [
            paths::CANCEL,
            paths::STOP,
            paths::RUN,
            paths::TOOL_CANCEL,
            paths::BRIDGE_REGISTER,
        ] {
            assert!(!asks(Stand::Inside, Method::POST, path), "{path}");
            assert!(asks(Stand::Outside, Method::POST, path), "{path}");
            let bridge = path == paths::BRIDGE_REGISTER;
            assert_eq!(asks(Stand::Server, Method::POST, path), bridge, "{path}");
        }
        // Nobody else hears what a bridge is told.
        assert!(!asks(Stand::Inside, Method::GET, "/v1/bridge/x/stream"));
        assert!(asks(Stand::Server, Method::GET, "/v1/bridge/x/stream"));
    }
}
