//! The host's events, as far as a run depends on them.

use serde::Deserialize;
use serde_json::Value;

use super::message::{MessageError, MessageInfo, Part};

/// One event of the host.
#[derive(Debug, Clone)]
pub struct HostEvent {
    /// The session it speaks of; none for an event of the whole host.
    pub session: Option<String>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in a session.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// It works.
    Busy,
    /// It does nothing more, for now or for ever.
    Idle,
    /// The provider failed; the host tries again.
    Retry {
        /// When, in milliseconds since 1970.
        next_ms: u64,
        /// Why.
        message: String,
    },
    /// Something failed; by itself no end.
    Error(Option<MessageError>),
    /// A message was made or changed.
    Message(Box<MessageInfo>),
    /// A part was made or changed.
    Part(Box<Part>),
    /// Text was added to a part.
    Delta {
        /// The part.
        part: String,
        /// Which of its fields: `text`.
        field: String,
        /// What was added.
        delta: String,
    },
    /// A part was taken out.
    PartRemoved {
        /// The part.
        part: String,
    },
    /// A permission is asked for, and the run stands still until there is an answer.
    PermissionAsked {
        /// The request.
        id: String,
        /// Which permission.
        permission: String,
        /// On what.
        patterns: Vec<String>,
    },
    /// A question to the person, and the run stands still until there is an answer.
    QuestionAsked {
        /// The request.
        id: String,
        /// How many questions it holds.
        count: usize,
    },
    /// The session was deleted.
    Deleted,
    /// Anything else; of a session it is still a sign of life.
    Other,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    properties: Value,
}

#[derive(Deserialize)]
struct StatusWire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    next: u64,
}

#[derive(Deserialize)]
struct DeltaWire {
    #[serde(rename = "partID")]
    part: String,
    #[serde(default)]
    field: String,
    delta: String,
}

#[derive(Deserialize)]
struct PermissionWire {
    id: String,
    #[serde(default)]
    permission: String,
    #[serde(default)]
    patterns: Vec<String>,
}

#[derive(Deserialize)]
struct QuestionWire {
    id: String,
    #[serde(default)]
    questions: Vec<Value>,
}

impl HostEvent {
    /// Reads `{type, properties}`. What is unknown or not as expected becomes [`EventKind::Other`]: an event
    /// is a hint, and a newer host may say more than is known here. None if it is no event at all.
    pub fn parse(event: Value) -> Option<Self> {
        let Wire {
            kind,
            mut properties,
        } = serde_json::from_value(event).ok()?;
        let session = session_of(&kind, &properties);
        let kind = parse_kind(&kind, &mut properties).unwrap_or(EventKind::Other);
        Some(Self { session, kind })
    }
}

fn session_of(kind: &str, properties: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    properties
        .get("sessionID")
        .or_else(|| properties.get("part")?.get("sessionID"))
        .or_else(|| properties.get("info")?.get("sessionID"))
        .or_else(|| {
            kind.starts_with("session.")
                .then(|| properties.get("info")?.get("id"))
                .flatten()
        })
        .and_then(text)
}

fn parse_kind(kind: &str, properties: &mut Value) -> Option<EventKind> {
    fn take<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
        serde_json::from_value(value).ok()
    }
    let mut field = |name: &str| properties.get_mut(name).map_or(Value::Null, Value::take);
    Some(match kind {
        "session.idle" => EventKind::Idle,
        "session.status" => {
            let status: StatusWire = take(field("status"))?;
            match status.kind.as_str() {
                "busy" => EventKind::Busy,
                "idle" => EventKind::Idle,
                "retry" => EventKind::Retry {
                    next_ms: status.next,
                    message: status.message,
                },
                _ => EventKind::Other,
            }
        }
        "session.error" => EventKind::Error(take(field("error"))),
        "session.deleted" => EventKind::Deleted,
        "message.updated" => EventKind::Message(Box::new(take(field("info"))?)),
        "message.part.updated" => EventKind::Part(Box::new(take(field("part"))?)),
        "message.part.delta" => {
            let delta: DeltaWire = take(properties.take())?;
            EventKind::Delta {
                part: delta.part,
                field: delta.field,
                delta: delta.delta,
            }
        }
        "message.part.removed" => EventKind::PartRemoved {
            part: take(field("partID"))?,
        },
        "permission.asked" => {
            let asked: PermissionWire = take(properties.take())?;
            EventKind::PermissionAsked {
                id: asked.id,
                permission: asked.permission,
                patterns: asked.patterns,
            }
        }
        "question.asked" => {
            let asked: QuestionWire = take(properties.take())?;
            EventKind::QuestionAsked {
                id: asked.id,
                count: asked.questions.len(),
            }
        }
        _ => EventKind::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_event_of_a_session_is_a_sign_of_life() {
        let event = HostEvent::parse(json!({
            "type": "session.diff", "properties": {"sessionID": "ses_1", "diff": []}
        }))
        .unwrap();
        assert_eq!(event.session.as_deref(), Some("ses_1"));
        assert!(matches!(event.kind, EventKind::Other));
    }

    #[test]
    fn a_known_event_of_a_changed_form_is_not_lost() {
        let event = HostEvent::parse(json!({
            "type": "message.updated", "properties": {"sessionID": "ses_1", "info": 5}
        }))
        .unwrap();
        assert!(matches!(event.kind, EventKind::Other));
        assert!(HostEvent::parse(json!({"kind": "x"})).is_none());
    }

    #[test]
    fn the_session_of_a_session_event_is_its_id() {
        let event = HostEvent::parse(json!({
            "type": "session.deleted", "properties": {"info": {"id": "ses_2", "parentID": "ses_1"}}
        }))
        .unwrap();
        assert_eq!(event.session.as_deref(), Some("ses_2"));
        assert!(matches!(event.kind, EventKind::Deleted));
    }
}
