//! What the tools' handlers share.

use std::sync::Arc;

use axum::Json;
use brigade_core::id::{DelegationId, IdError, ProjectId, SessionId};
use brigade_core::text::replies::{self, HostMode, Unsteerable};
use brigade_protocol::ErrorCode;
use brigade_protocol::delegations::Summary;
use brigade_protocol::tools::{Answer, Caller};
use brigade_store::{Found, Listed, Row};
use jiff::Timestamp;
use serde_json::Value;

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

/// The delegation of the caller's project that a tool's `id` names, or words for one that is not there.
pub(super) async fn find(
    api: &Api,
    caller: &Caller,
    args: &Value,
) -> Result<Result<(DelegationId, Listed), String>, Failure> {
    let project = project(api, caller).await;
    api.engine.scan_predecessor(&project).await;
    let asked = args
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
        .trim_matches('`');
    let Ok(id) = asked.parse::<DelegationId>() else {
        return Ok(Err(replies::not_found(asked, &[])));
    };
    match api.engine.store().find(id.as_str(), Some(&project)).await? {
        Found::One(row) if row.id() == &id => Ok(Ok((id, row))),
        _ => {
            let near = api.engine.store().near(&id, &project).await?;
            Ok(Err(replies::not_found(asked, &near)))
        }
    }
}

/// Only the session that delegated, and no child, steers a delegation by its tools.
pub(super) fn steerable(caller: &Caller, row: Listed) -> Result<Row, Unsteerable> {
    let row = match row {
        Listed::Ours(row) => *row,
        Listed::Predecessor(file) => return Err(Unsteerable::Predecessor { id: file.id }),
    };
    if caller.parent.is_some() {
        return Err(Unsteerable::InChild);
    }
    if row.delegation.spec.root.as_str() != caller.session {
        let id = row.delegation.spec.id;
        return Err(Unsteerable::Elsewhere { id });
    }
    Ok(row)
}

/// A delegation as it stands by now.
pub(super) async fn reread(api: &Api, id: &DelegationId) -> Result<Listed, Failure> {
    let row = api.engine.store().get(id).await?;
    row.map(|row| Listed::Ours(Box::new(row)))
        .ok_or_else(|| Failure::not_found(id.as_str()))
}

/// Lets the notice go when the read ends without a result: aborted, given up, or failed.
pub(super) struct Hold {
    api: Api,
    id: DelegationId,
    session: String,
    handed: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A handed result is confirmed, or not, by the bridge.
        if !self.handed {
            self.api
                .engine
                .delivery()
                .release_hold(&self.id, &self.session);
        }
    }
}

impl Hold {
    /// Holds the notice of a delegation back while a call of its parent is about to get the result.
    pub(super) fn new(api: &Api, caller: &Caller, id: &DelegationId) -> Self {
        let delivery = api.engine.delivery();
        delivery.hold(id, &caller.session, &caller.connection);
        Self {
            api: api.clone(),
            id: id.clone(),
            session: caller.session.clone(),
            handed: false,
        }
    }

    /// Hands a page of the result over, after these words.
    pub(super) async fn hand_over(
        mut self,
        caller: &Caller,
        row: &Listed,
        offset: usize,
        words: Option<String>,
    ) -> Result<Json<Answer>, Failure> {
        let api = self.api.clone();
        let _turn = api.turn(api.engine.store().artifact_len(row).await).await;
        let text = api.engine.artifact_text(row).await?;
        let config = api.engine.configs().for_directory(&caller.directory);
        let page = replies::page(&self.id, &text, offset, config.limits.page);
        self.handed = matches!(row, Listed::Ours(_));
        Ok(Json(Answer {
            title: self.id.to_string(),
            output: match words {
                Some(words) => format!("{words}\n\n{}", page.text),
                None => page.text,
            },
            handed: self.handed.then(|| self.id.to_string()),
            asks: Vec::new(),
            diff: None,
        }))
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
