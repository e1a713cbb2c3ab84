//! `brigade search`

use brigade_protocol::delegations::{SearchQuery, SearchResults};

use crate::args::Search;
use crate::context::{Context, Now, scope};
use crate::error::{CliError, Kind};
use crate::format::age;
use crate::output::{Output, Tone, harmless};

pub(crate) async fn run(args: Search, context: &mut Context) -> Result<(), CliError> {
    let query = SearchQuery {
        q: args.query.join(" "),
        directory: scope(args.all)?.directory,
        limit: args.limit,
    };
    if query.q.trim().is_empty() {
        return Err(CliError::new(Kind::Usage, "there is nothing to search for"));
    }
    let results = context.client().await?.search(&query).await?;
    if args.json.json {
        context.out.json(&results)
    } else {
        print(
            &mut context.out,
            &results,
            &query.q,
            args.all,
            &Now::system(),
        )
    }
}

fn print(
    out: &mut Output,
    results: &SearchResults,
    words: &str,
    all: bool,
    now: &Now,
) -> Result<(), CliError> {
    if results.hits.is_empty() {
        let place = if all {
            ""
        } else {
            " in this project (--all searches all)"
        };
        return out.line(&format!("Nothing found{place}."));
    }
    let line = |text: &str| brigade_core::text::line::one_line(&harmless(text), usize::MAX);
    for (index, hit) in results.hits.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        let summary = &hit.summary;
        let state = out.paint(Tone::of(summary.state), summary.state.name());
        let rest = format!(
            "{}  {}",
            age(summary.registered_at, now.at),
            line(&summary.agent)
        );
        let id = out.paint(Tone::Head, summary.id.as_str());
        out.line(&format!("{id}  {state}  {}", out.paint(Tone::Faint, &rest)))?;
        out.line(&format!("  {}", line(&summary.title)))?;
        if !hit.snippet.is_empty() {
            let snippet = highlighted(out, &line(&hit.snippet), words);
            out.line(&format!("  {snippet}"))?;
        }
    }
    Ok(())
}

/// The snippet with what was found standing out, where there are colours; else it stays in its brackets.
fn highlighted(out: &Output, snippet: &str, words: &str) -> String {
    if !out.is_coloured() {
        return snippet.to_owned();
    }
    let mut text = String::new();
    let mut rest = snippet;
    while let Some((before, opened)) = rest.split_once('[') {
        let Some((inside, after)) = opened.split_once(']') else {
            break;
        };
        if is_hit(inside, words) {
            text += &out.paint(Tone::Faint, before);
            text += &out.paint(Tone::Hit, inside);
            rest = after;
        } else {
            // Brackets of the text itself.
            text += &out.paint(Tone::Faint, &format!("{before}["));
            rest = opened;
        }
    }
    text + &out.paint(Tone::Faint, rest)
}

/// How many characters at least a hit shares with a word that was searched for: what is found is found by its stem.
const STEM: usize = 3;

fn is_hit(text: &str, words: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(str::to_lowercase).collect()
    };
    let words = parts(words);
    parts(text).iter().any(|part| {
        words.iter().any(|word| {
            let head = |text: &str| text.chars().take(STEM).collect::<String>();
            head(part) == head(word)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::list::tests::{now, summary};
    use brigade_core::delegation::State;
    use brigade_protocol::delegations::Hit;

    #[test]
    fn hits_show_where_they_match() {
        let hit = |id: &str, snippet: &str| Hit {
            summary: summary(id, State::Complete),
            snippet: snippet.into(),
        };
        let results = SearchResults {
            hits: vec![
                hit("agile-red-fox", "the [token] is\nchecked \u{1b}[0m"),
                hit("brave-amber-otter", ""),
            ],
        };
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &results, "tokens", false, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }

    #[test]
    fn on_a_terminal_hits_stand_out_and_other_brackets_stay() {
        let (out, _) = Output::memory(Some(80));
        let out = out.coloured();
        let shown = highlighted(&out, "see [a link] to the [Tokens], [", "token");
        let faint = |text: &str| out.paint(Tone::Faint, text);
        let hit = out.paint(Tone::Hit, "Tokens");
        assert_eq!(
            shown,
            format!(
                "{}{}{hit}{}",
                faint("see ["),
                faint("a link] to the "),
                faint(", [")
            )
        );
    }
}
