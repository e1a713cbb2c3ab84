//! Text made safe for where it goes: one line, a length, or inside XML.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What stands for a character that can't be shown.
const REPLACEMENT: char = '\u{FFFD}';

/// Text of one line: no line breaks, no control characters, no blanks at its ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Line(String);

impl Line {
    /// Makes one line of any text: blanks and line breaks become single spaces, control characters
    /// become `U+FFFD`.
    pub fn new(text: &str) -> Self {
        Self(one_line(text, usize::MAX))
    }

    /// As [`Line::new`], and no longer than `max` characters, the last one then being `…`.
    pub fn capped(text: &str, max: usize) -> Self {
        Self(one_line(text, max))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Line {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<Line> for String {
    fn from(line: Line) -> Self {
        line.0
    }
}

/// Text as one line of at most `max` characters, cut with `…`. Reads no more of a long text than it
/// needs.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut count = 0;
    let mut gap = false;
    for c in text.chars() {
        if is_blank(c) {
            gap = count > 0;
            continue;
        }
        let needed = usize::from(gap) + 1;
        if count + needed > max {
            // Room for the mark is made by giving up the last character.
            if count >= max {
                line.pop();
            }
            if max > 0 {
                line.truncate(line.trim_end().len());
                line.push('…');
            }
            return line;
        }
        if gap {
            line.push(' ');
        }
        line.push(if is_shown(c) { c } else { REPLACEMENT });
        count += needed;
        gap = false;
    }
    line
}

/// Blanks that a line folds into one space, the line separators of Unicode among them.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
}

/// Whether a character may stand in text that a terminal or an XML reader gets: no control characters
/// (a C1 control is an escape to some terminals) and no non-characters.
fn is_shown(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

/// Text for inside an XML element: nothing in it can open or close one, and no character that XML
/// forbids is left. Line breaks and tabs stay; a lone carriage return becomes a line break.
pub fn escape_xml(text: &str) -> Cow<'_, str> {
    let clean =
        |c: char| matches!(c, '\n' | '\t') || (is_shown(c) && !matches!(c, '&' | '<' | '>'));
    if text.chars().all(clean) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            c if is_shown(c) => out.push(c),
            _ => out.push(REPLACEMENT),
        }
    }
    Cow::Owned(out)
}

/// Whether a text has more than `limit` characters, without counting all of a long one.
pub fn longer_than(text: &str, limit: usize) -> bool {
    // A character has at most four bytes, so that most texts need no counting.
    text.len() > limit
        && (text.len() > limit.saturating_mul(4) || text.chars().nth(limit).is_some())
}

/// So many bytes.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} bytes");
    }
    let (mut whole, mut tenths, mut unit) = (bytes / 1_000, bytes % 1_000 / 100, 0);
    while whole >= 1_000 && unit + 1 < UNITS.len() {
        (whole, tenths) = (whole / 1_000, whole % 1_000 / 100);
        unit += 1;
    }
    format!("{whole}.{tenths} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_cut_within_its_limit() {
        assert_eq!(one_line("  a\n\n b\tc ", 99), "a b c");
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abcde…");
        assert_eq!(one_line("abcd  efgh", 6), "abcd…");
        assert_eq!(one_line("abcde f", 6), "abcde…");
        assert_eq!(one_line("abc", 0), "");
        assert_eq!(one_line("a\u{1b}[31m\0", 99), "a\u{FFFD}[31m\u{FFFD}");
        assert_eq!(one_line("a\u{2028}b\u{85}c", 99), "a b c");
    }

    #[test]
    fn xml_escapes_what_could_open_or_close() {
        assert_eq!(
            escape_xml("a </x> & \u{0}\u{1b}\r\nb\rc"),
            "a &lt;/x&gt; &amp; \u{FFFD}\u{FFFD}\nb\nc"
        );
        assert!(matches!(escape_xml("plain\n\ttext `\"'"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn a_line_is_always_one_line(text in any::<String>(), max in 0usize..40) {
            let line = one_line(&text, max);
            prop_assert!(line.chars().count() <= max);
            prop_assert!(line.chars().all(is_shown));
            prop_assert_eq!(one_line(&line, usize::MAX), line.clone());
            let whole = Line::new(&text);
            prop_assert_eq!(Line::new(whole.as_str()), whole);
        }

        #[test]
        fn longer_than_counts_characters(text in any::<String>(), limit in 0usize..40) {
            prop_assert_eq!(longer_than(&text, limit), text.chars().count() > limit);
        }
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let sizes = [0, 999, 1_000, 1_250, 999_999, 1_000_000, 12_345_678_901].map(size);
        assert_eq!(
            sizes,
            [
                "0 bytes",
                "999 bytes",
                "1.0 kB",
                "1.2 kB",
                "999.9 kB",
                "1.0 MB",
                "12.3 GB"
            ]
        );
    }
}
