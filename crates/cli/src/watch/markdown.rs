//! Markdown as lines for a terminal: what an agent writes, with headings, lists, code and tables to be seen as such.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::theme::Theme;
use super::wrap::{Margin, Run, wrapped};
use crate::output::{Tone, harmless};
use crate::table::cut;

/// Renders the text, which is cleaned of everything that could steer a terminal.
pub(super) fn rendered(text: &str, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let text = harmless(text).replace('\t', "    ");
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut page = Page::new(width, theme);
    for event in Parser::new_ext(&text, options) {
        page.take(event);
    }
    page.end_block();
    while page.out.last().is_some_and(|line| line.width() == 0) {
        page.out.pop();
    }
    page.out
}

/// As deep as this quotes and lists are shown nested, and no deeper than half of the line is left.
const DEEP: usize = 8;

/// Something that indents what is in it.
enum Frame {
    Quote,
    /// A list with the next number; none without numbers.
    List(Option<u64>),
    /// An item, with what stands before its first line until that was written.
    Item {
        mark: Option<String>,
        columns: usize,
    },
}

struct Page {
    width: usize,
    theme: Theme,
    out: Vec<Line<'static>>,
    runs: Vec<Run>,
    styles: Vec<Style>,
    frames: Vec<Frame>,
    in_code: bool,
    links: Vec<(String, usize)>,
    table: Option<Vec<Vec<String>>>,
}

impl Page {
    fn new(width: usize, theme: Theme) -> Self {
        Self {
            width,
            theme,
            out: Vec::new(),
            runs: Vec::new(),
            styles: Vec::new(),
            frames: Vec::new(),
            in_code: false,
            links: Vec::new(),
            table: None,
        }
    }

    fn style(&self) -> Style {
        let styles = self.styles.iter();
        styles.fold(Style::new(), |style, next| style.patch(*next))
    }

    fn write(&mut self, text: &str) {
        if let Some(cell) = self
            .table
            .as_mut()
            .and_then(|table| table.last_mut()?.last_mut())
        {
            cell.push_str(&text.replace('\n', " "));
        } else {
            let style = self.style();
            self.runs.push((text.to_owned(), style));
        }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.write(&text),
            Event::Code(text) => {
                self.styles.push(self.theme.of(Tone::Busy));
                self.write(&text);
                self.styles.pop();
            }
            Event::Html(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => {
                self.styles.push(self.theme.of(Tone::Faint));
                self.write(&text);
                self.styles.pop();
            }
            Event::SoftBreak => self.write(" "),
            Event::HardBreak => self.write("\n"),
            Event::Rule => {
                self.end_block();
                let line = "─".repeat(self.width.min(40));
                self.runs.push((line, self.theme.of(Tone::Faint)));
                self.end_block();
                self.gap();
            }
            Event::TaskListMarker(done) => self.write(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.end_block();
                let mut style = self.theme.of(Tone::Head);
                if level == HeadingLevel::H1 {
                    style = style.add_modifier(Modifier::UNDERLINED);
                }
                self.styles.push(style);
            }
            Tag::BlockQuote(_) => {
                self.end_block();
                self.frames.push(Frame::Quote);
            }
            Tag::CodeBlock(_) => {
                self.end_block();
                self.in_code = true;
                self.styles.push(self.theme.of(Tone::Busy));
            }
            Tag::List(first) => {
                self.end_block();
                self.frames.push(Frame::List(first));
            }
            Tag::Item => {
                self.end_block();
                let mark = match self.frames.last_mut() {
                    Some(Frame::List(Some(number))) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "• ".to_owned(),
                };
                let columns = mark.width();
                self.frames.push(Frame::Item {
                    mark: Some(mark),
                    columns,
                });
            }
            Tag::Emphasis => self
                .styles
                .push(Style::new().add_modifier(Modifier::ITALIC)),
            Tag::Strong => self.styles.push(Style::new().add_modifier(Modifier::BOLD)),
            Tag::Strikethrough => self
                .styles
                .push(Style::new().add_modifier(Modifier::CROSSED_OUT)),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.to_string(), self.runs.len()));
                self.styles
                    .push(Style::new().add_modifier(Modifier::UNDERLINED));
            }
            Tag::Table(_) => {
                self.end_block();
                self.table = Some(Vec::new());
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.push(Vec::new());
                }
            }
            Tag::TableCell => {
                if let Some(row) = self.table.as_mut().and_then(|table| table.last_mut()) {
                    row.push(String::new());
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => {
                self.end_block();
                self.gap();
            }
            TagEnd::Heading(_) => {
                self.end_block();
                self.styles.pop();
                self.gap();
            }
            TagEnd::BlockQuote(_) => {
                self.end_block();
                self.frames.pop();
                self.gap();
            }
            TagEnd::CodeBlock => {
                if let Some((text, _)) = self.runs.last_mut() {
                    let kept = text.trim_end_matches('\n').len();
                    text.truncate(kept);
                }
                self.end_block();
                self.in_code = false;
                self.styles.pop();
                self.gap();
            }
            TagEnd::List(_) => {
                self.end_block();
                self.frames.pop();
                if !self
                    .frames
                    .iter()
                    .any(|frame| matches!(frame, Frame::Item { .. }))
                {
                    self.gap();
                }
            }
            TagEnd::Item => {
                self.end_block();
                self.frames.pop();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.styles.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.styles.pop();
                if let Some((url, from)) = self.links.pop() {
                    let shown: String = self
                        .runs
                        .iter()
                        .skip(from)
                        .map(|(t, _)| t.as_str())
                        .collect();
                    if !url.is_empty() && shown != url {
                        self.styles.push(self.theme.of(Tone::Faint));
                        self.write(&format!(" ({url})"));
                        self.styles.pop();
                    }
                }
            }
            TagEnd::Table => self.end_table(),
            _ => {}
        }
    }

    /// An empty line, unless one is there.
    fn gap(&mut self) {
        if self.out.last().is_some_and(|line| line.width() > 0) {
            self.out.push(Line::default());
        }
    }

    /// Writes what there is of a block.
    fn end_block(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let runs = std::mem::take(&mut self.runs);
        let margin = self.margin();
        self.out.extend(wrapped(&runs, self.width, &margin));
    }

    fn margin(&mut self) -> Margin {
        let faint = self.theme.of(Tone::Faint);
        let (mut first, mut rest) = (String::new(), String::new());
        for frame in self.frames.iter_mut().take(DEEP) {
            if first.width() >= self.width / 2 {
                break;
            }
            match frame {
                Frame::Quote => {
                    first.push_str("│ ");
                    rest.push_str("│ ");
                }
                Frame::List(_) => {}
                Frame::Item { mark, columns } => {
                    let blank = " ".repeat(*columns);
                    first.push_str(mark.take().as_deref().unwrap_or(&blank));
                    rest.push_str(&blank);
                }
            }
        }
        if self.in_code {
            first.push_str("  ");
            rest.push_str("  ");
        }
        Margin {
            first: (first, faint),
            rest: (rest, faint),
        }
    }

    /// Writes a table, its columns as wide as their widest cell, or as there is room.
    fn end_table(&mut self) {
        let Some(rows) = self.table.take() else {
            return;
        };
        let count = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..count)
            .map(|at| {
                let cells = rows.iter().filter_map(|row| row.get(at));
                cells.map(|cell| cell.width()).max().unwrap_or(0).max(1)
            })
            .collect();
        let room = self.width.saturating_sub(3 * count.saturating_sub(1));
        // With very many columns each has the same; with few the widest give way, column by column.
        let most = if count > DEEP { room / count } else { room };
        for width in &mut widths {
            *width = (*width).min(most.max(1));
        }
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) if *widest > 1 => *widest -= 1,
                _ => break,
            }
        }
        for (at, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| {
                    let cell = cut(cell, *width);
                    let blank = " ".repeat(width.saturating_sub(cell.width()));
                    format!("{cell}{blank}")
                })
                .collect();
            let tone = if at == 0 { Tone::Head } else { Tone::Plain };
            self.out.push(Line::styled(
                cells.join(" │ ").trim_end().to_owned(),
                self.theme.of(tone),
            ));
            if at == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                let rule = rules.join("─┼─");
                self.out
                    .push(Line::styled(rule, self.theme.of(Tone::Faint)));
            }
        }
        self.gap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, width: usize) -> String {
        let lines = rendered(text, width, Theme { colour: true });
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn what_agents_write_looks_like_what_it_is() {
        let text = "# Lock order\n\nTaken **first** in `a.rs`, see\n[docs](http://d/).\n\n\
            - one\n  - two, which is longer than a line\n- [x] three\n\n1. a\n2. b\n\n\
            > said\n> so\n\n```rust\nfn a() {\n    b();\n}\n```\n\n\
            | file | what |\n|---|---|\n| a.rs | locks |\n| b.rs | a very long cell in it |\n\n---\nend";
        insta::assert_snapshot!(of(text, 30));
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(of("a\u{1b}[2Jb", 20), "a\u{FFFD}[2Jb");
        let lines = rendered("# H\n\n*a* `b`", 20, Theme { colour: false });
        assert!(lines.iter().flatten().all(|span| span.style.fg.is_none()));
    }

    #[test]
    fn what_is_nested_without_end_takes_no_room_without_end() {
        let text = format!("{}{}", ">".repeat(5_000), "a".repeat(2_000));
        let lines = rendered(&text, 60, Theme { colour: true });
        assert!(lines.len() < 100, "{}", lines.len());
        let row = "|a".repeat(2_000);
        let text = format!("{row}|\n{}|\n{row}|", "|-".repeat(2_000));
        assert!(rendered(&text, 60, Theme { colour: true }).len() < 10);
    }

    #[test]
    fn broken_markdown_is_text() {
        assert_eq!(of("```\nnot closed", 20), "  not closed");
        assert_eq!(of("a * b _ c | d", 20), "a * b _ c | d");
        assert_eq!(of("", 20), "");
    }
}
