//! Programs that run to their end.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Exit, Process};
use crate::{Error, Result};

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code, if it was not ended by a signal.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) => None,
        }
    }

    /// The standard output as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).map_err(|source| Error::Json {
            what: format!("{:?}", self.stdout),
            source,
        })
    }
}

/// Runs a command to its end, a minute at most.
pub(crate) async fn finish(name: &str, command: Command) -> Result<Finished> {
    let process = Process::start(name, command)?;
    let exit = process.exited(Duration::from_secs(60)).await?;
    Ok(Finished {
        exit,
        stdout: process.stdout(),
        stderr: process.stderr(),
    })
}
