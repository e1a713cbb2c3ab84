//! `brigade daemon`

use std::io::Write;
use std::path::Path;

use brigade_client::{ClientError, Connector, Handshake, StartPolicy};
use brigade_core::text::line::size;
use brigade_protocol::daemon::Status;

use crate::args::{Daemon, Run};
use crate::context::{Context, Now};
use crate::error::{CliError, Kind};
use crate::format::{age, count};
use crate::output::{Output, Tone, harmless, patiently, remark};

/// Runs the daemon in this process.
pub(crate) fn run(args: &Run, context: Context) -> Result<(), CliError> {
    if args.detached {
        // Started by something that isn't a shell's prompt: this process leads no group yet. Should
        // it, then it is out of its starter's reach already.
        let _ = brigade_os::spawn::detach();
    }
    brigade_os::keep_files_private();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CliError::new(
                Kind::Failed,
                format!("the runtime can't be started: {error}"),
            )
        });
    // A program that reads our output is told as a starter is; it hears the rest as remarks.
    let told = args.detached || !context.out.terminal;
    let detached = args.detached;
    let program = std::env::current_exe().map_err(|error| {
        CliError::new(
            Kind::Failed,
            format!("this program's own file is not known: {error}"),
        )
    })?;
    let gate = ["gate".into()];
    let options = brigade_daemon::Options::new(context.dirs, program, gate, move |socket| {
        if told {
            let socket = socket.to_owned();
            announce(&Handshake::Ready { socket }, detached);
        } else {
            remark(&listening(socket));
        }
    });
    let result = runtime.and_then(|runtime| {
        runtime
            .block_on(brigade_daemon::run(options))
            .map_err(|error| match error {
                brigade_daemon::Error::AlreadyRunning(_) => {
                    CliError::new(Kind::Refused, error.to_string())
                        .hint("brigade daemon status shows it")
                }
                error => CliError::new(Kind::Failed, error.to_string()),
            })
    });
    if let (true, Err(error)) = (told, &result) {
        let handshake = match error.kind {
            Kind::Refused => Handshake::AlreadyRunning,
            _ => Handshake::Failed {
                message: error.message.clone(),
                hint: error.hint.clone(),
            },
        };
        announce(&handshake, detached);
        if detached && error.kind == Kind::Refused {
            // The starter knows; where standard error goes nobody needs to read of a lost race.
            return Err(CliError::told(Kind::Refused));
        }
    }
    result
}

fn listening(socket: &Path) -> String {
    format!("listening on {}; Ctrl-C stops the daemon", socket.display())
}

/// Tells the starter, who may have gone: the daemon runs on all the same. `last` ends what it reads.
fn announce(handshake: &Handshake, last: bool) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{handshake}").and_then(|()| stdout.flush());
    drop(stdout);
    if !last {
        return;
    }
    if let Err(error) = brigade_os::spawn::release_stdout() {
        remark(&format!("standard output can't be closed: {error}"));
    }
}

/// `start`, `stop`, `status` and `log`.
pub(crate) async fn control(command: &Daemon, context: &mut Context) -> Result<(), CliError> {
    match command {
        // `main` runs the daemon itself, outside any runtime.
        Daemon::Run(_) => Err(CliError::new(
            Kind::Failed,
            "the daemon can't be run from here",
        )),
        Daemon::Start => start(context).await,
        Daemon::Stop => stop(context).await,
        Daemon::Status(args) => status(args.json, context).await,
        Daemon::Log(args) => super::log::run(args, context).await,
    }
}

async fn start(context: &mut Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let pid = client.welcome().map_or(0, |welcome| welcome.pid);
    let socket = context.dirs.socket();
    context.out.line(&format!(
        "The daemon runs (process {pid}) and listens on {}.",
        socket.display()
    ))
}

async fn stop(context: &mut Context) -> Result<(), CliError> {
    let connector = Connector::new(context.dirs.clone(), StartPolicy::Never).any_version();
    let client = match connector.connect().await {
        Ok(client) => client,
        Err(ClientError::NotRunning { .. }) => return context.out.line("The daemon does not run."),
        Err(error) => return Err(error.into()),
    };
    patiently("waiting for the daemon's end", client.stop_and_wait("stop")).await?;
    context
        .out
        .line("The daemon has stopped. What runs goes on in its host; the next daemon takes it up.")
}

async fn status(json: bool, context: &mut Context) -> Result<(), CliError> {
    let connector = Connector::new(context.dirs.clone(), StartPolicy::Never).any_version();
    let status = connector.connect().await?.status().await?;
    if json {
        context.out.json(&status)
    } else {
        print(&mut context.out, &status, &Now::system())
    }
}

fn print(out: &mut Output, status: &Status, now: &Now) -> Result<(), CliError> {
    let Status {
        version,
        pid,
        protocol,
        ..
    } = status;
    let since = age(status.started_at, now.at);
    out.line(&format!(
        "brigade {version}, process {pid}, up {since}, protocol {protocol}"
    ))?;
    let work = format!(
        "{} of {} running, {} queued, {} waiting for a host, {} unread, {} on file",
        status.running,
        status.concurrent,
        status.queued,
        status.waiting,
        status.unread,
        status.total
    );
    for (name, value) in [
        ("Socket", &status.socket),
        (
            "Store",
            &format!("{} (schema {})", status.store, status.schema),
        ),
        ("Work", &work),
        (
            "Notices",
            &format!("{} on their way", status.notices_waiting),
        ),
    ] {
        let name = out.paint(Tone::Faint, &format!("{name:<8}"));
        out.line(&format!("{name} {value}"))?;
    }
    for bridge in &status.bridges {
        let name = out.paint(Tone::Faint, "Bridge  ");
        let places = count(
            bridge.directories.len().try_into().unwrap_or(u64::MAX),
            "folder",
        );
        let host = harmless(&bridge.host);
        out.line(&format!(
            "{name} {host}, {}, process {}, {places}",
            bridge.mode, bridge.pid
        ))?;
    }
    for server in &status.servers {
        let name = out.paint(Tone::Faint, "Server  ");
        let process = server.pid.map_or_else(
            || "being started".to_owned(),
            |pid| format!("process {pid}"),
        );
        out.line(&format!(
            "{name} Brigade's own, {process}, {} running",
            server.running
        ))?;
    }
    if let Some(worktrees) = &status.worktrees {
        let name = out.paint(Tone::Faint, "Trees   ");
        out.line(&format!(
            "{name} {}, {} of {}, kept inside {}",
            count(worktrees.count, "worktree"),
            size(worktrees.bytes),
            size(worktrees.limit),
            worktrees.confinement
        ))?;
    }
    for trouble in &status.troubles {
        let name = out.paint(Tone::Bad, "Trouble ");
        out.line(&format!("{name} {}", harmless(trouble)))?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::list::tests::{at, now};
    use brigade_protocol::daemon::{
        AgentStatus, BridgeStatus, DirectoryStatus, ServerStatus, WorktreesStatus,
    };

    pub(crate) fn status() -> Status {
        let agent = |name: &str, class: &str, detail: &str| AgentStatus {
            name: name.into(),
            class: class.into(),
            detail: detail.into(),
        };
        Status {
            protocol: 1,
            version: "0.1.0".into(),
            pid: 42,
            started_at: at(0),
            data_dir: "/data".into(),
            socket: "/run/daemon.sock".into(),
            store: "/data/brigade.db".into(),
            schema: 1,
            running: 2,
            queued: 1,
            waiting: 0,
            unread: 3,
            notices_waiting: 1,
            total: 40,
            concurrent: 8,
            troubles: vec!["the artifact of agile-red-fox can't be written: no space left".into()],
            bridges: vec![BridgeStatus {
                pid: 7,
                host: "opencode 1.18.33".into(),
                bridge_version: "0.1.0".into(),
                mode: "tui".into(),
                directories: vec![DirectoryStatus {
                    directory: "/home/x/project".into(),
                    agents: vec![
                        agent("explore", "read-only", "enforced; withheld: bash"),
                        agent("general", "write-capable", "has edit"),
                    ],
                }],
            }],
            desktop: String::new(),
            servers: vec![ServerStatus {
                id: "01997f".into(),
                pid: Some(4_343),
                profile: "open".into(),
                running: 2,
            }],
            worktrees: Some(WorktreesStatus {
                count: 3,
                bytes: 87_000_000,
                limit: 20_000_000_000,
                confinement: "by the kernel (Landlock 7)".into(),
            }),
            panels: Vec::new(),
        }
    }

    #[test]
    fn the_status_shows_work_bridges_and_troubles() {
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &status(), &now()).unwrap();
        insta::assert_snapshot!(printed());
    }
}
