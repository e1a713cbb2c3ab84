//! Looking at what a scene has brought: sessions, requests, files, our own commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use brigade_testkit::{Kind, Message, Record, Sandbox};
use serde_json::Value;

use super::transcript::{Transcript, Who};
use crate::error::{Result, io};

/// Opens a notice.
pub(super) const NOTICE: &str = "<task-notification>";

/// Whether an artifact opens with its title and can be read by this user only.
pub(super) fn artifact(path: &Path) -> Result<bool> {
    let what = || format!("read {}", path.display());
    let text = fs::read_to_string(path).map_err(io(what()))?;
    let mode = fs::metadata(path).map_err(io(what()))?.permissions().mode() & 0o777;
    Ok(text.starts_with("# ") && text.contains("**Status:** complete") && mode == 0o600)
}

/// Runs a command of ours and shows it.
pub(super) async fn shell(
    sandbox: &Sandbox,
    script: &mut Transcript,
    args: &[&str],
) -> Result<String> {
    let done = sandbox.brigade(args).await?;
    let output = format!("{}\n{}", done.stdout, done.stderr);
    script.now(
        Who::Shell,
        &format!("$ brigade {}\n{}", args.join(" "), output.trim_end()),
    );
    if done.code() != Some(0) {
        script.expect(false, &format!("brigade {} ends well", args.join(" ")));
    }
    Ok(done.stdout)
}

/// All delegations of the project, newest first.
pub(super) async fn list(sandbox: &Sandbox) -> Result<Vec<Value>> {
    let listed = sandbox.brigade(&["list", "--json"]).await?.json()?;
    Ok(listed["delegations"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

/// Waits until the notice of a delegation is with the host, for the person's next message to carry.
pub(super) async fn offered(sandbox: &Sandbox, id: &str, limit: Duration) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < limit {
        let shown: Value = sandbox.brigade(&["show", id, "--json"]).await?.json()?;
        if shown["notice"] == "leased" {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn is_waking(record: &Record, session: &str) -> bool {
    record.kind == Kind::Turn
        && record.session.as_deref() == Some(session)
        && record.step == 0
        && record.prompt.contains(NOTICE)
}

pub(super) fn children_tools(sandbox: &Sandbox, children: &[String]) -> Vec<Vec<String>> {
    let turns = sandbox.model().turns();
    let first = |child: &String| {
        turns
            .iter()
            .find(|turn| turn.session.as_ref() == Some(child))
            .map(Record::tools)
    };
    children.iter().filter_map(first).collect()
}

pub(super) fn tool_calls<'a>(messages: &'a [Message], tool: &str) -> Vec<&'a Value> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter(|part| part["type"] == "tool" && part["tool"] == tool)
        .collect()
}

pub(super) fn started(call: &Value) -> Option<String> {
    let line = call["state"]["output"].as_str()?.lines().next()?;
    line.strip_prefix("Delegation started: ").map(str::to_owned)
}

pub(super) fn took_ms(call: &Value) -> Option<u64> {
    let time = &call["state"]["time"];
    Some(time["end"].as_u64()? - time["start"].as_u64()?)
}

pub(super) fn answer(messages: &[Message]) -> String {
    messages
        .iter()
        .rev()
        .find(|message| message.role() == "assistant")
        .map(Message::text)
        .unwrap_or_default()
}

pub(super) fn all_texts(messages: &[Message]) -> String {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| part["text"].as_str())
        .collect::<Vec<_>>()
        .join("\n")
}
