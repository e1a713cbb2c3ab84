//! `opencode serve`.

use std::ops::Deref;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::Client;
use crate::process::{Exit, Process};
use crate::{Result, Sandbox};

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// How long one question for its health may take.
const HEALTH: Duration = Duration::from_secs(5);

/// A running server; killed with all it has started when dropped. It derefs to its [`Client`].
#[derive(Debug)]
pub struct Serve {
    process: Process,
    client: Client,
    boot: Boot,
}

/// How long a start took, from the start of the process on.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    /// Until it said that it is healthy.
    pub healthy: Duration,
    /// Until it had opened the project, its plugins included.
    pub opened: Duration,
}

impl Deref for Serve {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Serve {
    /// Starts a server on a free port, and waits until it answers for the sandbox's project.
    ///
    /// # Errors
    /// When it doesn't come up within a minute.
    pub async fn start(sandbox: &Sandbox) -> Result<Self> {
        Self::start_with(sandbox, |_| {}).await
    }

    /// As [`Self::start`], with a change to its command.
    ///
    /// # Errors
    /// When it doesn't come up within a minute.
    pub async fn start_with(sandbox: &Sandbox, change: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = sandbox.command(sandbox.opencode());
        command.args(["serve", "--hostname", "127.0.0.1", "--port", "0"]);
        change(&mut command);
        let begun = Instant::now();
        let process = Process::start("opencode serve", command)?;
        let base = process
            .line(START, |line| {
                line.split_once("listening on ")
                    .map(|(_, address)| address.trim().to_owned())
            })
            .await?;
        let client = Client::new(base, sandbox.project());
        healthy(&client.within(HEALTH)).await?;
        let healthy = begun.elapsed();
        // The first request for a directory makes the host load it, plugins included.
        client.get::<serde_json::Value>("/path").await?;
        let boot = Boot {
            healthy,
            opened: begun.elapsed(),
        };
        Ok(Self {
            process,
            client,
            boot,
        })
    }

    /// How long its start took.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Its client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills the host alone, as a crash would; what it has started goes on.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill9(&self) -> Result<Exit> {
        self.process.signal_leader(Signal::KILL)?;
        self.process.gone(START).await
    }

    /// Suspends the host.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn sigstop(&self) -> Result<()> {
        self.process.signal_leader(Signal::STOP)
    }

    /// Wakes the suspended host.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn sigcont(&self) -> Result<()> {
        self.process.signal_leader(Signal::CONT)
    }

    /// Ends the host as a person would, and waits for it.
    ///
    /// # Errors
    /// When it doesn't end within a minute.
    pub async fn stop(&self) -> Result<Exit> {
        self.process.signal_leader(Signal::TERM)?;
        self.process.gone(START).await
    }
}

/// A request sent while the host boots may hang: it is given up early and sent again.
async fn healthy(client: &Client) -> Result<()> {
    let mut tries = START.as_secs() / HEALTH.as_secs();
    loop {
        tries -= 1;
        match client.get::<serde_json::Value>("/global/health").await {
            Ok(_) => return Ok(()),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}
