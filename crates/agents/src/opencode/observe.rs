//! What the events of a run add up to: how far it is, and what hints at its end.

use std::collections::HashSet;

use super::event::{EventKind, HostEvent};
use super::judge::{text_of, usage_of};
use super::message::{Message, MessageError, Part, Usage};

/// Partial text beyond this many bytes is not kept in memory; the host's record has it all.
const PARTIAL_LIMIT: usize = 8 << 20;
/// Tool calls followed at once; a run has a handful.
const TOOLS_LIMIT: usize = 1_024;
/// Parts followed within a step.
const PARTS_LIMIT: usize = 4_096;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Tokens, cost and tool calls so far.
    pub usage: Usage,
    /// The tool that was last called.
    pub last_tool: Option<String>,
    /// Tools running now.
    pub running_tools: usize,
    /// Why the host is trying again, if it is, and until when, in milliseconds since 1970.
    pub retrying: Option<(String, u64)>,
}

/// Folds the events of one session. Pure; memory is bounded whatever comes.
#[derive(Debug, Default)]
pub struct Observer {
    progress: Progress,
    busy_seen: bool,
    idle: bool,
    idles: u64,
    error: Option<MessageError>,
    deleted: bool,
    own_message: Option<String>,
    assistant: Option<String>,
    /// Parts whose deltas are no text of the answer: reasoning.
    other_parts: HashSet<String>,
    tools: HashSet<String>,
    running: HashSet<String>,
    partial: String,
    current: Option<(String, usize)>,
    revision: u64,
    text_revision: u64,
}

impl Observer {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The answer's text so far: since the last step began.
    pub fn partial(&self) -> &str {
        &self.partial
    }

    /// Changes whenever progress or partial text does.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes whenever the partial text does.
    pub fn text_revision(&self) -> u64 {
        self.text_revision
    }

    /// Whether the session was last heard to do nothing.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// How often the session was heard to fall idle.
    pub fn idles(&self) -> u64 {
        self.idles
    }

    /// Whether the session was ever heard to work.
    pub fn busy_seen(&self) -> bool {
        self.busy_seen
    }

    /// The last run-wide error; by itself no end. A message that the model goes on with clears it.
    pub fn error(&self) -> Option<&MessageError> {
        self.error.as_ref()
    }

    /// Whether the session was deleted.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Events were missed, and the status map says that the session works, tries again, or does nothing.
    pub fn resync(&mut self, idle: bool, retrying: Option<(String, u64)>) {
        self.idle = idle;
        self.busy_seen |= !idle;
        self.set_retry(retrying);
    }

    /// Takes over what the stored messages say of a run that was not heard from its beginning, or not all
    /// the time: what it used, which tools run, and the text so far.
    pub fn adopt(&mut self, messages: &[Message]) {
        self.progress.usage = usage_of(messages);
        self.running.clear();
        self.tools.clear();
        let last = messages.iter().rfind(|message| message.info.is_assistant());
        if let Some(last) = last.filter(|message| message.info.time.completed.is_none()) {
            self.assistant = Some(last.info.id.clone());
            for part in last.parts.iter().filter(|part| part.is_open_tool()) {
                if self.running.len() < TOOLS_LIMIT {
                    self.running.insert(part.id.clone());
                    self.tools.insert(part.id.clone());
                    self.progress.last_tool.clone_from(&part.tool);
                }
            }
            // Text that still streams is not stored yet: what was heard of it is more.
            let stored = text_of(last);
            if stored.len() > self.partial.len() {
                self.partial = stored;
                self.partial
                    .truncate(self.partial.floor_char_boundary(PARTIAL_LIMIT));
                self.current = None;
            }
        }
        self.progress.running_tools = self.running.len();
        self.text_revision += 1;
        self.revision += 1;
    }

    /// Folds one event of the session in. Returns whether it can be the end, so that reading the messages
    /// is worth while.
    pub fn on_event(&mut self, event: HostEvent) -> bool {
        match event.kind {
            EventKind::Busy => {
                self.busy_seen = true;
                self.idle = false;
                self.set_retry(None);
                false
            }
            EventKind::Idle => {
                self.idle = true;
                self.idles += 1;
                self.set_retry(None);
                true
            }
            EventKind::Retry { next_ms, message } => {
                self.busy_seen = true;
                self.idle = false;
                self.set_retry(Some((message, next_ms)));
                false
            }
            EventKind::Error(error) => {
                // The host says the same twice when a prompt fails: first the words, then a stack trace.
                if self.error.is_none() {
                    self.error = error;
                }
                true
            }
            EventKind::Message(info) => {
                if info.is_assistant() {
                    if self.assistant.as_deref() != Some(&info.id) {
                        self.assistant = Some(info.id.clone());
                        // The model is asked once more, so whatever failed before was no end.
                        if info.time.completed.is_none() {
                            self.error = None;
                        }
                    }
                    // After an error or an abort the message gets its last word only when the session is idle.
                    self.idle && info.time.completed.is_some()
                } else {
                    self.own_message = Some(info.id);
                    false
                }
            }
            EventKind::Part(part) => {
                self.on_part(*part);
                false
            }
            EventKind::Delta { part, field, delta } => {
                if field == "text" && !self.other_parts.contains(&part) {
                    self.append(part, &delta);
                }
                false
            }
            EventKind::PartRemoved { part } => {
                self.running.remove(&part);
                self.progress.running_tools = self.running.len();
                false
            }
            EventKind::Deleted => {
                self.deleted = true;
                true
            }
            EventKind::PermissionAsked { .. }
            | EventKind::QuestionAsked { .. }
            | EventKind::Other => false,
        }
    }

    fn set_retry(&mut self, retry: Option<(String, u64)>) {
        if self.progress.retrying != retry {
            self.progress.retrying = retry;
            self.revision += 1;
        }
    }

    fn on_part(&mut self, part: Part) {
        if self.own_message.as_ref() == Some(&part.message) {
            return;
        }
        match part.kind.as_str() {
            "step-start" => {
                // A dropped stream is begun anew: what came before is told again.
                self.partial.clear();
                self.other_parts.clear();
                self.current = None;
                self.text_revision += 1;
                self.revision += 1;
            }
            "step-finish" => {
                self.progress.usage.add(part.tokens, part.cost);
                self.revision += 1;
            }
            "text" if part.is_own_text() => {
                let text = part.text.unwrap_or_default();
                if !text.is_empty() {
                    self.replace(part.id, &text);
                }
            }
            "tool" => self.on_tool(part),
            _ if self.other_parts.len() < PARTS_LIMIT => {
                self.other_parts.insert(part.id);
            }
            _ => {}
        }
    }

    fn on_tool(&mut self, part: Part) {
        let running = part.is_open_tool();
        if self.tools.len() < TOOLS_LIMIT && !self.tools.contains(&part.id) && running {
            self.tools.insert(part.id.clone());
            self.progress.usage.call(part.tool.as_deref());
            self.revision += 1;
        }
        if running {
            if self.running.len() < TOOLS_LIMIT {
                self.running.insert(part.id);
            }
            self.progress.last_tool = part.tool;
        } else {
            self.running.remove(&part.id);
            self.tools.remove(&part.id);
        }
        if self.progress.running_tools != self.running.len() {
            self.progress.running_tools = self.running.len();
            self.revision += 1;
        }
    }

    /// Adds text to a part; a new part begins on a line of its own.
    fn append(&mut self, part: String, delta: &str) {
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| *current != part)
        {
            self.begin(part);
        }
        let room = PARTIAL_LIMIT.saturating_sub(self.partial.len());
        let end = delta.floor_char_boundary(room);
        self.partial.push_str(&delta[..end]);
        self.text_revision += 1;
        self.revision += 1;
    }

    /// The whole text of a part, which its deltas may have told already.
    fn replace(&mut self, part: String, text: &str) {
        match &self.current {
            Some((current, start)) if *current == part => self.partial.truncate(*start),
            _ => self.begin(part.clone()),
        }
        self.append(part, text);
    }

    fn begin(&mut self, part: String) {
        if !self.partial.is_empty() {
            self.partial.push_str("\n\n");
        }
        self.current = Some((part, self.partial.len()));
    }
}
