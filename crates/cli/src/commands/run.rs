//! `brigade run`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use brigade_client::Client;
use brigade_core::delegation::{Changes, State};
use brigade_core::id::{DelegationId, SessionId};
use brigade_core::text::line::one_line;
use brigade_protocol::bridge::Host;
use brigade_protocol::delegations::Scope;
use brigade_protocol::run::{Begun, Run};
use serde::Serialize;

use super::send::standard_input;
use crate::args::Work;
use crate::context::{Context, directory};
use crate::error::{CliError, Kind};
use crate::host::{real_program, which};
use crate::output::{Output, patiently, remark};
use crate::screen::{Screen, to_its_end};

/// What `--wait --json` prints.
#[derive(Debug, Serialize)]
struct Ended {
    #[serde(flatten)]
    begun: Begun,
    reason: String,
    artifact: String,
    text: String,
    changes: Option<Changes>,
}

pub(crate) async fn run(args: Work, context: &mut Context) -> Result<(), CliError> {
    let host = surroundings(args.opencode.as_deref())?;
    let prompt = match args.prompt.as_slice() {
        [] => asked()?,
        [dash] if dash == "-" => asked()?,
        words => words.join(" "),
    };
    let client = context.client().await?;
    let asked = Run {
        from: args.from,
        host: host.clone(),
        directory: directory()?.to_string_lossy().into_owned(),
        agent: args.agent,
        prompt,
        timeout_minutes: args.timeout,
    };
    let begun = patiently(
        "bringing up OpenCode in the background, which takes some seconds",
        client.run(&asked),
    )
    .await?;
    tell(&begun);
    if !args.wait {
        if args.json.json {
            return context.out.json(&begun);
        }
        context.out.line(begun.id.as_str())?;
        let id = &begun.id;
        remark(&format!(
            "(it works in the background: brigade read {id} --follow, brigade cancel {id}{})",
            match begun.worktree {
                Some(_) => format!("; once it has ended: brigade diff {id}, brigade apply {id}"),
                None => String::new(),
            }
        ));
        return Ok(());
    }
    remark(&format!("({}; Ctrl-C leaves it at work)", begun.id));
    let quiet = args.json.json;
    let waiting = wait(&client, &host, &begun, &mut context.out, quiet);
    let ended = tokio::select! {
        ended = waiting => ended?,
        pressed = tokio::signal::ctrl_c() => {
            let id = &begun.id;
            let why = pressed.err().map(|error| format!(" ({error})")).unwrap_or_default();
            remark(&format!(
                "(it goes on{why}: brigade read {id} --follow shows more, brigade cancel {id} stops it)"
            ));
            return Err(CliError::told(Kind::Failed));
        }
    };
    let state = ended.begun.state;
    if quiet {
        context.out.json(&ended)?;
    } else {
        remark(&format!("({state}: {}; {})", ended.reason, ended.artifact));
        if let Some(changes) = &ended.changes {
            remark(&changed(&ended.begun.id, changes));
        }
    }
    if state == State::Complete {
        Ok(())
    } else {
        Err(CliError::told(Kind::Failed))
    }
}

/// The prompt from standard input.
fn asked() -> Result<String, CliError> {
    if std::io::stdin().is_terminal() {
        remark("(type the prompt; Ctrl-D ends it)");
    }
    standard_input()
}

/// OpenCode's program, and what it would find around it had it been started here.
fn surroundings(named: Option<&Path>) -> Result<Host, CliError> {
    const HINT: &str = "install it: npm install -g opencode-ai; or name it: --opencode PATH";
    let path = std::env::var_os("PATH");
    let found: PathBuf = match named {
        Some(named) => named.to_owned(),
        None => which("opencode", path.as_deref()).ok_or_else(|| {
            CliError::new(Kind::Failed, "opencode is not on PATH; nothing was started").hint(HINT)
        })?,
    };
    let program = real_program(&found).map_err(|error| {
        let message = format!(
            "{} can't be used: {error}; nothing was started",
            found.display()
        );
        CliError::new(Kind::Failed, message).hint(HINT)
    })?;
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let home = std::env::home_dir().unwrap_or_default();
    Ok(Host {
        name: "opencode".to_owned(),
        version: "unknown".to_owned(),
        pid: std::process::id(),
        executable: program.to_string_lossy().into_owned(),
        mode: "shell".to_owned(),
        home: home.to_string_lossy().into_owned(),
        env,
    })
}

/// Shows the daemon this shell's environment where a delegation is work from a shell: that is repeated, or goes on,
/// in the environment in which it is asked for.
pub(crate) async fn show_surroundings(
    client: &Client,
    id: &str,
    scope: &Scope,
) -> Result<(), CliError> {
    let session = client.show(id, scope).await?.summary.session;
    let from_shell = session.is_some_and(|session| session == SessionId::shell().as_str());
    // Where there is no OpenCode here, one that runs or another shell may have shown one.
    if from_shell && let Ok(host) = surroundings(None) {
        client.shell(&host).await?;
    }
    Ok(())
}

/// Says what the person might not expect.
fn tell(begun: &Begun) {
    let id = &begun.id;
    if begun.existing {
        remark(&format!(
            "({id} was under way before ({}): the same agent has the same prompt, so no second one was started)",
            begun.state
        ));
    }
    if !begun.withheld.is_empty() {
        remark(&format!(
            "(withheld from it: {})",
            begun.withheld.join("; ")
        ));
    }
    let open = begun.open.join("; ");
    match &begun.worktree {
        None if !open.is_empty() => {
            remark(&format!("(read-only by rule; it may still use: {open})"));
        }
        None => {}
        Some(worktree) => {
            let with = match &worktree.from {
                Some(from) => format!(" with the changes of {from}"),
                None => String::new(),
            };
            let top = &worktree.top;
            remark(&format!(
                "({id} works in a copy of {top}{with}; your own files stay as they are)"
            ));
            for what in &worktree.left_out {
                remark(&format!("(not in the copy: {})", one_line(what, 300)));
            }
            if !open.is_empty() {
                remark(&format!("(not held inside of it: {open})"));
            }
        }
    }
}

/// What a write-capable one has changed, and what to do with it.
fn changed(id: &DelegationId, changes: &Changes) -> String {
    if changes.is_empty() {
        return "(it has changed nothing)".to_owned();
    }
    format!("({changes}: brigade diff {id} shows that, brigade apply {id} brings it in)")
}

/// Follows it to its end, over the daemon's own, and prints its answer unless it is to be quiet.
async fn wait(
    client: &Client,
    host: &Host,
    begun: &Begun,
    out: &mut Output,
    quiet: bool,
) -> Result<Ended, CliError> {
    let id = begun.id.as_str();
    let mut screen = Screen::of_answer();
    let mut lost = false;
    let connect = async || {
        if std::mem::replace(&mut lost, true) {
            // The next daemon does not know the environment in which the work may have to go on.
            client.shell(host).await?;
        }
        Ok(client.clone())
    };
    let end = to_its_end(
        connect,
        (id, &Scope::default()),
        &mut screen,
        (!quiet).then_some(out),
        &format!("brigade read {id} --follow"),
    )
    .await?;
    let mut begun = begun.clone();
    begun.state = end.state;
    let changes = match begun.worktree {
        Some(_) => {
            let worktree = client.show(id, &Scope::default()).await?.worktree;
            worktree.and_then(|worktree| worktree.changes)
        }
        None => None,
    };
    Ok(Ended {
        begun,
        reason: end.reason,
        artifact: end.artifact,
        text: screen.told(),
        changes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::tests::three_changes;

    #[test]
    fn what_was_changed_is_told_with_what_to_do() {
        let id = "agile-red-fox".parse().unwrap();
        assert_eq!(
            changed(&id, &three_changes()),
            "(3 files changed, +9 -3: brigade diff agile-red-fox shows that, brigade apply agile-red-fox brings it in)"
        );
        let nothing = Changes {
            files: 0,
            ..three_changes()
        };
        assert_eq!(changed(&id, &nothing), "(it has changed nothing)");
    }
}
