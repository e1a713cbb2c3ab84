//! A patch as a terminal shows it, made of its bytes as they come.

use crate::output::{Output, Tone, harmless};

/// Of a line so much is shown, in bytes; a minified file may be a single one.
const LONGEST: usize = 16 << 10;

/// Paints a patch line by line. Where a hunk ends is counted, so that a line of a file that looks like a part of the
/// patch is still shown as what it is.
#[derive(Debug, Default)]
pub(crate) struct Painter {
    rest: Vec<u8>,
    /// Whether the beginning of an overlong line was shown, and its end is yet to come.
    cut: bool,
    /// Lines of the old and the new side that are to come in this hunk.
    left: (u64, u64),
    binary: bool,
}

impl Painter {
    /// What is to be shown once these bytes are there.
    pub(crate) fn take(&mut self, out: &Output, bytes: &[u8]) -> String {
        let mut shown = String::new();
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let room = (LONGEST + 1).saturating_sub(self.rest.len());
            self.rest.extend_from_slice(&part[..part.len().min(room)]);
            self.cut |= self.rest.len() > LONGEST;
            if lines.peek().is_some() {
                self.line(out, &mut shown);
            }
        }
        shown
    }

    /// What is to be shown at its end.
    pub(crate) fn end(mut self, out: &Output) -> String {
        let mut shown = String::new();
        if !self.rest.is_empty() {
            self.line(out, &mut shown);
        }
        shown
    }

    fn line(&mut self, out: &Output, shown: &mut String) {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.truncate(LONGEST);
        let text = String::from_utf8_lossy(&bytes);
        let tone = self.tone(&text);
        if self.binary && self.left == (0, 0) && tone == Tone::Plain {
            self.cut = false;
            return;
        }
        let changed = matches!(tone, Tone::Good | Tone::Removed);
        // What an editor for Windows has written would else end in a replaced character each.
        let text = match text.strip_suffix('\r') {
            Some(text) if changed => format!("{text}␍"),
            Some(text) => text.to_owned(),
            None => text.into_owned(),
        };
        let more = if std::mem::take(&mut self.cut) {
            " …"
        } else {
            ""
        };
        shown.push_str(&out.paint(tone, &format!("{}{more}", harmless(&text))));
        shown.push('\n');
    }

    fn tone(&mut self, line: &str) -> Tone {
        let (old, new) = &mut self.left;
        if (*old, *new) != (0, 0) {
            let tone = match line.as_bytes().first() {
                Some(b'-') => Tone::Removed,
                Some(b'+') => Tone::Good,
                Some(b'\\') => return Tone::Faint,
                _ => Tone::Plain,
            };
            if tone != Tone::Good {
                *old = old.saturating_sub(1);
            }
            if tone != Tone::Removed {
                *new = new.saturating_sub(1);
            }
            return tone;
        }
        if line.starts_with("diff --git ") {
            self.binary = false;
        } else if let Some(counts) = counts(line) {
            self.left = counts;
            return Tone::Busy;
        } else if line == "GIT binary patch" {
            self.binary = true;
        } else if self.binary {
            return Tone::Plain;
        } else if line.starts_with('\\') {
            return Tone::Faint;
        }
        Tone::Head
    }
}

/// How many lines of either side a hunk has, by its head `@@ -1,2 +3,4 @@`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (old, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
    let (new, _) = rest.split_once(" @@")?;
    let count = |range: &str| match range.split_once(',') {
        Some((_, count)) => count.parse().ok(),
        None => Some(1),
    };
    Some((count(old)?, count(new)?))
}

/// A diffstat with its figures painted.
pub(crate) fn painted_stat(out: &Output, stat: &str) -> String {
    let mut shown = String::new();
    for line in stat.lines() {
        // File names are a model's words, too.
        let line = harmless(line);
        match line.rsplit_once(" | ") {
            Some((path, figures)) => {
                let figures: Vec<_> = figures.split(' ').map(|word| figure(out, word)).collect();
                shown.push_str(&format!("{path} | {}", figures.join(" ")));
            }
            None => shown.push_str(&line),
        }
        shown.push('\n');
    }
    shown
}

fn figure(out: &Output, word: &str) -> String {
    let tone = match word.as_bytes().first() {
        Some(b'+') => Tone::Good,
        Some(b'-') => Tone::Removed,
        _ => Tone::Faint,
    };
    out.paint(tone, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "diff --git a/notes.sql b/notes.sql\nindex 1..2 100644\n--- a/notes.sql\n+++ b/notes.sql\n\
        @@ -1,3 +1,3 @@ head\n kept\r\n--- a comment\n+++ another\r\n last\n\\ No newline at end of file\n\
        diff --git a/logo.png b/logo.png\nnew file mode 100644\nGIT binary patch\nliteral 3\nKc${NkU\n\nliteral 0\nHc$@<O00001\n\n\
        diff --git a/x b/x\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\u{1b}[2J\n";

    fn painted(pieces: &[&[u8]], colours: bool) -> String {
        let (out, _) = Output::memory(Some(80));
        let out = if colours { out.coloured() } else { out };
        let mut painter = Painter::default();
        let mut shown = String::new();
        for piece in pieces {
            shown.push_str(&painter.take(&out, piece));
        }
        shown + &painter.end(&out)
    }

    #[test]
    fn a_patch_is_painted_as_what_it_is_and_its_binary_parts_are_left_out() {
        let shown = painted(&[PATCH.as_bytes()], true);
        insta::assert_snapshot!(shown.replace('\u{1b}', "ESC"));
    }

    #[test]
    fn it_may_come_in_any_pieces() {
        let whole = painted(&[PATCH.as_bytes()], true);
        let single: Vec<_> = PATCH.as_bytes().chunks(1).collect();
        assert_eq!(painted(&single, true), whole);
    }

    #[test]
    fn an_endless_line_is_cut_and_takes_no_memory() {
        let line = vec![b'x'; 3 * LONGEST];
        let shown = painted(&[b"@@ -0,0 +1,2 @@\n+", &line, &line, b"\n+y\n"], false);
        assert!(shown.len() < LONGEST + 100, "{}", shown.len());
        assert!(shown.ends_with("x …\n+y\n"));
    }

    #[test]
    fn figures_are_painted_and_names_steer_nothing() {
        let (out, _) = Output::memory(Some(80));
        let shown = painted_stat(
            &out.coloured(),
            " a\u{1b}[2J | b.rs | +3 -1\n logo    | binary (new)\n 2 files changed, +3 -1\n",
        );
        insta::assert_snapshot!(shown.replace('\u{1b}', "ESC"));
    }
}
