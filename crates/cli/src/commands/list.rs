//! `brigade list`

use brigade_core::delegation::{State, span};
use brigade_core::text::line::one_line;
use brigade_protocol::delegations::{ListQuery, Listing, Sort as Order, States, Summary};

use crate::args::{List, Sort};
use crate::context::{Context, Now, scope};
use crate::error::CliError;
use crate::format::{age, amount, count, dollars};
use crate::output::{Output, Tone};
use crate::table::{self, Cell, Column};

/// How many characters of a project's ID tell it from others.
const PROJECT: usize = 8;
/// How many characters of a note a table shows; `show` has it whole.
const NOTE: usize = 32;
/// How many columns a title should have at least, before others are left out.
const TITLE: usize = 24;

/// How many are printed where nothing is said; a script gets as many as the daemon gives.
const SCREEN: u32 = 100;

pub(crate) async fn run(args: List, context: &mut Context) -> Result<(), CliError> {
    let now = Now::system();
    let query = ListQuery {
        // A session's ID says where it is: no need for its directory too.
        directory: scope(args.all || args.session.is_some())?.directory,
        session: args.session,
        state: (!args.state.is_empty()).then_some(States(args.state)),
        agent: args.agent,
        unread: args.unread,
        since: args.since.map(|since| since.moment(&now)),
        sort: Some(sort(args.sort)),
        reverse: args.reverse,
        offset: args.offset,
        limit: args.limit.or((!args.json.json).then_some(SCREEN)),
    };
    let narrowed = query.state.is_some()
        || query.session.is_some()
        || query.agent.is_some()
        || query.unread
        || query.since.is_some()
        || query.offset.is_some();
    let listing = context.client().await?.list(&query).await?;
    if args.json.json {
        context.out.json(&listing)
    } else if listing.delegations.is_empty() && narrowed {
        // There may be others: only nothing that was asked for.
        context.out.line("No delegation fits what was asked for.")
    } else {
        print(&mut context.out, &listing, args.all, args.sort, &now)
    }
}

fn sort(sort: Sort) -> Order {
    match sort {
        Sort::Registered => Order::Registered,
        Sort::Ended => Order::Ended,
        Sort::Cost => Order::Cost,
        Sort::Tokens => Order::Tokens,
        Sort::Duration => Order::Duration,
        Sort::State => Order::State,
    }
}

fn print(
    out: &mut Output,
    listing: &Listing,
    all: bool,
    sort: Sort,
    now: &Now,
) -> Result<(), CliError> {
    if listing.delegations.is_empty() {
        let place = if all {
            ""
        } else {
            " in this project (brigade list --all looks in all)"
        };
        return out.line(&format!("No delegations{place}."));
    }
    let row = |summary: &Summary| {
        let project: String = summary
            .project
            .chars()
            .take(if all { PROJECT } else { 0 })
            .collect();
        let progress = &summary.progress;
        let tokens = progress.tokens_in + progress.tokens_out;
        let some = |given: bool, text: String| if given { text } else { String::new() };
        vec![
            Cell::from(summary.id.as_str()),
            Cell::new(Tone::of(summary.state), summary.state.name()),
            Cell::new(Tone::Faint, &one_line(&remark(summary), NOTE)),
            Cell::from(age(summary.registered_at, now.at).as_str()),
            Cell::from(some(progress.ran_ms > 0, span(progress.ran_ms)).as_str()),
            Cell::from(some(tokens > 0, amount(tokens)).as_str()),
            Cell::from(some(progress.cost > 0.0, dollars(progress.cost)).as_str()),
            Cell::from(summary.agent.as_str()),
            Cell::new(Tone::Faint, &project),
            Cell::from(summary.title.as_str()),
        ]
    };
    // What it is sorted by is to be seen.
    let weight = |by: Sort, weight: u8| if by == sort { 0 } else { weight };
    let columns = [
        Column::text("ID", 0),
        Column::text("STATE", 0),
        Column::text("NOTE", 6),
        Column::number("AGE", 7),
        Column::number("RAN", weight(Sort::Duration, 2)),
        Column::number("TOKENS", weight(Sort::Tokens, 1)),
        Column::number("COST", weight(Sort::Cost, 3)),
        Column::text("AGENT", 4),
        Column::text("PROJECT", 5),
        Column::text("TITLE", 0),
    ];
    let rows: Vec<_> = listing.delegations.iter().map(row).collect();
    table::print(out, &columns, &rows, TITLE)?;
    if listing.more > 0 {
        let hint = format!(
            "{} more not shown: use --limit N for more, --offset N for what follows, or narrow with --state, --agent, \
             --since or brigade search",
            listing.more
        );
        out.line(&out.paint(Tone::Faint, &hint))?;
    }
    Ok(())
}

/// What its state alone does not tell.
fn remark(summary: &Summary) -> String {
    let progress = &summary.progress;
    match summary.state {
        State::Registered => summary.phase.clone(),
        State::Running if summary.phase == "working" => match &progress.last_tool {
            Some(tool) => format!("{} ({tool})", count(progress.tool_calls, "tool call")),
            None => String::new(),
        },
        State::Running => summary.phase.clone(),
        _ if summary.unread => "unread".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use brigade_protocol::delegations::Progress;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    pub(crate) fn now() -> Now {
        Now {
            at: at(600),
            zone: TimeZone::UTC,
        }
    }

    pub(crate) fn summary(id: &str, state: State) -> Summary {
        Summary {
            id: id.parse().unwrap(),
            project: "2e56aa36f538b33b".into(),
            session: Some("ses_1".into()),
            state,
            phase: if state.is_terminal() {
                "ended"
            } else {
                "working"
            }
            .into(),
            agent: "explore".into(),
            title: "Where tokens are checked".into(),
            summary: "All checks go through one middleware.".into(),
            unread: state.is_terminal(),
            attempt: 1,
            registered_at: at(0),
            started_at: Some(at(1)),
            ended_at: state.is_terminal().then(|| at(90)),
            reason: state.is_terminal().then(|| "answered".into()),
            artifact: state.is_terminal().then(|| "/data/x.md".into()),
            predecessor: false,
            progress: Progress {
                tool_calls: 3,
                last_tool: Some("grep".into()),
                tokens_in: 12_000,
                tokens_out: 345,
                cost: 0.0123,
                ran_ms: 89_000,
                ..Progress::default()
            },
        }
    }

    pub(crate) fn listing() -> Listing {
        let mut waiting = summary("calm-blue-crow", State::Running);
        waiting.phase = "waiting for a host: its process ended".into();
        let mut queued = summary("deep-cold-lake", State::Registered);
        queued.phase = "queued".into();
        queued.title = "A title with \u{1b}[2J an escape\nand a second line".into();
        Listing {
            delegations: vec![
                queued,
                waiting,
                summary("brave-amber-otter", State::Running),
                summary("agile-red-fox", State::Complete),
            ],
            more: 2,
        }
    }

    #[test]
    fn a_list_is_a_table() {
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &listing(), false, Sort::Registered, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }

    #[test]
    fn a_list_of_all_projects_names_them_and_fits_the_terminal() {
        let (mut out, printed) = Output::memory(Some(110));
        print(&mut out, &listing(), true, Sort::Registered, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_most_and_what_it_is_sorted_by() {
        let (mut out, printed) = Output::memory(Some(80));
        print(&mut out, &listing(), true, Sort::Cost, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }

    #[test]
    fn an_empty_list_says_where_to_look() {
        let (mut out, printed) = Output::memory(None);
        let empty = Listing {
            delegations: vec![],
            more: 0,
        };
        print(&mut out, &empty, false, Sort::Registered, &now()).unwrap();
        assert_eq!(
            printed(),
            "No delegations in this project (brigade list --all looks in all).\n"
        );
    }

    #[test]
    fn json_is_the_documented_shape() {
        let (mut out, printed) = Output::memory(None);
        out.json(&Listing {
            delegations: vec![summary("agile-red-fox", State::Complete)],
            more: 0,
        })
        .unwrap();
        insta::assert_snapshot!(printed());
    }
}
