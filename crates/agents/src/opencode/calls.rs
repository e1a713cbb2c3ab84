//! The calls of models and tools in a run, with the host's own times, as its stored messages tell them. No word of
//! what was said is kept.

use std::collections::BTreeMap;

use super::message::{Message, Part, Tokens};

/// How many model calls are kept, and tool calls of each.
const KEEP: (usize, usize) = (2_000, 200);
/// How long a name may be: a host's word is bounded, whatever it says.
const NAME: usize = 100;

/// One call of a model: the host writes one message for each.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCall {
    /// When it was begun, in milliseconds since 1970.
    pub started_ms: u64,
    /// When the model had said its last; none where that is not on record.
    pub ended_ms: Option<u64>,
    /// The provider.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// What it used.
    pub tokens: Tokens,
    /// What it cost in dollars.
    pub cost: f64,
    /// How it ended: `stop`, `tool-calls`, …
    pub finish: Option<String>,
    /// The kind of error it failed with.
    pub error: Option<String>,
    /// The tools that it called.
    pub tools: Vec<ToolCall>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Its part's ID.
    pub id: String,
    /// The call's own ID, as the model's provider knows it.
    pub call: Option<String>,
    /// The tool.
    pub name: String,
    /// When it was begun, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended; none where that is not on record.
    pub ended_ms: Option<u64>,
    /// Whether it failed, or was refused.
    pub failed: bool,
}

/// The calls of a delegation's child by their messages' IDs, which sort by time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calls(BTreeMap<String, ModelCall>);

impl Calls {
    /// Adds what these messages tell; what is told again is as it is told last.
    pub fn take_in(&mut self, messages: &[Message]) {
        for message in messages {
            let info = &message.info;
            let known = self.0.contains_key(&info.id);
            if info.is_assistant() && (known || self.0.len() < KEEP.0) {
                self.0.insert(info.id.clone(), call(message));
            }
        }
    }

    /// Adds what another drive has read.
    pub fn merge(&mut self, later: &Calls) {
        for (id, call) in &later.0 {
            if self.0.contains_key(id) || self.0.len() < KEEP.0 {
                self.0.insert(id.clone(), call.clone());
            }
        }
    }

    /// The same without those that were under way: how they ended is seen by whoever looks next, or by nobody.
    pub fn ended(mut self) -> Self {
        self.0
            .retain(|_, call| call.ended_ms.is_some() || call.error.is_some());
        self
    }

    /// Each with its message's ID.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ModelCall)> {
        self.0.iter().map(|(id, call)| (id.as_str(), call))
    }
}

fn call(message: &Message) -> ModelCall {
    let info = &message.info;
    let tools: Vec<ToolCall> = message
        .parts
        .iter()
        .filter(|part| part.kind == "tool")
        .filter_map(tool)
        .take(KEEP.1)
        .collect();
    // The message is completed when its tools have ended: what the model itself wrote last is its own end.
    let own = message
        .parts
        .iter()
        .filter(|part| matches!(part.kind.as_str(), "text" | "reasoning"))
        .filter_map(|part| part.time.end)
        .chain(tools.iter().map(|tool| tool.started_ms))
        .max();
    let ended_ms = match tools.is_empty() {
        true => info.time.completed,
        false => own.or(info.time.completed),
    };
    ModelCall {
        started_ms: info.time.created,
        ended_ms,
        provider: info.provider.as_deref().map(short),
        model: info.model_name.as_deref().map(short),
        tokens: info.tokens.unwrap_or_default(),
        cost: info.cost.unwrap_or(0.0).max(0.0),
        finish: info.finish.as_deref().map(short),
        error: info.error.as_ref().map(|error| short(&error.name)),
        tools,
    }
}

/// None where it never began.
fn tool(part: &Part) -> Option<ToolCall> {
    let state = part.state.as_ref()?;
    Some(ToolCall {
        id: part.id.clone(),
        call: part.call.as_deref().map(short),
        name: short(part.tool.as_deref().unwrap_or("unknown")),
        started_ms: state.time.start?,
        ended_ms: state.time.end,
        failed: state.status == "error",
    })
}

fn short(text: &str) -> String {
    text.chars().take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(value: serde_json::Value) -> Message {
        serde_json::from_value(value).unwrap()
    }

    fn step(completed: Option<u64>) -> Message {
        message(json!({
            "info": {"id": "msg_2", "role": "assistant", "time": {"created": 100, "completed": completed},
                "providerID": "anthropic", "modelID": "sonnet", "finish": "tool-calls", "cost": 0.5,
                "tokens": {"input": 7, "output": 3, "reasoning": 1, "cache": {"read": 20, "write": 4}}},
            "parts": [
                {"type": "step-start"},
                {"id": "prt_1", "type": "text", "text": "I look", "time": {"start": 110, "end": 120}},
                {"id": "prt_2", "type": "tool", "tool": "grep", "callID": "call_1",
                    "state": {"status": "completed", "input": {"pattern": "secret"}, "time": {"start": 125, "end": 400}}},
                {"id": "prt_3", "type": "tool", "tool": "bash", "state": {"status": "error", "error": "no", "time": {"start": 130, "end": 131}}},
                {"id": "prt_4", "type": "tool", "tool": "read", "state": {"status": "pending"}},
                {"type": "step-finish"},
            ],
        }))
    }

    #[test]
    fn a_step_is_a_call_of_the_model_and_its_tools_are_their_own() {
        let prompt =
            message(json!({"info": {"id": "msg_1", "role": "user", "time": {"created": 90}}}));
        let mut calls = Calls::default();
        calls.take_in(&[prompt, step(None)]);
        calls.take_in(&[step(Some(401))]);
        let [(id, call)] = calls.iter().collect::<Vec<_>>()[..] else {
            panic!("{calls:?}");
        };
        assert_eq!(
            (id, call.started_ms, call.ended_ms),
            ("msg_2", 100, Some(130))
        );
        assert_eq!(
            (call.provider.as_deref(), call.model.as_deref()),
            (Some("anthropic"), Some("sonnet"))
        );
        assert_eq!((call.tokens.input, call.tokens.cache.read), (7, 20));
        let tools: Vec<_> = call
            .tools
            .iter()
            .map(|tool| (tool.name.as_str(), tool.ended_ms, tool.failed))
            .collect();
        assert_eq!(
            tools,
            [("grep", Some(400), false), ("bash", Some(131), true)]
        );
        assert!(
            !format!("{calls:?}").contains("secret"),
            "what was said is not kept"
        );
    }

    #[test]
    fn the_last_word_ends_with_its_message_and_what_was_cut_off_has_no_end() {
        let answer = |completed: Option<u64>| {
            message(json!({
                "info": {"id": "msg_3", "role": "assistant", "time": {"created": 500, "completed": completed},
                    "error": {"name": "APIError", "data": {"message": "bad key"}}},
                "parts": [{"type": "text", "text": "done", "time": {"start": 510, "end": 520}}],
            }))
        };
        let mut calls = Calls::default();
        calls.take_in(&[answer(None)]);
        assert_eq!(calls.iter().next().unwrap().1.ended_ms, None);
        let mut later = Calls::default();
        later.take_in(&[answer(Some(530))]);
        calls.merge(&later);
        let call = calls.iter().next().unwrap().1;
        assert_eq!(
            (call.ended_ms, call.error.as_deref()),
            (Some(530), Some("APIError"))
        );
    }
}
