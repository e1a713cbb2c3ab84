//! Checks of the panel in OpenCode's terminal UI. Nothing else depends on it, so none of them fails.

use brigade_client::ClientError;
use brigade_protocol::daemon::{Panel, Status};

use super::Check;
use crate::bridge::{self, Found};
use crate::commands::install::Folders;
use crate::panel;

const NAME: &str = "panel";

/// The panels that are installed, in each folder that has one or at least a bridge.
pub(super) fn installed(folders: &Folders) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut loaded = 0;
    for (folder, flag) in [(&folders.person, ""), (&folders.project, " --project")] {
        let install = format!("brigade install opencode{flag}, then restart OpenCode");
        let file = panel::file(folder);
        let shown = file.display();
        let named = match panel::named_in(folder) {
            Ok(named) => named,
            Err((path, unfit)) => {
                let message = format!(
                    "OpenCode can't load it: {} is not fit: {unfit}",
                    path.display()
                );
                let mend = format!("mend that file, then {install}");
                checks.push(Check::warn(NAME, message, mend));
                continue;
            }
        };
        let found = match panel::look(folder) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("{shown} can't be read: {error}");
                let mend = "see to its owner and permissions";
                checks.push(Check::warn(NAME, message, mend));
                continue;
            }
        };
        let has_bridge = bridge::all(folder).is_ok_and(|found| !found.is_empty());
        let warning = match (&found, &named) {
            (Found::Nothing, None) if has_bridge => {
                format!("not installed in {}", folder.display())
            }
            (Found::Nothing, None) => continue,
            (Found::Nothing, Some(config)) => {
                format!("{} names {shown}, which is not there", config.display())
            }
            (Found::Foreign, _) => format!("{shown} is not Brigade's"),
            (Found::Bridge { .. }, None) => format!(
                "not loaded: no tui.json in {} names {shown}",
                folder.display()
            ),
            (
                Found::Bridge {
                    version, sealed, ..
                },
                Some(_),
            ) => {
                loaded += 1;
                let version = version.as_deref().unwrap_or("unknown");
                let what = format!("{shown}, version {version}");
                if version != bridge::VERSION {
                    format!("{what}; this brigade's is {}", bridge::VERSION)
                } else if *sealed {
                    checks.push(Check::ok(NAME, what));
                    continue;
                } else {
                    format!("{what}, has been edited")
                }
            }
        };
        checks.push(Check::warn(NAME, warning, install));
    }
    if loaded > 1 {
        checks.push(Check::warn(
            NAME,
            "OpenCode would find more than one here, and load one of them",
            "keep one: brigade uninstall opencode --project removes the project's",
        ));
    }
    checks
}

/// The panels that are there right now, as they told the daemon.
pub(super) fn seen(status: &Result<Status, ClientError>) -> Vec<Check> {
    let panels = status.as_ref().map(|status| status.panels.as_slice());
    panels.unwrap_or_default().iter().map(one).collect()
}

fn one(panel: &Panel) -> Check {
    let Panel {
        pid,
        version,
        host,
        missing,
    } = panel;
    let host = host.as_deref().unwrap_or("of an unknown version");
    let what = format!("loaded in OpenCode {host} (process {pid}), version {version}");
    if !missing.is_empty() {
        let message = format!("{what}, but without: {}", missing.join("; "));
        let mend = "this OpenCode offers it in another way or not at all: update brigade, or go on without; all else works";
        Check::warn(NAME, message, mend)
    } else if version == bridge::VERSION {
        Check::ok(NAME, what)
    } else {
        let message = format!("{what}; this brigade's is {}", bridge::VERSION);
        Check::warn(
            NAME,
            message,
            "brigade install opencode, then restart that host",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::commands::doctor::Level;
    use crate::commands::install::tests::rig;

    #[test]
    fn each_way_not_to_be_loaded_is_named() {
        let rig = rig();
        let folders = &rig.folders;
        assert_eq!(installed(folders), [], "without a bridge none is missed");
        rig.install(false).unwrap();
        let checks = installed(folders);
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].level, Level::Ok);

        let [config, file] = [
            folders.person.join("tui.json"),
            panel::file(&folders.person),
        ];
        let kept = fs::read_to_string(&config).unwrap();
        let says = |part: &str| {
            let checks = installed(folders);
            assert_eq!(checks.len(), 1, "{checks:?}");
            assert_eq!(checks[0].level, Level::Warn);
            assert!(checks[0].message.contains(part), "{checks:?}");
            let mend = checks[0].mend.as_deref().unwrap();
            assert!(mend.contains("brigade install opencode"), "{mend}");
        };
        fs::write(&config, "{}").unwrap();
        says("not loaded: no tui.json");
        fs::write(&config, "{").unwrap();
        says("is not JSON");
        fs::write(&config, &kept).unwrap();
        fs::write(&file, panel::text().replacen("import", "/**/ import", 1)).unwrap();
        says("has been edited");
        let older = panel::text().replace("brigade 0.1.0;", "brigade 0.0.9;");
        fs::write(&file, older).unwrap();
        says("version 0.0.9; this brigade's is");
        fs::write(&file, "export default {}").unwrap();
        says("is not Brigade's");
        fs::remove_file(&file).unwrap();
        says("which is not there");
        fs::remove_file(&config).unwrap();
        says("not installed in");
    }

    #[test]
    fn what_a_host_lacks_is_named() {
        let panel = |version: &str, missing: &[&str]| Panel {
            pid: 7,
            version: version.into(),
            host: Some("1.18.33".into()),
            missing: missing.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            one(&panel(bridge::VERSION, &[])),
            Check::ok(
                NAME,
                format!(
                    "loaded in OpenCode 1.18.33 (process 7), version {}",
                    bridge::VERSION
                )
            )
        );
        let lacking = one(&panel(bridge::VERSION, &["toasts", "focus (gone)"]));
        assert_eq!(lacking.level, Level::Warn);
        assert!(
            lacking
                .message
                .ends_with("but without: toasts; focus (gone)")
        );
        assert_eq!(one(&panel("0.0.9", &[])).level, Level::Warn);
    }

    #[test]
    fn two_are_one_too_many() {
        let rig = rig();
        rig.install(false).unwrap();
        rig.install(true).unwrap();
        let checks = installed(&rig.folders);
        assert_eq!(checks.len(), 3);
        assert!(checks[2].message.contains("more than one"), "{checks:?}");
    }
}
