//! The bridge's file: what it is made of, where it is put, and whose a file there is.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The bridge that this binary carries.
const SOURCE: &str = include_str!("../../../bridges/opencode/bridge.js");
/// Its version: bridge and binary are built together.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How the file begins.
const HEADER: &str = "// Brigade's bridge";
/// Where the bridge names the binary that it starts.
const PROGRAM: &str = r#"env.BRIGADE_BIN || "brigade""#;
/// How the last line begins, which names the version and seals what stands above it.
const SEAL: &str = "// Installed by brigade ";
/// What stands in it between the version and the digest.
const DIGEST: &str = "; changes are lost with the next install; sha256 ";
/// The file's name.
pub(crate) const FILE: &str = "brigade.js";
/// The folders that OpenCode scans, inside a config folder.
pub(crate) const FOLDERS: [&str; 2] = ["plugin", "plugins"];

/// The bridge as it is to be installed. `program` is named in it where `brigade` alone would not be
/// found by the host.
pub(crate) fn text(program: Option<&Path>) -> String {
    let text = match program {
        Some(path) => {
            let path = serde_json::Value::from(path.to_string_lossy());
            SOURCE.replacen(PROGRAM, &format!("env.BRIGADE_BIN || {path}"), 1)
        }
        None => SOURCE.to_owned(),
    };
    sealed(text)
}

/// A file of ours with a last line that names its version and seals what stands above it.
pub(crate) fn sealed(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let seal = format!("{SEAL}{VERSION}{DIGEST}{}\n", digest(&text));
    text + &seal
}

/// The program that a bridge starts.
pub(crate) fn program(text: &str) -> Option<String> {
    let (before, _) = PROGRAM.split_once('"')?;
    let rest = &text[text.find(before)? + before.len()..];
    serde_json::Deserializer::from_str(rest)
        .into_iter()
        .next()?
        .ok()
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A file that stands where the bridge goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// None.
    Nothing,
    /// Not ours.
    Foreign,
    /// A bridge, or whatever file of ours was looked for.
    Bridge {
        /// Its version; none if it doesn't say.
        version: Option<String>,
        /// Whether it is as it was installed.
        sealed: bool,
        /// The whole file.
        text: String,
    },
}

/// Looks at a file where the bridge goes.
pub(crate) fn look(path: &Path) -> io::Result<Found> {
    look_for(path, HEADER)
}

/// Looks at a file that is ours if it begins with this.
pub(crate) fn look_for(path: &Path, header: &str) -> io::Result<Found> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    if !text.starts_with(header) {
        return Ok(Found::Foreign);
    }
    let (version, sealed) = match seal(&text) {
        Some((version, sealed)) => (Some(version.to_owned()), sealed),
        None => (None, false),
    };
    Ok(Found::Bridge {
        version,
        sealed,
        text,
    })
}

/// The version in the last line, and whether what stands above it is as it was installed.
fn seal(text: &str) -> Option<(&str, bool)> {
    let (above, last) = text.trim_end().rsplit_once('\n')?;
    let (version, seal) = last.strip_prefix(SEAL)?.split_once(DIGEST)?;
    Some((version, seal == digest(&format!("{above}\n"))))
}

/// All bridges in a config folder.
pub(crate) fn all(folder: &Path) -> io::Result<Vec<(PathBuf, Found)>> {
    let mut found = Vec::new();
    for name in FOLDERS {
        let path = folder.join(name).join(FILE);
        match look(&path)? {
            Found::Nothing => {}
            there => found.push((path, there)),
        }
    }
    Ok(found)
}

/// Where the bridge goes in a config folder: where one is, else into the scanned folder that is
/// there.
pub(crate) fn place(folder: &Path) -> PathBuf {
    let folders = FOLDERS.map(|name| folder.join(name));
    let holds = |path: &&PathBuf| path.join(FILE).exists();
    let chosen = folders
        .iter()
        .find(holds)
        .or_else(|| folders.iter().find(|path| path.is_dir()));
    chosen.unwrap_or(&folders[0]).join(FILE)
}

/// Writes a file as a whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Not ending in `.js`: the host may be scanning right now.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o644)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error tells; there may be no file to remove.
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_has_what_the_installer_counts_on() {
        assert!(SOURCE.starts_with(HEADER));
        let names_version =
            |line: &str| line.contains("VERSION") && line.contains(&format!("{VERSION:?}"));
        assert!(
            SOURCE.lines().any(names_version),
            "the bridge is of another version"
        );
        assert_eq!(SOURCE.matches(PROGRAM).count(), 1);
        assert!(!SOURCE.contains(SEAL));
    }

    #[test]
    fn the_binarys_path_is_named_where_it_is_needed() {
        let text = text(Some(Path::new("/a \"b\"/brigade")));
        assert!(text.contains(r#"env.BRIGADE_BIN || "/a \"b\"/brigade""#));
        assert!(!text.contains(PROGRAM));
        assert_eq!(program(&text).as_deref(), Some("/a \"b\"/brigade"));
        assert_eq!(program(SOURCE).as_deref(), Some("brigade"));
        assert_eq!(seal(&text), Some((VERSION, true)));
    }

    #[test]
    fn an_edited_bridge_is_told_from_an_installed_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(look(&path).unwrap(), Found::Nothing);
        write(&path, &text(None)).unwrap();
        let version = Some(VERSION.to_owned());
        assert_eq!(
            look(&path).unwrap(),
            Found::Bridge {
                version,
                sealed: true,
                text: text(None)
            }
        );
        fs::write(&path, text(None).replacen("import", "/**/ import", 1)).unwrap();
        assert!(matches!(
            look(&path).unwrap(),
            Found::Bridge { sealed: false, .. }
        ));
        fs::write(&path, "export default {}").unwrap();
        assert_eq!(look(&path).unwrap(), Found::Foreign);
    }

    #[test]
    fn writing_leaves_nothing_else_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = place(dir.path());
        assert_eq!(path, dir.path().join("plugin").join(FILE));
        write(&path, "1").unwrap();
        write(&path, "2").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_folder_that_is_there_is_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        assert_eq!(place(dir.path()), dir.path().join("plugins").join(FILE));
        fs::create_dir(dir.path().join("plugin")).unwrap();
        assert_eq!(place(dir.path()), dir.path().join("plugin").join(FILE));
        fs::write(dir.path().join("plugins").join(FILE), "").unwrap();
        assert_eq!(place(dir.path()), dir.path().join("plugins").join(FILE));
    }
}
