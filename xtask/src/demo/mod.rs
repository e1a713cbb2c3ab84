//! `cargo xtask demo`: the main job for real, in a throwaway project of the real OpenCode.

mod look;
mod own;
mod play;
mod stage;
mod transcript;
mod tui;

use brigade_testkit::Sandbox;

use crate::error::{Error, Result};
use crate::steps::{cargo, run as run_command};
use crate::{block_on, root, say};
use transcript::Transcript;

pub(crate) use stage::teach_by_hand;
use stage::{agents, project};

/// How to show it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Use this model of your own configuration (PROVIDER/MODEL) instead of the scripted one
    #[arg(long, value_name = "PROVIDER/MODEL")]
    model: Option<String>,
    /// Open OpenCode's own terminal UI there, to try it by hand
    #[arg(long)]
    tui: bool,
    /// Leave the folder, to look around in it afterwards
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
///
/// # Errors
/// When something is not as Brigade promises it, or OpenCode can't be had.
pub(crate) fn run(args: &Args) -> Result<()> {
    run_command(cargo(&["build", "--quiet", "--package", "brigade"]))?;
    let model = args.model.as_deref().map(own::Choice::parse).transpose()?;
    block_on(async {
        let sandbox = sandbox().await?;
        let done = match (args.tui, &model) {
            (true, model) => tui::run(&sandbox, model.as_ref()).await,
            (false, Some(model)) => {
                shown(&sandbox, async |script| {
                    own::play(&sandbox, model, args.keep, script).await
                })
                .await
            }
            (false, None) => {
                shown(&sandbox, async |script| play::play(&sandbox, script).await).await
            }
        };
        leave(sandbox, args.keep).await?;
        done
    })
}

/// A throwaway home and project, with the `brigade` of this checkout and without its bridge.
pub(crate) async fn sandbox() -> Result<Sandbox> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let program = root().join(target).join("debug").join("brigade");
    if !program.is_file() {
        return Err(Error::Wrong(format!("{} was not built", program.display())));
    }
    let sandbox = Sandbox::builder().brigade(program).build().await?;
    project(&sandbox).await?;
    agents(&sandbox)?;
    Ok(sandbox)
}

/// Plays, and says at the end what was not as it should be.
async fn shown(
    sandbox: &Sandbox,
    play: impl AsyncFnOnce(&mut Transcript) -> Result<()>,
) -> Result<()> {
    let mut script = Transcript::new();
    let played = play(&mut script).await;
    let verdict = played.and_then(|()| script.verdict());
    if verdict.is_err() {
        log_tail(sandbox);
    }
    verdict
}

/// The end of the daemon's log, to see why something went wrong.
fn log_tail(sandbox: &Sandbox) {
    let folder = sandbox.brigade_data().join("logs");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        say(&format!("There is no log in {}.", folder.display()));
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        say(&format!("\nThe end of {}:", path.display()));
        for line in &lines[lines.len().saturating_sub(60)..] {
            say(line);
        }
    }
}

async fn leave(sandbox: Sandbox, keep: bool) -> Result<()> {
    if !keep {
        return Ok(());
    }
    if sandbox.daemon_pid().is_some() {
        sandbox.brigade(&["daemon", "stop"]).await?;
    }
    say(&format!(
        "\nThe folder is left: {}",
        sandbox.root().display()
    ));
    // Dropping it would remove the folder; the process is about to end anyway.
    std::mem::forget(sandbox);
    Ok(())
}
