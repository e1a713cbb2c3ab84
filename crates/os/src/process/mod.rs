//! Which process is which, and when it is gone.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        system::start_time(pid).map(|start| Self {
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            start,
        })
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

    /// Whether it still runs (or is suspended).
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Waits until it no longer runs. Returns at once if it doesn't.
    ///
    /// # Errors
    /// When the system can't watch processes (Linux before 5.3).
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
        if !self.is_alive() {
            return Ok(());
        }
        #[expect(unsafe_code, reason = "the safe constructor is gone")]
        // SAFETY: an owned descriptor stays open and the same until the `AsyncFd` drops it.
        let watch = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE)? };
        let _ = watch.readable().await?;
        Ok(())
    }
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
