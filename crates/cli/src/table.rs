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

/// Prints a table; columns in which no row has text are left out.
pub(crate) fn print(out: &mut Output, heads: &[&str], rows: &[Vec<Cell>]) -> Result<(), CliError> {
    let heads = heads
        .iter()
        .map(|head| Cell::new(Tone::Head, head))
        .collect();
    let used: Vec<bool> = columns(rows)
        .map(|mut cells| cells.any(|cell| !cell.text.is_empty()))
        .collect();
    let widths: Vec<usize> = columns(rows)
        .zip(&heads)
        .map(|(cells, head)| {
            cells
                .chain([head])
                .map(|cell| cell.text.width())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        let mut at = 0;
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .zip(&used)
            .filter(|(_, used)| **used)
            .collect();
        for (index, ((cell, width), _)) in cells.iter().enumerate() {
            if index + 1 == cells.len() {
                let room = out
                    .width
                    .map_or(usize::MAX, |all| all.saturating_sub(at).max(LEAST));
                line.push_str(&out.paint(cell.tone, &cut(&cell.text, room)));
            } else {
                line.push_str(&out.paint(cell.tone, &cell.text));
                line.push_str(&" ".repeat(*width - cell.text.width() + GAP));
                at += *width + GAP;
            }
        }
        out.line(line.trim_end())?;
    }
    Ok(())
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
