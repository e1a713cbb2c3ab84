//! What the API takes and gives, as far as Brigade needs it.

use std::fmt;

use brigade_core::delegation::Model;
use brigade_core::id::{Attempt, DelegationId, SessionId};
use brigade_core::permission::Ruleset;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::message::lenient;
use super::transport::TransportError;

/// The host answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    /// HTTP status.
    pub status: u16,
    /// The host's words.
    pub message: String,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {})", self.message, self.status)
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// There was no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The host refused or failed.
    #[error("the host answered {call} with an error: {error}")]
    Host {
        /// What was asked.
        call: String,
        /// Its answer.
        error: HostError,
    },
    /// The host's answer is not of the form that is known: its version is likely newer than this Brigade knows.
    #[error("the host's answer to {call} was not understood: {why}")]
    Unexpected {
        /// What was asked.
        call: String,
        /// What was wrong with the answer.
        why: String,
    },
}

impl ApiError {
    /// Whether the host says that the thing does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Host { error, .. } if error.status == 404)
    }
}

/// A session, as far as delegations need it.
#[derive(Debug, Clone, Deserialize)]
pub struct Child {
    /// Its ID.
    pub id: SessionId,
    /// Its parent; none for a root session.
    #[serde(default, rename = "parentID")]
    pub parent: Option<SessionId>,
    /// The directory in which it runs.
    #[serde(default, deserialize_with = "lenient")]
    pub directory: String,
    /// Its title.
    #[serde(default, deserialize_with = "lenient")]
    pub title: String,
    /// The agent of its latest prompt.
    #[serde(default)]
    pub agent: Option<String>,
    /// Its own permission rules.
    #[serde(default, deserialize_with = "lenient")]
    pub permission: Ruleset,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub time: SessionTime,
    #[serde(default)]
    metadata: Option<Value>,
}

/// When a session was made, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct SessionTime {
    /// Creation.
    #[serde(default, deserialize_with = "lenient")]
    pub created: u64,
}

impl Child {
    /// The delegation and attempt it was made for, by its metadata.
    pub fn brigade(&self) -> Option<(DelegationId, Attempt)> {
        let brigade = self.metadata.as_ref()?.get("brigade")?;
        let id = brigade.get("delegation")?.as_str()?.parse().ok()?;
        let attempt = u32::try_from(brigade.get("attempt")?.as_u64()?).ok()?;
        Some((id, Attempt(attempt)))
    }
}

/// What a session does, by the status map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing, or its prompt is so new that the map does not show it yet.
    Idle,
    /// It works.
    Busy,
    /// The provider failed; the host tries again.
    Retry {
        /// When, in milliseconds since 1970.
        next_ms: u64,
        /// Why.
        message: String,
    },
}

/// An agent as the host resolves it in a directory.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentInfo {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// `primary`, `subagent` or `all`.
    #[serde(default, deserialize_with = "lenient")]
    pub mode: String,
    /// Whether it is built into the host.
    #[serde(default, deserialize_with = "lenient")]
    pub native: bool,
    /// Whether it is not shown to people.
    #[serde(default, deserialize_with = "lenient")]
    pub hidden: bool,
    /// Its rules, with the host's defaults in front.
    #[serde(default, rename = "permission", deserialize_with = "lenient")]
    pub rules: Ruleset,
    /// Its own model, if it has one.
    #[serde(default)]
    pub model: Option<Model>,
    /// Its own variant, if it has one.
    #[serde(default)]
    pub variant: Option<String>,
}

/// A permission or question that awaits an answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Ask {
    /// The request.
    pub id: String,
    /// The session that asks.
    #[serde(rename = "sessionID")]
    pub session: String,
    /// Which permission; empty for a question.
    #[serde(default, deserialize_with = "lenient")]
    pub permission: String,
    /// On what.
    #[serde(default, deserialize_with = "lenient")]
    pub patterns: Vec<String>,
    #[serde(default, deserialize_with = "lenient")]
    questions: Vec<Value>,
}

impl Ask {
    /// How many questions it holds.
    pub fn questions(&self) -> usize {
        self.questions.len()
    }
}

/// A prompt, in the host's own JSON form.
#[derive(Debug, Clone, Serialize)]
pub struct PromptBody {
    /// The message's ID. The same message and part IDs posted again are the same prompt.
    #[serde(rename = "messageID", skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The agent. Without it the message becomes the default agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model, without its variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PromptModel>,
    /// The variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Store only, ask no model.
    #[serde(rename = "noReply", skip_serializing_if = "std::ops::Not::not")]
    pub no_reply: bool,
    /// Text for the system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The parts, in the host's own JSON form.
    pub parts: Vec<Value>,
}

/// A model in a prompt.
#[derive(Debug, Clone, Serialize)]
pub struct PromptModel {
    /// The provider's ID.
    #[serde(rename = "providerID")]
    pub provider: String,
    /// The model's ID at that provider.
    #[serde(rename = "modelID")]
    pub model: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_that_is_not_ours_is_none() {
        let child = |metadata: Value| -> Child {
            serde_json::from_value(json!({"id": "ses_1", "metadata": metadata, "later": 1}))
                .unwrap()
        };
        assert!(
            child(json!({"brigade": {"delegation": "../x", "attempt": 1}}))
                .brigade()
                .is_none()
        );
        assert!(child(Value::Null).brigade().is_none());
        let (id, attempt) = child(json!({"brigade": {"delegation": "a-b-c", "attempt": 2}}))
            .brigade()
            .unwrap();
        assert_eq!((id.as_str(), attempt), ("a-b-c", Attempt(2)));
    }
}
