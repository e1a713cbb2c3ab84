//! `POST /v1/terminal`: what a host's terminal shows, and whether it has the focus.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use brigade_protocol::bridge::Terminal;

use super::{Api, Failure, Peer, shell};
use crate::engine;

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(told): Json<Terminal>,
) -> Result<StatusCode, Failure> {
    let process = shell::process(told.pid, &peer)?;
    let terminal = engine::Terminal {
        session: told.session,
        focused: told.focused,
    };
    let processes = api.engine.hub().processes();
    api.engine.terminals().heard(process, terminal, processes);
    Ok(StatusCode::NO_CONTENT)
}
