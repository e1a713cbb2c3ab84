//! The notice of an ended delegation: XML for the model, one line for the person.

use std::fmt::Write as _;

use super::line::{escape_xml, longer_than, one_line};
use crate::delegation::{Changes, State};
use crate::id::DelegationId;

/// Longest error text in a notice, in characters; the artifact has all of it.
const MAX_ERROR: usize = 1_000;
/// What every notice says of itself.
const AUTOMATED: &str = "This is an automated notice from Brigade. It is no word from the person and asks for no thanks.";

/// What a notice tells.
#[derive(Debug, Clone)]
pub struct NoticeView<'a> {
    /// The delegation that ended.
    pub id: &'a DelegationId,
    /// The agent that did it.
    pub agent: &'a str,
    /// How it ended.
    pub state: State,
    /// The result's title.
    pub title: &'a str,
    /// The result's summary; may be empty.
    pub summary: &'a str,
    /// Why it did not end well, in the words of whoever said so.
    pub error: Option<&'a str>,
    /// Where the artifact lies.
    pub artifact: &'a str,
    /// What it has changed, where it may change files.
    pub changes: Option<&'a Changes>,
    /// The answer, or what there is of it.
    pub result: Option<&'a str>,
    /// Up to how many characters the answer stands in the notice itself.
    pub inline_limit: usize,
    /// How many delegations of its batch are still running or waiting.
    pub remaining: usize,
    /// How many delegations its batch has.
    pub batch: usize,
}

/// One notice, for both who see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The XML that the model gets and the person does not see.
    pub model: String,
    /// The line that the person sees and the model does not get.
    pub person: String,
}

/// Writes a notice. Whatever the texts hold, the XML is exactly one `<task-notification>`.
pub fn render(view: &NoticeView<'_>) -> Notice {
    Notice {
        model: for_model(view),
        person: for_person(view),
    }
}

fn for_model(view: &NoticeView<'_>) -> String {
    let mut xml = String::from("<task-notification>\n");
    let mut field = |name: &str, text: &str| {
        // Writing to a string can't fail.
        let _ = writeln!(xml, "<{name}>{}</{name}>", escape_xml(text));
    };
    field("task-id", view.id.as_str());
    field("status", view.state.name());
    field(
        "summary",
        &one_line(view.summary, super::title::MAX_SUMMARY),
    );
    field("title", &one_line(view.title, super::title::MAX_TITLE));
    if let Some(error) = view.error {
        field("error", &one_line(error, MAX_ERROR));
    }
    field("artifact", view.artifact);
    if let Some(changes) = view.changes {
        field("changes", &changes.to_string());
        if let Some(patch) = &changes.patch {
            field("patch", patch);
            let apply = format!("delegation_apply(\"{}\")", view.id);
            field("apply", &apply);
        }
    }
    let inline = view
        .result
        .filter(|result| !result.trim().is_empty() && !longer_than(result, view.inline_limit));
    match inline {
        Some(result) => field("result", &format!("\n{result}\n")),
        None => field("retrieval", &format!("delegation_read(\"{}\")", view.id)),
    }
    field("remaining", &view.remaining.to_string());
    let mut note = String::from(AUTOMATED);
    if view.state != State::Complete && view.result.is_some_and(|r| !r.trim().is_empty()) {
        note.push_str(" The result is partial: it holds what there was when the run ended.");
    }
    match (view.remaining, view.batch) {
        (0, 0 | 1) => {}
        (0, batch) => {
            let _ = write!(note, " All {batch} delegations of this batch have ended.");
        }
        (1, _) => {
            note.push_str(" One more of this batch is under way; its notice will come by itself.");
        }
        (n, _) => {
            let _ = write!(
                note,
                " {n} more of this batch are under way; their notices will come by themselves."
            );
        }
    }
    field("note", &note);
    xml.push_str("</task-notification>");
    xml
}

fn for_person(view: &NoticeView<'_>) -> String {
    let mark = match view.state {
        State::Complete => "✓",
        State::Registered | State::Running => "…",
        State::Error | State::Cancelled | State::Timeout => "✗",
    };
    let mut text = format!("{mark} {} ({}) {}", view.id, view.agent, view.state);
    match view.error {
        Some(error) if view.state != State::Complete => {
            let _ = write!(text, ": {error}");
        }
        _ if !view.title.trim().is_empty() => {
            let _ = write!(text, ": {}", view.title);
        }
        _ => {}
    }
    let changed = match view.changes {
        Some(changes) => format!(" · {changes}"),
        None => String::new(),
    };
    let tail = match (view.remaining, view.batch) {
        (0, 0 | 1) => String::new(),
        (0, batch) => format!(" · all {batch} ended"),
        (n, _) => format!(" · {n} under way"),
    };
    one_line(&text, 160) + &changed + &tail
}

/// Writes the notice that only wakes the parent: its batch has ended and the notices are already in the
/// session, with no model request since.
pub fn render_waking(batch: usize) -> Notice {
    let (subject, verb) = match batch {
        1 => ("The delegation".to_owned(), "has"),
        n => (format!("All {n} delegations"), "have"),
    };
    Notice {
        model: format!(
            "<task-notification>\n<status>all-ended</status>\n<summary>{subject} of this batch {verb} ended; \
             the notices are above.</summary>\n<remaining>0</remaining>\n<note>{AUTOMATED} Go on with what \
             depended on the results.</note>\n</task-notification>"
        ),
        person: format!("✓ {subject} {verb} ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> DelegationId {
        "brave-amber-otter".parse().unwrap()
    }

    fn view<'a>(id: &'a DelegationId, result: Option<&'a str>) -> NoticeView<'a> {
        NoticeView {
            id,
            agent: "explore",
            state: State::Complete,
            title: "Where the lock is",
            summary: "It is in lock.rs.",
            error: None,
            artifact: "/data/brave-amber-otter.md",
            changes: None,
            result,
            inline_limit: 20,
            remaining: 0,
            batch: 1,
        }
    }

    #[test]
    fn a_short_result_is_inline() {
        let id = id();
        let notice = render(&view(&id, Some("12345678901234567890")));
        assert_eq!(
            notice.model,
            "<task-notification>\n<task-id>brave-amber-otter</task-id>\n<status>complete</status>\n\
             <summary>It is in lock.rs.</summary>\n<title>Where the lock is</title>\n\
             <artifact>/data/brave-amber-otter.md</artifact>\n<result>\n12345678901234567890\n</result>\n\
             <remaining>0</remaining>\n<note>This is an automated notice from Brigade. It is no word from the \
             person and asks for no thanks.</note>\n</task-notification>"
        );
        assert_eq!(
            notice.person,
            "✓ brave-amber-otter (explore) complete: Where the lock is"
        );
    }

    #[test]
    fn what_was_changed_comes_with_how_to_bring_it_in() {
        let id = id();
        let mut changes = Changes {
            tree: "t".into(),
            files: 3,
            added: 10,
            removed: 2,
            shown: Vec::new(),
            patch: Some("/data/brave-amber-otter.patch".into()),
            beside: Vec::new(),
        };
        let notice = render(&NoticeView {
            changes: Some(&changes),
            ..view(&id, None)
        });
        assert!(notice.model.contains(
            "<changes>3 files changed, +10 -2</changes>\n<patch>/data/brave-amber-otter.patch</patch>\n\
             <apply>delegation_apply(\"brave-amber-otter\")</apply>"
        ));
        assert!(notice.person.ends_with(" · 3 files changed, +10 -2"));
        (changes.files, changes.patch) = (0, None);
        let notice = render(&NoticeView {
            changes: Some(&changes),
            ..view(&id, None)
        });
        assert!(notice.model.contains("<changes>no changes</changes>"));
        assert!(!notice.model.contains("<apply>"));
    }

    #[test]
    fn a_long_result_is_named_and_not_shown() {
        let id = id();
        let notice = render(&view(&id, Some("123456789012345678901")));
        assert!(
            notice
                .model
                .contains("<retrieval>delegation_read(\"brave-amber-otter\")</retrieval>")
        );
        assert!(!notice.model.contains("<result>"));
    }

    #[test]
    fn an_error_comes_with_its_words_and_partial_text() {
        let id = id();
        let notice = render(&NoticeView {
            state: State::Timeout,
            error: Some("over its time limit of 15m"),
            remaining: 2,
            batch: 3,
            ..view(&id, Some("half"))
        });
        assert!(notice.model.contains("<status>timeout</status>"));
        assert!(
            notice
                .model
                .contains("<error>over its time limit of 15m</error>")
        );
        assert!(notice.model.contains("The result is partial"));
        assert!(notice.model.contains("2 more of this batch are under way"));
        assert_eq!(
            notice.person,
            "✗ brave-amber-otter (explore) timeout: over its time limit of 15m · 2 under way"
        );
    }

    #[test]
    fn the_last_of_a_batch_says_so() {
        let id = id();
        let notice = render(&NoticeView {
            batch: 3,
            ..view(&id, None)
        });
        assert!(
            notice
                .model
                .contains("All 3 delegations of this batch have ended.")
        );
        assert!(notice.person.ends_with(" · all 3 ended"));
        assert!(
            render_waking(3)
                .model
                .contains("All 3 delegations of this batch have ended")
        );
    }

    /// The names of the elements in order, opening and closing, as a strict reader finds them.
    fn tags(xml: &str) -> Vec<&str> {
        xml.match_indices('<')
            .map(|(at, _)| {
                let rest = &xml[at + 1..];
                &rest[..rest.find('>').expect("an open tag")]
            })
            .collect()
    }

    proptest! {
        #[test]
        fn whatever_it_holds_it_is_one_notice(
            title in any::<String>(),
            summary in any::<String>(),
            error in proptest::option::of(any::<String>()),
            artifact in any::<String>(),
            result in proptest::option::of("(</?task-notification>|</result>|<note>|&lt;|&#60;|]]>|\\PC|[\\x00-\\x1f])*"),
            inline_limit in 0usize..400,
            state in proptest::sample::select(&State::ALL[..]),
        ) {
            let id = id();
            let notice = render(&NoticeView {
                state, title: &title, summary: &summary, error: error.as_deref(),
                artifact: &artifact, result: result.as_deref(), inline_limit, ..view(&id, None)
            });
            let names = tags(&notice.model);
            let mut expected = vec!["task-notification"];
            let mut add = |open: &'static str, close: &'static str| expected.extend([open, close]);
            add("task-id", "/task-id");
            add("status", "/status");
            add("summary", "/summary");
            add("title", "/title");
            if error.is_some() { add("error", "/error"); }
            add("artifact", "/artifact");
            if notice.model.contains("<result>") { add("result", "/result"); } else { add("retrieval", "/retrieval"); }
            add("remaining", "/remaining");
            add("note", "/note");
            expected.push("/task-notification");
            prop_assert_eq!(names, expected);
            prop_assert!(notice.model.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
            prop_assert_eq!(notice.person.lines().count(), 1);
        }
    }
}
