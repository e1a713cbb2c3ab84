//! Holding a tool call for as long as a test wants.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::{Error, Result, Sandbox};

/// A shell command that hangs until the test lets it go: what a model's gate is for a stream, this is
/// for a tool.
#[derive(Debug)]
pub struct Hold {
    pipe: PathBuf,
}

/// A command that has arrived and hangs; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the command goes on as soon as this is dropped"]
pub struct Held {
    _pipe: std::fs::File,
}

impl Hold {
    /// Makes one in the sandbox.
    ///
    /// # Errors
    /// When the named pipe can't be made.
    pub fn new(sandbox: &Sandbox, name: &str) -> Result<Self> {
        let pipe = sandbox.project().join(format!(".git/{name}.hold"));
        let output = Command::new("mkfifo")
            .arg(&pipe)
            .output()
            .map_err(Error::io("start mkfifo"))?;
        if output.status.success() {
            return Ok(Self { pipe });
        }
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Install {
            command: format!("mkfifo {}", pipe.display()),
            output,
        })
    }

    /// The shell command that hangs.
    #[must_use]
    pub fn command(&self) -> String {
        format!("cat {}", self.pipe.display())
    }

    /// Waits until the command runs and hangs.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn reached(&self, limit: Duration) -> Result<Held> {
        let (sender, receiver) = oneshot::channel();
        let pipe = self.pipe.clone();
        // Opening for writing blocks until somebody reads. A thread of its own: the runtime would
        // wait for one of its blocking tasks for ever if nobody does.
        std::thread::spawn(move || {
            // If the waiter has given up, the pipe is closed again.
            let _given_up = sender.send(OpenOptions::new().write(true).open(&pipe));
        });
        let timeout = || Error::Timeout {
            what: format!("a reader of {}", self.pipe.display()),
            after: limit,
            seen: "none".to_owned(),
        };
        let opened = tokio::time::timeout(limit, receiver)
            .await
            .map_err(|_| timeout())?;
        let pipe = opened
            .map_err(|_| timeout())?
            .map_err(Error::io("open the named pipe"))?;
        Ok(Held { _pipe: pipe })
    }

    /// Where the pipe is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.pipe
    }
}
