//! The terminal UI, on a pseudo-terminal with a screen that is parsed as it is written.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{Error, Result, Sandbox, Watched};

/// The screen's size.
const ROWS: NonZeroU16 = NonZeroU16::new(50).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(160).unwrap();

struct Screen {
    parser: vt100::Parser<Replies>,
    ended: bool,
}

/// Answers what programs ask of a terminal, and without which some wait.
#[derive(Default)]
struct Replies {
    pending: Vec<u8>,
}

impl vt100::Callbacks for Replies {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _second: Option<u8>,
        params: &[&[u16]],
        command: char,
    ) {
        match (
            first,
            command,
            params.first().and_then(|param| param.first()),
        ) {
            (None, 'c', _) => self.pending.extend_from_slice(b"\x1b[?62;22c"),
            (None, 'n', Some(6)) => {
                let (row, column) = screen.cursor_position();
                self.pending
                    .extend(format!("\x1b[{};{}R", row + 1, column + 1).bytes());
            }
            _ => {}
        }
    }
}

/// A program with a terminal UI; killed when dropped.
pub struct Tui {
    child: Box<dyn Child + Send + Sync>,
    pid: Option<Pid>,
    terminal: Box<dyn MasterPty + Send>,
    keyboard: Arc<Mutex<Box<dyn Write + Send>>>,
    screen: Arc<Watched<Screen>>,
}

impl std::fmt::Debug for Tui {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tui")
            .field("pid", &self.pid)
            .field("screen", &self.text())
            .finish()
    }
}

impl Tui {
    /// Starts OpenCode in the sandbox's project, and waits until it takes input.
    ///
    /// # Errors
    /// When it isn't ready within a minute.
    pub async fn start(sandbox: &Sandbox, args: &[&str]) -> Result<Self> {
        let tui = Self::program(sandbox, sandbox.opencode(), args)?;
        tui.wait_for("commands", Duration::from_secs(60)).await?;
        Ok(tui)
    }

    /// Starts any program with a terminal UI.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn program(sandbox: &Sandbox, program: &Path, args: &[&str]) -> Result<Self> {
        Self::sized(sandbox, program, args, (ROWS, COLUMNS))
    }

    /// As [`Self::program`], on a screen of so many rows and columns.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn sized(
        sandbox: &Sandbox,
        program: &Path,
        args: &[&str],
        size: (NonZeroU16, NonZeroU16),
    ) -> Result<Self> {
        Self::placed(
            program,
            args,
            &sandbox.environment(),
            &sandbox.project(),
            size,
        )
    }

    /// As [`Self::sized`], without a sandbox: with this environment, in this folder.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn placed(
        program: &Path,
        args: &[&str],
        environment: &[(OsString, OsString)],
        folder: &Path,
        (rows, columns): (NonZeroU16, NonZeroU16),
    ) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| Error::Pty(error.to_string());
        let pair = native_pty_system()
            .openpty(in_cells(rows, columns))
            .map_err(|error| failed(&error))?;
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        for (name, value) in environment {
            command.env(name, value);
        }
        command.env("PWD", folder);
        command.cwd(folder);
        let child = pair
            .slave
            .spawn_command(command)
            .map_err(|error| failed(&error))?;
        let pid = child
            .process_id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let reader = pair
            .master
            .try_clone_reader()
            .map_err(|error| failed(&error))?;
        let writer = pair.master.take_writer().map_err(|error| failed(&error))?;
        let keyboard = Arc::new(Mutex::new(writer));
        let parser = vt100::Parser::new_with_callbacks(rows, columns, 0, Replies::default());
        let screen = Arc::new(Watched::new(Screen {
            parser,
            ended: false,
        }));
        show(reader, Arc::clone(&screen), Arc::clone(&keyboard));
        Ok(Self {
            child,
            pid,
            terminal: pair.master,
            keyboard,
            screen,
        })
    }

    /// Its process ID.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.process_id()
    }

    /// What the screen shows.
    #[must_use]
    pub fn text(&self) -> String {
        self.screen.read(|screen| screen.parser.screen().contents())
    }

    /// Looks at the screen with its colours.
    pub fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        self.screen.read(|screen| look(screen.parser.screen()))
    }

    /// Makes the terminal wider or narrower, as a person drags its corner.
    ///
    /// # Errors
    /// When the terminal is closed.
    pub fn resize(&self, rows: NonZeroU16, columns: NonZeroU16) -> Result<()> {
        self.screen
            .update(|screen| screen.parser.screen_mut().set_size(rows, columns));
        self.terminal
            .resize(in_cells(rows, columns))
            .map_err(|error| Error::Pty(error.to_string()))
    }

    /// Waits until the screen shows `text`.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the screen as it is.
    pub async fn wait_for(&self, text: &str, limit: Duration) -> Result<()> {
        self.until(&format!("{text:?} on the screen"), limit, |screen| {
            screen.contains(text)
        })
        .await
    }

    /// Waits until the screen is as `wanted` says.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the screen as it is, [`Error::Exited`] when the program ends before.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let seen = |screen: &Screen| format!("\n{}", screen.parser.screen().contents());
        self.screen
            .until_within(limit, what, seen, |screen| {
                let text = screen.parser.screen().contents();
                if wanted(&text) {
                    return Some(Ok(()));
                }
                screen.ended.then(|| {
                    Err(Error::Exited {
                        what: what.to_owned(),
                        output: text,
                    })
                })
            })
            .await?
    }

    /// Types these bytes as they are: `\r` is enter, `\x03` control C, `\x1b` escape.
    ///
    /// # Errors
    /// When the terminal is closed.
    pub fn keys(&self, keys: &str) -> Result<()> {
        let mut keyboard = self.keyboard.lock().unwrap_or_else(PoisonError::into_inner);
        keyboard
            .write_all(keys.as_bytes())
            .and_then(|()| keyboard.flush())
            .map_err(Error::io("type into the terminal"))
    }

    /// Writes a line into the prompt, waits until it is shown there, and sends it.
    ///
    /// # Errors
    /// When it isn't shown within half a minute.
    pub async fn line(&self, line: &str) -> Result<()> {
        self.keys(line)?;
        let start: String = line.chars().take(40).collect();
        self.wait_for(start.trim_end(), Duration::from_secs(30))
            .await?;
        self.keys("\r")
    }

    /// Puts a text of several lines into the prompt as one paste, and sends it.
    ///
    /// # Errors
    /// When the terminal is closed.
    pub async fn paste(&self, text: impl ToString) -> Result<()> {
        let text = text.to_string();
        let before = self.text();
        self.keys(&format!("\x1b[200~{}\x1b[201~", text.trim_end()))?;
        self.until("the pasted text", Duration::from_secs(30), |screen| {
            screen != before
        })
        .await?;
        self.keys("\r")
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the screen as it is.
    pub async fn ended(&self, limit: Duration) -> Result<()> {
        let seen = |screen: &Screen| format!("\n{}", screen.parser.screen().contents());
        self.screen
            .until_within(limit, "the end of the program", seen, |screen| {
                screen.ended.then_some(())
            })
            .await
    }

    /// Sends a signal to the program alone.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let gone = || Error::Pty("the program has no process".to_owned());
        kill_process(self.pid.ok_or_else(gone)?, signal)
            .map_err(|error| Error::io("signal the program")(error.into()))
    }
}

fn in_cells(rows: NonZeroU16, columns: NonZeroU16) -> PtySize {
    PtySize {
        rows: rows.get(),
        cols: columns.get(),
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            // It leads a session of its own; it is reaped only below, so the ID can't be another's.
            let _empty = kill_process_group(pid, Signal::KILL);
        }
        let _reaped = self.child.wait();
    }
}

fn show(
    mut terminal: Box<dyn Read + Send>,
    screen: Arc<Watched<Screen>>,
    keyboard: Arc<Mutex<Box<dyn Write + Send>>>,
) {
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        // The terminal reports an error once the last program on it has ended.
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            let replies = screen.update(|screen| {
                screen.parser.process(&bytes[..count]);
                std::mem::take(&mut screen.parser.callbacks_mut().pending)
            });
            if !replies.is_empty() {
                let mut keyboard = keyboard.lock().unwrap_or_else(PoisonError::into_inner);
                // A program that has ended meanwhile needs no reply.
                let _ended = keyboard.write_all(&replies).and_then(|()| keyboard.flush());
            }
        }
        screen.update(|screen| screen.ended = true);
    });
}
