//! `brigade stats`

use brigade_core::delegation::span;
use brigade_protocol::stats::{BudgetEntry, Stats, StatsBy, StatsQuery, StatsRow, Usage};
use jiff::civil::Date;

use crate::args::{self, By};
use crate::context::{Context, Now, scope};
use crate::error::CliError;
use crate::format::{amount, count, dollars};
use crate::output::{Output, Tone};
use crate::plot;
use crate::since::Since;
use crate::table::{self, Cell, Column};

/// How far back it looks where nobody says, in days.
const DAYS: i32 = 30;
/// How many bars a plot has at most.
const BARS: usize = 60;
/// How wide a plot is where the width of the terminal is not known.
const WIDTH: usize = 80;

pub(crate) async fn run(args: args::Stats, context: &mut Context) -> Result<(), CliError> {
    let since = args.since.unwrap_or(Since::Days(DAYS)).day(&Now::system());
    let query = StatsQuery {
        // A session's ID says where it is: no need for its directory too.
        directory: scope(args.all || args.session.is_some())?.directory,
        session: args.session,
        since: Some(since),
        by: by(args.by),
    };
    let stats = context.client().await?.stats(&query).await?;
    if args.json.json {
        return context.out.json(&stats);
    }
    let out = &mut context.out;
    head(out, &stats, since)?;
    if stats.rows.is_empty() {
        Ok(())
    } else if args.plot {
        draw(out, &stats)
    } else {
        print(out, &stats)
    }
}

fn by(by: By) -> StatsBy {
    match by {
        By::Day => StatsBy::Day,
        By::Agent => StatsBy::Agent,
        By::Model => StatsBy::Model,
        By::Session => StatsBy::Session,
        By::Project => StatsBy::Project,
    }
}

/// All together, in words.
fn head(out: &mut Output, stats: &Stats, since: Date) -> Result<(), CliError> {
    let total = &stats.total;
    let parts: Vec<_> = [
        ("active", total.active),
        ("complete", total.complete),
        ("error", total.error),
        ("cancelled", total.cancelled),
        ("timeout", total.timeout),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .map(|(name, n)| format!("{n} {name}"))
    .collect();
    let all = format!("{} since {since}", count(total.delegations, "delegation"));
    let all = out.paint(Tone::Head, &all);
    if parts.is_empty() {
        out.line(&format!(
            "{all} (--since looks further back, --all in all projects)"
        ))?;
    } else {
        out.line(&format!("{all}: {}", parts.join(", ")))?;
        out.line(&format!(
            "ran {}, {} tokens in, {} out, {}",
            span(total.ran_ms),
            amount(total.tokens_in),
            amount(total.tokens_out),
            dollars(total.cost)
        ))?;
    }
    for entry in &stats.budget {
        out.line(&budget(entry))?;
    }
    if !stats.rows.is_empty() {
        out.line("")?;
    }
    Ok(())
}

fn budget(entry: &BudgetEntry) -> String {
    let shown = |number: f64| {
        if entry.key.ends_with("cost") {
            format!("${number:.2}")
        } else {
            format!("{number:.0} tokens")
        }
    };
    let (used, limit) = (shown(entry.used), shown(entry.limit));
    let up = if entry.used >= entry.limit {
        ": used up, new delegations are refused"
    } else {
        ""
    };
    format!(
        "today, in all projects: {used} of {limit} ({}){up}",
        entry.key
    )
}

fn print(out: &mut Output, stats: &Stats) -> Result<(), CliError> {
    let columns = [
        Column::text(name(stats.by), 0),
        Column::number("DELEGATIONS", 7),
        Column::number("ACTIVE", 2),
        Column::number("COMPLETE", 5),
        Column::number("ERROR", 4),
        Column::number("CANCELLED", 1),
        Column::number("TIMEOUT", 3),
        Column::number("RAN", 6),
        Column::number("IN", 8),
        Column::number("OUT", 8),
        Column::number("COST", 0),
    ];
    let mut rows: Vec<_> = stats
        .rows
        .iter()
        .map(|row| cells(Cell::from(row.key.as_str()), &row.usage))
        .collect();
    if rows.len() > 1 {
        rows.push(cells(Cell::new(Tone::Head, "total"), &stats.total));
    }
    table::print(out, &columns, &rows, 0)
}

fn cells(key: Cell, usage: &Usage) -> Vec<Cell> {
    let some = |n: u64| if n > 0 { n.to_string() } else { String::new() };
    let mut cells = vec![key, Cell::from(usage.delegations.to_string().as_str())];
    let numbers = [
        usage.active,
        usage.complete,
        usage.error,
        usage.cancelled,
        usage.timeout,
    ];
    cells.extend(numbers.map(|n| Cell::from(some(n).as_str())));
    let rest = [
        span(usage.ran_ms),
        amount(usage.tokens_in),
        amount(usage.tokens_out),
        dollars(usage.cost),
    ];
    cells.extend(rest.map(|text| Cell::from(text.as_str())));
    cells
}

fn name(by: StatsBy) -> &'static str {
    match by {
        StatsBy::Day => "DAY",
        StatsBy::Agent => "AGENT",
        StatsBy::Model => "MODEL",
        StatsBy::Session => "SESSION",
        StatsBy::Project => "PROJECT",
    }
}

/// Costs as bars; where nothing has cost anything, tokens.
fn draw(out: &mut Output, stats: &Stats) -> Result<(), CliError> {
    let costs = stats.total.cost > 0.0;
    let days;
    let all = match stats.by {
        StatsBy::Day => {
            days = every_day(&stats.rows);
            &days
        }
        _ => &stats.rows,
    };
    // The last days; of all else the dearest, which come first.
    let shown = match stats.by {
        StatsBy::Day => &all[all.len().saturating_sub(BARS)..],
        _ => &all[..all.len().min(BARS)],
    };
    let bars: Vec<_> = shown
        .iter()
        .map(|row| {
            let tokens = row.usage.tokens_in + row.usage.tokens_out;
            #[expect(clippy::cast_precision_loss, reason = "drawn")]
            let (value, label) = if costs {
                (row.usage.cost, dollars(row.usage.cost))
            } else {
                (tokens as f64, amount(tokens))
            };
            plot::Bar {
                name: row.key.clone(),
                value,
                label,
            }
        })
        .collect();
    let what = if costs { "cost" } else { "tokens" };
    let heading = format!("{what} by {}", name(stats.by).to_lowercase());
    out.line(&out.paint(Tone::Head, &heading))?;
    for line in plot::bars(&bars, out.width.unwrap_or(WIDTH)) {
        out.line(&line)?;
    }
    let left = all.len() - shown.len();
    if left > 0 {
        let left = format!("{left} more not shown");
        out.line(&out.paint(Tone::Faint, &left))?;
    }
    Ok(())
}

/// The days from the first to the last, those on which nothing was used as well.
fn every_day(rows: &[StatsRow]) -> Vec<StatsRow> {
    let date = |row: &StatsRow| row.key.parse::<Date>().ok();
    let (Some(first), Some(last)) = (rows.first().and_then(date), rows.last().and_then(date))
    else {
        return rows.to_vec();
    };
    let mut rows = rows.iter().peekable();
    first
        .series(jiff::ToSpan::days(1))
        .take_while(|day| *day <= last)
        .map(|day| {
            let key = day.to_string();
            match rows.next_if(|row| row.key == key) {
                Some(row) => row.clone(),
                None => StatsRow {
                    key,
                    usage: Usage::default(),
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(n: u64) -> Usage {
        Usage {
            delegations: 10 * n,
            active: n % 2,
            complete: 8 * n,
            error: n,
            cancelled: 0,
            timeout: n - n % 2,
            tokens_in: 1_234_567 * n,
            tokens_out: 12_345 * n,
            #[expect(clippy::cast_precision_loss)]
            cost: 1.25 * n as f64,
            ran_ms: 3_700_000 * n,
        }
    }

    fn stats(by: StatsBy, keys: &[(&str, u64)]) -> Stats {
        let rows: Vec<_> = keys
            .iter()
            .map(|(key, n)| StatsRow {
                key: (*key).to_owned(),
                usage: usage(*n),
            })
            .collect();
        let mut total = Usage::default();
        for row in &rows {
            total.add(&row.usage);
        }
        Stats {
            by,
            total,
            rows,
            budget: vec![BudgetEntry {
                key: "day_cost".into(),
                used: 3.2,
                limit: 20.0,
            }],
        }
    }

    fn days() -> Stats {
        stats(
            StatsBy::Day,
            &[("2026-03-01", 1), ("2026-03-02", 4), ("2026-03-05", 2)],
        )
    }

    fn shown(stats: &Stats, width: Option<usize>, plot: bool) -> String {
        let (mut out, printed) = Output::memory(width);
        head(&mut out, stats, "2026-03-01".parse().unwrap()).unwrap();
        if plot {
            draw(&mut out, stats).unwrap();
        } else {
            print(&mut out, stats).unwrap();
        }
        printed()
    }

    #[test]
    fn sums_are_told_and_broken_down() {
        insta::assert_snapshot!(shown(&days(), None, false));
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most() {
        let models = [("anthropic/claude-\u{1b}[31msonnet", 3), ("openai/gpt", 1)];
        insta::assert_snapshot!(shown(&stats(StatsBy::Model, &models), Some(70), false));
    }

    #[test]
    fn a_plot_has_a_bar_for_each_day() {
        insta::assert_snapshot!(shown(&days(), Some(60), true));
    }

    #[test]
    fn where_nothing_was_used_it_says_where_to_look() {
        let (mut out, printed) = Output::memory(None);
        let mut none = stats(StatsBy::Day, &[]);
        none.budget.clear();
        head(&mut out, &none, "2026-03-01".parse().unwrap()).unwrap();
        assert_eq!(
            printed(),
            "0 delegations since 2026-03-01 (--since looks further back, --all in all projects)\n"
        );
    }
}
