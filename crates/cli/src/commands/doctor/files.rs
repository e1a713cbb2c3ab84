//! Checks of what lies on disk.

use std::fs;
use std::io;
use std::path::Path;

use brigade_daemon::config::{Configs, PROJECT_FILE, left_out};
use brigade_daemon::{StoreFault, TRACES_BUILT_IN, inspect_store};
use brigade_os::paths::{Dirs, ensure_private_dir};

use super::Check;
use crate::host::which;

/// The binary, and whether hosts find it.
pub(super) fn binary() -> Check {
    const NAME: &str = "binary";
    let version = env!("CARGO_PKG_VERSION");
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => {
            return Check::fail(
                NAME,
                format!("the path of this program is unknown: {error}"),
                "run it by its full path",
            );
        }
    };
    let what = format!("brigade {version}, {}", own.display());
    let real = own.canonicalize().ok();
    match which("brigade", std::env::var_os("PATH").as_deref()) {
        Some(found) if found.canonicalize().ok() == real => Check::ok(NAME, what),
        Some(found) => Check::warn(
            NAME,
            format!("{what}; but `brigade` is {}", found.display()),
            "put this one's folder first on PATH, or run: brigade install opencode (the bridge then starts this one)",
        ),
        None => Check::ok(
            NAME,
            format!("{what}; not on PATH, so the bridge names it by its path"),
        ),
    }
}

/// The person's config, and the project's over it.
pub(super) fn config(dirs: &Dirs, directory: &Path) -> Check {
    const NAME: &str = "config";
    const MEND: &str = "correct it; until then the daemon does not start, or the project's delegations are refused";
    let person = dirs.config_file();
    let project = directory.join(PROJECT_FILE);
    let checked =
        Configs::load(&person).and_then(|configs| configs.checked(&directory.to_string_lossy()));
    if let Err(error) = checked {
        return Check::fail(NAME, error.to_string(), MEND);
    }
    let left_out = left_out(directory).unwrap_or_default();
    if !left_out.is_empty() {
        return Check::warn(
            NAME,
            format!(
                "{} sets {}, which has no effect in a project",
                project.display(),
                left_out.join(", ")
            ),
            format!("take it out, or set it in {}", person.display()),
        );
    }
    let there = [&person, &project].map(|path| path.exists().then(|| path.display().to_string()));
    let there: Vec<_> = there.into_iter().flatten().collect();
    Check::ok(
        NAME,
        if there.is_empty() {
            format!("none at {}: the defaults hold", person.display())
        } else {
            there.join(", over it ")
        },
    )
}

/// Where traces go, if the person's config says so. Whether they arrive the daemon says.
pub(super) fn traces(dirs: &Dirs) -> Option<Check> {
    let file = dirs.config_file();
    let configs = Configs::load(&file).ok()?;
    let endpoint = configs.user().telemetry.endpoint.as_ref()?;
    Some(told_of_traces(endpoint, TRACES_BUILT_IN, &file))
}

fn told_of_traces(endpoint: &str, built_in: bool, file: &Path) -> Check {
    const NAME: &str = "traces";
    if built_in {
        return Check::ok(NAME, format!("of what ends go to {endpoint}"));
    }
    Check::warn(
        NAME,
        format!(
            "{} names a collector, {endpoint}, but this brigade is built without traces: nothing is sent",
            file.display()
        ),
        "install one that has them (cargo install --locked --path crates/cli --features otel), or take [telemetry] endpoint out",
    )
}

/// The data folder, and whether it can be written.
pub(super) fn data(dirs: &Dirs) -> Option<Check> {
    const NAME: &str = "data";
    let path = &dirs.data;
    let shown = path.display();
    if !path.exists() {
        return Some(Check::ok(
            NAME,
            format!("{shown} is not there yet: the daemon makes it"),
        ));
    }
    if let Err(error) = ensure_private_dir(path) {
        return Some(Check::fail(
            NAME,
            error.to_string(),
            format!("see to the folder {shown}"),
        ));
    }
    Some(match try_writing(path) {
        Ok(()) => Check::ok(NAME, format!("{shown}")),
        Err(error) => Check::fail(
            NAME,
            format!("{shown} can't be written: {error}"),
            "free some space, or see to the folder's permissions; what is on file stays",
        ),
    })
}

fn try_writing(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".doctor.{}", std::process::id()));
    let written = fs::write(&path, "x");
    match fs::remove_file(&path) {
        // Where it could not be made, that says more.
        Err(_) if written.is_err() => written,
        removed => written.and(removed),
    }
}

/// The store's file, without a daemon to ask.
pub(super) fn store(dirs: &Dirs) -> Check {
    const NAME: &str = "store";
    let path = dirs.store();
    let shown = path.display();
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::ok(
                NAME,
                format!("{shown} is not there yet: the daemon makes it"),
            );
        }
        Err(error) => {
            return Check::fail(
                NAME,
                format!("{shown} can't be read: {error}"),
                "see to its owner and permissions",
            );
        }
        Ok(_) => {}
    }
    let results = dirs.opencode_data.join("delegations");
    match inspect_store(&path) {
        Ok(0) => Check::ok(NAME, format!("{shown}, still empty")),
        Ok(schema) => Check::ok(NAME, format!("{shown}, schema {schema}")),
        Err(error @ StoreFault::Newer { .. }) => Check::fail(
            NAME,
            error.to_string(),
            "update this brigade to the newer version",
        ),
        Err(error @ StoreFault::Corrupt { .. }) => Check::fail(
            NAME,
            error.to_string(),
            format!(
                "move it away: the results themselves are in {}, and brigade gc takes them back",
                results.display()
            ),
        ),
        Err(error) => Check::fail(
            NAME,
            error.to_string(),
            "see to its owner, its permissions and the free space",
        ),
    }
}

/// The folder of the socket.
pub(super) fn runtime(dirs: &Dirs, answered: bool) -> Check {
    const NAME: &str = "socket";
    let socket = dirs.socket();
    let shown = socket.display();
    if let Err(error) = dirs.prepare_runtime() {
        return Check::fail(
            NAME,
            error.to_string(),
            "see to its owner and permissions, or set BRIGADE_RUNTIME_DIR to a folder of your own, for OpenCode too",
        );
    }
    if !answered {
        match brigade_os::lock::holder(&dirs.lock()) {
            Ok(Some(pid)) => {
                return Check::fail(
                    NAME,
                    format!(
                        "process {pid} holds the lock {} and does not answer",
                        dirs.lock().display()
                    ),
                    format!(
                        "wait if it has only just started; else end it: kill {pid}. What it held is in the store"
                    ),
                );
            }
            Ok(None) if socket.exists() => {
                return Check::ok(
                    NAME,
                    format!(
                        "{shown} is left from a daemon that has died: the next one replaces it, and its lock is free"
                    ),
                );
            }
            Ok(None) => {}
            Err(error) => {
                return Check::fail(
                    NAME,
                    format!(
                        "the lock {} can't be looked at: {error}",
                        dirs.lock().display()
                    ),
                    "see to its owner and permissions",
                );
            }
        }
    }
    match try_writing(&dirs.socket_dir()) {
        Ok(()) => Check::ok(NAME, format!("{shown}")),
        Err(error) => Check::fail(
            NAME,
            format!("the folder of {shown} can't be written: {error}"),
            "see to its permissions, or set BRIGADE_RUNTIME_DIR to another folder, for OpenCode too",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Level;
    use std::ffi::OsString;

    fn dirs(root: &Path) -> Dirs {
        let home = root.to_owned().into_os_string();
        let lookup = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "BRIGADE_RUNTIME_DIR" => Some(root.join("run").into_os_string()),
            _ => None::<OsString>,
        };
        Dirs::from_lookup(lookup, None, 1).unwrap()
    }

    #[test]
    fn nothing_there_yet_is_well() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        let checks = [
            config(&dirs, root.path()),
            data(&dirs).unwrap(),
            store(&dirs),
            runtime(&dirs, false),
        ];
        for check in checks {
            assert_eq!(check.level, Level::Ok, "{check:?}");
        }
    }

    #[test]
    fn a_mistake_in_a_config_is_named_by_file_and_line() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        fs::create_dir_all(&dirs.config).unwrap();
        let (person, project) = (dirs.config_file(), root.path().join(PROJECT_FILE));
        for file in [&person, &project] {
            fs::write(file, "[limits]\nconcurent = 3\n").unwrap();
            let check = config(&dirs, root.path());
            assert_eq!(check.level, Level::Fail);
            let place = format!("{}:2", file.display());
            assert!(check.message.contains(&place), "{}", check.message);
            fs::write(file, "[limits]\nattempts = 3\n").unwrap();
        }
        let check = config(&dirs, root.path());
        assert_eq!(check.level, Level::Ok, "{check:?}");
        assert!(check.message.contains("over it"), "{}", check.message);
        fs::write(&project, "[limits]\nqueue = 3\n[daemon]\nlog = \"debug\"\n").unwrap();
        let check = config(&dirs, root.path());
        assert_eq!(check.level, Level::Warn);
        let sets = "sets [limits] queue, [daemon] log, which has no effect";
        assert!(check.message.contains(sets), "{}", check.message);
    }

    #[test]
    fn a_collector_that_this_program_can_not_send_to_is_told() {
        let file = Path::new("/config.toml");
        let check = told_of_traces("http://127.0.0.1:4318", true, file);
        assert_eq!(check.level, Level::Ok, "{check:?}");
        let check = told_of_traces("http://127.0.0.1:4318", false, file);
        assert_eq!(check.level, Level::Warn);
        assert!(check.message.contains("built without traces"), "{check:?}");
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        assert_eq!(traces(&dirs), None);
        fs::create_dir_all(&dirs.config).unwrap();
        fs::write(
            dirs.config_file(),
            "[telemetry]\nendpoint = \"http://127.0.0.1:4318\"\n",
        )
        .unwrap();
        let level = if TRACES_BUILT_IN {
            Level::Ok
        } else {
            Level::Warn
        };
        assert_eq!(traces(&dirs).unwrap().level, level);
    }

    #[test]
    fn what_is_no_store_and_what_is_in_the_way_fail() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        fs::create_dir_all(&dirs.data).unwrap();
        assert_eq!(data(&dirs).unwrap().level, Level::Ok);
        fs::write(dirs.store(), "this is a text, not a database").unwrap();
        let check = store(&dirs);
        assert_eq!(check.level, Level::Fail);
        assert!(check.mend.unwrap().contains("delegations"));
        fs::write(dirs.runtime.as_path(), "").unwrap();
        assert_eq!(runtime(&dirs, false).level, Level::Fail);
    }

    #[test]
    fn a_daemon_that_holds_its_lock_and_says_nothing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dirs = dirs(root.path());
        dirs.prepare_runtime().unwrap();
        fs::write(dirs.socket(), "").unwrap();
        let check = runtime(&dirs, false);
        assert_eq!(check.level, Level::Ok);
        assert!(check.message.contains("its lock is free"), "{check:?}");
        let lock = brigade_os::lock::Lock::acquire(&dirs.lock()).unwrap();
        let check = runtime(&dirs, false);
        assert_eq!(check.level, Level::Fail);
        let kill = format!("kill {}", std::process::id());
        assert!(check.mend.unwrap().contains(&kill));
        drop(lock);
    }
}
