//! `POST /v1/shell`: a shell's command shows its environment, in memory only, as bridges do.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use brigade_os::process::ProcessId;
use brigade_protocol::ErrorCode;
use brigade_protocol::bridge::Host;

use super::{Api, Failure, Peer};

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(host): Json<Host>,
) -> Result<StatusCode, Failure> {
    let process = process(host.pid, &peer)?;
    api.engine.hub().note_environment(process, &host);
    // What waited for an environment may have one now.
    api.engine.schedule();
    Ok(StatusCode::NO_CONTENT)
}

/// The process that asks.
pub(super) fn process(named: u32, peer: &Peer) -> Result<ProcessId, Failure> {
    if peer.pid.is_some_and(|pid| u32::try_from(pid) != Ok(named)) {
        return Err(Failure::new(
            ErrorCode::Refused,
            "the request named another process than the one it comes from",
        ));
    }
    ProcessId::of(named).ok_or_else(|| {
        Failure::new(
            ErrorCode::BadRequest,
            format!("there is no process {named}"),
        )
    })
}
