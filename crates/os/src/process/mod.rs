//! Which process is which, and when it is gone.

mod lineage;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use lineage::Lineage;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

/// A process for good: its ID with its start time, so that a later process of the same ID is another.
/// Written `pid:start`; what the start counts is the system's affair (ticks since boot on Linux,
/// microseconds since 1970 on macOS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessId {
    /// The process ID.
    pub pid: u32,
    /// When it started.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this ID now; none if there is none. One that has ended and only waits to
    /// be collected by its parent (a zombie) is none.
    pub fn of(pid: u32) -> Option<Self> {
        Self::look(pid).ok().flatten()
    }

    /// The same, where not being told is not taken for there being none.
    fn look(pid: u32) -> io::Result<Option<Self>> {
        Ok(Self::with_parent(pid)?.map(|(process, _)| process))
    }

    /// The same, and the ID of its parent.
    fn with_parent(pid: u32) -> io::Result<Option<(Self, u32)>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        Ok(system::look(pid)?.map(|(start, parent)| {
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            (Self { pid, start }, parent)
        }))
    }

    /// This process.
    ///
    /// # Errors
    /// When the system doesn't show processes (no `/proc`).
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the system doesn't show this process (is /proc mounted?)",
            )
        })
    }

    /// Whether it still runs (or is suspended). Where the system does not tell (no descriptor is left, say) it
    /// counts as alive: its end has to be proven.
    pub fn is_alive(&self) -> bool {
        Self::look(self.pid).map_or(true, |found| found == Some(*self))
    }

    /// Waits until it no longer runs. Returns at once if it doesn't.
    ///
    /// # Errors
    /// When the system can't watch processes (Linux before 5.3), or does not tell: nothing may be concluded then.
    pub async fn wait_exit(self) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        let watch = match system::watch(pid) {
            Ok(watch) => watch,
            Err(Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Only now is it certain that what is watched is that process and not its ID's next bearer.
        if Self::look(self.pid)? != Some(self) {
            return Ok(());
        }
        #[expect(unsafe_code, reason = "the safe constructor is gone")]
        // SAFETY: an owned descriptor stays open and the same until the `AsyncFd` drops it.
        let watch = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE)? };
        let _ = watch.readable().await?;
        Ok(())
    }
}

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Ask it to end, so that it can put its things in order.
    Ask,
    /// Kill it, and with it the group it leads.
    Kill,
}

impl ProcessId {
    /// Ends the process. One that is gone already is left at that.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn end(&self, how: End) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        // As long as it is alive, its ID is nobody else's, and neither is that of its group.
        if !self.is_alive() {
            return Ok(());
        }
        let sent = match how {
            End::Ask => kill_process(pid, Signal::TERM),
            End::Kill => match kill_process_group(pid, Signal::KILL) {
                // It leads none.
                Err(Errno::SRCH) => kill_process(pid, Signal::KILL),
                sent => sent,
            },
        };
        match sent {
            Err(Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Kills this process on the spot, and it alone, as a crash would: nothing is put in order, nothing unwinds.
pub fn die() -> ! {
    let me = rustix::process::getpid();
    loop {
        // No process may be refused its own death; were it delayed, nothing more may be done meanwhile.
        if kill_process(me, Signal::KILL).is_ok() {
            std::thread::park();
        }
    }
}

impl ProcessId {
    /// Whether the system shows environments of processes at all.
    pub const SHOWS_ENVIRONMENT: bool = cfg!(target_os = "linux");

    /// A variable of the environment that the process was started with. None on macOS: it shows no
    /// environments.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        let value = system::variable(self.pid, name)?;
        self.is_alive().then_some(value)
    }
}

/// A process that carries a mark in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The process.
    pub id: ProcessId,
    /// The mark's value.
    pub value: String,
    /// What it executes, with its arguments.
    pub command: String,
}

/// The user's living processes in whose environment, as they were started, this variable is set. On macOS
/// none is found: it shows no environments.
pub fn marked(variable: &str) -> Vec<Marked> {
    system::with_variable(variable)
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.start)
    }
}

/// The text is no process as [`ProcessId`] writes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no process: pid:start is expected")]
pub struct NoProcessId(pub String);

impl FromStr for ProcessId {
    type Err = NoProcessId;

    fn from_str(text: &str) -> Result<Self, NoProcessId> {
        let parse = || {
            let (pid, start) = text.split_once(':')?;
            Some(Self {
                pid: pid.parse().ok()?,
                start: start.parse().ok()?,
            })
        };
        parse().ok_or_else(|| NoProcessId(text.to_owned()))
    }
}

impl TryFrom<String> for ProcessId {
    type Error = NoProcessId;

    fn try_from(text: String) -> Result<Self, NoProcessId> {
        text.parse()
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sleeper() -> std::process::Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn is_written_and_read_back() {
        let me = ProcessId::current().unwrap();
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me.to_string().parse::<ProcessId>(), Ok(me));
        for bad in ["", "1", ":", "1:", "-1:2", "1:2:3", "a:b"] {
            assert!(bad.parse::<ProcessId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_start_time_tells_two_bearers_of_one_id_apart() {
        let me = ProcessId::current().unwrap();
        assert!(me.is_alive());
        let earlier = ProcessId {
            start: me.start - 1,
            ..me
        };
        assert!(!earlier.is_alive());
        assert!(ProcessId::of(0).is_none());
        assert!(ProcessId::of(u32::MAX).is_none());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = sleeper();
        let id = ProcessId::of(child.id()).unwrap();
        child.kill().unwrap();
        // It has ended, but nobody has collected it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(id.wait_exit()).unwrap();
        assert!(!id.is_alive());
        assert_eq!(ProcessId::of(id.pid), None);
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn the_end_is_waited_for() {
        let mut child = sleeper();
        let id = ProcessId::of(child.id()).unwrap();
        let mut wait = Box::pin(id.wait_exit());
        assert!(!is_ready(&mut wait).await, "it still runs");
        drop(child.stdin.take());
        wait.await.unwrap();
        assert!(!id.is_alive());
        child.wait().unwrap();
    }

    /// Polls once; whether it was ready.
    async fn is_ready<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_ready())
        })
        .await
    }

    #[tokio::test]
    async fn a_group_ends_with_its_leader() {
        use std::os::unix::process::CommandExt;
        let mut leader = Command::new("/bin/sh")
            .args(["-c", "trap '' TERM; sleep 1000 & echo $!; wait; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = leader.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(out), &mut line).unwrap();
        let follower = ProcessId::of(line.trim().parse().unwrap()).unwrap();
        let id = ProcessId::of(leader.id()).unwrap();
        id.end(End::Ask).unwrap();
        assert!(
            id.is_alive() && follower.is_alive(),
            "it was asked and did not want to"
        );
        id.end(End::Kill).unwrap();
        id.wait_exit().await.unwrap();
        follower.wait_exit().await.unwrap();
        // Nothing is sent to what is gone, whoever bears its number now.
        id.end(End::Kill).unwrap();
        leader.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_marked_process_is_found_until_it_ends() {
        let mut child = Command::new("cat")
            .env("BRIGADE_TEST_MARK", "otter=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // `spawn` returns while the system still lays out the new program's environment: its first words tell
        // that it is there.
        let mut line = String::new();
        let into = child.stdin.as_mut().unwrap();
        io::Write::write_all(into, b"up\n").unwrap();
        let out = child.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(out), &mut line).unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        let own = || {
            marked("BRIGADE_TEST_MARK")
                .into_iter()
                .find(|found| found.id == id)
        };
        let found = own().unwrap();
        assert_eq!(
            (found.value.as_str(), found.command.as_str()),
            ("otter=1", "cat")
        );
        assert_eq!(
            id.variable("BRIGADE_TEST_MARK"),
            Some(OsString::from("otter=1"))
        );
        assert_eq!(id.variable("BRIGADE_TEST"), None);
        child.kill().unwrap();
        // It is killed once it is scheduled, and not when the signal is sent.
        id.wait_exit().await.unwrap();
        assert_eq!(own(), None);
        assert_eq!(id.variable("BRIGADE_TEST_MARK"), None);
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn one_that_is_gone_is_not_waited_for() {
        let me = ProcessId::current().unwrap();
        ProcessId {
            start: me.start - 1,
            ..me
        }
        .wait_exit()
        .await
        .unwrap();
        let mut child = sleeper();
        let id = ProcessId::of(child.id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        id.wait_exit().await.unwrap();
    }
}
