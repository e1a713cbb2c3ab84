//! `POST /v1/bridge/register`: a host process comes in, or comes back.

use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Register, Registered};
use brigade_protocol::{ErrorBody, ErrorCode, PROTOCOL};
use uuid::Uuid;

use super::{Api, Failure, Peer, hello};

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
    let used = request.leases.iter().any(|held| held.message.is_some());
    hub.register(&connection, process, request);
    // The bridge forgets a used offer once it is answered for: it has to be on record by then.
    if used && !hub.heard().await {
        return Err(Failure::new(
            ErrorCode::Draining,
            "the daemon is going: register with the next one",
        ));
    }
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
