//! `POST /v1/run`: work from the shell.

use axum::Json;
use axum::extract::{ConnectInfo, State};
use brigade_protocol::ErrorCode;
use brigade_protocol::run::{Begun, Run};

use super::{Api, Failure, Peer, shell};
use crate::engine::{NotStarted, ShellRequest};

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(run): Json<Run>,
) -> Result<Json<Begun>, Failure> {
    let process = shell::process(run.host.pid, &peer)?;
    let request = ShellRequest {
        process,
        host: run.host,
        directory: run.directory,
        agent: run.agent,
        prompt: run.prompt,
        timeout_minutes: run.timeout_minutes,
        from: run.from,
    };
    let refused = |why: &dyn ToString| Failure::new(ErrorCode::Refused, why.to_string());
    match api.engine.run_from_shell(request).await {
        Ok(started) => {
            let record = started.delegation;
            Ok(Json(Begun {
                id: record.spec.id,
                existing: started.existing,
                state: record.state,
                withheld: record.spec.access.withheld,
                open: record.spec.access.open,
                worktree: record.spec.worktree,
            }))
        }
        Err(NotStarted::Refused(refusal)) => Err(refused(&refusal)),
        Err(NotStarted::Disconnected) => Err(refused(&"its server ended meanwhile; call again")),
    }
}
