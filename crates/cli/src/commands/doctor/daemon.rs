//! Checks of the daemon and of what it tells.

use brigade_client::{ClientError, Connector, StartPolicy};
use brigade_core::text::line::size;
use brigade_os::paths::Dirs;
use brigade_protocol::PROTOCOL;
use brigade_protocol::daemon::{BridgeStatus, Status};

use super::{Check, files};
use crate::format::count;

/// Asks the daemon that runs, if one does.
pub(super) async fn ask(dirs: &Dirs) -> Result<Status, ClientError> {
    let connector = Connector::new(dirs.clone(), StartPolicy::Never).any_version();
    connector.connect().await?.status().await
}

/// Whether a daemon said anything at all, be it a refusal.
pub(super) fn answered(status: &Result<Status, ClientError>) -> bool {
    matches!(
        status,
        Ok(_) | Err(ClientError::Api(_) | ClientError::Protocol { .. })
    )
}

/// Whether it runs, and is of our version.
pub(super) fn running(status: &Result<Status, ClientError>) -> Check {
    const NAME: &str = "daemon";
    match status {
        Err(ClientError::NotRunning { .. }) => {
            Check::ok(NAME, "not running: it is started when it is needed")
        }
        // Its own hint is to come here.
        Err(error @ ClientError::Unreachable { .. }) => Check::fail(
            NAME,
            error.to_string(),
            "mend what else is named here; if nothing is, see to the socket's owner and permissions",
        ),
        Err(error) => Check::fail(
            NAME,
            error.to_string(),
            error
                .hint()
                .unwrap_or_else(|| "stop it with: brigade daemon stop".to_owned()),
        ),
        Ok(status) => {
            let Status { version, pid, .. } = status;
            let what = format!("runs, version {version}, process {pid}");
            if status.protocol > PROTOCOL {
                let mend = format!("update this brigade to version {version} or later");
                Check::fail(NAME, format!("{what}: newer than this brigade"), mend)
            } else if version == env!("CARGO_PKG_VERSION") {
                Check::ok(NAME, what)
            } else {
                Check::warn(
                    NAME,
                    format!("{what}: another version than this brigade's"),
                    "brigade daemon stop; the next one is of this version",
                )
            }
        }
    }
}

/// The store, as the daemon sees it.
pub(super) fn store(dirs: &Dirs, status: &Result<Status, ClientError>) -> Check {
    match status {
        Ok(status) => {
            let total = count(status.total, "delegation");
            Check::ok(
                "store",
                format!(
                    "{}, schema {}, {total} on file",
                    status.store, status.schema
                ),
            )
        }
        Err(_) => files::store(dirs),
    }
}

/// The hosts that are connected, their agents, and what goes wrong right now.
pub(super) fn hosts(status: &Result<Status, ClientError>) -> Vec<Check> {
    let Ok(status) = status else {
        return Vec::new();
    };
    let mut checks: Vec<_> = status
        .troubles
        .iter()
        .map(|trouble| {
            Check::fail(
                "trouble",
                trouble,
                "it is tried again by itself; the daemon's logs say more",
            )
        })
        .collect();
    if !status.desktop.is_empty() {
        // None at all is no fault of anything's.
        checks.push(Check::ok(
            "desktop",
            format!("notifications: {}", status.desktop),
        ));
    }
    if let Some(worktrees) = &status.worktrees {
        let used = format!(
            "{}, {} of {}; agents that edit are kept inside {}",
            count(worktrees.count, "worktree"),
            size(worktrees.bytes),
            size(worktrees.limit),
            worktrees.confinement
        );
        checks.push(if worktrees.bytes < worktrees.limit {
            Check::ok("worktrees", used)
        } else {
            Check::fail(
                "worktrees",
                &used,
                "no new one is made: apply or discard some, or raise [worktree] disk",
            )
        });
    }
    if status.bridges.is_empty() {
        checks.push(Check::ok(
            "host",
            "none is connected: agents are known once OpenCode runs",
        ));
    }
    for bridge in &status.bridges {
        checks.push(host(bridge));
        checks.extend(agents(bridge));
    }
    checks
}

fn host(bridge: &BridgeStatus) -> Check {
    const NAME: &str = "host";
    let BridgeStatus {
        host,
        mode,
        pid,
        bridge_version,
        ..
    } = bridge;
    let what = format!("{host} ({mode}, process {pid}), bridge {bridge_version}");
    if bridge_version == crate::bridge::VERSION {
        Check::ok(NAME, what)
    } else {
        Check::warn(
            NAME,
            format!("{what}: another version than this brigade's"),
            "brigade install opencode, then restart that host",
        )
    }
}

/// One check per directory, one line per agent.
fn agents(bridge: &BridgeStatus) -> Vec<Check> {
    const NAME: &str = "agents";
    let check = |directory: &brigade_protocol::daemon::DirectoryStatus| {
        let mut text = directory.directory.clone();
        if directory.agents.is_empty() {
            text.push_str(": not asked yet");
            return Check::ok(NAME, text);
        }
        for agent in &directory.agents {
            let detail = if agent.detail.is_empty() {
                String::new()
            } else {
                format!(" ({})", agent.detail)
            };
            text.push_str(&format!("\n{}: {}{detail}", agent.name, agent.class));
        }
        if directory
            .agents
            .iter()
            .any(|agent| agent.class == "read-only")
        {
            Check::ok(NAME, text)
        } else {
            Check::warn(
                NAME,
                text,
                "no agent there can be delegated to: allow `explore`, or define an agent whose `edit` is denied",
            )
        }
    };
    bridge.directories.iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::daemon::tests::status;
    use crate::commands::doctor::Level;

    #[test]
    fn a_daemon_that_is_not_needed_is_well() {
        let none = Err(ClientError::NotRunning {
            socket: "/s".into(),
        });
        assert_eq!(running(&none).level, Level::Ok);
        assert!(hosts(&none).is_empty());
    }

    #[test]
    fn versions_are_compared() {
        let with = |version: &str, protocol| {
            running(&Ok(Status {
                version: version.into(),
                protocol,
                ..status()
            }))
            .level
        };
        assert_eq!(with(env!("CARGO_PKG_VERSION"), PROTOCOL), Level::Ok);
        assert_eq!(with("0.0.9", PROTOCOL), Level::Warn);
        assert_eq!(with("9.0.0", PROTOCOL + 1), Level::Fail);
    }

    #[test]
    fn agents_and_troubles_are_told() {
        let checks = hosts(&Ok(status()));
        let told: Vec<_> = checks
            .iter()
            .map(|check| (check.name, check.level, check.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "trouble",
                    Level::Fail,
                    "the artifact of agile-red-fox can't be written: no space left"
                ),
                (
                    "worktrees",
                    Level::Ok,
                    "3 worktrees, 87.0 MB of 20.0 GB; agents that edit are kept inside by the kernel (Landlock 7)"
                ),
                (
                    "host",
                    Level::Ok,
                    "opencode 1.18.33 (tui, process 7), bridge 0.1.0"
                ),
                (
                    "agents",
                    Level::Ok,
                    "/home/x/project\nexplore: read-only (enforced; withheld: bash)\ngeneral: write-capable (has edit)"
                ),
            ]
        );
        let mut status = status();
        status.bridges[0].bridge_version = "0.0.9".into();
        status.bridges[0].directories[0].agents.remove(0);
        let levels: Vec<_> = hosts(&Ok(status)).iter().map(|check| check.level).collect();
        assert_eq!(levels, [Level::Fail, Level::Ok, Level::Warn, Level::Warn]);
    }
}
