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
