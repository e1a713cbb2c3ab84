//! Bars in the terminal, from left to right, that need no colour.

use unicode_width::UnicodeWidthStr;

use crate::output::harmless;
use crate::table::cut;

/// One bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) name: String,
    /// How long it is beside the others.
    pub(crate) value: f64,
    /// The value as it is written.
    pub(crate) label: String,
}

/// The widest name that is shown whole, in columns.
const NAME: usize = 40;
/// What is left for the bars, however narrow the terminal is.
const LEAST: usize = 10;
/// Parts of a block, by eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The lines of a plot that is so many columns wide.
pub(crate) fn bars(bars: &[Bar], width: usize) -> Vec<String> {
    let name = |bar: &Bar| {
        let name = brigade_core::text::line::one_line(&harmless(&bar.name), usize::MAX);
        cut(&name, NAME)
    };
    let widest = |of: &dyn Fn(&Bar) -> usize| bars.iter().map(of).max().unwrap_or(0);
    let names = widest(&|bar| name(bar).width());
    let labels = widest(&|bar| bar.label.width());
    let room = width.saturating_sub(names + labels + 4).max(LEAST);
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    bars.iter()
        .map(|bar| {
            let name = name(bar);
            let pad = " ".repeat(names - name.width());
            let before = " ".repeat(labels - bar.label.width());
            let line = format!(
                "{name}{pad}  {before}{}  {}",
                bar.label,
                blocks(bar.value, most, room)
            );
            line.trim_end().to_owned()
        })
        .collect()
}

/// A bar for a value, where the greatest takes all the room.
fn blocks(value: f64, most: f64, room: usize) -> String {
    if most <= 0.0 || value <= 0.0 {
        return String::new();
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "between nothing and the room there is"
    )]
    // What there is is to be seen, however small it is.
    let eighths = ((value / most * (room * 8) as f64).round() as usize).max(1);
    let part = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{part}", "█".repeat(eighths / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        assert_eq!(blocks(4.0, 4.0, 3), "███");
        assert_eq!(blocks(2.0, 4.0, 3), "█▌");
        assert_eq!(blocks(0.0001, 4.0, 3), "▏");
        assert_eq!(blocks(0.0, 4.0, 3), "");
        assert_eq!(blocks(0.0, 0.0, 3), "");
        let bar = |name: &str, value| Bar {
            name: name.into(),
            value,
            label: format!("${value}"),
        };
        let lines = bars(&[bar("日", 1.0), bar("a\u{1b}", 10.0)], 20);
        assert_eq!(lines, ["日   $1  █▏", "a�  $10  ███████████"]);
    }
}
