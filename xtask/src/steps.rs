//! Running programs one after the other, with times, and going on where one fails so that one run
//! tells everything.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, io};
use crate::{complain, root, say};

/// What was run, and how it went.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Steps {
    /// Runs a step; says whether it passed.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) -> bool {
        say(&format!("\n=== {name}"));
        let begun = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                complain(&format!("{name}: {error}"));
                Outcome::Failed(error.to_string())
            }
        };
        let passed = matches!(outcome, Outcome::Passed);
        self.done.push(Step {
            name: name.to_owned(),
            took: begun.elapsed(),
            outcome,
        });
        passed
    }

    /// Notes a step that could not be run here.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        say(&format!("\n=== {name}: skipped, {why}"));
        let outcome = Outcome::Skipped(why.to_owned());
        self.done.push(Step {
            name: name.to_owned(),
            took: Duration::ZERO,
            outcome,
        });
    }

    /// Prints all steps with their times.
    ///
    /// # Errors
    /// When one failed.
    pub(crate) fn finish(&self) -> Result<()> {
        say("");
        let width = self
            .done
            .iter()
            .map(|step| step.name.len())
            .max()
            .unwrap_or_default();
        for step in &self.done {
            let (mark, note) = match &step.outcome {
                Outcome::Passed => ("ok", String::new()),
                Outcome::Failed(why) => (
                    "FAILED",
                    format!("  {}", why.lines().next().unwrap_or_default()),
                ),
                Outcome::Skipped(why) => ("skipped", format!("  {why}")),
            };
            say(&format!(
                "{:width$}  {:>7.1} s  {mark}{note}",
                step.name,
                step.took.as_secs_f64()
            ));
        }
        let total: Duration = self.done.iter().map(|step| step.took).sum();
        say(&format!("{:width$}  {:>7.1} s", "all", total.as_secs_f64()));
        let failed = self
            .done
            .iter()
            .filter(|step| matches!(step.outcome, Outcome::Failed(_)))
            .count();
        if failed == 0 {
            return Ok(());
        }
        Err(Error::Wrong(format!(
            "{failed} of {} steps failed",
            self.done.len()
        )))
    }
}

/// The `cargo` that runs this task, in the repository.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    // Set by cargo for this task; for another cargo they would only be misleading.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
        "CARGO_PKG_VERSION",
    ] {
        command.env_remove(name);
    }
    command
}

/// Whether cargo knows this subcommand here.
pub(crate) fn cargo_has(subcommand: &str) -> bool {
    let mut command = cargo(&[subcommand, "--version"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command with this terminal.
///
/// # Errors
/// When it can't be started or fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    say(&format!("$ {shown}"));
    let status = command.status().map_err(io(format!("start `{shown}`")))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Wrong(format!("`{shown}` failed ({status})")))
}

/// Runs a command, passes its output on, and hands each line to `look` as well; says whether it
/// succeeded.
///
/// # Errors
/// When it can't be started.
pub(crate) fn watch(mut command: Command, look: impl Fn(&str) + Sync) -> Result<bool> {
    let shown = show(&command);
    say(&format!("$ {shown}"));
    if std::io::stderr().is_terminal() {
        // The pipe in between must not cost the colours.
        command
            .env("CARGO_TERM_COLOR", "always")
            .env("FORCE_COLOR", "1");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(io(format!("start `{shown}`")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            lines(stdout, |line| {
                say(line);
                look(line);
            });
        });
        scope.spawn(|| {
            lines(stderr, |line| {
                complain(line);
                look(line);
            });
        });
    });
    let status = child.wait().map_err(io(format!("wait for `{shown}`")))?;
    Ok(status.success())
}

fn lines(pipe: Option<impl Read>, mut each: impl FnMut(&str)) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    // A pipe that can't be read any more has ended for us.
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
}

fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
