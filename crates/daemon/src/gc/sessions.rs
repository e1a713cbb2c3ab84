//! Child sessions in connected hosts that belong to nothing that runs: of a delegation that has ended or is
//! unknown, or a second one beside the child that counts. One that works is stopped; none is deleted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use brigade_agents::opencode::{Api, ApiError, Child, Message, Part, Status, is_prompt_of};
use brigade_core::delegation::Delegation;
use brigade_core::id::{Attempt, DelegationId, SessionId};
use brigade_protocol::gc::{Fate, Finding, FindingKind};
use brigade_store::StoreError;
use futures::future;

use super::Mended;
use crate::engine::Engine;
use crate::hosts::Connection;

/// How long a host may take to tell of its sessions; one that is suspended tells nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long ago a delegation must have ended for its child to be idle for sure.
const SETTLED_S: i64 = 10;
/// How many of a session's last messages are looked at for its last prompt.
const TAIL: usize = 100;

/// What is said where nothing is stopped for a person's sake.
const PERSONS: &str = "a person may have written there";

/// A child session that nothing needs.
pub(crate) struct Dangling {
    session: SessionId,
    directory: String,
    doing: Doing,
    what: String,
}

/// What a session does.
enum Doing {
    /// It works for Brigade in this host.
    Work(Arc<Connection>),
    /// It works, and perhaps for a person.
    Persons,
    Nothing,
}

impl Dangling {
    pub(super) fn finding(&self) -> Finding {
        let (fate, action) = match self.doing {
            Doing::Work(_) => (Fate::Planned, "stop it; its messages stay".to_owned()),
            Doing::Persons => (
                Fate::Left,
                format!("{PERSONS}; abort it in the host if nobody needs it"),
            ),
            Doing::Nothing => (
                Fate::Left,
                "it does nothing and stays; delete it in the host if it is in your way".to_owned(),
            ),
        };
        Finding {
            kind: FindingKind::Session,
            subject: self.session.to_string(),
            what: self.what.clone(),
            fate,
            action,
        }
    }

    /// Stops it, if it still is what it was when it was found.
    pub(super) async fn stop(&self, engine: &Engine) -> Mended {
        let Doing::Work(connection) = &self.doing else {
            return Mended::left("it does nothing for Brigade");
        };
        let api = Api::new(Arc::clone(connection) as _, self.directory.clone());
        let judging = async {
            let statuses = api.statuses().await?;
            if !works(statuses.get(self.session.as_str())) {
                return Ok(Some("it works no longer"));
            }
            Ok::<_, LookError>(match judge(engine, &api, &self.session).await? {
                Some((_, Writer::Brigade)) => None,
                Some(_) => Some(PERSONS),
                None => Some("it is needed by now, or gone"),
            })
        };
        match tokio::time::timeout(PATIENCE, judging).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(why))) => return Mended::left(why),
            Ok(Err(LookError::Store(error))) => return Mended::failed(&error),
            Ok(Err(LookError::Host(error))) => return Mended::failed(&error),
            Err(_) => {
                return Mended {
                    fate: Fate::Failed,
                    ..Mended::done(
                        "its host did not tell in time what it does now; nothing was stopped",
                    )
                };
            }
        }
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
    // Side by side: a host that does not answer keeps nobody from looking at the others.
    let looking = connections.iter().map(|host| look_at_host(engine, host));
    for (here, of_host) in future::try_join_all(looking).await? {
        found.extend(here);
        notes.extend(of_host);
    }
    // What works somewhere is not idle, whichever host has told of it first.
    found.sort_by_key(|one| match one.doing {
        Doing::Work(_) => 0,
        Doing::Persons => 1,
        Doing::Nothing => 2,
    });
    let mut seen = HashSet::new();
    found.retain(|one| seen.insert(one.session.clone()));
    Ok((found, notes))
}

/// What one host tells of, in all its directories up to the first that it is silent on.
async fn look_at_host(
    engine: &Engine,
    connection: &Arc<Connection>,
) -> Result<(Vec<Dangling>, Vec<String>), StoreError> {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    let host = format!(
        "{} (process {})",
        connection.host.name, connection.process.pid
    );
    let directories = connection.directories();
    for (at, served) in directories.iter().enumerate() {
        let looking = look(engine, connection, &served.directory);
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(Ok(here)) => found.extend(here),
            Ok(Err(LookError::Store(error))) => return Err(error),
            Ok(Err(LookError::Host(error))) => notes.push(format!(
                "{host} did not tell of the sessions in {}: {error}",
                served.directory
            )),
            Err(_) => {
                let rest = match directories.len() - at - 1 {
                    0 => String::new(),
                    1 => ", and was not asked of another directory".to_owned(),
                    more => format!(", and was not asked of {more} other directories"),
                };
                notes.push(format!(
                    "{host} did not tell of the sessions in {} in time{rest}",
                    served.directory
                ));
                break;
            }
        }
    }
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
        .filter(|(_, status)| works(Some(status)))
        .filter_map(|(session, _)| session.parse::<SessionId>().ok());
    for session in working {
        let Some((what, writer)) = judge(engine, &api, &session).await? else {
            continue;
        };
        found.push(Dangling {
            session,
            directory: directory.to_owned(),
            doing: match writer {
                Writer::Brigade => Doing::Work(Arc::clone(connection)),
                Writer::Unclear => Doing::Persons,
                // What a person does in a session is nothing that was left.
                Writer::Person => continue,
            },
            what: format!("it works, and {what}"),
        });
    }
    for entry in engine.entries() {
        let record = entry.record().await;
        if record.spec.workplace() != directory {
            continue;
        }
        let since = u64::try_from(record.spec.registered_at.as_millisecond()).unwrap_or(0);
        let children = match api
            .find_children(&record.spec.parent, &record.spec.id, since)
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
                    doing: Doing::Nothing,
                    what: format!("a second child session of {}", record.spec.id),
                }),
        );
    }
    Ok(found)
}

/// Whether a session with this status works.
fn works(status: Option<&Status>) -> bool {
    status.is_some_and(|status| *status != Status::Idle)
}

/// Why nothing needs a session, and who was the last to write in it; none where it is no child of Brigade's,
/// is gone, or may be needed.
async fn judge(
    engine: &Engine,
    api: &Api,
    session: &SessionId,
) -> Result<Option<(String, Writer)>, LookError> {
    let Some(child) = api.session(session).await? else {
        return Ok(None);
    };
    let Some((id, attempt)) = child.brigade() else {
        return Ok(None);
    };
    let Some((what, sent)) = verdict(engine, &id, session).await? else {
        return Ok(None);
    };
    let messages = api.messages(session, TAIL).await?;
    Ok(Some((what, last_writer(&messages, &id, attempt, sent))))
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

/// Why nothing needs this child of this delegation, and how many messages were sent to that; none where something
/// may need it.
async fn verdict(
    engine: &Engine,
    id: &DelegationId,
    session: &SessionId,
) -> Result<Option<(String, u32)>, StoreError> {
    if let Some(entry) = engine.entry(id) {
        let record = entry.record().await;
        let second = record.child.as_ref().is_some_and(|child| child != session);
        return Ok(second.then(|| {
            let what = format!("{id} has another child session by now");
            (what, record.messages)
        }));
    }
    let Some(row) = engine.store().get(id).await? else {
        let what = format!("{id}, for which it was made, is not on record");
        return Ok(Some((what, 0)));
    };
    let record = row.delegation;
    let settled = record
        .ended_at
        .is_some_and(|at| engine.now().as_second() - at.as_second() >= SETTLED_S);
    Ok(settled.then(|| {
        let what = format!("{id}, for which it was made, has ended as {}", record.state);
        (what, record.messages)
    }))
}

/// Who was the last to write in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Brigade,
    Person,
    /// It is not to be seen.
    Unclear,
}

/// Who was the last to write in a child of this delegation, by its last messages: a person may have gone on in it.
fn last_writer(messages: &[Message], id: &DelegationId, last: Attempt, sent: u32) -> Writer {
    for (at, message) in messages.iter().enumerate().rev() {
        if message.info.is_assistant() {
            continue;
        }
        let parts = &message.parts;
        if parts
            .iter()
            .any(|part| is_prompt_of(&part.id, id, last, sent))
        {
            return Writer::Brigade;
        }
        // After a compaction the host asks to go on, or repeats the prompt under another ID.
        let compacted = at
            .checked_sub(1)
            .is_some_and(|before| messages[before].info.is_summary());
        if parts.iter().any(Part::is_own_text) {
            return if compacted {
                Writer::Unclear
            } else {
                Writer::Person
            };
        }
        let compaction = parts.iter().any(|part| part.kind == "compaction");
        // A notice has one part for the model and one for the person.
        let notice = parts.iter().any(|part| part.ignored == Some(true));
        // What else has no text of its own may come from a person, such as a shell command.
        let hosts = compaction
            || !parts.is_empty()
                && parts.iter().all(|part| part.kind == "text")
                && (compacted || notice);
        if !hosts {
            return Writer::Unclear;
        }
    }
    Writer::Unclear
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_agents::opencode::fixed_part_id;
    use serde_json::{Value, json};

    fn writer(messages: &[Value]) -> Writer {
        let messages: Vec<Message> = serde_json::from_value(json!(messages)).unwrap();
        last_writer(
            &messages,
            &"brave-amber-otter".parse().unwrap(),
            Attempt(2),
            0,
        )
    }

    fn message(role: &str, parts: &Value) -> Value {
        json!({"info": {"id": "msg_1", "role": role}, "parts": parts})
    }

    fn text(more: &Value) -> Value {
        let mut part = json!({"id": "prt_1", "type": "text", "text": "go on"});
        part.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        part
    }

    #[test]
    fn the_last_to_write_is_told_from_what_host_and_brigade_add() {
        let id = "brave-amber-otter".parse().unwrap();
        let prompt = message(
            "user",
            &json!([text(&json!({"id": fixed_part_id(&id, "prompt/2", 7)}))]),
        );
        let later = message(
            "user",
            &json!([text(&json!({"id": fixed_part_id(&id, "prompt/3", 7)}))]),
        );
        let answer = message("assistant", &json!([text(&json!({}))]));
        let person = message("user", &json!([text(&json!({}))]));
        let synthetic = message("user", &json!([text(&json!({"synthetic": true}))]));
        let notice = message(
            "user",
            &json!([
                text(&json!({"synthetic": true})),
                text(&json!({"ignored": true}))
            ]),
        );
        let compaction = message("user", &json!([{"id": "prt_1", "type": "compaction"}]));
        let mut summary = answer.clone();
        summary["info"]["summary"] = json!(true);
        let file = message("user", &json!([{"id": "prt_1", "type": "file"}]));

        let all = |messages: &[&Value]| {
            writer(
                &messages
                    .iter()
                    .map(|one| (*one).clone())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(all(&[&prompt, &answer]), Writer::Brigade);
        assert_eq!(all(&[&prompt, &answer, &notice]), Writer::Brigade);
        assert_eq!(
            all(&[&prompt, &compaction, &summary, &synthetic, &answer]),
            Writer::Brigade
        );
        assert_eq!(all(&[&prompt, &answer, &person, &answer]), Writer::Person);
        assert_eq!(all(&[&later]), Writer::Person, "none that it has made");
        assert_eq!(
            all(&[&person, &compaction, &summary, &synthetic]),
            Writer::Person
        );
        for unclear in [
            &[][..],
            &[&answer],
            &[&compaction, &summary, &synthetic],
            &[&prompt, &compaction, &summary, &person],
            &[&prompt, &answer, &synthetic],
            &[&prompt, &answer, &file],
        ] {
            assert_eq!(all(unclear), Writer::Unclear, "{unclear:?}");
        }
    }
}
