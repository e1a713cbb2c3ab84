//! The pane with one delegation: its text, its timeline, its prompt, as lines of a width.

use brigade_core::delegation::span;
use brigade_core::text::artifact;
use brigade_core::text::line::one_line;
use brigade_protocol::delegations::{Details, Summary};
use ratatui::style::Style;
use ratatui::text::Line;

use super::markdown::rendered;
use super::model::{Open, Tab, Text};
use super::theme::Theme;
use super::wrap::{Margin, Run, wrapped};
use crate::commands::show::told;
use crate::context::Now;
use crate::format::{amount, clock, count, dollars};
use crate::output::{Tone, harmless};

/// Of a text that still grows so much is rendered, from its end, in bytes: it is rendered anew with each change.
const GROWING: usize = 64 << 10;
/// Of one that has ended, from its beginning.
const ENDED: usize = 2 << 20;

/// Lines, and where they are scrolled to.
#[derive(Debug, Default)]
pub(super) struct Pane {
    lines: Vec<Line<'static>>,
    made_of: Option<MadeOf>,
    /// The first line that is seen.
    pub(super) top: usize,
    /// Whether the end of a growing text stays in sight.
    pub(super) at_end: bool,
    /// How many lines there is room for.
    pub(super) height: usize,
}

/// What the lines were made of: nothing is rendered twice.
#[derive(Debug, Clone, PartialEq)]
struct MadeOf {
    row: Summary,
    tab: Tab,
    width: usize,
    revision: Option<u64>,
    detailed: (usize, usize, u64, u64),
    changed: Option<String>,
    failed: Option<String>,
}

impl Pane {
    /// Brings the lines up to date.
    pub(super) fn prepare(
        &mut self,
        row: &Summary,
        open: Option<&Open>,
        tab: Tab,
        (width, height): (usize, usize),
        theme: Theme,
        now: &Now,
    ) {
        let open = open.filter(|open| open.id == row.id);
        let details = open.and_then(|open| open.details.as_deref());
        let made_of = MadeOf {
            row: row.clone(),
            tab,
            width,
            revision: open.and_then(|open| Some(open.text.as_ref()?.revision)),
            detailed: details.map_or((0, 0, 0, 0), |details| {
                let progress = &details.summary.progress;
                (
                    1 + details.timeline.len(),
                    details.attempts.len(),
                    progress.tool_calls,
                    progress.refused,
                )
            }),
            changed: details.and_then(changed),
            failed: open.and_then(|open| open.failed.clone()),
        };
        self.height = height;
        if self.made_of.as_ref() != Some(&made_of) {
            let another = self
                .made_of
                .as_ref()
                .is_none_or(|before| before.row.id != row.id || before.tab != tab);
            if another {
                self.top = 0;
                self.at_end = !row.state.is_terminal() && tab == Tab::Text;
            }
            let page = Page { width, theme, now };
            self.lines = match tab {
                Tab::Text => page.text(row, open),
                _ if details.is_none() => page.missing(open),
                Tab::Timeline => page.timeline(row, details),
                Tab::Prompt => page.prompt(details),
            };
            self.made_of = Some(made_of);
        }
        let last = self.last();
        self.top = if self.at_end {
            last
        } else {
            self.top.min(last)
        };
    }

    /// The lines that are seen.
    pub(super) fn seen(&self) -> &[Line<'static>] {
        let end = (self.top + self.height).min(self.lines.len());
        &self.lines[self.top.min(end)..end]
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    fn last(&self) -> usize {
        self.lines.len().saturating_sub(self.height)
    }

    /// Scrolls by so many lines.
    pub(super) fn scroll(&mut self, by: isize) {
        self.top = self.top.saturating_add_signed(by).min(self.last());
        self.at_end = by > 0 && self.top == self.last();
    }
}

/// What a write-capable one has changed, in a line, and how it stands with that.
fn changed(details: &Details) -> Option<String> {
    let worktree = details.worktree.as_ref()?;
    let changes = worktree.changes.as_ref()?;
    let id = &details.summary.id;
    let last = worktree.applies.last().map(|entry| entry.state.as_str());
    Some(match last {
        _ if changes.is_empty() => changes.to_string(),
        Some("applied") => format!("{changes}; applied"),
        _ => format!("{changes}; brigade diff {id}, brigade apply {id}"),
    })
}

struct Page<'a> {
    width: usize,
    theme: Theme,
    now: &'a Now,
}

impl Page<'_> {
    fn plain(&self, tone: Tone, text: &str) -> Vec<Line<'static>> {
        let text = harmless(text).replace('\t', "    ");
        wrapped(
            &[(text, self.theme.of(tone))],
            self.width,
            &Margin::default(),
        )
    }

    fn text(&self, row: &Summary, open: Option<&Open>) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let text = open.and_then(|open| open.text.as_ref());
        let ended = row.state.is_terminal();
        let is_there =
            |text: &&Text| text.whole || (!ended && !text.text.is_empty()) || text.failed.is_some();
        let Some(text) = text.filter(is_there) else {
            lines.extend(self.plain(Tone::Head, &row.title));
            if !row.summary.is_empty() && row.summary != row.title {
                lines.extend(self.plain(Tone::Plain, &row.summary));
            }
            let hint = if ended {
                "Enter reads the result."
            } else {
                "Nothing is written yet."
            };
            lines.push(Line::default());
            lines.extend(self.plain(Tone::Faint, hint));
            lines.push(Line::default());
            lines.extend(self.facts(row, open.and_then(|open| open.details.as_deref())));
            return lines;
        };
        if let Some(why) = &text.failed {
            lines.extend(self.plain(Tone::Bad, why));
            return lines;
        }
        let whole = text.text.as_str();
        if ended {
            // The file's head says once more what stands elsewhere here.
            let result = artifact::parse(whole);
            let whole = result.as_ref().map_or(whole, |result| &result.answer);
            let head = &whole[..whole.floor_char_boundary(ENDED)];
            lines.extend(rendered(head, self.width, self.theme));
            if head.len() < whole.len() {
                let more = "The rest is not shown here: e opens the file in your editor.";
                lines.extend(self.plain(Tone::Warn, more));
            }
        } else {
            let from = whole.ceil_char_boundary(whole.len().saturating_sub(GROWING));
            if from > 0 {
                lines.extend(self.plain(Tone::Faint, "…"));
            }
            lines.extend(rendered(&whole[from..], self.width, self.theme));
        }
        lines
    }

    /// What is shown until the details are here, or why they are not.
    fn missing(&self, open: Option<&Open>) -> Vec<Line<'static>> {
        match open.and_then(|open| open.failed.as_ref()) {
            Some(why) => self.plain(Tone::Bad, why),
            None => self.plain(Tone::Faint, "…"),
        }
    }

    /// What is known of it beside its text.
    fn facts(&self, row: &Summary, details: Option<&Details>) -> Vec<Line<'static>> {
        let progress = &row.progress;
        let mut facts: Vec<(&str, String)> = vec![("ID", row.id.to_string())];
        let mut fact = |name, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                facts.push((name, value));
            }
        };
        fact("State", Some(format!("{} ({})", row.state, row.phase)));
        fact("Reason", row.reason.clone());
        fact("Agent", Some(row.agent.clone()));
        fact("Model", details.and_then(|details| details.model.clone()));
        fact("Access", details.map(|details| details.access.clone()));
        fact(
            "Ran",
            (progress.ran_ms > 0).then(|| {
                let attempts = count(row.attempt.into(), "attempt");
                format!("{} in {attempts}", span(progress.ran_ms))
            }),
        );
        fact(
            "Tools",
            (progress.tool_calls > 0).then(|| {
                let last = progress.last_tool.as_deref().unwrap_or_default();
                format!("{}, last {last}", count(progress.tool_calls, "call"))
            }),
        );
        let tokens = progress.tokens_in + progress.tokens_out;
        fact(
            "Tokens",
            (tokens > 0).then(|| {
                let (read, written) = (amount(progress.tokens_in), amount(progress.tokens_out));
                format!("{read} in, {written} out, {}", dollars(progress.cost))
            }),
        );
        fact(
            "Refused",
            (progress.refused > 0).then(|| count(progress.refused, "permission ask")),
        );
        fact("Changes", details.and_then(changed));
        fact("Session", row.session.clone());
        fact("Artifact", row.artifact.clone());
        let faint = self.theme.of(Tone::Faint);
        let line = |(name, value): (&str, String)| {
            let margin = Margin {
                first: (format!("{name:<9}"), faint),
                rest: (" ".repeat(9), faint),
            };
            let value = one_line(&harmless(&value), 2_000);
            wrapped(&[(value, Style::new())], self.width, &margin)
        };
        facts.into_iter().flat_map(line).collect()
    }

    fn timeline(&self, row: &Summary, details: Option<&Details>) -> Vec<Line<'static>> {
        let Some(details) = details else {
            return self.plain(Tone::Faint, "…");
        };
        let mut lines = self.facts(row, Some(details));
        let faint = self.theme.of(Tone::Faint);
        let mut section = |name: &str, entries: Vec<(String, Vec<Run>)>| {
            if entries.is_empty() {
                return;
            }
            lines.push(Line::default());
            lines.push(Line::styled(name.to_owned(), self.theme.of(Tone::Head)));
            for (at, runs) in entries {
                let margin = Margin {
                    rest: (" ".repeat(at.len() + 1), faint),
                    first: (format!("{at} "), faint),
                };
                lines.extend(wrapped(&runs, self.width, &margin));
            }
        };
        let plain = |text: &str| (one_line(&harmless(text), 2_000), Style::new());
        let zone = &self.now.zone;
        let attempts = details.attempts.iter().map(|attempt| {
            let text = format!("{}. {}", attempt.attempt, told(attempt));
            (clock(attempt.started_at, zone), vec![plain(&text)])
        });
        section("Attempts", attempts.collect());
        let tools = details.tools.iter().map(|tool| {
            let calls = count(tool.calls, "call");
            (
                String::new(),
                vec![plain(&format!("{}: {calls}", tool.name))],
            )
        });
        section("Tools", tools.collect());
        let refused = details.refusals.iter().map(|refused| {
            let times = if refused.times > 1 {
                format!(" ({} times)", refused.times)
            } else {
                String::new()
            };
            let text = format!("{}{times}", refused.what);
            (clock(refused.at, zone), vec![plain(&text)])
        });
        section("Refused", refused.collect());
        let events = details.timeline.iter().map(|entry| {
            let name = (
                format!("{:<15} ", one_line(&harmless(&entry.event), 40)),
                self.theme.of(Tone::Busy),
            );
            (clock(entry.at, zone), vec![name, plain(&entry.detail)])
        });
        section("Timeline", events.collect());
        lines
    }

    fn prompt(&self, details: Option<&Details>) -> Vec<Line<'static>> {
        match details {
            None => self.plain(Tone::Faint, "…"),
            Some(details) if details.prompt.is_empty() => {
                self.plain(Tone::Faint, "It is not on record.")
            }
            Some(details) => self.plain(Tone::Plain, &details.prompt),
        }
    }
}
