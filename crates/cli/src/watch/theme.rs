//! How tones look.

use ratatui::style::{Color, Modifier, Style};

use crate::output::Tone;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Theme {
    pub(super) colour: bool,
}

impl Theme {
    /// The style of a tone; without colours weight alone tells them apart.
    pub(super) fn of(self, tone: Tone) -> Style {
        let style = Style::new();
        let painted = |colour| {
            if self.colour { style.fg(colour) } else { style }
        };
        match tone {
            Tone::Plain => style,
            Tone::Head | Tone::Hit => style.add_modifier(Modifier::BOLD),
            Tone::Faint => style.add_modifier(Modifier::DIM),
            Tone::Good => painted(Color::Green),
            Tone::Busy => painted(Color::Cyan),
            Tone::Removed => painted(Color::Red),
            Tone::Warn => painted(Color::Yellow),
            Tone::Bad => painted(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// Where the cursor is.
    pub(super) fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
