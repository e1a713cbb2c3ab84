//! What lies in the folders of artifacts.

use std::fs::{DirEntry, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_core::text::artifact::{self, Header};

use super::{Place, Stray};
use crate::StorePaths;
use crate::artifacts::PARTS;

/// How long a folder must have been left alone to count as empty: who has just made it is about to write.
const SETTLED: Duration = Duration::from_secs(60);
/// How much of a file is read for its header.
const HEAD: u64 = 64 * 1024;

/// What was found.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) artifacts: Vec<Place>,
    pub(super) parts: Vec<(Place, u64)>,
    pub(super) folders: Vec<Folder>,
    pub(super) unreadable: Vec<Stray>,
}

/// The folder of a session or of a project.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// The root session; none for a project's.
    pub(super) root: Option<SessionId>,
    /// How many things are in it.
    pub(super) entries: usize,
    /// Whether nobody has changed it for a while.
    pub(super) settled: bool,
}

/// Looks through both places of artifacts, in the order of their names.
pub(super) fn walk(paths: &StorePaths) -> Walked {
    let mut walked = Walked::default();
    let mut places = vec![&paths.artifacts];
    if paths.predecessor != paths.artifacts {
        places.push(&paths.predecessor);
    }
    for place in places {
        for (path, project) in walked.folders_in::<ProjectId>(place) {
            let sessions = walked.folders_in::<SessionId>(&path);
            let entries = walked.count(&path);
            for (path, root) in sessions {
                walked.session(&path, &project, &root);
            }
            walked.folder(path, None, entries);
        }
    }
    walked
}

impl Walked {
    fn session(&mut self, path: &Path, project: &ProjectId, root: &SessionId) {
        let Some(entries) = self.entries(path) else {
            return;
        };
        for entry in &entries {
            let name = entry.file_name();
            let Some((id, ending)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let (Ok(id), Ok(meta)) = (id.parse::<DelegationId>(), entry.metadata()) else {
                continue;
            };
            if !meta.is_file() {
                continue;
            }
            let place = Place {
                path: entry.path(),
                project: project.clone(),
                root: root.clone(),
                id,
            };
            match ending {
                "md" => self.artifacts.push(place),
                part if PARTS.contains(&part) => self.parts.push((place, meta.len())),
                _ => {}
            }
        }
        self.folder(path.to_owned(), Some(root.clone()), Some(entries.len()));
    }

    fn folder(&mut self, path: PathBuf, root: Option<SessionId>, entries: Option<usize>) {
        let Some(entries) = entries else { return };
        let settled = std::fs::metadata(&path)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| {
                let age = SystemTime::now().duration_since(at);
                age.is_ok_and(|age| age >= SETTLED)
            });
        self.folders.push(Folder {
            path,
            root,
            entries,
            settled,
        });
    }

    /// The folders in a folder that are named like this kind of ID.
    fn folders_in<I: std::str::FromStr>(&mut self, path: &Path) -> Vec<(PathBuf, I)> {
        let entries = self.entries(path).unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse().ok()?)))
            .collect()
    }

    fn count(&mut self, path: &Path) -> Option<usize> {
        std::fs::read_dir(path).ok().map(Iterator::count)
    }

    /// What is in a folder; none where it is gone or can't be read, which is noted.
    fn entries(&mut self, path: &Path) -> Option<Vec<DirEntry>> {
        let listed = std::fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        match listed {
            Ok(mut entries) => {
                entries.sort_by_key(DirEntry::file_name);
                Some(entries)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.unreadable.push(Stray::Unreadable {
                    path: path.to_owned(),
                    why: error.to_string(),
                });
                None
            }
        }
    }
}

/// The header of a file; none where it is no artifact.
pub(super) fn header(path: &Path) -> io::Result<Option<Header>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut bytes)?;
    let head = String::from_utf8_lossy(&bytes);
    Ok(artifact::parse(&head).ok().map(|artifact| artifact.header))
}

/// Whether there is something at this path; what can't be looked at may be there.
pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(Metadata::is_file(&meta)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
