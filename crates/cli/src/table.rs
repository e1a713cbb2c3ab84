//! Tables for people: columns as wide as their widest cell, the last one cut to the terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::CliError;
use crate::output::{Output, Tone};

/// The space between two columns.
const GAP: usize = 2;
/// What is left for the last column, however narrow the terminal is.
const LEAST: usize = 20;

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone; the text is made one harmless line.
    pub(crate) fn new(tone: Tone, text: &str) -> Self {
        let text = brigade_core::text::line::one_line(&crate::output::harmless(text), usize::MAX);
        Self { text, tone }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    head: &'static str,
    weight: u8,
    right: bool,
}

impl Column {
    /// A column of texts. Those of the least weight are left out where the terminal is too narrow; 0 stays.
    pub(crate) fn text(head: &'static str, weight: u8) -> Self {
        let right = false;
        Self {
            head,
            weight,
            right,
        }
    }

    /// The same of numbers.
    pub(crate) fn number(head: &'static str, weight: u8) -> Self {
        let right = true;
        Self {
            head,
            weight,
            right,
        }
    }
}

/// Prints a table that fits the terminal: where the last column would have less room than this, those of the least
/// weight are left out. Columns in which no row has text are left out anyway.
pub(crate) fn print(
    out: &mut Output,
    heads: &[Column],
    rows: &[Vec<Cell>],
    last: usize,
) -> Result<(), CliError> {
    let names: Vec<Cell> = heads
        .iter()
        .map(|head| Cell::new(Tone::Head, head.head))
        .collect();
    let mut used: Vec<bool> = columns(rows)
        .map(|mut cells| cells.any(|cell| !cell.text.is_empty()))
        .collect();
    let widths: Vec<usize> = columns(rows)
        .zip(&names)
        .map(|(cells, head)| {
            cells
                .chain([head])
                .map(|cell| cell.text.width())
                .max()
                .unwrap_or(0)
        })
        .collect();
    drop_columns(out.width, heads, &widths, &mut used, last);
    for row in std::iter::once(&names).chain(rows) {
        let mut line = String::new();
        let mut at = 0;
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .zip(heads)
            .zip(&used)
            .filter(|(_, used)| **used)
            .collect();
        for (index, (((cell, width), head), _)) in cells.iter().enumerate() {
            let pad = " ".repeat(*width - cell.text.width());
            if head.right {
                line.push_str(&pad);
                line.push_str(&out.paint(cell.tone, &cell.text));
                line.push_str(&" ".repeat(GAP));
                at += *width + GAP;
            } else if index + 1 == cells.len() {
                let room = out
                    .width
                    .map_or(usize::MAX, |all| all.saturating_sub(at).max(LEAST));
                line.push_str(&out.paint(cell.tone, &cut(&cell.text, room)));
            } else {
                line.push_str(&out.paint(cell.tone, &cell.text));
                line.push_str(&pad);
                line.push_str(&" ".repeat(GAP));
                at += *width + GAP;
            }
        }
        out.line(line.trim_end())?;
    }
    Ok(())
}

/// Leaves out columns until there is enough room for the last one.
fn drop_columns(
    width: Option<usize>,
    heads: &[Column],
    widths: &[usize],
    used: &mut [bool],
    last: usize,
) {
    let Some(width) = width else { return };
    let Some(end) = used.iter().rposition(|used| *used) else {
        return;
    };
    let fits = |used: &[bool]| {
        let fixed: usize = (0..end)
            .filter(|&column| used[column])
            .map(|column| widths[column] + GAP)
            .sum();
        fixed + last.min(widths[end]) <= width
    };
    let mut dropped = Vec::new();
    while !fits(used) {
        let least = (0..end)
            .filter(|&column| used[column] && heads[column].weight > 0)
            .min_by_key(|&column| heads[column].weight);
        let Some(least) = least else { return };
        used[least] = false;
        dropped.push(least);
    }
    // Where a wide one had to go, smaller ones may have room.
    for column in dropped.into_iter().rev() {
        used[column] = true;
        used[column] = fits(used);
    }
}

/// The cells of each column.
fn columns(rows: &[Vec<Cell>]) -> impl Iterator<Item = impl Iterator<Item = &Cell>> {
    let count = rows.first().map_or(0, Vec::len);
    (0..count).map(move |index| rows.iter().filter_map(move |row| row.get(index)))
}

/// The text, cut with `…` where it needs more columns.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    });
    let mut kept: String = kept.collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cuts_by_columns_not_by_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
