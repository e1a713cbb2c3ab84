//! The model's tools, as the bridge passes them on. Arguments are validated by the daemon alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a tool was called.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Caller {
    /// The bridge's connection.
    pub connection: String,
    /// The session whose model called the tool.
    pub session: String,
    /// The message in which it called.
    pub message: Option<String>,
    /// The calling agent.
    pub agent: Option<String>,
    /// The session's parent; none for a root session.
    pub parent: Option<String>,
    /// The directory of the host's instance.
    pub directory: String,
}

/// `delegate(prompt, agent, timeout_minutes?)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delegate {
    /// Where it was called.
    pub caller: Caller,
    /// The model's arguments, as they came.
    pub args: Value,
}

/// `delegation_read(id, offset?)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Read {
    /// Where it was called.
    pub caller: Caller,
    /// The model's arguments, as they came.
    pub args: Value,
}

/// `delegation_list(query?, scope?)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct List {
    /// Where it was called.
    pub caller: Caller,
    /// The model's arguments, as they came.
    pub args: Value,
}

/// `delegation_cancel(id)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancel {
    /// Where it was called.
    pub caller: Caller,
    /// The model's arguments, as they came.
    pub args: Value,
}

/// `delegation_send(id, message)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Send {
    /// Where it was called.
    pub caller: Caller,
    /// The model's arguments, as they came.
    pub args: Value,
}

/// What a tool answers. Refusals are answers too: the model is to read them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// A short title for the host's UI.
    pub title: String,
    /// The text for the model.
    pub output: String,
    /// Set by `delegation_read` when the text is a terminal result: the bridge confirms with
    /// [`crate::bridge::Up::Handed`] once the host has it, and only then is the notice needless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed: Option<String>,
}
