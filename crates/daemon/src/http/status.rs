//! `GET /v1/status`: how the daemon, its store and its hosts are.

use axum::Json;
use axum::extract::State;
use brigade_core::delegation::Confinement;
use brigade_core::permission::Plan;
use brigade_protocol::PROTOCOL;
use brigade_protocol::daemon::{
    AgentStatus, BridgeStatus, DirectoryStatus, Status, WorktreesStatus,
};
use brigade_store::StoreError;

use super::{Api, Failure};
use crate::config::Config;
use crate::hosts::{Catalogue, Connection};

pub(super) async fn handle(State(api): State<Api>) -> Result<Json<Status>, Failure> {
    let counts = api.engine.store().counts().await?;
    Ok(Json(Status {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: api.about.started_at,
        data_dir: api.about.data_dir.display().to_string(),
        socket: api.about.socket.display().to_string(),
        store: api.about.store.display().to_string(),
        schema: counts.schema,
        running: counts.running,
        queued: counts.queued,
        waiting: counts.waiting,
        unread: counts.unread,
        notices_waiting: counts.notices_waiting,
        total: counts.total,
        concurrent: api.engine.configs().user().limits.concurrent,
        troubles: api.engine.troubles().list(),
        bridges: api
            .engine
            .hub()
            .connections()
            .iter()
            .filter(|connection| !connection.is_worker())
            .map(|connection| bridge(&api, connection))
            .collect(),
        servers: api.engine.servers().list(),
        worktrees: Some(worktrees(&api).await?),
        panels: api.panels.list(),
        desktop: api.engine.desktop_state(),
    }))
}

async fn worktrees(api: &Api) -> Result<WorktreesStatus, StoreError> {
    let (count, bytes) = api.engine.store().worktree_usage().await?;
    let settings = &api.engine.configs().user().worktree;
    Ok(WorktreesStatus {
        count,
        bytes,
        limit: settings.disk,
        confinement: match brigade_os::confine::available() {
            _ if !settings.confine => "by rules alone: [worktree] confine is false".to_owned(),
            Ok(abi) => Confinement::Kernel { abi }.to_string(),
            Err(why) => {
                let why = why.to_string();
                Confinement::Rules { why }.to_string()
            }
        },
    })
}

fn bridge(api: &Api, connection: &Connection) -> BridgeStatus {
    BridgeStatus {
        pid: connection.process.pid,
        host: format!("{} {}", connection.host.name, connection.host.version),
        bridge_version: connection.bridge_version.clone(),
        mode: connection.host.mode.clone(),
        directories: connection
            .directories()
            .into_iter()
            .map(|served| {
                let config = api.engine.configs().for_directory(&served.directory);
                DirectoryStatus {
                    agents: served
                        .catalogue
                        .map(|catalogue| agents(&catalogue, &config))
                        .unwrap_or_default(),
                    directory: served.directory,
                }
            })
            .collect(),
    }
}

fn agents(catalogue: &Catalogue, config: &Config) -> Vec<AgentStatus> {
    catalogue
        .agents()
        .map(|agent| {
            let (class, detail) = match catalogue.plan(agent, None, config) {
                Plan::ReadOnly(child) => {
                    let access = brigade_core::delegation::Access::from(child);
                    let mut detail = if access.open.is_empty() {
                        "enforced".to_owned()
                    } else {
                        format!("by rule: {}", access.open.join("; "))
                    };
                    if !access.withheld.is_empty() {
                        detail.push_str(&format!("; withheld: {}", access.withheld.join("; ")));
                    }
                    ("read-only", detail)
                }
                Plan::Writing(child) => {
                    let access = brigade_core::delegation::Access::from(child);
                    let mut detail = "in a worktree of its own".to_owned();
                    if !access.open.is_empty() {
                        detail.push_str(&format!("; beyond it: {}", access.open.join("; ")));
                    }
                    ("write-capable", detail)
                }
                Plan::BeyondCaller { why } => ("write-capable", why),
                Plan::Refused { why } => ("refused", why),
            };
            AgentStatus {
                name: agent.name.clone(),
                class: class.to_owned(),
                detail,
            }
        })
        .collect()
}
