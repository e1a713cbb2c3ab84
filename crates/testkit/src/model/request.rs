//! Reading a chat-completions request: which kind it is, and which step of which script it asks for.

use serde_json::Value;

use super::script::{Script, ScriptError};

/// Why the host asked the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A step of a session.
    Turn,
    /// A title for a session.
    Title,
    /// The summary of a session that is being compacted.
    Compaction,
}

/// Opens a notice of a background task's end.
const NOTICE: &str = "<task-notification>";
/// Opens the ledger that is appended to what the model sees.
const LEDGER: &str = "<delegation-ledger>";

/// Which kind of request `body` is, by the system prompt that the host uses for it.
pub(crate) fn kind(body: &Value) -> Kind {
    let is = |opening: &str| {
        messages(body)
            .iter()
            .filter(|message| role(message) == "system")
            .any(|message| text(message).trim_start().starts_with(opening))
    };
    if is("You are a title generator") {
        Kind::Title
    } else if is("You are a context summarization agent") {
        Kind::Compaction
    } else {
        Kind::Turn
    }
}

/// A conversation's messages.
pub(crate) fn messages(body: &Value) -> &[Value] {
    body["messages"].as_array().map_or(&[], Vec::as_slice)
}

/// A message's role.
pub(crate) fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

/// A message's text; several text parts are joined by newlines.
pub(crate) fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// Whether a user message is a notice, and not a person's text that a notice rides on.
pub(crate) fn is_notice(text: &str) -> bool {
    text.trim_start().starts_with(NOTICE)
}

/// Where the conversation stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// At this step of this script.
    Scripted {
        script: Script,
        step: usize,
        text: String,
    },
    /// At a user text without directives, this many answers after it.
    Plain { step: usize, text: String },
}

/// Finds the script that speaks now: the one in the last user text. A notice without directives lets
/// an unfinished script go on, since the host puts it between the steps of a running turn.
pub(crate) fn standing(body: &Value) -> Result<Standing, ScriptError> {
    let messages = messages(body);
    let mut answers = 0;
    let mut last: Option<(usize, String)> = None;
    for message in messages.iter().rev() {
        match role(message) {
            "assistant" => answers += 1,
            "user" => {
                let text = text(message);
                if text.trim_start().starts_with(LEDGER) {
                    continue;
                }
                // What a notice quotes is no directive.
                if is_notice(&text) {
                    last.get_or_insert((answers, text));
                    continue;
                }
                if let Some(script) = Script::parse(&text)? {
                    if last.is_none() || answers < script.steps.len() {
                        return Ok(Standing::Scripted {
                            script,
                            step: answers,
                            text,
                        });
                    }
                    break;
                }
                last.get_or_insert((answers, text));
                break;
            }
            _ => {}
        }
    }
    let (step, text) = last.unwrap_or_default();
    Ok(Standing::Plain { step, text })
}

/// The delegations that tool results and notices of the conversation name, oldest first.
pub(crate) fn delegations(body: &Value) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for message in messages(body)
        .iter()
        .filter(|message| matches!(role(message), "tool" | "user"))
    {
        let text = text(message);
        for marker in ["Delegation started: ", "<task-id>"] {
            for after in text.split(marker).skip(1) {
                let id: String = after
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                    .collect();
                if !id.is_empty() && !found.contains(&id) {
                    found.push(id);
                }
            }
        }
    }
    found
}

/// What the conversation is about: the rest of the first line of its first user text that starts so.
pub(crate) fn topic(body: &Value) -> Option<String> {
    let first = messages(body)
        .iter()
        .find(|message| role(message) == "user")?;
    let text = text(first);
    let topic = text.lines().find_map(|line| line.strip_prefix("Topic: "))?;
    Some(topic.trim().to_owned())
}

/// Puts the topic and delegations in place of the placeholders of `text`.
pub(crate) fn fill(text: &str, topic: Option<&str>, delegations: &[String]) -> String {
    let mut filled = text.to_owned();
    if let Some(topic) = topic {
        filled = filled.replace("{{topic}}", topic);
    }
    if let Some(newest) = delegations.last() {
        filled = filled.replace("{{delegation}}", newest);
    }
    for (index, id) in delegations.iter().enumerate() {
        filled = filled.replace(&format!("{{{{delegation:{}}}}}", index + 1), id);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(messages: &Value) -> Option<(usize, usize)> {
        match standing(&json!({ "messages": messages })).unwrap() {
            Standing::Scripted { script, step, .. } => Some((script.steps.len(), step)),
            Standing::Plain { .. } => None,
        }
    }

    #[test]
    fn a_script_goes_on_after_tool_results_and_over_a_notice_and_a_ledger() {
        let script = "::call a {}\n::step\n::call b {}\n::step\n::say end";
        let notice = "<task-notification>\n<task-id>x</task-id>\n</task-notification>";
        let user = json!({"role": "user", "content": script});
        let tool = json!({"role": "tool", "content": "done"});
        let answer = json!({"role": "assistant", "content": ""});
        let ledger = json!({"role": "user", "content": "<delegation-ledger>\n1 running"});
        let note = json!({"role": "user", "content": [{"type": "text", "text": notice}]});

        assert_eq!(step(&json!([user])), Some((3, 0)));
        assert_eq!(step(&json!([user, answer, tool, ledger])), Some((3, 1)));
        assert_eq!(
            step(&json!([user, answer, tool, answer, tool, note, ledger])),
            Some((3, 2))
        );
        assert_eq!(
            step(&json!([user, answer, tool, answer, tool, answer, note])),
            None
        );
        let forged = json!({"role": "user", "content": format!("{notice}\n::say forged")});
        assert_eq!(step(&json!([forged])), None);
        let rides = json!({"role": "user", "content": format!("hello\n{notice}")});
        assert_eq!(step(&json!([user, answer, tool, rides])), None);
        let later = json!({"role": "user", "content": "continue"});
        assert_eq!(step(&json!([user, answer, tool, later])), None);
    }

    #[test]
    fn delegations_are_found_in_tool_results_and_notices() {
        let body = json!({"messages": [
            {"role": "tool", "content": "Delegation started: brave-amber-otter (1 active)"},
            {"role": "user", "content": "<task-notification><task-id>calm-blue-fox</task-id>"},
        ]});
        let ids = delegations(&body);
        assert_eq!(
            fill("{{delegation:1}} {{delegation}}", None, &ids),
            "brave-amber-otter calm-blue-fox"
        );
    }

    #[test]
    fn the_topic_is_that_of_the_first_user_text() {
        let body = json!({"messages": [
            {"role": "system", "content": "Topic: none of it"},
            {"role": "user", "content": "Begin with a title.\n\nTopic: otters \n::say {{topic}}"},
            {"role": "user", "content": "Topic: foxes"},
        ]});
        let topic = topic(&body);
        assert_eq!(
            fill("About {{topic}}.", topic.as_deref(), &[]),
            "About otters."
        );
        assert_eq!(fill("{{topic}}", None, &[]), "{{topic}}");
    }
}
