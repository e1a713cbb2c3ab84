//! What a confined server of OpenCode needs besides the folders that its work is in.
//!
//! Measured on 1.18.33 (`docs/confinement.md`): it writes to its database, its log and the files with long outputs
//! of tools. Where its config folders can't be written to, it installs no packages there, says so in its log and goes
//! on at once. Where the state and cache folders can't, nothing new is fetched: what is there is used.
//! Snapshots it could not do without a prompt failing, so they are turned off: nobody undoes a worktree's steps, and
//! a repository that other hosts run git in must not be open to a child's hooks and settings.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// What tells the bridge that the kernel confines it: the variables that are others in there than in the person's
/// surroundings, as JSON with their values there.
pub const CONFINED: &str = "BRIGADE_CONFINED";
/// What OpenCode reads as its configuration over all files.
const CONFIG: &str = "OPENCODE_CONFIG_CONTENT";
const TEMPORARY: &str = "TMPDIR";

/// What confines a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confine {
    /// The folders that its work is in, if it is to change any.
    pub folders: Vec<PathBuf>,
    /// What it may write to besides, as far as that is there.
    pub also: Vec<PathBuf>,
    /// Its folder for temporary files.
    pub temporary: PathBuf,
}

/// What a confined server may write to.
#[derive(Debug)]
pub(super) struct Writable {
    /// Files, and folders with all that is in them.
    pub(super) own: Vec<PathBuf>,
    /// Folders in which it may make, change and remove plain files: the person's own hosts use them, too.
    pub(super) plain: Vec<PathBuf>,
}

/// What a server with these variables may write to. What it needs and can't make itself is made.
pub(super) fn writable(
    confine: &Confine,
    variables: &BTreeMap<String, String>,
) -> io::Result<Writable> {
    make_folder(&confine.temporary)?;
    let mut plain = Vec::new();
    let mut writable = vec![confine.temporary.clone()];
    writable.extend(confine.folders.iter().cloned());
    let also = confine.also.iter().filter(|path| path.exists());
    writable.extend(also.cloned());
    let data = data_folder(variables)?;
    for folder in ["log", "tool-output"] {
        let folder = data.join(folder);
        make_folder(&folder)?;
        plain.push(folder);
    }
    // By their names, and not the folder: credentials and programs that hosts run are beside them. Who has them open
    // keeps them from being removed.
    for database in databases(&data, variables)? {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = database.clone().into_os_string();
            name.push(suffix);
            let file = PathBuf::from(name);
            if !suffix.is_empty() {
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .mode(0o600)
                    .open(&file)
                    .map_err(|error| named(&file, &error))?;
            }
            writable.push(file);
        }
    }
    Ok(Writable {
        own: writable,
        plain,
    })
}

/// The variables that are to be others for a confined server.
pub(super) fn surroundings(
    confine: &Confine,
    variables: &BTreeMap<String, String>,
) -> io::Result<BTreeMap<String, String>> {
    let config = without_snapshots(variables.get(CONFIG).map(String::as_str))?;
    let temporary = confine.temporary.display().to_string();
    let mut changed: BTreeMap<String, String> = [(TEMPORARY, temporary), (CONFIG, config)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let theirs: Map<String, Value> = changed
        .keys()
        .map(|name| (name.clone(), variables.get(name).cloned().into()))
        .collect();
    changed.insert(CONFINED.to_owned(), Value::from(theirs).to_string());
    Ok(changed)
}

fn without_snapshots(config: Option<&str>) -> io::Result<String> {
    let own = config.filter(|text| !text.trim().is_empty());
    let parsed: Value = match own {
        // OpenCode takes comments in it.
        Some(text) => jsonc_parser::parse_to_serde_value(text, &Default::default())
            .map_err(|error| io::Error::other(format!("{CONFIG} can't be read: {error}")))?,
        None => Value::Object(Map::new()),
    };
    let Value::Object(mut config) = parsed else {
        return Err(io::Error::other(format!("{CONFIG} is no object of JSON")));
    };
    config.insert("snapshot".to_owned(), false.into());
    Ok(Value::Object(config).to_string())
}

/// OpenCode's data folder, by its own rules.
fn data_folder(variables: &BTreeMap<String, String>) -> io::Result<PathBuf> {
    let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => Ok(Path::new(data).join("opencode")),
        (None, Some(home)) => Ok(Path::new(home).join(".local/share/opencode")),
        (None, None) => Err(io::Error::other(
            "the environment names no home folder: OpenCode's files can't be found",
        )),
    }
}

fn databases(data: &Path, variables: &BTreeMap<String, String>) -> io::Result<Vec<PathBuf>> {
    let named = variables
        .get("OPENCODE_DB")
        .filter(|value| !value.is_empty());
    let found: Vec<PathBuf> = match named {
        Some(name) if name == ":memory:" => return Ok(Vec::new()),
        Some(name) => Some(data.join(name))
            .filter(|file| file.is_file())
            .into_iter()
            .collect(),
        // Builds of other channels have another one each.
        None => fs::read_dir(data)?
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("opencode") && name.ends_with(".db")
            })
            .map(|entry| entry.path())
            .collect(),
    };
    if found.is_empty() {
        // The first that opens it writes other files beside it, which a confined one could not.
        let why = format!(
            "OpenCode has no database in {} yet, and a confined server can make none: start it once",
            data.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(found)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| named(folder, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn confine(root: &Path) -> Confine {
        Confine {
            folders: vec![root.join("tree")],
            also: vec![root.join("cache"), root.join("nowhere")],
            temporary: root.join("tmp"),
        }
    }

    #[test]
    fn only_what_it_writes_to_is_writable_and_what_is_missing_is_made() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let data = root.join("share/opencode");
        fs::create_dir_all(&data).unwrap();
        let host = variables(&[("XDG_DATA_HOME", root.join("share").to_str().unwrap())]);
        let error = writable(&confine(root), &host).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
        for file in ["opencode.db", "auth.json", "opencode.db-wal"] {
            fs::write(data.join(file), file).unwrap();
        }
        fs::create_dir(root.join("cache")).unwrap();
        let Writable { own, plain } = writable(&confine(root), &host).unwrap();
        let names = |mut paths: Vec<PathBuf>| {
            paths.sort();
            let name = |path: PathBuf| path.strip_prefix(root).unwrap().display().to_string();
            paths.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(own),
            [
                "cache",
                "share/opencode/opencode.db",
                "share/opencode/opencode.db-shm",
                "share/opencode/opencode.db-wal",
                "tmp",
                "tree",
            ]
        );
        assert_eq!(
            names(plain),
            ["share/opencode/log", "share/opencode/tool-output"]
        );
        assert!(data.join("opencode.db-shm").is_file() && data.join("tool-output").is_dir());
        // What was there stays.
        let log = fs::read_to_string(data.join("opencode.db-wal")).unwrap();
        assert_eq!(log, "opencode.db-wal");
    }

    #[test]
    fn another_database_is_found_where_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join(".local/share/opencode")).unwrap();
        let elsewhere = root.join("else.db");
        fs::write(&elsewhere, "").unwrap();
        let home = root.to_str().unwrap();
        let host = variables(&[("HOME", home), ("OPENCODE_DB", elsewhere.to_str().unwrap())]);
        assert!(
            writable(&confine(root), &host)
                .unwrap()
                .own
                .contains(&elsewhere)
        );
        let memory = variables(&[("HOME", home), ("OPENCODE_DB", ":memory:")]);
        assert_eq!(writable(&confine(root), &memory).unwrap().own.len(), 2);
    }

    #[test]
    fn the_persons_own_values_are_handed_on_beside_what_is_changed() {
        let root = Path::new("/w");
        let host = variables(&[
            (CONFIG, "{\"model\": \"a/b\", // mine\n}"),
            ("PATH", "/bin"),
        ]);
        let changed = surroundings(&confine(root), &host).unwrap();
        assert_eq!(changed[TEMPORARY], "/w/tmp");
        let config: Value = serde_json::from_str(&changed[CONFIG]).unwrap();
        assert_eq!(
            config,
            serde_json::json!({"model": "a/b", "snapshot": false})
        );
        let theirs: Value = serde_json::from_str(&changed[CONFINED]).unwrap();
        let expected = serde_json::json!({TEMPORARY: null, CONFIG: host[CONFIG]});
        assert_eq!(theirs, expected);
        let bad = variables(&[(CONFIG, "[]")]);
        assert!(surroundings(&confine(root), &bad).is_err());
    }
}
