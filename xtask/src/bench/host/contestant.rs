//! Who is measured: a host of its own for each.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use brigade_testkit::{Sandbox, Script, Serve};
use serde_json::json;

use super::batch::Batch;
use crate::error::{Error, Result, io};

/// The agent that does the work: it may only read, so that every contestant takes it.
pub(super) const AGENT: &str = "reader";

/// A plugin with a tool of the same name that only waits.
const WAIT: &str = r#"const text = { type: "string" };
const execute = async () => { await new Promise((done) => setTimeout(done, 1)); return "done"; };
const delegate = { description: "Waits.", args: { prompt: text, agent: text }, execute };
export default { id: "wait", server: async () => ({ tool: { delegate } }) };
"#;

/// How work is given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// By plain calls of the host's API, as fast as anybody could.
    Floor,
    /// Not at all: a plugin's tool that waits for a millisecond and does nothing. What any call costs that waits for
    /// something outside of the host, however little: its answer stands in line behind the calls beside it.
    Wait,
    /// With the host's own background tasks.
    Native,
    /// With Brigade.
    Brigade,
    /// With another plugin.
    Plugin(PathBuf),
}

/// What is shown of a contestant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) way: Way,
}

/// A host with what is measured in it.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) way: Way,
    // Dropped before the sandbox that it runs in.
    pub(super) serve: Serve,
    pub(super) sandbox: Sandbox,
}

impl Contestant {
    /// Makes its home and starts its host. `most` is how many have to run at once.
    pub(super) async fn start(way: Way, program: &Path, most: u32) -> Result<Self> {
        let sandbox = sandbox(&way, program, most).await?;
        let serve = Serve::start(&sandbox).await?;
        Ok(Self {
            name: name(&way),
            way,
            serve,
            sandbox,
        })
    }

    /// Whether it gives work out at all.
    pub(super) fn works(&self) -> bool {
        self.way != Way::Wait
    }

    pub(super) fn label(&self) -> Label {
        Label {
            name: self.name.clone(),
            way: self.way.clone(),
        }
    }

    /// The tool that gives work out; none for the floor.
    pub(super) fn tool(&self) -> Option<&'static str> {
        match self.way {
            Way::Floor => None,
            Way::Native => Some("task"),
            Way::Wait | Way::Brigade | Way::Plugin(_) => Some("delegate"),
        }
    }

    /// What the parent's model does: it gives everything out in one answer, and then ends its turn.
    pub(super) fn script(&self, batch: &Batch) -> Script {
        let give = |script: Script, piece: u32| {
            let prompt = batch.prompt(piece);
            match self.way {
                Way::Floor => script,
                Way::Native => {
                    let description = format!("Look into {}", batch.marker(piece));
                    script.call(
                        "task",
                        &json!({"description": description, "prompt": prompt, "subagent_type": AGENT, "background": true}),
                    )
                }
                Way::Wait | Way::Brigade | Way::Plugin(_) => {
                    script.call("delegate", &json!({"prompt": prompt, "agent": AGENT}))
                }
            }
        };
        let script = batch.pieces().fold(Script::new(), give);
        match self.way {
            Way::Floor => script.say("begun"),
            _ => script.step().say("begun"),
        }
    }
}

fn name(way: &Way) -> String {
    match way {
        Way::Floor => "Floor".to_owned(),
        Way::Wait => "A tool that waits 1 ms".to_owned(),
        Way::Native => "Native background tasks".to_owned(),
        Way::Brigade => "Brigade".to_owned(),
        Way::Plugin(path) => path.file_stem().map_or_else(
            || path.display().to_string(),
            |stem| stem.to_string_lossy().into_owned(),
        ),
    }
}

/// A home with the agent and whatever gives work out.
pub(super) async fn sandbox(way: &Way, program: &Path, most: u32) -> Result<Sandbox> {
    let builder = Sandbox::builder().brigade(program);
    let builder = match way {
        Way::Native => builder.env("OPENCODE_EXPERIMENTAL_BACKGROUND_SUBAGENTS", "true"),
        _ => builder,
    };
    let sandbox = builder.build().await?;
    sandbox.agent(
        AGENT,
        "description: Reads and changes nothing\nmode: subagent\npermission:\n  edit: deny\n  write: deny\n  bash: deny\n  task: deny",
        "You read with care.",
    )?;
    match way {
        Way::Floor | Way::Native => {}
        Way::Wait => sandbox.plugin("wait.js", WAIT)?,
        Way::Brigade => {
            sandbox.brigade_toml(&format!("[limits]\nconcurrent = {most}\n"))?;
            install(&sandbox).await?;
        }
        Way::Plugin(path) => {
            // A link, so that it finds what it imports.
            let name = path.file_name().unwrap_or_default();
            let link = sandbox.opencode_config().join("plugin").join(name);
            symlink(path, &link).map_err(io(format!("link {}", link.display())))?;
        }
    }
    Ok(sandbox)
}

/// Installs the bridge as a person does.
async fn install(sandbox: &Sandbox) -> Result<()> {
    let done = sandbox.brigade(&["install", "opencode"]).await?;
    if done.code() == Some(0) {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "`brigade install opencode` failed: {}",
        done.stderr
    )))
}
