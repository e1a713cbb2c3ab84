//! Comparing files and records.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use brigade_core::id::{DelegationId, ProjectId, SessionId};
use rusqlite::Connection;

use super::walk::{self, Folder, Walked};
use super::{Left, Place, Stray, Unfit};
use crate::rows::parsed;
use crate::{StorePaths, artifacts};

/// The records, by their IDs.
pub(super) type Records = HashMap<DelegationId, Recorded>;

/// What of a record decides about its files.
pub(super) struct Recorded {
    project: ProjectId,
    root: SessionId,
    active: bool,
    artifact: Option<PathBuf>,
    /// Whether the store holds its text.
    text: bool,
    /// Whether it ended without an answer: its artifact may well be without text.
    unanswered: bool,
}

/// All records. Those without an artifact that ended without any text need none to be written from.
pub(super) fn records(db: &Connection) -> rusqlite::Result<Records> {
    db.prepare_cached(
        "SELECT d.id, d.project, d.root, d.active, d.artifact, d.state <> 'complete',
                EXISTS (SELECT 1 FROM texts t WHERE t.delegation = d.seq)
         FROM delegations d",
    )?
    .query_map([], |row| {
        let artifact: Option<String> = row.get(4)?;
        let recorded = Recorded {
            project: parsed(&row.get::<_, String>(1)?)?,
            root: parsed(&row.get::<_, String>(2)?)?,
            active: row.get(3)?,
            artifact: artifact.map(Into::into),
            unanswered: row.get(5)?,
            text: row.get(6)?,
        };
        Ok((parsed(&row.get::<_, String>(0)?)?, recorded))
    })?
    .collect()
}

/// What is not as it should be, in an order that can be mended one after the other.
pub(super) fn compare(paths: &StorePaths, walked: Walked, records: &Records) -> Vec<Stray> {
    let Walked {
        artifacts,
        parts,
        folders,
        unreadable,
    } = walked;
    let mut strays = unreadable;
    let found: HashMap<(&ProjectId, &SessionId, &DelegationId), &Path> = artifacts
        .iter()
        .rev()
        .map(|place| {
            (
                (&place.project, &place.root, &place.id),
                place.path.as_path(),
            )
        })
        .collect();
    let missing = missing(paths, records, &found, &mut strays);
    strays.extend(unrecorded(&artifacts, records));
    let mut needless = HashMap::new();
    for (place, size) in &parts {
        let recorded = records.get(&place.id);
        if recorded.is_some_and(|recorded| recorded.active) {
            // It is being written, or will be written anew.
            continue;
        }
        // Without its artifact and the store's text it may be all there is of a result.
        let safe = recorded.is_some_and(|recorded| {
            recorded.text || recorded.unanswered || !missing.contains(&place.id)
        });
        if safe && let Some(folder) = place.path.parent() {
            *needless.entry(folder.to_owned()).or_insert(0) += 1;
        }
        strays.push(Stray::Part {
            path: place.path.clone(),
            size: *size,
            needless: safe,
        });
    }
    let active: HashSet<&SessionId> = records
        .values()
        .filter(|recorded| recorded.active)
        .map(|recorded| &recorded.root)
        .collect();
    strays.extend(empty(&paths.artifacts, folders, needless, &active));
    strays
}

/// The records whose artifacts are not where they say.
fn missing(
    paths: &StorePaths,
    records: &Records,
    found: &HashMap<(&ProjectId, &SessionId, &DelegationId), &Path>,
    strays: &mut Vec<Stray>,
) -> HashSet<DelegationId> {
    let mut ids: Vec<_> = records
        .iter()
        .filter(|(_, recorded)| !recorded.active)
        .collect();
    ids.sort_by_key(|(id, _)| *id);
    let mut missing = HashSet::new();
    for (id, recorded) in ids {
        let path = recorded.artifact.clone().unwrap_or_else(|| {
            artifacts::path(&paths.artifacts, &recorded.project, &recorded.root, id)
        });
        match walk::is_there(&path) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                let why = error.to_string();
                strays.push(Stray::Unreadable { path, why });
                continue;
            }
        }
        let left = match found.get(&(&recorded.project, &recorded.root, id)) {
            Some(elsewhere) => Left::Moved((*elsewhere).to_owned()),
            None if recorded.text || recorded.unanswered => Left::Text,
            None => Left::Nothing,
        };
        missing.insert(id.clone());
        strays.push(Stray::Missing {
            id: id.clone(),
            path,
            left,
        });
    }
    missing
}

/// The artifacts of Brigade's that no record names.
fn unrecorded(artifacts: &[Place], records: &Records) -> Vec<Stray> {
    let mut strays = Vec::new();
    let mut heads = Vec::new();
    // Whose an ID is: a record's, else the predecessor's, else the first file's that claims it.
    let mut taken: HashMap<&DelegationId, PathBuf> = HashMap::new();
    for place in artifacts {
        let recorded = records.get(&place.id);
        if recorded.is_some_and(|own| own.project == place.project && own.root == place.root) {
            continue;
        }
        match walk::header(&place.path) {
            Ok(Some(header)) if header.is_brigades() => heads.push((place, header)),
            Ok(Some(_)) => {
                taken.insert(&place.id, place.path.clone());
            }
            Ok(None) => {}
            Err(error) => strays.push(Stray::Unreadable {
                path: place.path.clone(),
                why: error.to_string(),
            }),
        }
    }
    for (id, recorded) in records {
        if let Some(path) = &recorded.artifact {
            taken.insert(id, path.clone());
        }
    }
    // Lists go by the order of registration: the oldest is the first to be taken back.
    heads.sort_by_key(|(_, header)| header.started);
    for (place, header) in heads {
        let named = header.id.as_str();
        let why = if let Some(other) = taken.get(&place.id) {
            if same_file(other, &place.path) {
                continue;
            }
            Unfit::Clash(other.clone())
        } else if records.contains_key(&place.id) {
            // It has not ended, and belongs to another session.
            Unfit::Clash(PathBuf::new())
        } else if named != place.id.as_str() {
            Unfit::OtherId(named.to_owned())
        } else if header
            .status
            .as_ref()
            .is_ok_and(|state| state.is_terminal())
        {
            taken.insert(&place.id, place.path.clone());
            strays.push(Stray::Unrecorded(place.clone()));
            continue;
        } else {
            Unfit::NotEnded(match &header.status {
                Ok(state) => state.to_string(),
                Err(word) => word.to_string(),
            })
        };
        strays.push(Stray::Unfit {
            place: place.clone(),
            why,
        });
    }
    strays
}

/// Whether two names are of one file: folders may be links.
fn same_file(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The folders of ours in which nothing will be left, inner ones first.
fn empty(
    artifacts: &Path,
    folders: Vec<Folder>,
    mut going: HashMap<PathBuf, usize>,
    active: &HashSet<&SessionId>,
) -> Vec<Stray> {
    let mut empty = Vec::new();
    for folder in folders {
        let used = folder
            .root
            .as_ref()
            .is_some_and(|root| active.contains(root));
        let left = folder.entries - going.remove(&folder.path).unwrap_or(0).min(folder.entries);
        if left > 0 || used || !folder.settled || !folder.path.starts_with(artifacts) {
            continue;
        }
        if let Some(parent) = folder.path.parent() {
            *going.entry(parent.to_owned()).or_insert(0) += 1;
        }
        empty.push(Stray::EmptyFolder(folder.path));
    }
    empty
}
