//! The rows: as many columns as there is room for, and no row rendered that is not seen.

use brigade_core::delegation::{State, span};
use brigade_core::text::line::one_line;
use brigade_protocol::delegations::Summary;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::model::{Link, Model};
use super::theme::Theme;
use crate::format::{age, amount, count, dollars};
use crate::output::Tone;
use crate::table::cut;

/// The least that the title needs, in columns.
const TITLE: usize = 22;
/// As much of a name is shown at most, in columns.
const NAME: usize = 24;

/// A column before the title.
struct Column {
    head: &'static str,
    width: usize,
    right: bool,
    cells: Vec<(Tone, String)>,
}

/// The symbol of a state, to be told apart without colours.
pub(super) fn symbol(row: &Summary) -> &'static str {
    match row.state {
        State::Registered => "◌",
        State::Running if row.phase.starts_with("waiting") => "◌",
        State::Running => "▶",
        State::Complete => "✔",
        State::Error => "✘",
        State::Cancelled => "■",
        State::Timeout => "◷",
    }
}

/// What it does now.
pub(super) fn now_doing(row: &Summary) -> String {
    let progress = &row.progress;
    if row.state != State::Running || row.phase != "working" {
        return row.phase.clone();
    }
    match (&progress.last_line, &progress.last_tool) {
        (Some(line), _) if !line.trim().is_empty() => line.clone(),
        (_, Some(tool)) => format!("{tool} ({})", count(progress.tool_calls, "tool call")),
        _ => row.phase.clone(),
    }
}

/// Draws the rows that are seen.
pub(super) fn draw(model: &mut Model, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let width = usize::from(area.width);
    model.page = usize::from(area.height.saturating_sub(1)).max(1);
    model.in_sight();
    if model.len() == 0 {
        let words = nothing(model);
        let line = Line::styled(cut(&words, width), theme.of(Tone::Faint));
        buffer.set_line(area.x, area.y, &line, area.width);
        return;
    }
    let rows: Vec<&Summary> = model.window(model.page).map(|(_, row)| row).collect();
    let columns = columns(model, &rows, width);
    let taken: usize = columns.iter().map(|column| column.width + 2).sum();
    let title = width.saturating_sub(taken);

    let mut head = String::new();
    for column in &columns {
        head.push_str(&padded(column.head, column));
    }
    head.push_str("TITLE");
    let head = Line::styled(cut(head.trim_end(), width), theme.of(Tone::Head));
    buffer.set_line(area.x, area.y, &head, area.width);

    for (at, row) in rows.iter().enumerate() {
        let mut spans: Vec<Span<'_>> = Vec::new();
        for column in &columns {
            let (tone, text) = &column.cells[at];
            spans.push(Span::styled(padded(text, column), theme.of(*tone)));
        }
        let text = one_line(&row.title, 400);
        if row.state.is_terminal() {
            let tone = if row.unread { Tone::Head } else { Tone::Plain };
            spans.push(Span::styled(cut(&text, title), theme.of(tone)));
        } else {
            // What it does now matters as much.
            let text = cut(&text, (title / 2).max(TITLE / 2));
            let left = title.saturating_sub(text.width());
            spans.push(Span::styled(text, theme.of(Tone::Plain)));
            let doing = format!(" › {}", one_line(&now_doing(row), 400));
            if left > 6 {
                spans.push(Span::styled(cut(&doing, left), theme.of(Tone::Faint)));
            }
        }
        let y = area.y + 1 + u16::try_from(at).unwrap_or(0);
        buffer.set_line(area.x, y, &Line::from(spans), area.width);
        if model.top + at == model.cursor {
            let line = Rect {
                y,
                height: 1,
                ..area
            };
            buffer.set_style(line, theme.cursor());
        }
    }
}

fn nothing(model: &Model) -> String {
    match &model.link {
        Link::Coming => "…".to_owned(),
        Link::Lost(_) => "The daemon is out of reach.".to_owned(),
        Link::Live if !model.query.is_empty() => {
            format!("Nothing has {:?} in it. Esc shows all.", model.query)
        }
        Link::Live
            if model.count(model.filter) == 0 && model.count(super::model::Filter::All) > 0 =>
        {
            format!("None is {}. f shows others.", model.filter.name())
        }
        Link::Live if model.all_projects => "No delegations.".to_owned(),
        Link::Live => "No delegations in this project. p shows all projects.".to_owned(),
    }
}

fn padded(text: &str, column: &Column) -> String {
    let text = cut(text, column.width);
    let blank = " ".repeat(column.width.saturating_sub(text.width()));
    if column.right {
        format!("{blank}{text}  ")
    } else {
        format!("{text}{blank}  ")
    }
}

/// The columns that there is room for beside the title.
fn columns(model: &Model, rows: &[&Summary], width: usize) -> Vec<Column> {
    let plain = |text: String| (Tone::Plain, text);
    let some = |given: bool, text: String| if given { text } else { String::new() };
    let state = |word: bool| {
        let cell = move |row: &&Summary| {
            let mark = if row.unread { "●" } else { " " };
            let symbol = symbol(row);
            let name = if word { row.state.name() } else { "" };
            let text = format!("{mark}{symbol} {name}");
            (Tone::of(row.state), text.trim_end().to_owned())
        };
        column(if word { "  STATE" } else { "" }, false, rows, cell)
    };
    // By how gladly each is given up.
    let mut all: Vec<(u8, Column)> = vec![
        (0, state(true)),
        (
            6,
            column("ID", false, rows, |row| plain(row.id.to_string())),
        ),
        (
            2,
            column("AGENT", false, rows, |row| {
                plain(one_line(&row.agent, NAME))
            }),
        ),
        (
            1,
            column("AGE", true, rows, |row| {
                plain(age(row.registered_at, model.now.at))
            }),
        ),
        (
            3,
            column("RAN", true, rows, |row| {
                let ran = row.progress.ran_ms;
                plain(some(ran > 0, span(ran)))
            }),
        ),
        (
            4,
            column("TOKENS", true, rows, |row| {
                let tokens = row.progress.tokens_in + row.progress.tokens_out;
                plain(some(tokens > 0, amount(tokens)))
            }),
        ),
        (
            5,
            column("COST", true, rows, |row| {
                let cost = row.progress.cost;
                plain(some(cost > 0.0, dollars(cost)))
            }),
        ),
        (
            7,
            column("TRY", true, rows, |row| {
                plain(some(row.attempt > 1, row.attempt.to_string()))
            }),
        ),
    ];
    // A column in which nothing stands says nothing.
    all.retain(|(weight, column)| {
        *weight < 3 || column.cells.iter().any(|(_, text)| !text.is_empty())
    });
    let needs = |all: &[(u8, Column)]| -> usize {
        TITLE
            + all
                .iter()
                .map(|(_, column)| column.width + 2)
                .sum::<usize>()
    };
    while needs(&all) > width {
        let Some(at) = (1..all.len()).max_by_key(|at| all[*at].0) else {
            break;
        };
        all.remove(at);
    }
    if needs(&all) > width {
        all[0].1 = state(false);
    }
    all.into_iter().map(|(_, column)| column).collect()
}

fn column(
    head: &'static str,
    right: bool,
    rows: &[&Summary],
    cell: impl Fn(&&Summary) -> (Tone, String),
) -> Column {
    let cells: Vec<_> = rows.iter().map(cell).collect();
    let widest = cells.iter().map(|(_, text)| text.width()).max();
    Column {
        head,
        width: widest.unwrap_or(0).max(head.width()).min(NAME),
        right,
        cells,
    }
}
