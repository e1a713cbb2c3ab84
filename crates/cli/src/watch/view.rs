//! The screen: header, rows, pane, footer.

use brigade_core::text::line::one_line;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Widget};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::model::{Deed, Filter, Link, Mode, Model, Tab};
use super::rows;
use super::theme::Theme;
use crate::format::dollars;
use crate::output::Tone;
use crate::table::cut;

/// From so many columns on the pane stands beside the rows.
const BESIDE: u16 = 120;
/// From so many columns and lines on it stands below them.
const BELOW: (u16, u16) = (60, 16);

/// What the keys do, for the help.
const KEYS: [(&str, &str); 18] = [
    ("j k ↓ ↑", "move"),
    ("g G", "first, last"),
    ("Space PgDn PgUp", "page on, page back"),
    ("Enter l →", "open the pane; reads a result"),
    ("Esc h ←", "back; Esc also ends search and filter"),
    ("Tab 1 2 3", "text, timeline, prompt"),
    ("/", "search as you type; Enter also in prompts and results"),
    ("f F", "filter: next, previous"),
    ("p", "this project, or all"),
    (
        "s",
        "send a message: at its next step, or as a further round",
    ),
    ("c", "cancel; what is written is kept"),
    ("r", "retry what has ended"),
    ("e", "open the result in $VISUAL or $EDITOR"),
    ("y", "copy the ID"),
    ("Ctrl-Z", "suspend"),
    ("?", "this help"),
    ("q Ctrl-C", "quit; everything goes on"),
    (
        "● ▶ ◌ ✔ ✘ ■ ◷",
        "unread; runs, waits, complete, error, cancelled, timeout",
    ),
];

/// Draws everything.
pub(super) fn draw(model: &mut Model, frame: &mut Frame<'_>, theme: Theme) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.height < 4 || area.width < 10 {
        buffer.set_stringn(
            area.x,
            area.y,
            "too small",
            usize::from(area.width),
            theme.of(Tone::Plain),
        );
        return;
    }
    header(model, line_of(area, 0), buffer, theme);
    filters(model, line_of(area, 1), buffer, theme);
    let body = Rect {
        y: area.y + 2,
        height: area.height - 3,
        ..area
    };
    let (rows, pane) = parts(model, body);
    if let Some(rows) = rows {
        rows::draw(model, rows, buffer, theme);
    }
    if let Some(pane) = pane {
        draw_pane(model, pane, buffer, theme);
    }
    footer(model, line_of(area, area.height - 1), buffer, theme);
    if model.mode == Mode::Help {
        help(body, buffer, theme);
    }
}

fn line_of(area: Rect, at: u16) -> Rect {
    Rect {
        y: area.y + at,
        height: 1,
        ..area
    }
}

/// Where rows and pane are; on a small screen one takes the other's place.
fn parts(model: &Model, body: Rect) -> (Option<Rect>, Option<Rect>) {
    if body.width >= BESIDE {
        let left = body.width * 3 / 5;
        let rows = Rect {
            width: left - 1,
            ..body
        };
        let pane = Rect {
            x: body.x + left,
            width: body.width - left,
            ..body
        };
        (Some(rows), Some(pane))
    } else if body.width >= BELOW.0 && body.height + 3 >= BELOW.1 {
        // The pane that keys move in gets more of the room.
        let part = if model.in_pane { 3 } else { 5 };
        let top = (body.height * part / 10).max(4);
        let rows = Rect {
            height: top,
            ..body
        };
        let pane = Rect {
            y: body.y + top,
            height: body.height - top,
            ..body
        };
        (Some(rows), Some(pane))
    } else if model.in_pane {
        (None, Some(body))
    } else {
        (Some(body), None)
    }
}

fn header(model: &Model, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let place = if model.all_projects {
        "all projects"
    } else {
        "this project"
    };
    let (tone, link) = match &model.link {
        Link::Coming => (Tone::Faint, "connecting …".to_owned()),
        Link::Live => (Tone::Good, "live".to_owned()),
        Link::Lost(why) => (Tone::Bad, format!("reconnecting: {}", one_line(why, 60))),
    };
    let mut right = vec![Span::styled(link, theme.of(tone))];
    let cost = model.cost();
    if cost > 0.0 {
        right.insert(0, Span::raw(format!("{}  ", dollars(cost))));
    }
    let left = [
        Span::styled("Brigade", theme.of(Tone::Head)),
        Span::raw(format!("  {place}")),
    ];
    both(area, buffer, &left, right);
}

/// The filters with their counts, and what is searched for.
fn filters(model: &Model, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let mut spans = Vec::new();
    for filter in Filter::EACH {
        let number = model.count(filter);
        let more = if filter == Filter::All && model.more > 0 {
            "+"
        } else {
            ""
        };
        let text = format!("{} {number}{more}", filter.name());
        let style = if filter == model.filter {
            theme.of(Tone::Head).patch(theme.cursor())
        } else if filter == Filter::Failed && number > 0 {
            theme.of(Tone::Warn)
        } else {
            theme.of(Tone::Faint)
        };
        spans.push(Span::styled(text, style));
        spans.push(Span::raw("  "));
    }
    let mut right = Vec::new();
    if !model.query.is_empty() && !matches!(model.mode, Mode::Search { .. }) {
        right.push(Span::styled(
            format!("/{}", model.query),
            theme.of(Tone::Hit),
        ));
    }
    both(area, buffer, &spans, right);
}

/// Left and right on one line; what does not fit is cut on the left.
fn both(area: Rect, buffer: &mut Buffer, left: &[Span<'_>], right: Vec<Span<'_>>) {
    let right = Line::from(right);
    let width = usize::from(area.width);
    let needed = right.width().min(width);
    let room = width - needed;
    let line = Line::from(left.to_vec());
    let columns = u16::try_from(room.saturating_sub(usize::from(needed > 0))).unwrap_or(0);
    buffer.set_line(area.x, area.y, &line, columns);
    let x = area.x + u16::try_from(room).unwrap_or(0);
    buffer.set_line(x, area.y, &right, area.width);
}

fn draw_pane(model: &mut Model, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let faint = theme.of(Tone::Faint);
    let beside = area.x > 0;
    if beside {
        for y in area.y..area.y + area.height {
            buffer.set_string(area.x, y, "│", faint);
        }
    }
    let inner = Rect {
        x: area.x + if beside { 2 } else { 0 },
        y: area.y + 1,
        width: area.width.saturating_sub(if beside { 2 } else { 0 }),
        height: area.height.saturating_sub(1),
    };
    let Some(row) = model.selected().cloned() else {
        return;
    };
    let size = (usize::from(inner.width).max(1), usize::from(inner.height));
    let (open, now) = (model.open.as_ref(), model.now.clone());
    model.pane.prepare(&row, open, model.tab, size, theme, &now);

    let mut left = Vec::new();
    for tab in Tab::EACH {
        let style = if tab == model.tab {
            let style = theme.of(Tone::Head);
            if model.in_pane {
                style.patch(theme.cursor())
            } else {
                style
            }
        } else {
            faint
        };
        left.push(Span::styled(tab.name(), style));
        left.push(Span::raw("  "));
    }
    let mut place = row.id.to_string();
    if model.pane.len() > model.pane.height {
        let end = (model.pane.top + model.pane.height).min(model.pane.len());
        place.push_str(&format!("  {end}/{}", model.pane.len()));
    }
    let head = Rect {
        x: inner.x,
        width: inner.width,
        ..line_of(area, 0)
    };
    if !beside {
        for x in area.x..area.x + area.width {
            buffer.set_string(x, area.y, "─", faint);
        }
        left.insert(0, Span::styled("─ ", faint));
    }
    both(head, buffer, &left, vec![Span::styled(place, faint)]);
    for (at, line) in model.pane.seen().iter().enumerate() {
        let y = inner.y + u16::try_from(at).unwrap_or(0);
        buffer.set_line(inner.x, y, line, inner.width);
    }
}

fn footer(model: &Model, area: Rect, buffer: &mut Buffer, theme: Theme) {
    let width = usize::from(area.width);
    let input = |label: &str, text: &str| {
        let label = one_line(label, width / 2);
        let room = width.saturating_sub(label.width() + 1);
        let shown = ending(text, room);
        Line::from(vec![
            Span::styled(label, theme.of(Tone::Head)),
            Span::raw(shown),
            Span::styled(" ", theme.cursor()),
        ])
    };
    let line = match &model.mode {
        Mode::Search { .. } => input("/", &model.query),
        Mode::Send { to, text } => input(&format!("to {to}: "), text),
        Mode::Confirm { what, id } => {
            let asked = match what {
                Deed::Cancel => format!("Cancel {id}? What it has written is kept. y/n"),
                Deed::Retry => format!("Have the work of {id} done anew? y/n"),
            };
            Line::styled(cut(&asked, width), theme.of(Tone::Warn))
        }
        Mode::Normal | Mode::Help => match &model.note {
            Some(note) => Line::styled(
                cut(&one_line(&note.text, 1_000), width),
                theme.of(note.tone),
            ),
            None => {
                let keys = if model.in_pane {
                    "j/k scroll  Tab timeline, prompt  e editor  s send  Esc back  ? help"
                } else {
                    "j/k move  Enter read  / search  f filter  s send  c cancel  r retry  ? help  q quit"
                };
                Line::styled(cut(keys, width), theme.of(Tone::Faint))
            }
        },
    };
    buffer.set_line(area.x, area.y, &line, area.width);
}

/// The end of what is typed, as much of it as there is room for.
fn ending(text: &str, room: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= room
    };
    let mut end: Vec<char> = text.chars().rev().take_while(fits).collect();
    end.retain(|c| !c.is_control());
    end.into_iter().rev().collect()
}

fn help(body: Rect, buffer: &mut Buffer, theme: Theme) {
    Clear.render(body, buffer);
    let keys = KEYS.iter().map(|(keys, _)| keys.width()).max().unwrap_or(0);
    for (at, (key, what)) in KEYS.iter().enumerate().take(usize::from(body.height)) {
        let blank = " ".repeat(keys - key.width() + 2);
        let line = Line::from(vec![
            Span::styled(*key, theme.of(Tone::Head)),
            Span::raw(format!("{blank}{what}")),
        ]);
        let y = body.y + u16::try_from(at).unwrap_or(0);
        buffer.set_line(body.x, y, &line, body.width);
    }
}
