//! A terminal's screen as an SVG picture.

use std::fmt::Write as _;

use vt100::{Cell, Color, Screen};

/// Width and height of a character's cell, in pixels.
const CELL: (f32, f32) = (8.4, 17.0);
/// Size of the text, in pixels.
const FONT: f32 = 14.0;
/// Space around the screen, in pixels.
const MARGIN: f32 = 12.0;
/// The colours of a terminal that was told none.
const FOREGROUND: &str = "#d8d8d8";
const BACKGROUND: &str = "#0f0f0f";
/// The first sixteen colours.
const PALETTE: [&str; 16] = [
    "#1c1c1c", "#d75f5f", "#87af5f", "#d7af5f", "#5f87d7", "#af87d7", "#5fafaf", "#bcbcbc",
    "#767676", "#ff8787", "#afd787", "#ffd787", "#87afff", "#d7afff", "#87d7d7", "#eeeeee",
];

/// How a run of cells looks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Style {
    foreground: String,
    background: String,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

impl Style {
    fn of(cell: &Cell) -> Self {
        let mut colours = (
            colour(cell.fgcolor(), FOREGROUND),
            colour(cell.bgcolor(), BACKGROUND),
        );
        if cell.inverse() {
            colours = (colours.1, colours.0);
        }
        Self {
            foreground: colours.0,
            background: colours.1,
            bold: cell.bold(),
            dim: cell.dim(),
            italic: cell.italic(),
            underline: cell.underline(),
        }
    }
}

/// A run of cells of one style in one row.
struct Run {
    column: u16,
    cells: u16,
    text: String,
    style: Style,
}

/// Draws the screen; `title` is what it shows, for those who can't see it.
pub(crate) fn draw(screen: &Screen, title: &str) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let width = f32::from(columns) * CELL.0 + 2.0 * MARGIN;
    let height = f32::from(rows) * CELL.1 + 2.0 * MARGIN;
    // A program that fills the screen brings a background of its own.
    let canvas = screen
        .cell(0, 0)
        .map_or_else(|| BACKGROUND.to_owned(), |cell| Style::of(cell).background);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{canvas}\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"{FONT}\" style=\"white-space:pre\" xml:space=\"preserve\">\n",
        escaped(title)
    );
    let mut texts = String::new();
    for row in 0..rows {
        for run in runs(screen, row, columns, &canvas) {
            run.write(row, &canvas, &mut svg, &mut texts);
        }
    }
    svg.push_str(&texts);
    svg.push_str("</g>\n</svg>\n");
    svg
}

impl Run {
    /// Backgrounds go before all texts, so that no glyph that reaches out of its cell is cut.
    fn write(&self, row: u16, canvas: &str, backgrounds: &mut String, texts: &mut String) {
        let (x, y) = (
            MARGIN + f32::from(self.column) * CELL.0,
            MARGIN + f32::from(row) * CELL.1,
        );
        let width = f32::from(self.cells) * CELL.0;
        let style = &self.style;
        // Writing to a string can't fail.
        if style.background != canvas {
            let _ = writeln!(
                backgrounds,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\" shape-rendering=\"crispEdges\"/>",
                CELL.1, style.background
            );
        }
        if self.text.trim().is_empty() {
            return;
        }
        let mut attributes = String::new();
        for (is_set, attribute) in [
            (style.bold, " font-weight=\"bold\""),
            (style.dim, " opacity=\"0.6\""),
            (style.italic, " font-style=\"italic\""),
            (style.underline, " text-decoration=\"underline\""),
        ] {
            if is_set {
                attributes.push_str(attribute);
            }
        }
        let _ = writeln!(
            texts,
            "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{attributes}>{}</text>",
            y + FONT - 1.0,
            style.foreground,
            escaped(&self.text)
        );
    }
}

fn runs(screen: &Screen, row: u16, columns: u16, canvas: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen
            .cell(row, column)
            .filter(|cell| !cell.is_wide_continuation())
        else {
            if let Some(run) = runs.last_mut() {
                run.cells += 1;
            }
            continue;
        };
        let style = Style::of(cell);
        let text = if cell.has_contents() {
            cell.contents()
        } else {
            " "
        };
        // A blank looks the same whatever the colour of its text.
        let joins = |run: &Run| {
            run.style == style
                || (text == " " && run.style.background == style.background && !run.style.underline)
        };
        match runs.last_mut() {
            Some(run) if joins(run) => {
                run.text.push_str(text);
                run.cells += 1;
            }
            _ => runs.push(Run {
                column,
                cells: 1,
                text: text.to_owned(),
                style,
            }),
        }
    }
    for run in &mut runs {
        let kept = run.text.trim_end().chars().count();
        let blank = run.text.chars().count() - kept;
        if run.style.background == canvas && kept > 0 {
            run.text.truncate(run.text.trim_end().len());
            run.cells -= u16::try_from(blank).unwrap_or(0).min(run.cells - 1);
        }
    }
    runs
}

fn colour(colour: Color, default: &str) -> String {
    match colour {
        Color::Default => default.to_owned(),
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        Color::Idx(index @ 0..16) => PALETTE[usize::from(index)].to_owned(),
        Color::Idx(index @ 232..) => {
            let grey = 8 + 10 * (index - 232);
            format!("#{grey:02x}{grey:02x}{grey:02x}")
        }
        Color::Idx(index) => {
            let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
            let cube = index - 16;
            format!(
                "#{:02x}{:02x}{:02x}",
                level(cube / 36),
                level(cube / 6 % 6),
                level(cube % 6)
            )
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(bytes: &[u8]) -> vt100::Parser {
        let mut parser = vt100::Parser::new(2.try_into().unwrap(), 12.try_into().unwrap(), 0);
        parser.process(bytes);
        parser
    }

    #[test]
    fn texts_keep_their_place_colour_and_weight() {
        let parser = screen(b"a \x1b[31;1m<b>\x1b[0m\r\n  \x1b[48;2;1;2;3mc\x1b[0m");
        let svg = draw(parser.screen(), "a & b");
        assert!(svg.contains("<title>a &amp; b</title>"));
        assert!(svg.contains(&format!("x=\"{:.1}\" y=\"25.0\" textLength=\"25.2\" lengthAdjust=\"spacingAndGlyphs\" fill=\"#d75f5f\" font-weight=\"bold\">&lt;b&gt;</text>", 12.0 + 2.0 * 8.4)));
        assert!(svg.contains("fill=\"#010203\""), "{svg}");
        assert_eq!(svg.matches("<text ").count(), 3);
    }

    #[test]
    fn numbered_colours_are_those_of_a_terminal() {
        assert_eq!(colour(Color::Idx(196), ""), "#ff0000");
        assert_eq!(colour(Color::Idx(255), ""), "#eeeeee");
        assert_eq!(colour(Color::Default, "#123456"), "#123456");
    }
}
