//! The real daemon, started by the test instead of by a bridge.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Exit, Process};
use crate::{Error, Result, Sandbox};

/// How long a start or an orderly stop may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// `brigade daemon run` in a sandbox; killed when dropped.
#[derive(Debug)]
pub struct TestDaemon {
    process: Process,
}

impl TestDaemon {
    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// When there is no binary, or it says something else.
    pub async fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, |_| {}).await
    }

    /// As [`Self::start`], with a change to its command.
    ///
    /// # Errors
    /// When there is no binary, or it says something else.
    pub async fn start_with(sandbox: &Sandbox, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = sandbox.command(sandbox.brigade_program()?);
        command.args(["daemon", "run"]);
        change(&mut command);
        let process = Process::start("brigade daemon run", command)?;
        let first = process.line(LIMIT, |line| Some(line.to_owned())).await?;
        let greeting: Value = serde_json::from_str(&first).map_err(|source| Error::Json {
            what: format!("the daemon's first line {first:?}"),
            source,
        })?;
        if greeting["daemon"] != "ready" {
            let output = format!("{first}\n{}", process.stderr());
            return Err(Error::Exited {
                what: "brigade daemon run".to_owned(),
                output,
            });
        }
        Ok(Self { process })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill9(&self) -> Result<Exit> {
        self.process.signal_leader(Signal::KILL)?;
        self.process.gone(LIMIT).await
    }

    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub async fn stop(&self) -> Result<Exit> {
        self.process.signal_leader(Signal::TERM)?;
        self.process.gone(LIMIT).await
    }
}
