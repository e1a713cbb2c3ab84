//! `opencode run`.

use std::time::Duration;

use crate::process::Process;
use crate::{Finished, Result, Sandbox};

/// A run of `opencode run`; killed when dropped.
#[derive(Debug)]
pub struct Run {
    process: Process,
}

impl Run {
    /// Starts it with `prompt` and further arguments.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(sandbox: &Sandbox, prompt: &str, args: &[&str]) -> Result<Self> {
        let mut command = sandbox.command(sandbox.opencode());
        command.arg("run").args(args).arg(prompt);
        Ok(Self {
            process: Process::start("opencode run", command)?,
        })
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it takes longer than `limit`.
    pub async fn finished(&self, limit: Duration) -> Result<Finished> {
        let exit = self.process.gone(limit).await?;
        self.process.drained().await;
        Ok(Finished {
            exit,
            stdout: self.process.stdout(),
            stderr: self.process.stderr(),
        })
    }
}
