//! Styled text in lines of a width.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthChar;

/// Text of one style.
pub(super) type Run = (String, Style);

/// What stands before the first line, and before those after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Margin {
    pub(super) first: Run,
    pub(super) rest: Run,
}

/// The runs in lines of at most `width` columns, broken between words where that is possible. Line breaks stay.
pub(super) fn wrapped(runs: &[Run], width: usize, margin: &Margin) -> Vec<Line<'static>> {
    let mut out = Vec::new();
    let mut line = Liner::new(width, &margin.first);
    let glyphs = runs
        .iter()
        .flat_map(|(text, style)| text.chars().map(move |c| (c, *style)));
    let mut word: Vec<(char, Style)> = Vec::new();
    let mut used = 0;
    for (c, style) in glyphs {
        if c == '\n' {
            line.take(&mut word, &mut out, margin);
            out.push(line.done(&margin.rest));
            used = 0;
        } else if c == ' ' {
            line.take(&mut word, &mut out, margin);
            line.blank(style);
            used = 0;
        } else {
            word.push((c, style));
            used += c.width().unwrap_or(0);
            // Of characters without a width a word could have any number.
            if used >= width || word.len() >= 4 * width.max(16) {
                line.take(&mut word, &mut out, margin);
                used = 0;
            }
        }
    }
    line.take(&mut word, &mut out, margin);
    if !line.is_empty() || out.is_empty() {
        out.push(line.done(&margin.rest));
    }
    out
}

fn columns(glyphs: &[(char, Style)]) -> usize {
    glyphs.iter().map(|(c, _)| c.width().unwrap_or(0)).sum()
}

/// A line under way.
struct Liner {
    width: usize,
    margin: Run,
    glyphs: Vec<(char, Style)>,
    used: usize,
}

impl Liner {
    fn new(width: usize, margin: &Run) -> Self {
        let taken: usize = margin.0.chars().map(|c| c.width().unwrap_or(0)).sum();
        Self {
            width: width.saturating_sub(taken).max(1),
            margin: margin.clone(),
            glyphs: Vec::new(),
            used: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.glyphs.is_empty()
    }

    fn blank(&mut self, style: Style) {
        if self.used < self.width {
            self.glyphs.push((' ', style));
            self.used += 1;
        }
    }

    /// Adds a word, on a new line where it does not fit, in pieces where it fits on none.
    fn take(
        &mut self,
        word: &mut Vec<(char, Style)>,
        out: &mut Vec<Line<'static>>,
        margin: &Margin,
    ) {
        let needed = columns(word);
        if self.used > 0 && self.used + needed > self.width && needed <= self.width {
            out.push(self.done(&margin.rest));
        }
        for (c, style) in word.drain(..) {
            let columns = c.width().unwrap_or(0);
            if self.used > 0 && self.used + columns > self.width {
                out.push(self.done(&margin.rest));
            }
            self.glyphs.push((c, style));
            self.used += columns;
        }
    }

    /// The line as it is; the next begins.
    fn done(&mut self, next: &Run) -> Line<'static> {
        while self.glyphs.last().is_some_and(|(c, _)| *c == ' ') {
            self.glyphs.pop();
        }
        let mut spans: Vec<Span<'static>> = Vec::new();
        if !self.margin.0.is_empty() {
            spans.push(Span::styled(self.margin.0.clone(), self.margin.1));
        }
        let mut glyphs = self.glyphs.drain(..).peekable();
        while let Some((c, style)) = glyphs.next() {
            let mut text = String::from(c);
            while let Some((c, _)) = glyphs.next_if(|(_, next)| *next == style) {
                text.push(c);
            }
            spans.push(Span::styled(text, style));
        }
        drop(glyphs);
        let width = self.width + self.margin.0.chars().count();
        *self = Self::new(width, next);
        Line::from(spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, width: usize, margin: &Margin) -> Vec<String> {
        let lines = wrapped(&[(text.to_owned(), Style::new())], width, margin);
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_stay_whole_where_they_can() {
        let none = Margin::default();
        assert_eq!(of("one two three", 8, &none), ["one two", "three"]);
        assert_eq!(of("one  two", 20, &none), ["one  two"]);
        assert_eq!(of("abcdefghij k", 4, &none), ["abcd", "efgh", "ij k"]);
        assert_eq!(of("日本語です", 4, &none), ["日本", "語で", "す"]);
        assert_eq!(of("a\n\nb", 4, &none), ["a", "", "b"]);
        assert_eq!(of("", 4, &none), [""]);
    }

    #[test]
    fn a_margin_stands_before_every_line() {
        let margin = Margin {
            first: ("- ".into(), Style::new()),
            rest: ("  ".into(), Style::new()),
        };
        assert_eq!(
            of("one two three", 7, &margin),
            ["- one", "  two", "  three"]
        );
    }

    #[test]
    fn characters_without_a_width_end_in_time() {
        let text = "\u{200B}".repeat(200_000);
        let lines = wrapped(&[(text, Style::new())], 80, &Margin::default());
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn no_width_is_too_small_to_end() {
        let margin = Margin {
            first: ("   ".into(), Style::new()),
            rest: ("   ".into(), Style::new()),
        };
        assert_eq!(of("ab", 0, &margin), ["   a", "   b"]);
    }
}
