//! A server of Brigade's own: what it takes, at rest and with much to do.

use brigade_testkit::Sandbox;
use brigade_testkit::process::{Exit, Process};
use serde_json::Value;

use super::batch::{Batch, Pace, Setting};
use super::contestant::{AGENT, Contestant};
use super::run::LIMIT;
use crate::bench::process::{self, Use};
use crate::error::{Error, Result};

/// What it uses when its first piece of work is done, and while the whole batch is at work.
/// None where the system does not tell.
pub(super) async fn measure(contestant: &Contestant, batch: &Batch) -> Result<Option<(Use, Use)>> {
    let sandbox = &contestant.sandbox;
    let model = sandbox.model();
    let first = Batch {
        // Numbers of batches are small.
        number: batch.number + FIRST,
        setting: Setting {
            pace: Pace::Instant,
            at_once: 1,
        },
    };
    model.open(&first.gate());
    done(asked(sandbox, &first)?).await?;
    let before = of_server(sandbox).await?;
    let work = asked(sandbox, batch)?;
    model.reached(&batch.gate(), batch.len(), LIMIT).await?;
    let during = of_server(sandbox).await?;
    model.open(&batch.gate());
    done(work).await?;
    Ok(before.zip(during))
}

/// Added to a batch's number for that of the single piece before it.
const FIRST: u32 = 50_000;

/// Work from the shell, which runs on a server of Brigade's own.
fn asked(sandbox: &Sandbox, batch: &Batch) -> Result<Vec<Process>> {
    let ask = |piece: u32| -> Result<Process> {
        let mut command = sandbox.command(sandbox.brigade_program()?);
        command
            .args(["run", "--agent", AGENT, "--wait", "--opencode"])
            .arg(sandbox.opencode())
            .arg(batch.prompt(piece));
        Ok(Process::start("brigade run", command)?)
    };
    batch.pieces().map(ask).collect()
}

async fn done(work: Vec<Process>) -> Result<()> {
    for process in work {
        if process.exited(LIMIT).await? != Exit::Code(0) {
            return Err(Error::Wrong(format!(
                "`brigade run` failed: {}",
                process.stderr()
            )));
        }
    }
    Ok(())
}

async fn of_server(sandbox: &Sandbox) -> Result<Option<Use>> {
    let status: Value = sandbox
        .brigade(&["daemon", "status", "--json"])
        .await?
        .json()?;
    let server = &status["servers"][0];
    let pid = server["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.ok_or_else(|| Error::Wrong(format!("there is no server: {status}")))?;
    process::memory(pid)
}
