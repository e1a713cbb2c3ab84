//! Child sessions in connected hosts that belong to nothing that runs: of a delegation that has ended or is
//! unknown, or a second one beside the child that counts. One that works is stopped; none is deleted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use brigade_agents::opencode::{Api, ApiError, Child, Status, is_prompt_of};
use brigade_core::delegation::Delegation;
use brigade_core::id::{Attempt, DelegationId, SessionId};
use brigade_protocol::gc::{Fate, Finding, FindingKind};
use brigade_store::StoreError;

use super::Mended;
use crate::engine::Engine;
use crate::hosts::Connection;

/// How long a host may take to tell of its sessions; one that is suspended tells nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long ago a delegation must have ended for its child to be idle for sure.
const SETTLED_S: i64 = 10;
/// How many of a session's last messages are looked at for its last prompt.
const TAIL: usize = 100;

/// A child session that nothing needs.
pub(crate) struct Dangling {
    session: SessionId,
    directory: String,
    /// Where it works; none where it is idle.
    works_in: Option<Arc<Connection>>,
    what: String,
}

impl Dangling {
    pub(super) fn finding(&self) -> Finding {
        let (fate, action) = match self.works_in {
            Some(_) => (Fate::Planned, "stop it; its messages stay"),
            None => (
                Fate::Left,
                "it does nothing and stays; delete it in the host if it is in your way",
            ),
        };
        Finding {
            kind: FindingKind::Session,
            subject: self.session.to_string(),
            what: self.what.clone(),
            fate,
            action: action.to_owned(),
        }
    }

    pub(super) async fn stop(&self) -> Mended {
        let Some(connection) = &self.works_in else {
            return Mended::left("it does nothing");
        };
        let api = Api::new(Arc::clone(connection) as _, self.directory.clone());
        match api.abort(&self.session).await {
            Ok(()) => Mended::done("stopped; its messages are there"),
            Err(error) => Mended::failed(&error),
        }
    }
}

/// All that the connected hosts tell of, and notes on what could not be looked at.
///
/// # Errors
/// When the store can't be read.
pub(super) async fn dangling(engine: &Engine) -> Result<(Vec<Dangling>, Vec<String>), StoreError> {
    let connections = engine.hub().connections();
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    if connections.is_empty() {
        notes.push("no host is connected, so child sessions could not be looked at".to_owned());
    }
    for connection in connections {
        for served in connection.directories() {
            let looking = look(engine, &connection, &served.directory);
            let host = format!(
                "{} (process {})",
                connection.host.name, connection.process.pid
            );
            match tokio::time::timeout(PATIENCE, looking).await {
                Ok(Ok(here)) => found.extend(here),
                Ok(Err(LookError::Store(error))) => return Err(error),
                Ok(Err(LookError::Host(error))) => notes.push(format!(
                    "{host} did not tell of the sessions in {}: {error}",
                    served.directory
                )),
                Err(_) => notes.push(format!(
                    "{host} did not tell of the sessions in {} in time",
                    served.directory
                )),
            }
        }
    }
    // One that works somewhere is no idle one, whichever host has told of it first.
    found.sort_by_key(|one| one.works_in.is_none());
    let mut seen = HashSet::new();
    found.retain(|one| seen.insert(one.session.clone()));
    Ok((found, notes))
}

enum LookError {
    Store(StoreError),
    Host(ApiError),
}

impl From<StoreError> for LookError {
    fn from(error: StoreError) -> Self {
        LookError::Store(error)
    }
}

impl From<ApiError> for LookError {
    fn from(error: ApiError) -> Self {
        LookError::Host(error)
    }
}

/// What works in a directory, and the idle second children of what is active there.
async fn look(
    engine: &Engine,
    connection: &Arc<Connection>,
    directory: &str,
) -> Result<Vec<Dangling>, LookError> {
    let api = Api::new(Arc::clone(connection) as _, directory.to_owned());
    let statuses = api.statuses().await?;
    let mut found = Vec::new();
    let working = statuses
        .iter()
        .filter(|(_, status)| **status != Status::Idle)
        .filter_map(|(session, _)| session.parse::<SessionId>().ok());
    for session in working {
        let Some(child) = api.session(&session).await? else {
            continue;
        };
        let Some((id, attempt)) = child.brigade() else {
            continue;
        };
        let Some(what) = verdict(engine, &id, &session).await? else {
            continue;
        };
        if !is_brigades(&api, &session, &id, attempt).await? {
            continue;
        }
        found.push(Dangling {
            session,
            directory: directory.to_owned(),
            works_in: Some(Arc::clone(connection)),
            what: format!("it works, and {what}"),
        });
    }
    for entry in engine.entries() {
        let record = entry.record().await;
        if record.spec.directory != directory {
            continue;
        }
        let children = match api
            .find_children(&record.spec.parent, &record.spec.id)
            .await
        {
            Err(error) if error.is_not_found() => continue,
            children => children?,
        };
        found.extend(
            seconds(&record, &children)
                .filter(|child| !statuses.contains_key(child.as_str()))
                .map(|child| Dangling {
                    session: child.clone(),
                    directory: directory.to_owned(),
                    works_in: None,
                    what: format!("a second child session of {}", record.spec.id),
                }),
        );
    }
    Ok(found)
}

/// The children beside the one that counts.
fn seconds<'a>(
    record: &'a Delegation,
    children: &'a [Child],
) -> impl Iterator<Item = &'a SessionId> {
    // While none is recorded, one may be the one that counts.
    let counts = record.child.as_ref();
    children
        .iter()
        .map(|child| &child.id)
        .filter(move |child| counts.is_some_and(|counts| counts != *child))
}

/// Why nothing needs this child of this delegation; none where something may.
async fn verdict(
    engine: &Engine,
    id: &DelegationId,
    session: &SessionId,
) -> Result<Option<String>, StoreError> {
    if let Some(entry) = engine.entry(id) {
        let record = entry.record().await;
        let second = record.child.as_ref().is_some_and(|child| child != session);
        return Ok(second.then(|| format!("{id} has another child session by now")));
    }
    let Some(row) = engine.store().get(id).await? else {
        return Ok(Some(format!(
            "{id}, for which it was made, is not on record"
        )));
    };
    let record = row.delegation;
    let settled = record
        .ended_at
        .is_some_and(|at| engine.now().as_second() - at.as_second() >= SETTLED_S);
    Ok(settled.then(|| format!("{id}, for which it was made, has ended as {}", record.state)))
}

/// Whether the last one who prompted the session was Brigade: a person may have gone on in it.
async fn is_brigades(
    api: &Api,
    session: &SessionId,
    id: &DelegationId,
    attempt: Attempt,
) -> Result<bool, ApiError> {
    let messages = api.messages(session, TAIL).await?;
    let last = messages
        .iter()
        .rev()
        .find(|message| message.info.role == "user");
    // Where it is not to be seen, nothing is stopped.
    Ok(last.is_some_and(|prompt| {
        prompt
            .parts
            .iter()
            .any(|part| is_prompt_of(&part.id, id, attempt))
    }))
}
