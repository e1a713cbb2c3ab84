//! Everything that is printed goes through here: colours only where they are wanted, and nothing in
//! it that could steer a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use brigade_core::delegation::State;
use serde::Serialize;

use crate::error::CliError;

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// The head of a table or section.
    Head,
    /// What was searched for.
    Hit,
    /// Of little weight.
    Faint,
    /// Well.
    Good,
    /// Under way.
    Busy,
    /// Taken out.
    Removed,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
}

impl Tone {
    /// The tone of a state.
    pub(crate) fn of(state: State) -> Self {
        match state {
            State::Registered => Tone::Faint,
            State::Running => Tone::Busy,
            State::Complete => Tone::Good,
            State::Cancelled | State::Timeout => Tone::Warn,
            State::Error => Tone::Bad,
        }
    }

    fn style(self) -> Style {
        match self {
            Tone::Plain => Style::new(),
            Tone::Head | Tone::Hit => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Busy => AnsiColor::Cyan.on_default(),
            Tone::Removed => AnsiColor::Red.on_default(),
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// Where a command prints.
pub(crate) struct Output {
    out: Box<dyn Write>,
    colour: bool,
    /// Whether a person looks at it.
    pub(crate) terminal: bool,
    /// The terminal's width in columns; none where nothing needs to be cut.
    pub(crate) width: Option<usize>,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            colour: AutoStream::choice(&stdout) != ColorChoice::Never,
            terminal,
            width: terminal.then(brigade_os::terminal::width).flatten(),
            out: Box::new(io::BufWriter::new(stdout)),
        }
    }

    /// Output into memory, for tests, and a look at what has been printed.
    #[cfg(test)]
    pub(crate) fn memory(width: Option<usize>) -> (Self, impl Fn() -> String) {
        #[derive(Clone, Default)]
        struct Shared(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.borrow_mut().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let shared = Shared::default();
        let output = Self {
            out: Box::new(shared.clone()),
            colour: false,
            terminal: width.is_some(),
            width,
        };
        (output, move || {
            String::from_utf8(shared.0.borrow().clone()).unwrap()
        })
    }

    /// Whether there are colours, and all that goes with them.
    pub(crate) fn is_coloured(&self) -> bool {
        self.colour
    }

    /// The same output with colours, for tests.
    #[cfg(test)]
    pub(crate) fn coloured(mut self) -> Self {
        self.colour = true;
        self
    }

    /// The text in its tone.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let style = tone.style();
        if self.colour && tone != Tone::Plain {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// Prints text as it comes from a model: to a terminal without what could steer it, elsewhere as
    /// it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), CliError> {
        let text = if self.terminal {
            harmless(text)
        } else {
            text.into()
        };
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Prints bytes that are Brigade's own.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// Prints JSON, indented, with a line break at its end.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer_pretty(&mut self.out, value).map_err(io::Error::from)?;
        self.line("")
    }
}

/// Prints a remark beside the output: to standard error. It may hold words of a provider's or a model's.
pub(crate) fn remark(text: &str) {
    let text = harmless(text);
    let mut stderr = AutoStream::auto(io::stderr());
    let faint = Tone::Faint.style();
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(stderr, "{faint}{text}{faint:#}");
}

/// Prints a failure to standard error.
pub(crate) fn failure(error: &CliError) {
    let mut stderr = AutoStream::auto(io::stderr());
    let (bad, head) = (Tone::Bad.style(), Tone::Head.style());
    let message = harmless(&error.message);
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(stderr, "{bad}error:{bad:#} {message}");
    if let Some(hint) = &error.hint {
        let _ = writeln!(stderr, "{head}hint:{head:#} {}", harmless(hint));
    }
}

/// Waits for something; if that takes over a second and a person looks on, says what for.
pub(crate) async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    if io::stderr().is_terminal() {
        remark(&format!("{what} …"));
    }
    work.await
}

/// Text without control characters, line breaks and tabs excepted: an escape sequence in a model's
/// answer must not reach a terminal. Marks that turn the direction of writing go too.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(bad) {
        return Cow::Borrowed(text);
    }
    let text = text.replace("\r\n", "\n");
    Cow::Owned(
        text.chars()
            .map(|c| if bad(c) { '\u{FFFD}' } else { c })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            harmless("a\u{1b}[2Jb\u{7}c\u{9b}1m"),
            "a\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}1m"
        );
        assert_eq!(harmless("a\r\nb\tc\rd"), "a\nb\tc\u{FFFD}d");
        assert_eq!(harmless("x\u{202E}y"), "x\u{FFFD}y");
        assert!(matches!(harmless("plain ä\n\tb"), Cow::Borrowed(_)));
    }
}
