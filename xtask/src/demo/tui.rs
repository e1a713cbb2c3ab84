//! `cargo xtask demo --tui`: OpenCode's own terminal UI in the throwaway project.

use std::process::Stdio;

use brigade_testkit::Sandbox;

use super::own::{self, Choice};
use super::stage::teach_by_hand;
use crate::error::{Result, io};
use crate::say;

/// Opens the terminal UI on this terminal, and waits until the person leaves it.
pub(super) async fn run(sandbox: &Sandbox, model: Option<&Choice>) -> Result<()> {
    let mut command = match model {
        Some(model) => {
            own::install(sandbox).await?;
            let mut command = own::command(sandbox)?;
            command.args(["--model", &model.to_string()]);
            command
        }
        None => {
            let installed = sandbox.brigade(&["install", "opencode"]).await?;
            say(installed.stdout.trim_end());
            teach_by_hand(sandbox);
            let mut command = sandbox.command(sandbox.opencode());
            for name in ["TERM", "COLORTERM", "TERM_PROGRAM", "LANG"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
            say("\nThe model here is scripted and knows three words: delegate, read, list.");
            say("Say `delegate`, go on talking, and leave with Ctrl-C.");
            command
        }
    };
    command.stdin(Stdio::inherit());
    // Ctrl-C is the terminal UI's key here, not this task's end.
    let _ignored = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(io("listen for Ctrl-C"))?;
    let status = tokio::task::spawn_blocking(move || command.status())
        .await
        .map_err(|error| io("wait for OpenCode")(std::io::Error::other(error)))?
        .map_err(io("start OpenCode"))?;
    say(&format!("OpenCode has ended ({status})."));
    Ok(())
}
