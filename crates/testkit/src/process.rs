//! Child processes in groups of their own, with output that can be awaited.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::{Error, Result, Watched};

/// What a process has written and whether it has ended.
#[derive(Debug, Default)]
struct Output {
    stdout: Vec<String>,
    stderr: Vec<String>,
    open_pipes: usize,
    exit: Option<Exit>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A process in a group of its own. When dropped, the whole group is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    output: Arc<Watched<Output>>,
}

impl Process {
    /// Starts `command` with nothing to read; its output is collected by lines.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(name: &str, mut command: Command) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .map_err(Error::io(format!("start {name}")))?;
        let pid = Pid::from_child(&child);
        let output = Arc::new(Watched::new(Output {
            open_pipes: 2,
            ..Output::default()
        }));
        if let Some(pipe) = child.stdout.take() {
            collect(pipe, Arc::clone(&output), |output| &mut output.stdout);
        }
        if let Some(pipe) = child.stderr.take() {
            collect(pipe, Arc::clone(&output), |output| &mut output.stderr);
        }
        watch_exit(pid, Arc::clone(&output));
        Ok(Self {
            name: name.to_owned(),
            child,
            pid,
            output,
        })
    }

    /// Its process ID, which is its group's too.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.output.read(|output| output.stdout.join("\n"))
    }

    /// Its standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.output.read(|output| output.stderr.join("\n"))
    }

    /// Waits for a line of its standard output that `look` understands.
    ///
    /// # Errors
    /// [`Error::Exited`] when it ends before, [`Error::Timeout`].
    pub async fn line<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let what = format!("a line of {}", self.name);
        self.output
            .until_within(limit, &what, all, |output| {
                if let Some(found) = output.stdout.iter().find_map(|line| look(line)) {
                    return Some(Ok(found));
                }
                (output.exit.is_some() && output.open_pipes == 0).then(|| {
                    Err(Error::Exited {
                        what: self.name.clone(),
                        output: all(output),
                    })
                })
            })
            .await?
    }

    /// Waits until it has ended and its output is complete.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn exited(&self, limit: Duration) -> Result<Exit> {
        let what = format!("the end of {}", self.name);
        self.output
            .until_within(limit, &what, all, |output| {
                output.exit.filter(|_| output.open_pipes == 0)
            })
            .await
    }

    /// Waits until the process itself has ended; what it started may still hold its output open.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn gone(&self, limit: Duration) -> Result<Exit> {
        let what = format!("the end of {}", self.name);
        self.output
            .until_within(limit, &what, all, |output| output.exit)
            .await
    }

    /// Waits until its output is complete; two seconds at most, since what an ended process has
    /// started may hold its output open for ever.
    pub async fn drained(&self) {
        let closed = self
            .output
            .until(|output| (output.open_pipes == 0).then_some(()));
        // What is there by then is all that a caller can use.
        let _late = tokio::time::timeout(Duration::from_secs(2), closed).await;
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        self.output.read(|output| output.exit.is_some())
    }

    /// Sends a signal to its group.
    ///
    /// # Errors
    /// When no process of the group is left.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The leader is reaped only when `self` is dropped, so the group's ID can't belong to others.
        kill_process_group(self.pid, signal)
            .map_err(|error| Error::io(format!("signal {}", self.name))(error.into()))
    }

    /// Sends a signal to the process alone, not to what it has started.
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn signal_leader(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid, signal)
            .map_err(|error| Error::io(format!("signal {}", self.name))(error.into()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may be empty already; then there is nothing to kill, and only reaping is left.
        let _empty = kill_process_group(self.pid, Signal::KILL);
        let _reaped = self.child.wait();
    }
}

fn all(output: &Output) -> String {
    format!("{}\n{}", output.stdout.join("\n"), output.stderr.join("\n"))
}

fn collect(
    pipe: impl Read + Send + 'static,
    output: Arc<Watched<Output>>,
    target: fn(&mut Output) -> &mut Vec<String>,
) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        // A read that fails is the pipe's end for us.
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']).to_owned();
            output.update(|output| target(output).push(text));
            line.clear();
        }
        output.update(|output| output.open_pipes -= 1);
    });
}

/// Learns of the end without reaping, so that the process ID stays ours.
fn watch_exit(pid: Pid, output: Arc<Watched<Output>>) {
    std::thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = loop {
            match waitid(WaitId::Pid(pid), options) {
                Ok(Some(status)) => {
                    break status
                        .exit_status()
                        .map(Exit::Code)
                        .or_else(|| status.terminating_signal().map(Exit::Signal));
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                // Reaped already: the owner was dropped and nobody waits any more.
                Err(_) => break None,
            }
        };
        output.update(|output| output.exit = Some(status.unwrap_or(Exit::Signal(9))));
    });
}
