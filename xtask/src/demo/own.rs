//! `cargo xtask demo --model`: the same on the person's own model, in a throwaway project.
//!
//! Provider, keys and settings are the person's: OpenCode runs with their home and environment, so
//! that a login that is refreshed meanwhile stays valid. Brigade's own folders are the throwaway's. What a
//! model says can't be foretold, so only what Brigade answers for is checked.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use brigade_testkit::{Sandbox, Serve};
use serde_json::{Value, json};

use super::look::list;
use super::stage::PIECES;
use super::transcript::{Transcript, Who};
use crate::error::{Error, Result, io};
use crate::say;

/// How long one delegation may take on a real model.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A model of the person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    provider: String,
    model: String,
}

impl fmt::Display for Choice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.provider, self.model)
    }
}

impl Choice {
    /// Reads `PROVIDER/MODEL`; a model's name may hold slashes of its own.
    pub(super) fn parse(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(Self {
                provider: provider.to_owned(),
                model: model.to_owned(),
            }),
            _ => Err(Error::Wrong(format!(
                "{text:?} is no PROVIDER/MODEL, as `opencode models` lists them"
            ))),
        }
    }
}

/// Installs the bridge in the project, unless the person has it for all projects.
pub(super) async fn install(sandbox: &Sandbox) -> Result<()> {
    // The person's OpenCode may be of another version: it brings its own plugin package.
    let folder = sandbox.project().join(".opencode");
    for name in ["node_modules", "package.json", "package-lock.json"] {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(io(format!("remove {}", path.display())))?;
    }
    let theirs = config_home()?.join("opencode");
    for place in ["plugin", "plugins"] {
        let path = theirs.join(place).join("brigade.js");
        if path.exists() {
            say(&format!("Your own bridge is used: {}", path.display()));
            return Ok(());
        }
    }
    let done = sandbox
        .brigade(&["install", "opencode", "--project"])
        .await?;
    say(done.stdout.trim_end());
    if done.code() == Some(0) {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "the bridge could not be installed: {}",
        done.stderr
    )))
}

/// The person's OpenCode in the project, with their environment but for Brigade's folders.
pub(super) fn command(sandbox: &Sandbox) -> Result<Command> {
    let mut command = Command::new(program()?);
    command
        .current_dir(sandbox.project())
        .env("PWD", sandbox.project());
    let ours = |name: &str| name.starts_with("BRIGADE_");
    for (name, value) in sandbox.environment() {
        if name.to_str().is_some_and(ours) {
            command.env(name, value);
        }
    }
    Ok(command)
}

fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("opencode"))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            Error::Wrong(
                "your own OpenCode is not on PATH: --model runs it with your configuration"
                    .to_owned(),
            )
        })
}

fn config_home() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .ok_or_else(|| Error::Wrong("HOME is not set".to_owned()))
}

/// Plays it.
pub(super) async fn play(
    sandbox: &Sandbox,
    model: &Choice,
    keep: bool,
    script: &mut Transcript,
) -> Result<()> {
    say(&format!(
        "Brigade in your own OpenCode, on {model}. It costs what your provider takes for some short turns."
    ));
    script.scene("Setting up");
    install(sandbox).await?;
    let server = serve(sandbox).await?;
    script.now(Who::Scene, "opencode serve answers");
    let session = server.create("Brigade's demo").await?.id;

    script.scene("Three pieces are delegated");
    let mut wish = "Call the tool `delegate` three times, in one step, with exactly these arguments, then tell me that they are under way and end your turn:".to_owned();
    for piece in &PIECES[..3] {
        wish.push_str(&format!(
            "\n- agent `{}`, prompt: {}",
            piece.agent, piece.prompt
        ));
    }
    says(&server, script, model, &session, &wish).await?;
    let rows = list(sandbox).await?;
    script.expect(
        !rows.is_empty(),
        &format!("{} delegations are on file", rows.len()),
    );
    for row in &rows {
        let id = row["id"].as_str().unwrap_or_default();
        let ended = follow(sandbox, id).await?;
        script.now(Who::Scene, &format!("{id}: {ended}"));
    }
    let rows = list(sandbox).await?;
    script.expect(
        rows.iter().all(|row| row["state"] == "complete"),
        "all of them are complete",
    );

    script.scene("A result is read, and the conversation compacted");
    says(
        &server,
        script,
        model,
        &session,
        "Read one of the results with `delegation_read` and tell me in a sentence what it found.",
    )
    .await?;
    let body = json!({"providerID": model.provider, "modelID": model.model});
    server
        .post::<Value>(&format!("/session/{session}/summarize"), &body)
        .await?;
    says(&server, script, model, &session, "Which delegations do you know of, and which of their results were not read yet? Answer in two sentences.").await?;
    let texts = server.messages(&session).await?;
    let told = rows.iter().filter_map(|row| row["id"].as_str()).all(|id| {
        let opening = format!("<task-id>{id}</task-id>");
        let mut parts = texts.iter().flat_map(|message| &message.parts);
        let read =
            |part: &Value| part["tool"] == "delegation_read" && part["state"]["input"]["id"] == id;
        parts.any(|part| {
            part["text"]
                .as_str()
                .is_some_and(|text| text.contains(&opening))
                || read(part)
        })
    });
    script.expect(
        told,
        "the parent has heard of each, by its notice or by reading it",
    );

    script.scene("The server is started anew");
    server.kill9().await?;
    drop(server);
    let server = serve(sandbox).await?;
    let after = list(sandbox).await?;
    script.expect(after.len() >= rows.len(), "all results are still there");
    for row in &after {
        script.now(
            Who::Scene,
            row["artifact"].as_str().unwrap_or("no artifact"),
        );
    }
    if keep {
        script.now(
            Who::Scene,
            &format!(
                "the session {session} stays in your OpenCode, and the artifacts where they are"
            ),
        );
        return Ok(());
    }
    server.delete(&session).await?;
    for folder in after
        .iter()
        .filter_map(|row| row["artifact"].as_str())
        .filter_map(|path| PathBuf::from(path).parent().map(PathBuf::from))
    {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(format!("remove {}", folder.display()))(error));
            }
            _ => {}
        }
        if let Some(project) = folder.parent() {
            // Not empty where the person had delegated there before, and then it stays.
            let _kept = fs::remove_dir(project);
        }
    }
    script.now(
        Who::Scene,
        "the session and the artifacts are removed from your OpenCode (--keep leaves them)",
    );
    Ok(())
}

async fn serve(sandbox: &Sandbox) -> Result<Serve> {
    let mut own = command(sandbox)?;
    own.args(["serve", "--hostname", "127.0.0.1", "--port", "0"]);
    // A password of the person's would shut the demo out; the server is on loopback for some minutes.
    own.env_remove("OPENCODE_SERVER_PASSWORD");
    Ok(Serve::start_with(sandbox, |command| *command = own).await?)
}

async fn says(
    server: &Serve,
    script: &mut Transcript,
    model: &Choice,
    session: &str,
    text: &str,
) -> Result<()> {
    let body = json!({
        "model": {"providerID": model.provider, "modelID": model.model},
        "parts": [{"type": "text", "text": text}],
    });
    let answer = server.prompt_with(session, &body).await?;
    script.messages(&server.messages(session).await?);
    match answer.error() {
        Some((name, message)) => Err(Error::Wrong(format!(
            "the model failed ({name}): {message}"
        ))),
        None => Ok(()),
    }
}

/// Waits for the end of a delegation; says how it ended.
async fn follow(sandbox: &Sandbox, id: &str) -> Result<String> {
    let mut command = sandbox.command(sandbox.brigade_program()?);
    command.args(["read", "--follow", id]);
    let process = brigade_testkit::process::Process::start("brigade read --follow", command)?;
    process.exited(LIMIT).await?;
    let rows = list(sandbox).await?;
    let row = rows.iter().find(|row| row["id"] == id);
    Ok(row
        .and_then(|row| row["state"].as_str())
        .unwrap_or("unknown")
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_with_its_provider() {
        let choice = Choice::parse("openrouter/meta/llama").unwrap();
        assert_eq!(
            (choice.provider.as_str(), choice.model.as_str()),
            ("openrouter", "meta/llama")
        );
        assert_eq!(choice.to_string(), "openrouter/meta/llama");
        assert!(Choice::parse("gpt").is_err() && Choice::parse("/x").is_err());
    }
}
