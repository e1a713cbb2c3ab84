//! `brigade read`

use std::pin::pin;

use brigade_protocol::delegations::{Follow, Scope};
use futures::{Stream, StreamExt};

use crate::args::Read;
use crate::context::{Context, scope};
use crate::error::{CliError, Kind};
use crate::output::{Output, remark};

pub(crate) async fn run(args: Read, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    let client = context.client().await?;
    if args.follow {
        let events = client.follow(&args.id, &scope).await?;
        let events = events.map(|event| event.map_err(CliError::from));
        return follow(&mut context.out, events, &args.id, &scope).await;
    }
    let text = client.text(&args.id, &scope).await?;
    if args.json.json {
        return context.out.json(&text);
    }
    ended(&mut context.out, &text.text)?;
    if !text.state.is_terminal() {
        remark(&format!(
            "({} is {}: this is the text so far; --follow waits for more)",
            text.id, text.state
        ));
    }
    Ok(())
}

/// Prints text, with a line break at its end.
fn ended(out: &mut Output, text: &str) -> Result<(), CliError> {
    out.text(text)?;
    if text.is_empty() || text.ends_with('\n') {
        Ok(())
    } else {
        out.text("\n")
    }
}

/// Prints the text as it comes. Only text goes to standard output; all else is a remark beside it.
async fn follow(
    out: &mut Output,
    events: impl Stream<Item = Result<Follow, CliError>>,
    id: &str,
    scope: &Scope,
) -> Result<(), CliError> {
    let mut events = pin!(events);
    let mut printed = String::new();
    while let Some(event) = events.next().await {
        match event? {
            // After a broken connection to its model the text starts anew; what is printed can't be
            // taken back.
            Follow::Reset { text } if !printed.is_empty() && !text.starts_with(&printed) => {
                out.text("\n")?;
                remark("(it has started its text anew)");
                out.text(&text)?;
                printed = text;
            }
            Follow::Reset { text } => {
                out.text(&text[printed.len()..])?;
                printed = text;
            }
            Follow::More { text } => {
                out.text(&text)?;
                printed.push_str(&text);
            }
            Follow::Doing { what } if out.terminal => remark(&format!("({what})")),
            Follow::Doing { .. } => {}
            Follow::Ended {
                state,
                reason,
                artifact,
            } => {
                if !printed.is_empty() && !printed.ends_with('\n') {
                    out.text("\n")?;
                }
                remark(&format!("({state}: {reason}; {artifact})"));
                return Ok(());
            }
        }
    }
    let again = if scope.directory.is_none() {
        " --all"
    } else {
        ""
    };
    Err(CliError::new(
        Kind::Unreachable,
        "the daemon ended the stream before the delegation has ended",
    )
    .hint(format!(
        "the delegation goes on; follow it again with: brigade read {id} --follow{again}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_core::delegation::State;
    use futures::FutureExt;

    fn followed(events: Vec<Follow>) -> (Result<(), CliError>, String) {
        let (mut out, printed) = Output::memory(None);
        let events = futures::stream::iter(events.into_iter().map(Ok));
        let result = follow(&mut out, events, "x", &Scope::default())
            .now_or_never()
            .unwrap();
        (result, printed())
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

    #[test]
    fn text_is_printed_once() {
        let doing = Follow::Doing {
            what: "grep".into(),
        };
        let (result, printed) = followed(vec![reset("ab"), more("c"), doing, reset("abcd"), end()]);
        result.unwrap();
        assert_eq!(printed, "abcd\n");
    }

    #[test]
    fn text_that_starts_anew_is_printed_anew() {
        let (result, printed) = followed(vec![reset("äb"), reset("x"), more("y\n"), end()]);
        result.unwrap();
        assert_eq!(printed, "äb\nxy\n");
    }

    #[test]
    fn a_stream_that_breaks_off_is_no_end() {
        let (result, printed) = followed(vec![reset("ab")]);
        assert_eq!(result.unwrap_err().kind, Kind::Unreachable);
        assert_eq!(printed, "ab");
    }
}
