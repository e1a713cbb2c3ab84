//! Title and summary, taken from the answer itself, and the texts that open a child's work.

use super::line::one_line;

/// Longest title, in characters.
pub const MAX_TITLE: usize = 80;
/// Longest summary, in characters.
pub const MAX_SUMMARY: usize = 300;

/// What a child is asked before its prompt, so that its answer brings its own title and summary.
pub const ASK: &str = "Open your final answer with a heading line `# Title` that names the finding in a few \
words, then a blank line, then one line that sums it up, then the whole answer. Only that final answer is \
kept and nobody can reply to you, so do not ask questions: decide, and say what you assumed.";

/// A result's title and summary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heading {
    /// At most [`MAX_TITLE`] characters, one line.
    pub title: String,
    /// At most [`MAX_SUMMARY`] characters, one line; may be empty.
    pub summary: String,
}

/// Takes title and summary from an answer: its `# Title` line and the line after it where it opens so,
/// else its first words. An answer without any text is headed by the prompt.
pub fn of_answer(answer: &str, prompt: &str) -> Heading {
    let answer = head(answer);
    let mut lines = answer.lines().filter(|line| !is_ornament(line));
    let Some(first) = lines.next() else {
        return Heading {
            title: of_prompt(prompt),
            summary: String::new(),
        };
    };
    let is_heading = heading_text(first).is_some();
    let title = plain(heading_text(first).unwrap_or(first));
    let summary = if is_heading {
        lines
            .find(|line| heading_text(line).is_none())
            .map(|line| plain(strip_label(line)))
            .unwrap_or_default()
    } else {
        // Without a heading the summary is the opening paragraph, of which the title is the beginning.
        let opening: Vec<&str> = answer
            .lines()
            .skip_while(|line| is_ornament(line))
            .take_while(|line| !line.trim().is_empty())
            .take(12)
            .collect();
        plain(&opening.join(" "))
    };
    let title = if is_heading {
        title
    } else {
        first_sentence(&title).to_owned()
    };
    Heading {
        title: one_line(&title, MAX_TITLE),
        summary: one_line(&summary, MAX_SUMMARY),
    }
}

/// A short name for work that has no answer yet: the first words of its prompt.
pub fn of_prompt(prompt: &str) -> String {
    let line = head(prompt)
        .lines()
        .find(|line| !is_ornament(line))
        .unwrap_or("untitled");
    one_line(&plain(heading_text(line).unwrap_or(line)), MAX_TITLE)
}

/// What opens a child's work, to stand before its prompt: the request for a title, and what of the
/// agent's usual tools is withheld. Empty when there is nothing to say.
pub fn opening(ask_title: bool, withheld: &[String]) -> String {
    let mut parts = Vec::new();
    if ask_title {
        parts.push(ASK.to_owned());
    }
    if !withheld.is_empty() {
        parts.push(format!(
            "You run in the background and read-only. Withheld from you here: {}. Work without it, and say in \
             the answer what you could not do.",
            withheld.join("; ")
        ));
    }
    parts.join("\n\n")
}

/// The prompt that continues an interrupted run in its own session. `why` says what interrupted it.
pub fn continuation(why: &str) -> String {
    format!(
        "Your work was interrupted ({}). What you had done is above; a tool call without a result did not \
         finish. Go on from there and give the whole final answer.",
        one_line(why, MAX_SUMMARY)
    )
}

/// As much of a text as a heading can come from, so that a huge one costs no more than a long one.
fn head(text: &str) -> &str {
    const ENOUGH: usize = 8_000;
    &text[..text.floor_char_boundary(ENOUGH)]
}

/// A line that carries no words: blank, a rule, a code fence.
fn is_ornament(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("```") || !line.chars().any(char::is_alphanumeric)
}

/// The text of a markdown heading of any level.
fn heading_text(line: &str) -> Option<&str> {
    let line = line.trim();
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with([' ', '\t']))
        .then(|| text.trim().trim_end_matches('#').trim_end())
}

/// A line without the label that models like to put before a summary.
fn strip_label(line: &str) -> &str {
    let trimmed = line.trim().trim_start_matches(['*', '_', '>', ' ']);
    for label in ["Summary", "summary", "TL;DR", "Title"] {
        if let Some(rest) = trimmed.strip_prefix(label) {
            let rest = rest.trim_start_matches(['*', '_']);
            if let Some(rest) = rest.strip_prefix(':') {
                return rest.trim_start_matches(['*', '_', ' ']);
            }
        }
    }
    line
}

/// A line without the marks that stand for layout: list and quote marks, emphasis, code ticks.
fn plain(line: &str) -> String {
    line.trim()
        .trim_start_matches(['>', '-', '*', '+', '#', ' ', '\t'])
        .trim_end_matches(['*', '_', ' '])
        .replace("**", "")
        .replace('`', "")
}

/// Up to the end of the first sentence, if there is one of some length.
fn first_sentence(text: &str) -> &str {
    for mark in [". ", "! ", "? ", ": "] {
        if let Some(at) = text.find(mark)
            && at >= 12
        {
            return &text[..at];
        }
    }
    text.trim_end_matches(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heading(title: &str, summary: &str) -> Heading {
        Heading {
            title: title.into(),
            summary: summary.into(),
        }
    }

    #[test]
    fn an_answer_as_asked_for_brings_its_own() {
        assert_eq!(
            of_answer(
                "# Lock order\n\nTaken in `db.rs` **first**.\n\n## Details\nMore",
                "p"
            ),
            heading("Lock order", "Taken in db.rs first.")
        );
        assert_eq!(
            of_answer(
                "\n---\n## **Lock order** ##\n**Summary:** Taken first.",
                "p"
            ),
            heading("Lock order", "Taken first.")
        );
        assert_eq!(
            of_answer("# Only a title", "p"),
            heading("Only a title", "")
        );
        assert_eq!(of_answer("# A\n## B\ntext", "p"), heading("A", "text"));
    }

    #[test]
    fn any_other_answer_is_headed_by_its_first_words() {
        assert_eq!(
            of_answer(
                "- The lock is taken in db.rs. It is held\nlong.\n\nMore.",
                "p"
            ),
            heading(
                "The lock is taken in db.rs",
                "The lock is taken in db.rs. It is held long."
            )
        );
        assert_eq!(
            of_answer("```\ncode here\n```", "p"),
            heading("code here", "code here")
        );
        assert_eq!(of_answer("#nospace", "p"), heading("nospace", "nospace"));
        assert_eq!(of_answer(" \n---\n", "Find\nthe lock"), heading("Find", ""));
        assert_eq!(of_prompt("\n\n"), "untitled");
    }

    #[test]
    fn the_opening_says_what_is_withheld() {
        assert_eq!(opening(false, &[]), "");
        let text = opening(true, &["the shell".into()]);
        assert!(text.starts_with(ASK) && text.contains("the shell"));
    }

    #[test]
    fn a_huge_line_is_headed_by_its_beginning() {
        let found = of_answer(&"ü ".repeat(1_000_000), "p");
        assert_eq!(found.title.chars().count(), MAX_TITLE);
        assert_eq!(found.summary.chars().count(), MAX_SUMMARY);
    }

    proptest! {
        #[test]
        fn limits_hold_for_any_answer(answer in "(# |\\PC|[\\x00-\\x1f]){0,400}", prompt in any::<String>()) {
            let found = of_answer(&answer, &prompt);
            prop_assert!(found.title.chars().count() <= MAX_TITLE);
            prop_assert!(found.summary.chars().count() <= MAX_SUMMARY);
            prop_assert!(!found.title.chars().any(char::is_control));
            prop_assert!(!found.summary.chars().any(char::is_control));
        }
    }
}
