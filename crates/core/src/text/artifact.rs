//! The artifact: the markdown file that holds a result.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::line::Line;
use crate::delegation::State;

/// What an artifact's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The heading.
    pub title: Line,
    /// The line under it.
    pub summary: Line,
    /// The lines of the form `**Key:** value`.
    pub header: Header,
    /// The whole answer, as it came.
    pub answer: String,
}

/// The `**Key:** value` lines: first those that the predecessor wrote too, then ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The delegation's ID.
    pub id: Line,
    /// The agent.
    pub agent: Line,
    /// How it ended, or the word that names no state. A file without it is complete, as the predecessor's
    /// oldest are.
    pub status: Result<State, Line>,
    /// The child session.
    pub session: Line,
    /// When the first run started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// The model that answered.
    pub model: Option<Line>,
    /// Tokens used, as a text.
    pub tokens: Option<Line>,
    /// What it cost, as a text.
    pub cost: Option<Line>,
    /// How long it ran, as a text.
    pub duration: Option<Line>,
    /// How many runs there were.
    pub attempts: Option<u32>,
    /// Why it ended as it did.
    pub reason: Option<Line>,
    /// How far it was kept from writing outside its worktree, where it had one.
    pub confined: Option<Line>,
    /// What it has changed, in one line.
    pub changes: Option<Line>,
    /// Where the patch lies.
    pub patch: Option<Line>,
}

/// The text is no artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this file is no artifact: after a title and a summary it needs lines like **ID:** and **Agent:**, then \
     a line of ---; it was left as it is"
)]
pub struct NotAnArtifact;

/// Writes the file's text.
pub fn render(artifact: &Artifact) -> String {
    let header = &artifact.header;
    let mut text = String::with_capacity(artifact.answer.len() + 512);
    // Writing to a string can't fail.
    let _ = write!(text, "# {}\n\n{}\n\n", artifact.title, artifact.summary);
    let mut field = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = writeln!(text, "**{key}:** {value}");
        }
    };
    let time = |at: Option<Timestamp>| at.map_or_else(|| "N/A".to_owned(), |at| at.to_string());
    field("ID", Some(header.id.as_str()));
    field("Agent", Some(header.agent.as_str()));
    let status = header.status.as_ref();
    field(
        "Status",
        Some(status.map_or_else(Line::as_str, |state| state.name())),
    );
    field("Session", Some(header.session.as_str()));
    field("Started", Some(&time(header.started)));
    field("Completed", Some(&time(header.completed)));
    field("Model", header.model.as_ref().map(Line::as_str));
    field("Tokens", header.tokens.as_ref().map(Line::as_str));
    field("Cost", header.cost.as_ref().map(Line::as_str));
    field("Duration", header.duration.as_ref().map(Line::as_str));
    field(
        "Attempts",
        header.attempts.map(|n| n.to_string()).as_deref(),
    );
    field("Reason", header.reason.as_ref().map(Line::as_str));
    field("Confined", header.confined.as_ref().map(Line::as_str));
    field("Changes", header.changes.as_ref().map(Line::as_str));
    field("Patch", header.patch.as_ref().map(Line::as_str));
    text.push_str("\n---\n\n");
    text.push_str(&artifact.answer);
    text
}

/// Reads a file's text: ours, or one that the predecessor wrote. Keys that are not known are skipped.
///
/// # Errors
/// [`NotAnArtifact`] where title, header lines or the rule that ends them are missing.
pub fn parse(text: &str) -> Result<Artifact, NotAnArtifact> {
    let mut lines = Lines { rest: text };
    let title = lines.next().ok_or(NotAnArtifact)?;
    let title = title.strip_prefix('#').ok_or(NotAnArtifact)?;
    let mut summary = String::new();
    let mut index = 1;
    // The summary ends where a blank line is followed by a whole block of header lines: the predecessor's
    // may have several lines. It takes at least one, whatever that one looks like.
    let mut after_blank = false;
    let header = loop {
        if index >= 4
            && after_blank
            && let Some(found) = header_block(&mut lines)
        {
            break found;
        }
        let line = lines.next().ok_or(NotAnArtifact)?;
        after_blank = line.trim().is_empty();
        summary.push_str(line);
        summary.push('\n');
        index += 1;
    };
    let answer = lines.rest;
    let answer = answer
        .strip_prefix('\n')
        .or_else(|| answer.strip_prefix("\r\n"))
        .unwrap_or(answer);
    Ok(Artifact {
        title: Line::new(title),
        summary: Line::new(&summary),
        header,
        answer: answer.to_owned(),
    })
}

/// Lines one by one, with what follows them at hand. A line goes without its end.
#[derive(Clone, Copy)]
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        Some(line.strip_suffix('\r').unwrap_or(line))
    }
}

/// Takes header lines, a blank line and `---` off the lines, or leaves them as they are.
fn header_block(lines: &mut Lines<'_>) -> Option<Header> {
    let mut ahead = *lines;
    let mut header = Header::empty();
    let mut known = false;
    loop {
        let line = ahead.next()?;
        if line.trim().is_empty() {
            break;
        }
        let (key, value) = line.strip_prefix("**")?.split_once(":**")?;
        known |= header.set(key, value.trim());
    }
    if !known || ahead.next()?.trim_end() != "---" {
        return None;
    }
    *lines = ahead;
    Some(header)
}

impl Header {
    /// Whether Brigade wrote it: the predecessor has no such line.
    pub fn is_brigades(&self) -> bool {
        self.attempts.is_some()
    }

    fn empty() -> Self {
        Self {
            id: Line::default(),
            agent: Line::default(),
            status: Ok(State::Complete),
            session: Line::default(),
            started: None,
            completed: None,
            model: None,
            tokens: None,
            cost: None,
            duration: None,
            attempts: None,
            reason: None,
            confined: None,
            changes: None,
            patch: None,
        }
    }

    /// Takes one line in; says whether its key is known.
    fn set(&mut self, key: &str, value: &str) -> bool {
        let line = || Line::new(value);
        match key {
            "ID" => self.id = line(),
            "Agent" => self.agent = line(),
            "Status" => self.status = value.parse().map_err(|_| line()),
            "Session" => self.session = line(),
            "Started" => self.started = value.parse().ok(),
            "Completed" => self.completed = value.parse().ok(),
            "Model" => self.model = Some(line()),
            "Tokens" => self.tokens = Some(line()),
            "Cost" => self.cost = Some(line()),
            "Duration" => self.duration = Some(line()),
            "Attempts" => self.attempts = value.parse().ok(),
            "Reason" => self.reason = Some(line()),
            "Confined" => self.confined = Some(line()),
            "Changes" => self.changes = Some(line()),
            "Patch" => self.patch = Some(line()),
            _ => return false,
        }
        true
    }
}

/// The text of a run that did not reach its answer, marked as such. `why` says what ended it.
pub fn partial(text: &str, why: &str) -> String {
    let why = Line::new(why);
    if text.trim().is_empty() {
        format!("> No answer: {why}.")
    } else {
        format!("> Partial text, not a finished answer: {why}.\n\n{text}")
    }
}

/// What [`partial`] was given, from what it has made of it.
pub fn unmarked<'a>(answer: &'a str, why: &str) -> &'a str {
    let why = Line::new(why);
    if answer == format!("> No answer: {why}.") {
        return "";
    }
    answer
        .strip_prefix(&format!(
            "> Partial text, not a finished answer: {why}.\n\n"
        ))
        .unwrap_or(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn artifact(answer: &str) -> Artifact {
        Artifact {
            title: "Lock order".into(),
            summary: "Taken first.".into(),
            header: Header {
                id: "brave-amber-otter".into(),
                agent: "explore".into(),
                status: Ok(State::Timeout),
                session: "ses_1".into(),
                started: Some("2026-01-02T03:04:05.678Z".parse().unwrap()),
                reason: Some("over its time limit of 15m".into()),
                attempts: Some(2),
                ..Header::empty()
            },
            answer: answer.to_owned(),
        }
    }

    #[test]
    fn the_file_reads_as_designed() {
        assert_eq!(
            render(&artifact("All of it.\n")),
            "# Lock order\n\nTaken first.\n\n**ID:** brave-amber-otter\n**Agent:** explore\n\
             **Status:** timeout\n**Session:** ses_1\n**Started:** 2026-01-02T03:04:05.678Z\n\
             **Completed:** N/A\n**Attempts:** 2\n**Reason:** over its time limit of 15m\n\n---\n\nAll of it.\n"
        );
    }

    #[test]
    fn the_predecessors_files_are_read() {
        let text = "# Auth flow\n\nHow login works:\n\n- tokens\n---\n- cookies...\n\n**ID:** quiet-red-fox\n\
                    **Agent:** researcher\n**Session:** ses_2\n**Started:** 2025-03-01T10:00:00.000Z\n\
                    **Completed:** 2025-03-01T10:01:00.000Z\n\n---\n\n# Auth\n\n---\nbody";
        let found = parse(text).unwrap();
        assert_eq!(found.title.as_str(), "Auth flow");
        assert_eq!(
            found.summary.as_str(),
            "How login works: - tokens --- - cookies..."
        );
        assert_eq!(found.header.id.as_str(), "quiet-red-fox");
        assert_eq!(
            found.header.status,
            Ok(State::Complete),
            "a missing status means complete"
        );
        assert_eq!(
            found.header.completed,
            Some("2025-03-01T10:01:00Z".parse().unwrap())
        );
        assert_eq!(found.answer, "# Auth\n\n---\nbody");
        assert_eq!(
            parse(&text.replace("ses_2\n", "ses_2\n**Status:** cancelled\n"))
                .unwrap()
                .header
                .status,
            Ok(State::Cancelled)
        );
        assert_eq!(
            parse(&text.replace("ses_2\n", "ses_2\n**Status:** canceled\n"))
                .unwrap()
                .header
                .status,
            Err("canceled".into()),
            "a word that is no state is not taken for one"
        );
        assert_eq!(
            parse(&text.replace('\n', "\r\n")).unwrap().header,
            found.header
        );
    }

    #[test]
    fn what_is_no_artifact_is_refused() {
        for text in [
            "",
            "text",
            "# Title",
            "# Title\n\nsummary\n\nbody\n\n---\n\nx",
            "# T\n\ns\n\n**ID:** x\n",
        ] {
            assert_eq!(parse(text), Err(NotAnArtifact), "{text:?}");
        }
    }

    #[test]
    fn partial_text_is_marked() {
        assert!(
            partial("half", "over its\ntime limit")
                .starts_with("> Partial text, not a finished answer: over its time limit.\n\nhalf")
        );
        assert_eq!(partial(" \n", "stalled"), "> No answer: stalled.");
        for text in ["", "half\n", "> No answer: x."] {
            assert_eq!(unmarked(&partial(text, "over\ntime"), "over\ntime"), text);
            assert_eq!(unmarked(text, "stalled"), text);
        }
    }

    proptest! {
        #[test]
        fn it_parses_back_to_what_was_written(
            title in "(\\PC|[\\x00-\\x1f]|#|---){0,20}",
            summary in "(\\PC|\n|\\*\\*ID:\\*\\* x|---){0,20}",
            id in any::<String>(),
            model in proptest::option::of(any::<String>()),
            reason in proptest::option::of("(\\PC|\n|---|\\*\\*ID:\\*\\*){0,20}"),
            status in proptest::sample::select(&State::ALL[..]),
            completed in proptest::option::of(-377_705_023_201_i64..=253_402_207_200),
            attempts in proptest::option::of(any::<u32>()),
            answer in "(\\PC|[\\x00-\\x1f]|\r\n|\n---\n\n|\\*\\*ID:\\*\\* x\n){0,40}",
        ) {
            let written = Artifact {
                title: title.into(),
                summary: summary.into(),
                header: Header {
                    id: id.into(),
                    model: model.map(Line::from),
                    reason: reason.map(Line::from),
                    status: Ok(status),
                    completed: completed.map(|s| Timestamp::from_second(s).unwrap()),
                    attempts,
                    ..artifact("").header
                },
                answer,
            };
            prop_assert_eq!(parse(&render(&written)), Ok(written));
        }
    }
}
