//! A plan, carried out under a journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::bytes;
use crate::collect::{ChangeKind, pack};
use crate::disk::{Kind, beside, kind_beneath, make_folder, remove_folder, sync_folder};
use crate::error::{Fault, WriteError, io_at};
use crate::found::{Found, look_at};
use crate::git::Git;
use crate::journal::{
    DONE, Entry, Folder, Journal, PENDING, clear, make_beneath, put, sync_all, take_back, temporary,
};
use crate::place::Step;
use crate::plan::{Operation, Plan};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The files, by path.
    pub files: Vec<(PathBuf, ChangeKind)>,
    /// The tree's state before, as git names it: with `after` it undoes this.
    pub before: String,
    /// The tree's state afterwards.
    pub after: String,
}

/// Writes what is planned into the person's working tree, and nothing else: no index, no ref. Filter
/// programs of the person's (like LFS) run as in a checkout.
///
/// `journal` is a folder of its own for this apply. What each file was is durably in there before the
/// first is touched; a cancel or a failure midway takes everything back from it, and after a crash
/// [`roll_back`](crate::roll_back) does.
///
/// # Errors
/// With conflicts, unless the plan is to write markers; when a file is not as it was planned; when
/// it is cancelled; when git or the disk fails. Everything is as before then, unless the error says
/// otherwise.
pub async fn write(
    plan: &Plan,
    journal: &Path,
    cancel: &CancellationToken,
    step: &Step,
) -> Result<Written, WriteError> {
    let in_the_way = |conflict: &&crate::Conflict| {
        !plan.marked || conflict.kind == crate::ConflictKind::InTheWay
    };
    let count = plan.conflicts.iter().filter(in_the_way).count();
    if count > 0 {
        return Err(WriteError::Conflicts { count });
    }
    if journal.join(PENDING).exists() {
        return Err(WriteError::Unfinished {
            journal: journal.to_owned(),
        });
    }
    remove_folder(journal)?;
    make_folder(&journal.join("new"))?;
    pack(&plan.place, &[], &plan.before, &plan.after).await?;
    contents(plan, journal).await?;
    step("apply-contents");

    let (plan, folder, cancel, step) = (
        plan.clone(),
        journal.to_owned(),
        cancel.clone(),
        step.clone(),
    );
    let written = beside(move || Ok(carry_out(&plan, &folder, &cancel, &step)));
    written.await?
}

/// Has git write the new files, as a checkout would, beside the journal.
async fn contents(plan: &Plan, journal: &Path) -> Result<(), Fault> {
    let index = plan.place.index("apply");
    Git::of_vault_over(&plan.place, &plan.place.nowhere(), &index)
        .args(["read-tree", &plan.after])
        .output()
        .await?;
    let there = plan
        .operations
        .iter()
        .filter(|operation| operation.change.after.is_some());
    let mut prefix = std::ffi::OsString::from("--prefix=");
    prefix.push(journal.join("new"));
    prefix.push("/");
    Git::of_person(&plan.place, &plan.repository, &index)
        .args(["checkout-index", "--quiet", "-z", "--stdin"])
        .arg(prefix)
        .reading(bytes::listed(there.map(Operation::path)))
        .output()
        .await
        .map(drop)
}

fn carry_out(
    plan: &Plan,
    folder: &Path,
    cancel: &CancellationToken,
    step: &Step,
) -> Result<Written, WriteError> {
    let journal = prepare(plan, folder)?;
    for entry in &journal.entries {
        if !is_as_before(&journal, entry)? {
            return Err(WriteError::Changed {
                path: entry.path.clone(),
                rolled_back: crate::RolledBack::default(),
            });
        }
    }
    journal.begin(folder)?;
    step("apply-journal");
    match go(&journal, folder, cancel, step).and_then(|()| {
        let pending = folder.join(PENDING);
        fs::rename(&pending, folder.join(DONE)).map_err(io_at("renaming", &pending))?;
        Ok(())
    }) {
        Ok(()) => {}
        Err(stop) => {
            let rolled_back = take_back(folder, step).map_err(|then| WriteError::Stuck {
                why: stop.to_string(),
                then,
                journal: folder.to_owned(),
            })?;
            return Err(stop.with(rolled_back));
        }
    }
    // The files are written and the journal says so; whether that is durable now or a moment later
    // makes no difference to a process that lives. After a power cut it may be taken back.
    let _ = sync_folder(folder);
    step("apply-done");
    // What stays of the copies goes with the journal.
    let _ = clear(folder);
    let mut files: Vec<_> = plan
        .operations
        .iter()
        .map(|operation| (operation.path().to_owned(), operation.kind()))
        .collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(Written {
        files,
        before: plan.before.clone(),
        after: plan.after.clone(),
    })
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("it was cancelled")]
    Cancelled,
    #[error("{} was changed just now", .0.display())]
    Changed(PathBuf),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Stop {
    fn with(self, rolled_back: crate::RolledBack) -> WriteError {
        match self {
            Self::Cancelled => WriteError::Cancelled { rolled_back },
            Self::Changed(path) => WriteError::Changed { path, rolled_back },
            Self::Fault(why) => WriteError::Failed { why, rolled_back },
        }
    }
}

fn go(
    journal: &Journal,
    folder: &Path,
    cancel: &CancellationToken,
    step: &Step,
) -> Result<(), Stop> {
    for (number, entry) in journal.entries.iter().enumerate() {
        if cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        let parent = entry.path.parent().unwrap_or(Path::new(""));
        if entry.after != Found::Nothing {
            for made in journal
                .made
                .iter()
                .filter(|made| parent.starts_with(&made.path))
            {
                make_beneath(&journal.top, made)?;
            }
            // A link that came to be among the folders would lead elsewhere.
            if kind_beneath(&journal.top, parent) != Kind::Folder {
                return Err(Stop::Changed(entry.path.clone()));
            }
        }
        if !is_as_before(journal, entry)? {
            return Err(Stop::Changed(entry.path.clone()));
        }
        // A folder whose files are gone gives way.
        if look_at(&journal.top, &entry.path)? == Found::Folder {
            let whole = journal.top.join(&entry.path);
            fs::remove_dir(&whole).map_err(io_at("removing", &whole))?;
        }
        let temporary = temporary(entry, &journal.mark, number);
        let new = folder.join("new").join(&entry.path);
        put(&journal.top, &entry.path, &temporary, &entry.after, &new)?;
        if entry.after == Found::Nothing {
            remove_empty(journal, parent);
        }
        step("apply-file");
    }
    sync_all(journal)?;
    Ok(())
}

fn is_as_before(journal: &Journal, entry: &Entry) -> Result<bool, Fault> {
    let now = look_at(&journal.top, &entry.path)?;
    Ok(now == entry.before || (entry.before == Found::Nothing && now == Found::Folder))
}

/// Removes folders that are empty now, as git does.
fn remove_empty(journal: &Journal, folder: &Path) {
    for folder in folder.ancestors() {
        // The first that is not empty ends it.
        if folder.as_os_str().is_empty() || fs::remove_dir(journal.top.join(folder)).is_err() {
            return;
        }
    }
}

/// What is going to be done, in order.
fn prepare(plan: &Plan, folder: &Path) -> Result<Journal, Fault> {
    let top = &plan.top;
    let mut there = BTreeMap::new();
    let mut made = BTreeMap::new();
    let mut entries = Vec::new();
    for operation in &plan.operations {
        let path = operation.path();
        let folders: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|folder| !folder.as_os_str().is_empty())
            .collect();
        // From the top down: what is missing is made like what it is made in.
        let mut mode = mode_of(top)?;
        for folder in folders.into_iter().rev() {
            if kind_beneath(top, folder) == Kind::Folder {
                mode = mode_of(&top.join(folder))?;
                there.insert(folder.to_owned(), mode);
            } else if operation.change.after.is_some() {
                made.insert(folder.to_owned(), mode);
            }
        }
        // A folder that gives way to a file.
        note_folders(top, path, &mut there)?;
        let after = match &operation.change.after {
            None => Found::Nothing,
            Some(entry) => match look_at(&folder.join("new"), path)? {
                Found::File { sha256, .. } => Found::File {
                    mode: file_mode(&operation.found, mode, entry.is_executable()),
                    sha256,
                },
                link @ Found::Link { .. } => link,
                _ => {
                    return Err(Fault::Strange {
                        command: "checkout".to_owned(),
                        answer: format!("{} is not among what it has written", path.display()),
                    });
                }
            },
        };
        entries.push(Entry {
            path: path.to_owned(),
            before: operation.found.clone(),
            after,
        });
    }
    let deepest_first = |entry: &Entry| {
        let removed = entry.after == Found::Nothing;
        let depth = entry.path.components().count();
        (!removed, if removed { usize::MAX - depth } else { depth })
    };
    entries.sort_by(|one, other| {
        deepest_first(one)
            .cmp(&deepest_first(other))
            .then_with(|| one.path.cmp(&other.path))
    });
    let folders = |all: BTreeMap<PathBuf, u32>| {
        let folder = |(path, mode)| Folder { path, mode };
        all.into_iter().map(folder).collect()
    };
    let mark = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let mark: String = mark
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Journal {
        top: top.clone(),
        entries,
        there: folders(there),
        made: folders(made),
        mark: format!(".brigade-{mark}-"),
    })
}

fn note_folders(top: &Path, path: &Path, there: &mut BTreeMap<PathBuf, u32>) -> Result<(), Fault> {
    let mut open = BTreeSet::from([path.to_owned()]);
    while let Some(path) = open.pop_first() {
        if kind_beneath(top, &path) != Kind::Folder {
            continue;
        }
        let whole = top.join(&path);
        for entry in fs::read_dir(&whole).map_err(io_at("reading", &whole))? {
            open.insert(path.join(entry.map_err(io_at("reading", &whole))?.file_name()));
        }
        there.insert(path, mode_of(&whole)?);
    }
    Ok(())
}

fn mode_of(folder: &Path) -> Result<u32, Fault> {
    let found = fs::metadata(folder).map_err(io_at("reading", folder))?;
    Ok(found.permissions().mode() & 0o7777)
}

/// Who may do what with a file: as before, or with a new one as with its folder. This process's own
/// umask says nothing about the person's.
fn file_mode(before: &Found, folder: u32, executable: bool) -> u32 {
    let readers = match before {
        Found::File { mode, .. } => mode & !0o111,
        _ => (folder & 0o666) | 0o600,
    };
    if executable {
        readers | ((readers & 0o444) >> 2)
    } else {
        readers
    }
}
