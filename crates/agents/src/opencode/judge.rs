//! Whether a run has ended, and how: decided from the host's stored messages, never from an event alone.

use brigade_core::delegation::RunEnd;

use super::message::{Message, MessageError, Usage};

/// What is known besides the messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The session is known to do nothing: heard, or read from the status map well after the prompt.
    pub idle: bool,
    /// The last error told by an event and not overtaken since.
    pub error: Option<&'a MessageError>,
    /// What was refused last during this run, in words.
    pub refused: Option<&'a str>,
    /// The part IDs of what was asked beyond the prompt: nothing before an answer to these is an end.
    pub asked: &'a [String],
}

/// What the messages prove.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The prompt is absent, and nothing says that it failed.
    NotStarted,
    /// It goes on.
    Running,
    /// It is over.
    Ended {
        /// How.
        end: RunEnd,
        /// The answer, or what there was of it.
        answer: String,
        /// What it used.
        usage: Usage,
    },
    /// The session does nothing, and yet the messages prove no end: it is still being written, or it was
    /// cut off. Wait for what comes next, then conclude.
    Unproven {
        /// What there was of an answer.
        partial: String,
        /// What it used.
        usage: Usage,
    },
}

/// Judges a run by its messages: the prompt first, then all that the session holds after it. Empty messages
/// mean that the prompt is absent.
pub fn judge(messages: &[Message], evidence: &Evidence<'_>) -> Verdict {
    let usage = usage_of(messages);
    let Some((_, after)) = messages.split_first() else {
        // An unknown agent: the host accepts the prompt, says an error, and stores nothing.
        return match evidence.error {
            Some(error) => Verdict::Ended {
                end: end_of_error(error, true),
                answer: String::new(),
                usage,
            },
            None => Verdict::NotStarted,
        };
    };
    let partial = || partial_of(after);
    let ended = |end, answer| Verdict::Ended {
        end,
        answer,
        usage: usage.clone(),
    };

    let last = since_asked(after, evidence.asked)
        .and_then(|since| since.iter().rfind(|message| message.info.is_assistant()));
    let Some(last) = last else {
        // An unknown model: an error and idle, no assistant message.
        return match evidence.error {
            Some(error) if evidence.idle => ended(end_of_error(error, true), partial()),
            _ if evidence.idle => Verdict::Unproven {
                partial: partial(),
                usage,
            },
            _ => Verdict::Running,
        };
    };
    if !evidence.idle {
        return Verdict::Running;
    }
    let completed = last.info.time.completed.is_some();
    if let Some(error) = &last.info.error
        && completed
    {
        return ended(end_of_error(error, false), partial());
    }
    if completed && !last.info.is_summary() && is_final(last) {
        let answer = answer_of(after);
        let end = if answer.trim().is_empty() {
            RunEnd::Empty
        } else {
            RunEnd::Answered
        };
        return ended(end, answer);
    }
    if completed && let Some(what) = refusal_of(last, evidence.refused) {
        return ended(RunEnd::PermissionRefused { what }, partial());
    }
    // A failure that the host told and did not write down: a compaction that could not be begun.
    if completed
        && last.info.finish.is_none()
        && let Some(error) = evidence.error
    {
        return ended(end_of_error(error, false), partial());
    }
    Verdict::Unproven {
        partial: partial(),
        usage,
    }
}

/// What comes after all that was asked; none where something of it is not stored yet.
fn since_asked<'a>(after: &'a [Message], asked: &[String]) -> Option<&'a [Message]> {
    let mut from = 0;
    for part in asked {
        let at = after
            .iter()
            .position(|message| message.parts.iter().any(|one| one.id == *part))?;
        from = from.max(at + 1);
    }
    Some(&after[from..])
}

/// The text of an assistant message: its own text parts after the last time its step began. A dropped stream
/// leaves what it had told in front of that.
pub(super) fn text_of(message: &Message) -> String {
    let begin = message
        .parts
        .iter()
        .rposition(|part| part.kind == "step-start")
        .map_or(0, |at| at + 1);
    let texts: Vec<&str> = message.parts[begin..]
        .iter()
        .filter(|part| part.is_own_text())
        .filter_map(|part| part.text.as_deref())
        .filter(|text| !text.is_empty())
        .collect();
    texts.join("\n\n")
}

/// How an error ends a run. `prompt_failed`: no model was asked yet.
pub(super) fn end_of_error(error: &MessageError, prompt_failed: bool) -> RunEnd {
    let message = error.words();
    if error.is_abort() {
        RunEnd::Aborted
    } else if error.is_refusal() {
        RunEnd::PermissionRefused {
            what: "the same tool call three times in a row (doom_loop)".to_owned(),
        }
    } else if prompt_failed && !error.is_providers() {
        RunEnd::HostError { message }
    } else {
        RunEnd::ProviderError { message }
    }
}

/// Whether the model meant it as its last word.
fn is_final(message: &Message) -> bool {
    message
        .info
        .finish
        .as_deref()
        .is_some_and(|finish| !matches!(finish, "tool-calls" | "unknown"))
}

/// What was refused, where a refusal ended the turn.
fn refusal_of(message: &Message, refused: Option<&str>) -> Option<String> {
    if message.info.finish.as_deref() != Some("tool-calls") {
        return None;
    }
    message.parts.iter().rev().find_map(|part| {
        let error = part.state.as_ref()?.error.as_deref()?;
        let tool = part.tool.as_deref().unwrap_or("a tool");
        let rejected =
            error.contains("rejected permission") || error.contains("dismissed this question");
        rejected.then(|| refused.map_or_else(|| format!("{tool}: {error}"), str::to_owned))
    })
}

/// The answer: the last message that the model meant as its last word, together with those before it that
/// only the host's own compaction separates from it (the host asks a model that has finished to continue). Where
/// somebody has written to the child, what it said to that counts, once it has said something.
fn answer_of(after: &[Message]) -> String {
    let mut answers: Vec<String> = Vec::new();
    let mut asked_anew = false;
    for message in after {
        let info = &message.info;
        if !info.is_assistant() {
            asked_anew |= message.parts.iter().any(super::message::Part::is_own_text);
        } else if !info.is_summary() && info.time.completed.is_some() && is_final(message) {
            let text = text_of(message);
            if !text.trim().is_empty() {
                if std::mem::take(&mut asked_anew) {
                    answers.clear();
                }
                answers.push(text);
            }
        }
    }
    answers.join("\n\n")
}

/// What there is of an answer in a run that did not end with one: the last message with text.
pub(super) fn partial_of(after: &[Message]) -> String {
    after
        .iter()
        .rev()
        .filter(|message| message.info.is_assistant() && !message.info.is_summary())
        .map(text_of)
        .find(|text| !text.trim().is_empty())
        .unwrap_or_default()
}

/// What the model calls of these messages used.
pub(super) fn usage_of(messages: &[Message]) -> Usage {
    let mut usage = Usage::default();
    for message in messages
        .iter()
        .filter(|message| message.info.is_assistant())
    {
        usage.add(message.info.tokens, message.info.cost);
        for part in message.parts.iter().filter(|part| part.kind == "tool") {
            usage.call(part.tool.as_deref());
        }
    }
    usage
}
