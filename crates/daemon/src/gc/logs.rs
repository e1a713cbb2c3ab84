//! Logs that nobody needs any more.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use brigade_core::text::line::size as amount;
use brigade_protocol::gc::{Fate, Finding, FindingKind};

/// The logs' names begin so, and of each kind so many are kept, the newest.
const KEPT: [(&str, usize); 2] = [("daemon", 8), ("server-", 5)];

/// An old log.
pub(crate) struct Old {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    kept: usize,
}

impl Old {
    pub(super) fn finding(&self) -> Finding {
        Finding {
            kind: FindingKind::OldLog,
            subject: self.path.display().to_string(),
            what: format!(
                "{}, older than the {} newest of its kind",
                amount(self.size),
                self.kept
            ),
            fate: Fate::Planned,
            action: "remove it".to_owned(),
        }
    }
}

/// A log, by name and path.
pub(super) type Log = (String, PathBuf, Metadata);

/// The logs in this folder. To be called before the servers on record are read, so that none of a server that
/// was begun meanwhile is taken for one that nobody needs.
pub(super) fn all(folder: &Path) -> Vec<Log> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let meta = entry.metadata().ok().filter(Metadata::is_file)?;
            name.ends_with(".log").then_some((name, entry.path(), meta))
        })
        .collect()
}

/// Those beyond the newest, without those of servers that are on record.
pub(super) fn old(logs: &[Log], servers: &[String]) -> Vec<Old> {
    let in_use: Vec<String> = servers
        .iter()
        .map(|id| format!("server-{id}.log"))
        .collect();
    let mut old = Vec::new();
    for (kind, kept) in KEPT {
        let mut of_kind: Vec<_> = logs
            .iter()
            .filter(|(name, ..)| name.starts_with(kind) && !in_use.contains(name))
            .collect();
        let changed = |meta: &Metadata| meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        of_kind.sort_by(|(a, _, one), (b, _, other)| (changed(other), b).cmp(&(changed(one), a)));
        old.extend(of_kind.into_iter().skip(kept).map(|(_, path, meta)| Old {
            path: path.clone(),
            size: meta.len(),
            kept,
        }));
    }
    old
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::time::Duration;

    #[test]
    fn the_newest_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let log = |name: &str, age: u64| {
            let path = folder.path().join(name);
            fs::write(&path, "line\n").unwrap();
            let at = SystemTime::now() - Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(at).unwrap();
        };
        log("daemon.log", 0);
        for n in 1..10 {
            log(&format!("daemon.{n}.log"), n * 100);
        }
        for n in 0..7 {
            log(&format!("server-s{n}.log"), n * 100);
        }
        log("notes.txt", 9_000);
        let names: Vec<_> = old(&all(folder.path()), &["s6".to_owned()])
            .iter()
            .map(|old| old.path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["daemon.8.log", "daemon.9.log", "server-s5.log"]);
    }
}
