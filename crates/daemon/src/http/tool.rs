//! What the tools' handlers share.

use std::sync::Arc;

use brigade_core::id::{IdError, ProjectId, SessionId};
use brigade_core::text::replies::HostMode;
use brigade_protocol::ErrorCode;
use brigade_protocol::delegations::Summary;
use brigade_protocol::tools::Caller;
use jiff::Timestamp;

use super::{Api, Failure};
use crate::hosts::Connection;
use crate::project;

/// The caller's connection; a bridge that is not known any more has to register again.
pub(super) fn connection(api: &Api, caller: &Caller) -> Result<Arc<Connection>, Failure> {
    api.engine
        .hub()
        .connection(&caller.connection)
        .ok_or_else(|| {
            Failure::new(
                ErrorCode::UnknownConnection,
                "this connection is not known: register again",
            )
        })
}

/// The caller's session.
pub(super) fn session(caller: &Caller) -> Result<SessionId, IdError> {
    caller.session.parse()
}

/// How the caller's host lives.
pub(super) fn mode(connection: &Connection) -> HostMode {
    if connection.is_transient() {
        HostMode::Run
    } else {
        HostMode::Interactive
    }
}

/// The caller's project.
pub(super) async fn project(api: &Api, caller: &Caller) -> ProjectId {
    match api.engine.hub().project(&caller.directory) {
        Some(project) => project,
        None => project::of(&caller.directory).await,
    }
}

/// How long ago something was, in milliseconds; 0 for what a moved clock puts into the future.
pub(super) fn age_ms(now: Timestamp, at: Timestamp) -> u64 {
    u64::try_from(now.duration_since(at).as_millis()).unwrap_or(0)
}

/// What a delegation that has not ended is doing, in words.
pub(super) fn doing(row: &Summary) -> String {
    match &row.progress.last_tool {
        Some(tool) => format!("{}, last tool {tool}", row.phase),
        None => row.phase.clone(),
    }
}
