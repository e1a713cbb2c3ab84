//! Checks of OpenCode and of the bridge in it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::Check;
use crate::bridge::{self, Found};
use crate::commands::install::Folders;
use crate::host::{loads_predecessor, predecessors, which};

/// How long OpenCode may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(20);
/// The oldest version, as major and minor, with which Brigade is tested.
const OLDEST: (u32, u32) = (1, 18);

/// OpenCode's version.
pub(super) async fn opencode(path: Option<&OsStr>) -> Check {
    const NAME: &str = "opencode";
    const INSTALL: &str = "install it: npm install -g opencode-ai";
    let Some(program) = which("opencode", path) else {
        return Check::warn(NAME, "not found on PATH", INSTALL);
    };
    let shown = program.display();
    match ask(&program).await {
        Err(why) => Check::fail(NAME, format!("{shown} --version fails: {why}"), INSTALL),
        Ok(said) => match release(&said) {
            Some(release) if release < OLDEST => {
                let message = format!("{said}, {shown}: older than what Brigade is tested with");
                let (major, minor) = OLDEST;
                Check::warn(
                    NAME,
                    message,
                    format!("update it to {major}.{minor} or later: opencode upgrade"),
                )
            }
            Some(_) => Check::ok(NAME, format!("{said}, {shown}")),
            None => Check::warn(NAME, format!("{shown} tells no version: {said:?}"), INSTALL),
        },
    }
}

async fn ask(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(PATIENCE, output).await {
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        return Err(output.status.to_string());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Major and minor of a version, wherever it stands in a line.
fn release(said: &str) -> Option<(u32, u32)> {
    said.split_ascii_whitespace().find_map(|word| {
        let mut parts = word.trim_start_matches('v').split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

/// The bridges that are installed; `path` is where programs are looked for.
pub(super) fn bridge(folders: &Folders, path: Option<&OsStr>) -> Vec<Check> {
    const NAME: &str = "bridge";
    let mut checks = Vec::new();
    let mut bridges = 0;
    for (folder, flag) in [(&folders.person, ""), (&folders.project, " --project")] {
        let install = format!("brigade install opencode{flag}, then restart OpenCode");
        let found = match bridge::all(folder) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("{} can't be read: {error}", folder.display());
                checks.push(Check::fail(
                    NAME,
                    message,
                    "see to its owner and permissions",
                ));
                continue;
            }
        };
        for (file, found) in found {
            let shown = file.display();
            let Found::Bridge {
                version,
                sealed,
                text,
            } = found
            else {
                let message = format!("{shown} is not Brigade's");
                checks.push(Check::warn(
                    NAME,
                    message,
                    "move it away before you install the bridge there",
                ));
                continue;
            };
            bridges += 1;
            if let Some(missing) = bridge::program(&text).filter(|name| !can_start(name, path)) {
                let message = format!("{shown} starts {missing}, which is not there");
                checks.push(Check::fail(NAME, message, install.clone()));
                continue;
            }
            let version = version.unwrap_or_else(|| "unknown".to_owned());
            checks.push(if version != bridge::VERSION {
                let message = format!(
                    "{shown}, version {version}; this brigade's is {}",
                    bridge::VERSION
                );
                Check::warn(NAME, message, install.clone())
            } else if sealed {
                Check::ok(NAME, format!("{shown}, version {version}"))
            } else {
                Check::warn(
                    NAME,
                    format!("{shown}, version {version}, has been edited"),
                    install.clone(),
                )
            });
        }
    }
    match bridges {
        0 => checks.push(Check::fail(
            NAME,
            "not installed",
            "brigade install opencode",
        )),
        1 => {}
        _ => checks.push(Check::warn(
            NAME,
            "OpenCode would load more than one here",
            "keep one: brigade uninstall opencode --project removes the project's",
        )),
    }
    checks
}

/// Whether the bridge finds the program that it names.
fn can_start(program: &str, path: Option<&OsStr>) -> bool {
    if program.contains('/') {
        Path::new(program).is_file()
    } else {
        which(program, path).is_some()
    }
}

/// The predecessor's plugin.
pub(super) fn predecessor(folders: &Folders) -> Vec<Check> {
    const NAME: &str = "conflict";
    let mut checks = Vec::new();
    for folder in [&folders.person, &folders.project] {
        match predecessors(folder) {
            Ok(found) => checks.extend(found.iter().map(|path| {
                let path = path.display();
                Check::fail(
                    NAME,
                    format!("{path} also defines `delegate`"),
                    format!("rm '{path}' (its results stay, and Brigade reads them)"),
                )
            })),
            Err(error) => {
                let message = format!("the plugins in {} can't be read: {error}", folder.display());
                checks.push(Check::warn(
                    NAME,
                    message,
                    "see to its owner and permissions",
                ));
            }
        }
    }
    let top = folders.project.parent().unwrap_or(&folders.project);
    let places = [folders.person.as_path(), top, &folders.project];
    checks.extend(
        places
            .into_iter()
            .flat_map(loads_predecessor)
            .map(|config| {
                let config = config.display();
                let message =
                    format!("{config} loads background-agents, which also defines `delegate`");
                let mend =
                    "take it out of \"plugin\" there; its results stay, and Brigade reads them";
                Check::fail(NAME, message, mend)
            }),
    );
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;
    use crate::commands::install::tests::rig;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn levels(checks: &[Check]) -> Vec<Level> {
        checks.iter().map(|check| check.level).collect()
    }

    #[test]
    fn versions_are_found_in_what_is_said() {
        assert_eq!(release("1.18.33"), Some((1, 18)));
        assert_eq!(release("opencode v0.9.1 (x)"), Some((0, 9)));
        assert_eq!(release("local"), None);
    }

    #[tokio::test]
    async fn opencode_is_asked_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().as_os_str());
        assert_eq!(opencode(path).await.level, Level::Warn);
        let program = dir.path().join("opencode");
        for (script, level) in [
            ("echo 1.18.33", Level::Ok),
            ("echo 1.2.3", Level::Warn),
            ("exit 3", Level::Fail),
        ] {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            let check = opencode(path).await;
            assert_eq!(check.level, level, "{check:?}");
        }
    }

    #[test]
    fn bridges_are_compared_with_ours() {
        let rig = rig();
        let bin = tempfile::tempdir().unwrap();
        fs::write(bin.path().join("brigade"), "").unwrap();
        fs::set_permissions(
            bin.path().join("brigade"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        let path = Some(bin.path().as_os_str());
        assert_eq!(levels(&bridge(&rig.folders, path)), [Level::Fail]);
        rig.install(false).unwrap();
        assert_eq!(levels(&bridge(&rig.folders, path)), [Level::Ok]);
        rig.install(true).unwrap();
        assert_eq!(
            levels(&bridge(&rig.folders, path)),
            [Level::Ok, Level::Ok, Level::Warn]
        );
        fs::remove_file(bridge::place(&rig.folders.project)).unwrap();
        fs::write(
            bridge::place(&rig.folders.person),
            bridge::text(None).replace("brigade 0.1.0;", "brigade 0.0.9;"),
        )
        .unwrap();
        let checks = bridge(&rig.folders, path);
        assert_eq!(levels(&checks), [Level::Warn]);
        assert!(
            checks[0]
                .mend
                .as_ref()
                .unwrap()
                .starts_with("brigade install opencode")
        );
    }

    #[test]
    fn a_bridge_whose_program_is_gone_fails() {
        let rig = rig();
        rig.install(false).unwrap();
        let checks = bridge(&rig.folders, None);
        assert_eq!(levels(&checks), [Level::Fail]);
        assert!(
            checks[0]
                .message
                .ends_with("starts brigade, which is not there"),
            "{checks:?}"
        );
    }

    #[test]
    fn the_predecessor_is_found_in_folders_and_configs() {
        let rig = rig();
        assert!(predecessor(&rig.folders).is_empty());
        let plugins = rig.folders.person.join("plugin");
        fs::create_dir_all(&plugins).unwrap();
        fs::write(plugins.join("background-agents.ts"), "delegation_read").unwrap();
        fs::create_dir_all(&rig.folders.project).unwrap();
        let config = rig.folders.project.parent().unwrap().join("opencode.json");
        fs::write(config, r#"{"plugin": ["opencode-background-agents"]}"#).unwrap();
        assert_eq!(
            levels(&predecessor(&rig.folders)),
            [Level::Fail, Level::Fail]
        );
    }
}
