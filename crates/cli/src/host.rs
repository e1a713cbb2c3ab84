//! What is around Brigade on this machine: programs, config folders, other plugins.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::bridge;

/// The most that is read of a file in search of the predecessor's marks, in bytes.
const LARGEST_PLUGIN: u64 = 4 << 20;

/// The first program of that name in `path`, a list of folders as `PATH` is.
pub(crate) fn which(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

/// The program of OpenCode itself, which its servers report and are started with: behind npm's link, and behind
/// the script that npm's package has where its own set-up did not run.
pub(crate) fn real_program(found: &Path) -> io::Result<PathBuf> {
    let program = fs::canonicalize(found)?;
    let mut head = [0; 2];
    let read = io::Read::read(&mut fs::File::open(&program)?, &mut head)?;
    if head[..read] != *b"#!" {
        return Ok(program);
    }
    let behind = program.ancestors().skip(1).find_map(|folder| {
        let modules = folder.join("node_modules");
        [modules, folder.to_owned()]
            .into_iter()
            .flat_map(|modules| packages().map(move |name| modules.join(name).join("bin/opencode")))
            .find(|file| file.is_file())
    });
    let missing = || {
        let message = "it is a script, and the program that it starts was not found beside it";
        io::Error::new(io::ErrorKind::NotFound, message)
    };
    behind.ok_or_else(missing)
}

/// The packages of npm that hold the program for this machine, the fittest first.
fn packages() -> impl Iterator<Item = String> {
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        std::env::consts::OS
    };
    let (machine, modern) = match std::env::consts::ARCH {
        "x86_64" => ("x64", modern()),
        "aarch64" => ("arm64", true),
        other => (other, true),
    };
    let musl = Path::new("/etc/alpine-release").exists();
    let mut ends = ["", "-baseline", "-musl", "-baseline-musl"];
    ends.sort_by_key(|end| {
        (
            end.ends_with("musl") != musl,
            end.contains("base") == modern,
        )
    });
    ends.into_iter()
        .map(move |end| format!("opencode-{system}-{machine}{end}"))
}

/// Whether the processor has what the program is built for where that is not called "baseline".
fn modern() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

/// The top of the project of a directory: of its git working tree, else itself.
pub(crate) fn project_top(directory: &Path) -> PathBuf {
    let top = directory
        .ancestors()
        .find(|folder| folder.join(".git").exists());
    top.unwrap_or(directory).to_owned()
}

/// The predecessor's plugin in a config folder: by its tools, whatever its file is called. Both
/// define `delegate`.
pub(crate) fn predecessors(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in bridge::FOLDERS {
        let entries = match fs::read_dir(folder.join(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let script = path
                .extension()
                .is_some_and(|ext| ext == "ts" || ext == "js" || ext == "mjs");
            if script
                && path.file_name() != Some(OsStr::new(bridge::FILE))
                && is_predecessor(&path)?
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_predecessor(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(data) if data.is_file() && data.len() <= LARGEST_PLUGIN => {}
        // A link to nowhere, a folder: nothing that a host would load.
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.contains("delegation_read") && !text.starts_with("// Brigade"))
}

/// The config files in a folder that load the predecessor as a package.
pub(crate) fn loads_predecessor(folder: &Path) -> Vec<PathBuf> {
    let names = ["opencode.json", "opencode.jsonc"];
    let loads = |path: &PathBuf| {
        fs::read_to_string(path).is_ok_and(|text| text.contains("background-agents"))
    };
    names
        .map(|name| folder.join(name))
        .into_iter()
        .filter(loads)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        for folder in [&a, &b] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("tool"), "").unwrap();
        }
        let path = std::env::join_paths([&a, &b]).unwrap();
        assert_eq!(which("tool", Some(&path)), None, "neither is executable");
        fs::set_permissions(b.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(which("tool", Some(&path)), Some(b.join("tool")));
        assert_eq!(which("tool", None), None);
    }

    #[test]
    fn the_program_behind_npms_link_and_script_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let package = top.join("node_modules/opencode-ai/bin");
        fs::create_dir_all(&package).unwrap();
        fs::create_dir_all(top.join("node_modules/.bin")).unwrap();
        let shim = package.join("opencode");
        fs::write(&shim, "#!/usr/bin/env node\n").unwrap();
        let link = top.join("node_modules/.bin/opencode");
        std::os::unix::fs::symlink("../opencode-ai/bin/opencode", &link).unwrap();
        let error = real_program(&link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        for name in packages().collect::<Vec<_>>().iter().rev() {
            let own = top.join("node_modules").join(name).join("bin");
            fs::create_dir_all(&own).unwrap();
            fs::write(own.join("opencode"), "\x7fELF").unwrap();
            assert_eq!(
                real_program(&link).unwrap(),
                own.join("opencode"),
                "the fittest"
            );
        }
        fs::write(&shim, "\x7fELF").unwrap();
        assert_eq!(real_program(&link).unwrap(), shim);
        assert!(real_program(&top.join("absent")).is_err());
    }

    #[test]
    fn a_project_ends_at_its_git_folder() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("repo/src/deep");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(project_top(&deep), deep);
        fs::write(dir.path().join("repo/.git"), "gitdir: elsewhere").unwrap();
        assert_eq!(project_top(&deep), dir.path().join("repo"));
    }

    #[test]
    fn the_predecessor_is_known_by_its_tools() {
        let dir = tempfile::tempdir().unwrap();
        assert!(predecessors(dir.path()).unwrap().is_empty());
        let folder = dir.path().join("plugins");
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("background-agents.ts"),
            "tool: { delegation_read: x }",
        )
        .unwrap();
        fs::write(folder.join("other.ts"), "hello").unwrap();
        fs::write(folder.join("notes.md"), "delegation_read").unwrap();
        std::os::unix::fs::symlink("/no/such", folder.join("gone.ts")).unwrap();
        fs::create_dir(folder.join("folder.js")).unwrap();
        fs::write(folder.join(bridge::FILE), bridge::text(None)).unwrap();
        assert_eq!(
            predecessors(dir.path()).unwrap(),
            [folder.join("background-agents.ts")]
        );
    }
}
