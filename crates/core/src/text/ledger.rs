//! The ledger: what is running and what is unread for a root session, short enough to ride along.

use std::fmt::Write as _;

use super::line::{escape_xml, one_line};
use crate::delegation::{State, span};
use crate::id::DelegationId;

/// Longest ledger that rides along with a model's step, in characters, its tags included.
pub const MAX_STEP: usize = 1_000;
/// Longest ledger for a summarising request, in characters, its tags included.
pub const MAX_SUMMARY_REQUEST: usize = 4_000;
/// How often an entry is shown before it shrinks to a count.
pub const SHOWN_IN_FULL: u32 = 3;

const OPEN: &str = "<delegation-ledger>\n";
const CLOSE: &str = "</delegation-ledger>";
const ABOUT: &str =
    "Automatic information from Brigade, no word from the person; do not answer it.\n";
const ABOUT_SUMMARY: &str = "Automatic information from Brigade, no word from the person. Keep the IDs below \
in the summary: they are the only way to the results.\n";
/// Room kept for the counts of what is not named.
const TAIL: usize = 170;
/// Longest name of one entry, in characters.
const MAX_HEAD: usize = 80;

/// A delegation that is registered or running.
#[derive(Debug, Clone)]
pub struct Running<'a> {
    /// Its ID.
    pub id: &'a DelegationId,
    /// Who does it.
    pub agent: &'a str,
    /// Registered or running.
    pub state: State,
    /// How long ago it was registered, in milliseconds.
    pub age_ms: u64,
    /// What it is about: a title or the head of the prompt.
    pub about: &'a str,
    /// In how many turns the model has seen this entry.
    pub shown: u32,
}

/// A delegation that has ended and whose result the parent has not seen.
#[derive(Debug, Clone)]
pub struct Unread<'a> {
    /// Its ID.
    pub id: &'a DelegationId,
    /// How it ended.
    pub state: State,
    /// The result's title.
    pub title: &'a str,
    /// In how many turns the model has seen this entry.
    pub shown: u32,
}

/// All that is open for a root session, the most important first in each list.
#[derive(Debug, Clone, Default)]
pub struct LedgerView<'a> {
    /// What still runs or waits.
    pub running: Vec<Running<'a>>,
    /// What has ended unread.
    pub unread: Vec<Unread<'a>>,
}

/// The ledger for the end of what the model sees at a step: at most [`MAX_STEP`] characters, entries
/// that were shown [`SHOWN_IN_FULL`] times as a mere count. None when nothing is open.
pub fn render(view: &LedgerView<'_>) -> Option<String> {
    write(view, ABOUT, MAX_STEP, SHOWN_IN_FULL)
}

/// The ledger for a summarising request: at most [`MAX_SUMMARY_REQUEST`] characters, everything named as
/// far as it fits, since only what the summary keeps survives. None when nothing is open.
pub fn render_for_summary(view: &LedgerView<'_>) -> Option<String> {
    write(view, ABOUT_SUMMARY, MAX_SUMMARY_REQUEST, u32::MAX)
}

fn write(view: &LedgerView<'_>, about: &str, max: usize, shown_in_full: u32) -> Option<String> {
    if view.running.is_empty() && view.unread.is_empty() {
        return None;
    }
    let mut room = max - (OPEN.len() + about.len() + CLOSE.len() + TAIL);
    let mut running = Section::new("Running (a task-notification comes by itself, do not poll):\n");
    let mut unread = Section::new("Ended and unread (delegation_read(\"id\") gives the result):\n");
    // Both kinds share the room fairly: one entry of each in turn.
    for i in 0..view.running.len().max(view.unread.len()) {
        if let Some(entry) = view.unread.get(i) {
            let line = (entry.shown < shown_in_full).then(|| unread_line(entry));
            unread.add(line, &mut room);
        }
        if let Some(entry) = view.running.get(i) {
            let line = (entry.shown < shown_in_full).then(|| running_line(entry));
            running.add(line, &mut room);
        }
    }
    let mut text = format!("{OPEN}{about}{}{}", running.text, unread.text);
    let more = |section: &Section| if section.text.is_empty() { "" } else { " more" };
    if running.counted > 0 {
        let _ = writeln!(
            text,
            "{}{} running; notices come by themselves.",
            running.counted,
            more(&running)
        );
    }
    if unread.counted > 0 {
        let _ = writeln!(
            text,
            "{}{} ended and unread; delegation_list() names them.",
            unread.counted,
            more(&unread)
        );
    }
    text.push_str(CLOSE);
    Some(text)
}

/// The entries of one kind that fit, and the number of those that do not stand there.
struct Section {
    head: &'static str,
    text: String,
    counted: usize,
}

impl Section {
    fn new(head: &'static str) -> Self {
        Self {
            head,
            text: String::new(),
            counted: 0,
        }
    }

    /// Adds an entry's line if there is one and room for it, else counts the entry.
    fn add(&mut self, line: Option<String>, room: &mut usize) {
        let head = if self.text.is_empty() { self.head } else { "" };
        match line {
            Some(line) if head.len() + line.chars().count() <= *room => {
                *room -= head.len() + line.chars().count();
                self.text.push_str(head);
                self.text.push_str(&line);
            }
            _ => self.counted += 1,
        }
    }
}

fn running_line(entry: &Running<'_>) -> String {
    let queued = if entry.state == State::Registered {
        ", queued"
    } else {
        ""
    };
    format!(
        "- {} ({}, {}{queued}): {}\n",
        entry.id,
        escape_xml(&one_line(entry.agent, 40)),
        age(entry.age_ms),
        escape_xml(&one_line(entry.about, MAX_HEAD)),
    )
}

fn unread_line(entry: &Unread<'_>) -> String {
    format!(
        "- {} {}: {}\n",
        entry.id,
        entry.state,
        escape_xml(&one_line(entry.title, MAX_HEAD)),
    )
}

/// An age in whole seconds below a minute, else in whole minutes, so that the text changes seldom.
fn age(ms: u64) -> String {
    span(if ms < 60_000 {
        ms / 1_000 * 1_000
    } else {
        ms / 60_000 * 60_000
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> DelegationId {
        text.parse().unwrap()
    }

    #[test]
    fn it_names_what_runs_and_what_is_unread() {
        let (a, b) = (id("brave-amber-otter"), id("calm-blue-heron"));
        let view = LedgerView {
            running: vec![Running {
                id: &a,
                agent: "explore",
                state: State::Running,
                age_ms: 125_000,
                about: "Find\nthe <lock>",
                shown: 0,
            }],
            unread: vec![Unread {
                id: &b,
                state: State::Timeout,
                title: "Where it is",
                shown: 2,
            }],
        };
        assert_eq!(
            render(&view).unwrap(),
            "<delegation-ledger>\n\
             Automatic information from Brigade, no word from the person; do not answer it.\n\
             Running (a task-notification comes by itself, do not poll):\n\
             - brave-amber-otter (explore, 2m): Find the &lt;lock&gt;\n\
             Ended and unread (delegation_read(\"id\") gives the result):\n\
             - calm-blue-heron timeout: Where it is\n\
             </delegation-ledger>"
        );
        assert_eq!(render(&LedgerView::default()), None);
    }

    #[test]
    fn what_was_shown_for_three_turns_shrinks_to_a_count() {
        let (a, b) = (id("brave-amber-otter"), id("calm-blue-heron"));
        let running = |id, shown| Running {
            id,
            agent: "explore",
            state: State::Registered,
            age_ms: 9_500,
            about: "x",
            shown,
        };
        let view = LedgerView {
            running: vec![running(&a, 3), running(&b, 2)],
            unread: vec![],
        };
        let text = render(&view).unwrap();
        assert!(!text.contains("brave-amber-otter"));
        assert!(text.contains("calm-blue-heron (explore, 9s, queued)"));
        assert!(text.contains("1 more running"));
        let all = LedgerView {
            running: vec![running(&a, 3)],
            unread: vec![],
        };
        assert!(render(&all).unwrap().contains("\n1 running; "));
        assert!(
            render_for_summary(&view)
                .unwrap()
                .contains("brave-amber-otter")
        );
    }

    #[test]
    fn one_kind_does_not_crowd_out_the_other() {
        let ids: Vec<_> = ('a'..='z')
            .map(|c| id(&format!("{}-amber-otter", c.to_string().repeat(8))))
            .collect();
        let long = "word ".repeat(40);
        let view = LedgerView {
            running: ids
                .iter()
                .map(|id| Running {
                    id,
                    agent: "explore",
                    state: State::Running,
                    age_ms: 0,
                    about: &long,
                    shown: 0,
                })
                .collect(),
            unread: ids
                .iter()
                .map(|id| Unread {
                    id,
                    state: State::Complete,
                    title: &long,
                    shown: 0,
                })
                .collect(),
        };
        let text = render(&view).unwrap();
        assert!(text.contains("Running (") && text.contains("Ended and unread ("));
        assert!(text.contains(" more running") && text.contains(" more ended and unread"));
        let named = |text: &str| text.lines().filter(|line| line.starts_with("- ")).count();
        assert!(named(&render_for_summary(&view).unwrap()) > 3 * named(&text));
    }

    proptest! {
        #[test]
        fn it_never_outgrows_its_limit(
            entries in proptest::collection::vec(("[a-z <&é😀\u{1b}]{0,100}", any::<u64>(), 0u32..5), 0..40),
            split in 0usize..40,
        ) {
            let id = id("extraordinarily-magnificent-hippopotamus");
            let split = split.min(entries.len());
            let view = LedgerView {
                running: entries[..split].iter().map(|(text, age_ms, shown)| Running {
                    id: &id, agent: text, state: State::Running, age_ms: *age_ms, about: text, shown: *shown,
                }).collect(),
                unread: entries[split..].iter().map(|(text, _, shown)| Unread {
                    id: &id, state: State::Complete, title: text, shown: *shown,
                }).collect(),
            };
            for (text, max) in [(render(&view), MAX_STEP), (render_for_summary(&view), MAX_SUMMARY_REQUEST)] {
                let Some(text) = text else { prop_assert!(entries.is_empty()); continue };
                prop_assert!(text.chars().count() <= max);
                prop_assert_eq!(text.matches('<').count(), 2);
                prop_assert!(text.starts_with(OPEN) && text.ends_with(CLOSE));
            }
        }
    }
}
