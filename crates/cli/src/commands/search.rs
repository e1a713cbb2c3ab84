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
        print(&mut context.out, &results, args.all, &Now::system())
    }
}

fn print(out: &mut Output, results: &SearchResults, all: bool, now: &Now) -> Result<(), CliError> {
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
            let snippet = out.paint(Tone::Faint, &line(&hit.snippet));
            out.line(&format!("  {snippet}"))?;
        }
    }
    Ok(())
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
        print(&mut out, &results, false, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }
}
