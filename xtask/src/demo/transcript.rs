//! What the demo prints: who says what and when, and whether it is as it should be.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use brigade_testkit::Message;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::say;

/// Columns for a text, behind time and speaker.
const WIDTH: usize = 110;
/// Lines of a text that are shown, and of one of a kind that was shown before.
const LINES: (usize, usize) = (16, 4);

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The person at the keyboard.
    Person,
    /// The model in the parent session.
    Model,
    /// A tool of the parent session.
    Tool,
    /// A line that Brigade shows the person.
    Brigade,
    /// What only the model gets to see.
    Unseen,
    /// A command in a shell.
    Shell,
    /// What happens around it.
    Scene,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Person => "person",
            Who::Model => "model",
            Who::Tool => "tool",
            Who::Brigade => "brigade",
            Who::Unseen => "to model",
            Who::Shell => "shell",
            Who::Scene => "",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Who::Person => "36",
            Who::Model => "32",
            Who::Tool => "35",
            Who::Brigade => "33",
            Who::Unseen | Who::Scene => "2",
            Who::Shell => "34",
        }
    }
}

/// The transcript as it grows.
#[derive(Debug)]
pub(super) struct Transcript {
    begun: Instant,
    begun_ms: u64,
    shown: HashSet<String>,
    checks: usize,
    failures: Vec<String>,
    kinds: HashSet<String>,
    colours: bool,
    scenes: usize,
}

impl Transcript {
    pub(super) fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            begun: Instant::now(),
            begun_ms: u64::try_from(since.as_millis()).unwrap_or_default(),
            shown: HashSet::new(),
            checks: 0,
            failures: Vec::new(),
            kinds: HashSet::new(),
            colours: std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            scenes: 0,
        }
    }

    /// Begins a scene.
    pub(super) fn scene(&mut self, title: &str) {
        self.scenes += 1;
        let line = format!("{}. {title}", self.scenes);
        say(&format!("\n{}", self.paint("1", &line)));
    }

    /// Somebody says something now.
    pub(super) fn now(&self, who: Who, text: &str) {
        self.at(self.begun.elapsed().as_secs_f64(), who, text, LINES.0);
    }

    /// What a session has that was not shown yet.
    pub(super) fn messages(&mut self, messages: &[Message]) {
        for message in messages {
            for part in &message.parts {
                let id = part["id"].as_str().unwrap_or_default().to_owned();
                if !self.shown.contains(&id) && self.part(message, part) {
                    self.shown.insert(id);
                }
            }
        }
    }

    /// Notes whether something is as it should be.
    pub(super) fn expect(&mut self, holds: bool, what: &str) {
        self.checks += 1;
        if holds {
            say(&format!(
                "{:19}{}",
                "",
                self.paint("32", &format!("✓ {what}"))
            ));
        } else {
            say(&format!(
                "{:19}{}",
                "",
                self.paint("31", &format!("✗ {what}"))
            ));
            self.failures.push(what.to_owned());
        }
    }

    /// The end.
    ///
    /// # Errors
    /// When something was not as it should be, naming all of it.
    pub(super) fn verdict(&self) -> Result<()> {
        let (checks, failed) = (self.checks, self.failures.len());
        let took = self.begun.elapsed().as_secs_f64();
        if failed == 0 {
            say(&format!(
                "\nAll {checks} expectations held, in {took:.1} s."
            ));
            return Ok(());
        }
        let list: String = self
            .failures
            .iter()
            .map(|failure| format!("\n  ✗ {failure}"))
            .collect();
        Err(Error::Wrong(format!(
            "{failed} of {checks} expectations failed:{list}"
        )))
    }

    /// Shows a part if it is complete; says whether there is nothing more to come of it.
    fn part(&mut self, message: &Message, part: &Value) -> bool {
        let created = message.info["time"]["created"].as_u64();
        let text = part["text"].as_str().unwrap_or_default();
        match (message.role(), part["type"].as_str().unwrap_or_default()) {
            (_, "text") if text.trim().is_empty() => false,
            ("user", "text") => {
                let who = if part["ignored"] == true {
                    Who::Brigade
                } else if part["synthetic"] == true {
                    Who::Unseen
                } else {
                    Who::Person
                };
                let lines = if who == Who::Unseen {
                    self.lines("notice")
                } else {
                    LINES.0
                };
                self.at_ms(created, who, text, lines);
                true
            }
            ("assistant", "text") => {
                let end = part["time"]["end"].as_u64();
                let who = if message.info["summary"] == true {
                    Who::Scene
                } else {
                    Who::Model
                };
                let text = if who == Who::Scene {
                    format!("the conversation is now this summary: {text}")
                } else {
                    text.to_owned()
                };
                self.at_ms(
                    part["time"]["start"].as_u64().or(created),
                    who,
                    &text,
                    LINES.0,
                );
                end.is_some()
            }
            (_, "tool") => self.tool(part),
            _ => true,
        }
    }

    fn tool(&mut self, part: &Value) -> bool {
        let state = &part["state"];
        let times = (
            state["time"]["start"].as_u64(),
            state["time"]["end"].as_u64(),
        );
        let (Some(start), Some(end)) = times else {
            return false;
        };
        let input = state["input"].as_object();
        let arguments: Vec<String> = input
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let tool = part["tool"].as_str().unwrap_or_default();
        let call = format!("{tool}({})", arguments.join(", "));
        let output = state["output"]
            .as_str()
            .or(state["error"].as_str())
            .unwrap_or_default();
        let lines = self.lines(tool);
        self.at_ms(
            Some(start),
            Who::Tool,
            &format!(
                "{call}\n  answered after {} ms:\n{}",
                end - start,
                indented(output)
            ),
            lines,
        );
        true
    }

    /// How many lines of this kind of text are shown: the first is shown at length.
    fn lines(&mut self, kind: &str) -> usize {
        if self.kinds.insert(kind.to_owned()) {
            LINES.0
        } else {
            LINES.1
        }
    }

    fn at_ms(&self, at: Option<u64>, who: Who, text: &str, limit: usize) {
        let since = at.unwrap_or(self.begun_ms).saturating_sub(self.begun_ms);
        // Well within what a float holds exactly.
        #[expect(clippy::cast_precision_loss)]
        self.at(since as f64 / 1000.0, who, text, limit);
    }

    fn at(&self, seconds: f64, who: Who, text: &str, limit: usize) {
        let lines = wrapped(text, WIDTH);
        let hidden = lines.len().saturating_sub(limit);
        for (index, line) in lines.iter().take(limit).enumerate() {
            let head = if index == 0 {
                format!("{seconds:7.2}s  {:8}", who.name())
            } else {
                " ".repeat(18)
            };
            say(&format!("{} {line}", self.paint(who.colour(), &head)));
        }
        if hidden > 0 {
            say(&format!(
                "{:19}{}",
                "",
                self.paint("2", &format!("… {hidden} more lines"))
            ));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Breaks lines that are too long at spaces, and leaves the others as they are.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.trim_end().lines() {
        if line.chars().count() <= width {
            lines.push(line.to_owned());
            continue;
        }
        let indent: String = line.chars().take_while(|char| *char == ' ').collect();
        let mut current = indent.clone();
        for word in line[indent.len()..].split_inclusive(' ') {
            let used = current.chars().count();
            if used > indent.len() && used + word.trim_end().chars().count() > width {
                lines.push(current.trim_end().to_owned());
                current.clone_from(&indent);
            }
            current.push_str(word);
        }
        lines.push(current.trim_end().to_owned());
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces_and_keep_their_indent() {
        assert_eq!(wrapped("  one two three", 9), ["  one two", "  three"]);
        assert_eq!(wrapped("a\n\nb", 9), ["a", "", "b"]);
        assert_eq!(wrapped("", 9), [""]);
        assert_eq!(wrapped("a  b", 9), ["a  b"]);
    }
}
