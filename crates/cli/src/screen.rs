//! A text that is followed, printed as it comes and each part of it once, over the daemon's own restarts.

use std::pin::pin;

use brigade_client::{Client, ClientError};
use brigade_core::delegation::State;
use brigade_core::text::artifact;
use brigade_protocol::delegations::{Follow, Scope};
use futures::StreamExt;

use crate::error::{CliError, Kind};
use crate::output::{Output, harmless, remark};

/// What has been told of a text, and printed.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    told: String,
    printed: String,
    /// Whether the stream has told nothing yet: what it tells first is the whole text.
    fresh: bool,
    /// A whole text that is not taken in yet: the text anew, or the result's file, as the next event tells.
    whole: Option<String>,
    /// Whether only the answer is wanted, never the file around it.
    answer_only: bool,
}

/// How what was followed has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// The state.
    pub(crate) state: State,
    /// Why, in words.
    pub(crate) reason: String,
    /// The result's file.
    pub(crate) artifact: String,
}

/// How many streams that say nothing are taken up again, one after the other.
const MAX_SILENCES: u32 = 5;

/// Follows a delegation to its end, and prints its text where there is a place for it. A daemon that goes is
/// followed by the next: `connect` gives the one that runs by then, and `again` is the command that would go on.
pub(crate) async fn to_its_end(
    mut connect: impl AsyncFnMut() -> Result<Client, CliError>,
    (id, scope): (&str, &Scope),
    screen: &mut Screen,
    mut out: Option<&mut Output>,
    again: &str,
) -> Result<End, CliError> {
    let mut silences = 0;
    loop {
        let client = connect().await?;
        let mut events = pin!(client.follow(id, scope).await?);
        screen.again();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(ClientError::Lost { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            silences = 0;
            if let Some(end) = screen.take(event, out.as_deref_mut())? {
                return Ok(end);
            }
        }
        silences += 1;
        if silences > MAX_SILENCES {
            let message = "the daemon ends its streams before the delegation has ended";
            let again = format!("the delegation goes on; follow it with: {again}");
            return Err(CliError::new(Kind::Unreachable, message).hint(again));
        }
    }
}

impl Screen {
    /// One that shows the answer alone, of what had ended already as well.
    pub(crate) fn of_answer() -> Self {
        Self {
            answer_only: true,
            ..Self::default()
        }
    }

    /// The text as it was told last.
    pub(crate) fn told(self) -> String {
        self.told
    }

    /// Another stream begins.
    pub(crate) fn again(&mut self) {
        self.fresh = true;
    }

    /// Takes an event in; the last one gives the end. Without an output nothing is printed.
    pub(crate) fn take(
        &mut self,
        event: Follow,
        mut out: Option<&mut Output>,
    ) -> Result<Option<End>, CliError> {
        if let Some(text) = self.whole.take() {
            // Who has seen the text come needs only the rest of it; who has seen nothing gets the file.
            self.told = match &event {
                Follow::Ended { reason, .. } if !self.printed.is_empty() => artifact::parse(&text)
                    .map_or(text, |result| {
                        artifact::unmarked(&result.answer, reason).to_owned()
                    }),
                Follow::Ended { .. } if self.answer_only => {
                    artifact::parse(&text).map_or(text, |result| result.answer)
                }
                _ => text,
            };
            self.catch_up(out.as_deref_mut())?;
        }
        match event {
            Follow::Reset { text } => {
                self.fresh = false;
                self.whole = Some(text);
            }
            Follow::More { text } => {
                if std::mem::take(&mut self.fresh) {
                    self.told.clear();
                }
                self.told.push_str(&text);
                self.catch_up(out)?;
            }
            Follow::Doing { what } => {
                if out.is_some_and(|out| out.terminal) {
                    remark(&format!("({})", harmless(&what)));
                }
            }
            Follow::Ended {
                state,
                reason,
                artifact,
            } => {
                if let Some(out) = out
                    && !self.printed.is_empty()
                    && !self.printed.ends_with('\n')
                {
                    out.text("\n")?;
                }
                return Ok(Some(End {
                    state,
                    reason,
                    artifact,
                }));
            }
        }
        Ok(None)
    }

    /// Prints what is new of the text, and all of it where it begins otherwise than what was printed, which can't be
    /// taken back. A daemon that has just begun may know less than what was printed already.
    fn catch_up(&mut self, out: Option<&mut Output>) -> Result<(), CliError> {
        let Some(out) = out else {
            return Ok(());
        };
        // A file ends with a line break that a text need not have.
        if self.printed.starts_with(self.told.trim_end()) {
            return Ok(());
        }
        match self.told.strip_prefix(self.printed.as_str()) {
            Some(more) => out.text(more)?,
            None => {
                if !self.printed.ends_with('\n') {
                    out.text("\n")?;
                }
                remark("(it has started its text anew)");
                out.text(&self.told)?;
            }
        }
        self.printed.clone_from(&self.told);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(streams: Vec<Vec<Follow>>) -> (Option<End>, String) {
        let (mut out, printed) = Output::memory(None);
        let mut screen = Screen::default();
        let mut end = None;
        for stream in streams {
            screen.again();
            for event in stream {
                end = screen.take(event, Some(&mut out)).unwrap();
            }
        }
        (end, printed())
    }

    fn reset(text: &str) -> Follow {
        Follow::Reset { text: text.into() }
    }

    fn more(text: &str) -> Follow {
        Follow::More { text: text.into() }
    }

    fn end() -> Follow {
        Follow::Ended {
            state: State::Complete,
            reason: "answered".into(),
            artifact: "/x.md".into(),
        }
    }

    fn file(answer: &str) -> Follow {
        let text = format!(
            "# T\n\nS.\n\n**ID:** a-b-c\n**Agent:** explore\n**Status:** complete\n**Session:** ses_1\n\n---\n\n{answer}\n"
        );
        reset(&text)
    }

    #[test]
    fn text_is_printed_once_and_its_file_adds_only_what_is_new() {
        let doing = Follow::Doing {
            what: "grep".into(),
        };
        let stream = vec![more("ab"), more("c"), doing, file("abc and d"), end()];
        let (ended, printed) = shown(vec![stream]);
        assert_eq!(ended.unwrap().state, State::Complete);
        assert_eq!(printed, "abc and d\n");
        let (_, printed) = shown(vec![vec![more("abc"), file("abc"), end()]]);
        assert_eq!(printed, "abc\n");
    }

    #[test]
    fn what_had_ended_already_is_its_file() {
        let (_, printed) = shown(vec![vec![file("abc"), end()]]);
        assert!(printed.starts_with("# T\n"), "{printed}");
        assert!(printed.ends_with("\nabc\n"), "{printed}");
    }

    #[test]
    fn where_only_the_answer_is_wanted_nothing_of_the_file_is_told() {
        for quiet in [false, true] {
            let (mut out, printed) = Output::memory(None);
            let mut screen = Screen::of_answer();
            for event in [file("abc"), end()] {
                screen.take(event, (!quiet).then_some(&mut out)).unwrap();
            }
            assert_eq!(printed(), if quiet { "" } else { "abc\n" });
            assert_eq!(screen.told().trim_end(), "abc");
        }
    }

    #[test]
    fn text_that_starts_anew_is_printed_anew() {
        let (_, printed) = shown(vec![vec![
            more("äb"),
            reset("x"),
            more("y\n"),
            file("xy"),
            end(),
        ]]);
        assert_eq!(printed, "äb\nxy\n");
    }

    #[test]
    fn another_daemon_tells_nothing_twice() {
        // It knows what was saved, which is less; then it goes on, or finds the end.
        let (_, printed) = shown(vec![
            vec![more("one two")],
            vec![more("one"), more(" two three")],
        ]);
        assert_eq!(printed, "one two three");
        let (_, printed) = shown(vec![
            vec![more("one two")],
            vec![file("one two three"), end()],
        ]);
        assert_eq!(printed, "one two three\n");
        let (_, printed) = shown(vec![vec![more("one")], vec![], vec![more("one two")]]);
        assert_eq!(printed, "one two");
    }
}
