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

/// `delegate(prompt, agent, timeout_minutes?, from?)`.
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

/// `delegation_apply(id, paths?, markers?)`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Apply {
    /// Where it was called.
    pub caller: Caller,
    /// The model's arguments, as they came.
    pub args: Value,
    /// The files whose edit the person's permission rules of the host have let pass. Without it, or where others would
    /// be written, nothing is: the answer names the files to ask for, in [`Answer::asks`].
    #[serde(default)]
    pub allowed: Option<Vec<String>>,
    /// What the bridge knows the call by: repeated, it is answered as before.
    #[serde(default)]
    pub call: Option<String>,
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
    /// Set by `delegation_apply` before anything is written: the files that would be. The bridge asks the host for the
    /// permission to edit them, and calls again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// With [`Answer::asks`]: what would be changed, for the person who is asked. Cut where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}
