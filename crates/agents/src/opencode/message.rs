//! Messages as the host stores them; what is unknown in them is ignored.

use std::collections::BTreeMap;

use brigade_core::delegation::Model;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A field that the host leaves out or gives as null.
pub(super) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A message with its parts.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// What it is.
    pub info: MessageInfo,
    /// Its parts, in order.
    #[serde(default, deserialize_with = "lenient")]
    pub parts: Vec<Part>,
}

/// A message without its parts.
#[derive(Debug, Clone, Deserialize)]
pub struct MessageInfo {
    /// Its ID.
    pub id: String,
    /// `user` or `assistant`.
    pub role: String,
    /// When it was created and completed.
    #[serde(default, deserialize_with = "lenient")]
    pub time: MessageTime,
    /// Of an assistant message: the user message it answers.
    #[serde(default, rename = "parentID")]
    pub parent: Option<String>,
    /// Of an assistant message: `stop`, `tool-calls`, `length`, …
    #[serde(default)]
    pub finish: Option<String>,
    /// Of an assistant message: what it failed with.
    #[serde(default)]
    pub error: Option<MessageError>,
    /// Of an assistant message: whether it is a compaction's summary. (A user message has an object here.)
    #[serde(default)]
    summary: Value,
    /// The agent.
    #[serde(default)]
    pub agent: Option<String>,
    /// Of a user message: the model.
    #[serde(default)]
    pub model: Option<Model>,
    /// Of an assistant message: the provider.
    #[serde(default, rename = "providerID")]
    pub provider: Option<String>,
    /// Of an assistant message: the model.
    #[serde(default, rename = "modelID")]
    pub model_name: Option<String>,
    /// Of an assistant message: tokens used.
    #[serde(default)]
    pub tokens: Option<Tokens>,
    /// Of an assistant message: its cost in dollars.
    #[serde(default)]
    pub cost: Option<f64>,
}

impl MessageInfo {
    /// Whether the model wrote it.
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    /// Whether it is a compaction's summary.
    pub fn is_summary(&self) -> bool {
        self.is_assistant() && self.summary == Value::Bool(true)
    }
}

/// When a message was created and completed, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct MessageTime {
    /// Creation.
    #[serde(default, deserialize_with = "lenient")]
    pub created: u64,
    /// Completion; none while it is being written, and for ever after a crash.
    #[serde(default)]
    pub completed: Option<u64>,
}

/// An error as the host words it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageError {
    /// Its kind: `APIError`, `MessageAbortedError`, `UnknownError`, …
    pub name: String,
    #[serde(default)]
    data: Value,
}

impl MessageError {
    /// Whether the run was aborted.
    pub fn is_abort(&self) -> bool {
        self.name == "MessageAbortedError"
    }

    /// Whether the model's provider failed, and not the host.
    pub fn is_providers(&self) -> bool {
        matches!(
            self.name.as_str(),
            "APIError"
                | "ProviderAuthError"
                | "ContextOverflowError"
                | "MessageOutputLengthError"
                | "ContentFilterError"
        )
    }

    /// Whether a permission was refused where the host makes that the message's end and not the tool's: it
    /// asks `doom_loop` so, about the third call in a row that is like the two before it.
    pub fn is_refusal(&self) -> bool {
        let message = self.data.get("message").and_then(Value::as_str);
        message.is_some_and(|message| {
            message.starts_with("The user has specified a rule which prevents you from using")
                || message.starts_with("The user rejected permission to use")
        })
    }

    /// The real words, with the HTTP status where there is one: `bad key (HTTP 401)`.
    pub fn words(&self) -> String {
        let message = match self.data.get("message").and_then(Value::as_str) {
            Some(message) if !message.trim().is_empty() => message.trim().to_owned(),
            _ if self.name == "MessageOutputLengthError" => {
                "the answer exceeded the model's output limit".to_owned()
            }
            _ => self.name.clone(),
        };
        match self.data.get("statusCode").and_then(Value::as_u64) {
            Some(status) => format!("{message} (HTTP {status})"),
            None => message,
        }
    }
}

/// One part of a message.
#[derive(Debug, Clone, Deserialize)]
pub struct Part {
    /// Its ID.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// The message it belongs to.
    #[serde(default, rename = "messageID", deserialize_with = "lenient")]
    pub message: String,
    /// `text`, `tool`, `step-start`, `step-finish`, `reasoning`, `compaction`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a text part: the text.
    #[serde(default)]
    pub text: Option<String>,
    /// Of a text part: whether it was made by a program.
    #[serde(default)]
    pub synthetic: Option<bool>,
    /// Of a text part: whether the model does not see it.
    #[serde(default)]
    pub ignored: Option<bool>,
    /// Of a tool part: the tool.
    #[serde(default)]
    pub tool: Option<String>,
    /// Of a tool part: the call's ID, as the provider knows it.
    #[serde(default, rename = "callID")]
    pub call: Option<String>,
    /// Of a text or reasoning part: when it was written.
    #[serde(default, deserialize_with = "lenient")]
    pub time: PartTime,
    /// Of a tool part: where it stands.
    #[serde(default)]
    pub state: Option<ToolState>,
    /// Of a `step-finish` part: tokens used.
    #[serde(default)]
    pub tokens: Option<Tokens>,
    /// Of a `step-finish` part: its cost in dollars.
    #[serde(default)]
    pub cost: Option<f64>,
    #[serde(default)]
    metadata: Option<Value>,
}

impl Part {
    /// Whether it is text that the model itself wrote.
    pub fn is_own_text(&self) -> bool {
        self.kind == "text" && self.synthetic != Some(true) && self.ignored != Some(true)
    }

    /// Whether it is a tool call that has no result yet.
    pub fn is_open_tool(&self) -> bool {
        self.kind == "tool"
            && self
                .state
                .as_ref()
                .is_some_and(|state| matches!(state.status.as_str(), "pending" | "running"))
    }

    /// Whether it is a tool call that the provider itself carried out.
    pub fn provider_executed(&self) -> bool {
        self.metadata
            .as_ref()
            .and_then(|metadata| metadata.get("providerExecuted"))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }
}

/// Where a tool call stands.
#[derive(Debug, Clone, Deserialize)]
pub struct ToolState {
    /// `pending`, `running`, `completed` or `error`.
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    /// What it failed with.
    #[serde(default)]
    pub error: Option<String>,
    /// When it ran.
    #[serde(default, deserialize_with = "lenient")]
    pub time: PartTime,
}

/// When a part was begun and ended, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartTime {
    /// Its beginning.
    pub start: Option<u64>,
    /// Its end.
    pub end: Option<u64>,
}

impl<'de> Deserialize<'de> for PartTime {
    /// No run depends on these: what has another form is none.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let time = |name: &str| value.get(name).and_then(Value::as_u64);
        Ok(Self {
            start: time("start"),
            end: time("end"),
        })
    }
}

/// Tokens of one or more model calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Tokens {
    /// Input, without what was read from the cache.
    #[serde(default, deserialize_with = "lenient")]
    pub input: u64,
    /// Output.
    #[serde(default, deserialize_with = "lenient")]
    pub output: u64,
    /// Reasoning.
    #[serde(default, deserialize_with = "lenient")]
    pub reasoning: u64,
    /// Read from and written to the cache.
    #[serde(default, deserialize_with = "lenient")]
    pub cache: Cache,
}

/// Tokens of the provider's prompt cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Cache {
    /// Read.
    #[serde(default, deserialize_with = "lenient")]
    pub read: u64,
    /// Written.
    #[serde(default, deserialize_with = "lenient")]
    pub write: u64,
}

/// What a run used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Tokens.
    pub tokens: Tokens,
    /// Cost in dollars.
    pub cost: f64,
    /// Tool calls.
    pub tool_calls: u64,
    /// The same by the tools' names.
    pub tools: BTreeMap<String, u64>,
}

/// How many tools are told apart, and how long a name may be: a host's word for it is bounded, whatever it says.
const TOOLS: (usize, usize) = (64, 64);
/// What stands for all others.
const OTHERS: &str = "others";

impl Usage {
    /// Counts a call of a tool.
    pub fn call(&mut self, tool: Option<&str>) {
        self.tool_calls += 1;
        let name: String = tool.unwrap_or("unknown").chars().take(TOOLS.1).collect();
        let known = self.tools.len() < TOOLS.0 || self.tools.contains_key(&name);
        let name = if known { name } else { OTHERS.to_owned() };
        *self.tools.entry(name).or_default() += 1;
    }

    /// Adds what another run has used.
    pub fn merge(&mut self, other: &Usage) {
        self.add(Some(other.tokens), Some(other.cost));
        self.tool_calls += other.tool_calls;
        for (name, calls) in &other.tools {
            let known = self.tools.len() < TOOLS.0 || self.tools.contains_key(name);
            let name = if known { name } else { OTHERS };
            *self.tools.entry(name.to_owned()).or_default() += calls;
        }
    }

    /// Adds tokens and cost of one model call.
    pub fn add(&mut self, tokens: Option<Tokens>, cost: Option<f64>) {
        let tokens = tokens.unwrap_or_default();
        self.tokens.input += tokens.input;
        self.tokens.output += tokens.output;
        self.tokens.reasoning += tokens.reasoning;
        self.tokens.cache.read += tokens.cache.read;
        self.tokens.cache.write += tokens.cache.write;
        // A host's word: never less by a further call.
        self.cost += cost.unwrap_or(0.0).max(0.0);
    }
}
