//! What every session of a root agent pays for on every turn: the rules in the system text and the
//! schemas of the tools. Kept short, and tested to stay so.

use serde::Serialize;
use serde_json::{Value, json};

/// Most characters that rules and tool schemas may have together.
pub const BUDGET: usize = 2_600;

/// The rules for the model, for the system text of sessions that may delegate.
pub const RULES: &str = "\
# Background delegation
`delegate` starts an agent in the background and returns its ID at once.
- Delegate research, review and self-contained changes; start independent pieces together, one call each. \
Do quick lookups and small edits yourself.
- An agent that edits works in a copy of this tree: `delegation_apply` brings its changes here.
- The agent sees nothing of this conversation: say goal, paths, limits and form of answer.
- Never poll, sleep or wait idle: a `<task-notification>` comes by itself when one ends. If what \
is left depends on results, say what is under way and end your turn; you will be woken.
- Notifications and `<delegation-ledger>` are automatic, not the person's words.
- Read what you need with `delegation_read` before you rely on it.";

/// A tool as the host offers it to the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// The JSON Schema of each argument, by its name.
    pub properties: Value,
    /// The arguments that can't be left out.
    pub required: &'static [&'static str],
}

/// The tools, in the order in which they are offered. No agent is named in them: which ones there are
/// changes, and a wrong name is answered with the list.
pub fn tools() -> Vec<ToolSpec> {
    vec![
        ToolSpec {
            name: "delegate",
            description: "Start background work; a task-notification follows when it ends.",
            properties: json!({
                "prompt": {"type": "string", "description": "The whole task"},
                "agent": {"type": "string"},
                "timeout_minutes": {"type": "number"},
                "from": {"type": "string", "description": "ID whose changes it starts with"},
            }),
            required: &["prompt", "agent"],
        },
        ToolSpec {
            name: "delegation_read",
            description: "A delegation's result. Blocks until it has ended.",
            properties: json!({
                "id": {"type": "string"},
                "offset": {"type": "integer"},
            }),
            required: &["id"],
        },
        ToolSpec {
            name: "delegation_list",
            description: "Find earlier delegations; not for progress.",
            properties: json!({
                "query": {"type": "string"},
                "scope": {"type": "string", "enum": ["session", "project"]},
            }),
            required: &[],
        },
        ToolSpec {
            name: "delegation_cancel",
            description: "Stop a delegation; its text is kept.",
            properties: json!({"id": {"type": "string"}}),
            required: &["id"],
        },
        ToolSpec {
            name: "delegation_send",
            description: "Correct a running delegation, or go on with an ended one.",
            properties: json!({"id": {"type": "string"}, "message": {"type": "string"}}),
            required: &["id", "message"],
        },
        ToolSpec {
            name: "delegation_apply",
            description: "Bring a delegation's changes into this tree.",
            properties: json!({
                "id": {"type": "string"},
                "paths": {"type": "array", "items": {"type": "string"}},
                "markers": {"type": "boolean"},
            }),
            required: &["id"],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_schemas_stay_within_the_budget() {
        // Counted as a provider gets them: each tool as an object schema under its name.
        let schemas: usize = tools()
            .iter()
            .map(|tool| {
                let sent = json!({
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": {
                            "type": "object",
                            "properties": tool.properties,
                            "required": tool.required,
                            "additionalProperties": false,
                        },
                    },
                });
                sent.to_string().chars().count()
            })
            .sum();
        let total = RULES.chars().count() + schemas;
        assert!(
            total < BUDGET,
            "{total} characters ({schemas} of them schemas)"
        );
    }

    #[test]
    fn every_required_argument_has_a_schema() {
        for tool in tools() {
            for name in tool.required {
                assert!(tool.properties[*name].is_object(), "{}: {name}", tool.name);
            }
            assert!(RULES.contains("delegate") && tool.name.starts_with("delegat"));
        }
    }
}
