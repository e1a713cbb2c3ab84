//! `POST /v1/bridge/register`: a host process comes in, or comes back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Register, Registered};
use brigade_protocol::{ErrorBody, ErrorCode, PROTOCOL};
use uuid::Uuid;

use super::{Api, Failure, Peer, bridge_up, hello};
use crate::hosts::Connection;

/// How long a bridge may take from its registration to its stream.
const STREAM_LIMIT: Duration = Duration::from_secs(30);

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(request): Json<Register>,
) -> Result<Json<Registered>, Failure> {
    if request.protocol != PROTOCOL {
        return Err(Failure(
            ErrorBody::new(
                ErrorCode::ProtocolMismatch,
                format!(
                    "this daemon ({}) speaks protocol {PROTOCOL}, the bridge ({}) speaks {}",
                    env!("CARGO_PKG_VERSION"),
                    request.bridge_version,
                    request.protocol
                ),
            )
            .with_hint("run `brigade install opencode` and restart OpenCode"),
        ));
    }
    if let Some(data_dir) = &request.data_dir {
        hello::same_home(&api, Path::new(data_dir))?;
    }
    if peer
        .pid
        .is_some_and(|pid| u32::try_from(pid) != Ok(request.host.pid))
    {
        return Err(Failure::new(
            ErrorCode::Refused,
            "the bridge named another process than the one it connects from",
        ));
    }
    let Some(process) = ProcessId::of(request.host.pid) else {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            format!("there is no process {}", request.host.pid),
        ));
    };
    let connection = Uuid::now_v7().to_string();
    let hub = api.engine.hub().clone();
    take_in(&api, &connection, process, request).await?;
    let unopened = connection.clone();
    tokio::spawn(async move {
        tokio::time::sleep(STREAM_LIMIT).await;
        hub.drop_unopened(&unopened);
    });
    Ok(Json(Registered {
        connection,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

/// Takes a bridge in once the offers that it has used are on record: it forgets them when it is answered.
pub(super) async fn take_in(
    api: &Api,
    connection: &str,
    process: ProcessId,
    request: Register,
) -> Result<Arc<Connection>, Failure> {
    let hub = api.engine.hub();
    let used = request.leases.iter().filter_map(|held| {
        let message = held.message.clone()?;
        Some(hub.taken(process, held.session.clone(), held.lease, message))
    });
    bridge_up::all_recorded(used.collect()).await?;
    Ok(hub.register(connection, process, request))
}
