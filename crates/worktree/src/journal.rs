//! The journal of an apply: what every file was, durably, before the first is touched.
//!
//! Its folder holds `pending.json` from before the first change until the last is durable, and
//! `copies/` of what the files were. Only its renaming to `done.json` makes an apply one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bytes::in_json;
use crate::disk::{
    Kind, absent, beside, kind_beneath, make_folder, read_if_there, remove_folder, sync_folder,
    write_durably,
};
use crate::error::{Fault, io_at};
use crate::found::{Found, look_at};
use crate::place::Step;

pub(crate) const PENDING: &str = "pending.json";
pub(crate) const DONE: &str = "done.json";
const ROLLED_BACK: &str = "rolled-back.json";

/// One file of an apply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(with = "in_json")]
    pub(crate) path: PathBuf,
    pub(crate) before: Found,
    pub(crate) after: Found,
}

/// A folder, and who may do what in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Folder {
    #[serde(with = "in_json")]
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
}

/// What is about to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Journal {
    #[serde(with = "in_json")]
    pub(crate) top: PathBuf,
    /// Removals first, the deepest first of all.
    pub(crate) entries: Vec<Entry>,
    /// The folders that are there and may be empty afterwards.
    pub(crate) there: Vec<Folder>,
    /// The folders that are made.
    pub(crate) made: Vec<Folder>,
    /// What the names of our temporary files begin with.
    pub(crate) mark: String,
}

/// A file that was left as somebody has made it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its path from the top.
    pub path: PathBuf,
    /// Where what it was before the apply is kept; none where there was no file.
    pub copy: Option<PathBuf>,
}

/// What was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolledBack {
    /// The files that are again as they were.
    pub restored: Vec<PathBuf>,
    /// Those that were changed by somebody else since, and were left.
    pub left: Vec<Left>,
}

/// Where the content of the entry with this number is kept.
pub(crate) fn copy_of(journal: &Path, number: usize) -> PathBuf {
    journal.join("copies").join(number.to_string())
}

/// Our temporary file for an entry.
pub(crate) fn temporary(entry: &Entry, mark: &str, number: usize) -> PathBuf {
    entry.path.with_file_name(format!("{mark}{number}"))
}

impl Journal {
    /// Writes what is about to be done. From here on it is taken back unless it is done.
    pub(crate) fn begin(&self, folder: &Path) -> Result<(), Fault> {
        make_folder(&folder.join("copies"))?;
        for (number, entry) in self.entries.iter().enumerate() {
            if matches!(entry.before, Found::File { .. }) {
                let from = self.top.join(&entry.path);
                let copy = copy_of(folder, number);
                fs::copy(&from, &copy)
                    .and_then(|_| File::open(&copy)?.sync_all())
                    .map_err(io_at("copying", &from))?;
            }
        }
        sync_folder(&folder.join("copies"))?;
        if let Some(above) = folder.parent() {
            sync_folder(above)?;
        }
        let path = folder.join(PENDING);
        let json = serde_json::to_vec(self).map_err(|why| Fault::Record {
            path: path.clone(),
            why: why.to_string(),
        })?;
        write_durably(&path, &json)
    }

    fn load(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(PENDING);
        let Some(content) = read_if_there(&path)? else {
            return Ok(None);
        };
        serde_json::from_slice(&content)
            .map(Some)
            .map_err(|why| Fault::Record {
                path,
                why: why.to_string(),
            })
    }
}

/// Whether the apply of a journal was done: everything is written, whatever happened then.
pub fn is_done(journal: &Path) -> bool {
    journal.join(DONE).exists()
}

/// Whether a journal is the only place of what files of the person's were: its apply was cut off and not taken back, or
/// files were left because somebody had changed them since.
pub fn is_open(journal: &Path) -> bool {
    let has_copies = || {
        let copies = fs::read_dir(journal.join("copies"));
        copies.is_ok_and(|mut copies| copies.next().is_some())
    };
    journal.join(PENDING).exists() || (journal.join(ROLLED_BACK).exists() && has_copies())
}

/// Takes an apply back that was cut off. It is never finished. A file that holds what the apply wrote
/// gets its old content; one that somebody has changed since is left, and its old content kept in the
/// journal. Where nothing is pending there is nothing to do; calling it again is safe at any time.
///
/// # Errors
/// When the disk fails. The journal stays, and it can be tried again.
pub async fn roll_back(journal: &Path, step: &Step) -> Result<RolledBack, Fault> {
    let (journal, step) = (journal.to_owned(), step.clone());
    beside(move || take_back(&journal, &step)).await
}

pub(crate) fn take_back(folder: &Path, step: &Step) -> Result<RolledBack, Fault> {
    let Some(journal) = Journal::load(folder)? else {
        // What was cut off before it began has changed nothing.
        if !folder.join(DONE).exists() && !folder.join(ROLLED_BACK).exists() {
            remove_folder(folder)?;
        }
        return Ok(RolledBack::default());
    };
    let top = &journal.top;
    let mut result = RolledBack::default();
    // First goes what was new, so that folders can be again where files were put.
    for (number, entry) in journal.entries.iter().enumerate().rev() {
        if leads_there(top, &entry.path) {
            let temporary = top.join(temporary(entry, &journal.mark, number));
            remove_file(&temporary)?;
        }
        if entry.before == Found::Nothing {
            undo(folder, &journal, number, &mut result)?;
            step("rollback-file");
        }
    }
    for made in journal.made.iter().rev() {
        // One that somebody has put something into stays.
        if look_at(top, &made.path)? == Found::Folder {
            let _ = fs::remove_dir(top.join(&made.path));
        }
    }
    for there in &journal.there {
        // What can't be a folder again is told by the files that were in it.
        if top.is_dir() && look_at(top, &there.path)? == Found::Nothing {
            let _ = make_beneath(top, there);
        }
    }
    for (number, entry) in journal.entries.iter().enumerate().rev() {
        if entry.before != Found::Nothing {
            undo(folder, &journal, number, &mut result)?;
            step("rollback-file");
        }
    }
    sync_all(&journal)?;
    let pending = folder.join(PENDING);
    fs::rename(&pending, folder.join(ROLLED_BACK)).map_err(io_at("renaming", &pending))?;
    sync_folder(folder)?;
    step("rollback-done");
    if result.left.is_empty() {
        clear(folder)?;
    }
    result.restored.sort();
    Ok(result)
}

fn undo(
    folder: &Path,
    journal: &Journal,
    number: usize,
    result: &mut RolledBack,
) -> Result<(), Fault> {
    let entry = &journal.entries[number];
    let now = look_at(&journal.top, &entry.path)?;
    let copy = copy_of(folder, number);
    let untouched = now == entry.before
        // A folder that was to give way to a file, and still does not.
        || (entry.before == Found::Nothing && now == Found::Folder);
    if untouched {
        return Ok(());
    }
    if now != entry.after || !leads_there(&journal.top, &entry.path) {
        result.left.push(Left {
            path: entry.path.clone(),
            copy: copy.exists().then_some(copy),
        });
        return Ok(());
    }
    let temporary = temporary(entry, &journal.mark, number);
    put(&journal.top, &entry.path, &temporary, &entry.before, &copy)?;
    result.restored.push(entry.path.clone());
    Ok(())
}

/// Whether the folder of a path is one below `top`, and no link that somebody has put there since.
fn leads_there(top: &Path, path: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    top.is_dir() && kind_beneath(top, parent) == Kind::Folder
}

/// Puts a file, a link or nothing at a path, at one stroke.
pub(crate) fn put(
    top: &Path,
    path: &Path,
    temporary: &Path,
    what: &Found,
    content: &Path,
) -> Result<(), Fault> {
    let (whole, temporary) = (top.join(path), top.join(temporary));
    match what {
        Found::File { mode, .. } => {
            let mut from = File::open(content).map_err(io_at("reading", content))?;
            let mut to = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
                .map_err(io_at("writing", &temporary))?;
            io::copy(&mut from, &mut to)
                .and_then(|_| to.set_permissions(fs::Permissions::from_mode(*mode)))
                .and_then(|()| to.sync_all())
                .map_err(io_at("writing", &temporary))?;
        }
        Found::Link { to } => {
            symlink(OsStr::from_bytes(to), &temporary).map_err(io_at("linking", &temporary))?;
        }
        Found::Nothing | Found::Folder | Found::Other => return remove_file(&whole),
    }
    fs::rename(&temporary, &whole).map_err(io_at("writing", &whole))
}

fn remove_file(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(why) if !absent(&why) => Err(io_at("removing", path)(why)),
        _ => Ok(()),
    }
}

/// Makes a folder below `top`, in which no link leads elsewhere.
pub(crate) fn make_beneath(top: &Path, folder: &Folder) -> Result<(), Fault> {
    let mut at = PathBuf::new();
    for part in folder.path.components() {
        let Component::Normal(part) = part else {
            continue;
        };
        at.push(part);
        let whole = top.join(&at);
        match look_at(top, &at)? {
            Found::Folder => {}
            Found::Nothing => fs::create_dir(&whole)
                .and_then(|()| fs::set_permissions(&whole, fs::Permissions::from_mode(folder.mode)))
                .map_err(io_at("making", &whole))?,
            _ => {
                return Err(io_at("making", &whole)(io::Error::from(
                    io::ErrorKind::NotADirectory,
                )));
            }
        }
    }
    Ok(())
}

/// Has all that was renamed and removed last.
pub(crate) fn sync_all(journal: &Journal) -> Result<(), Fault> {
    let mut folders = std::collections::BTreeSet::new();
    for entry in &journal.entries {
        // A folder that went is on record in the one above it.
        for folder in entry.path.ancestors().skip(1) {
            let whole = journal.top.join(folder);
            if whole.is_dir() {
                folders.insert(whole);
                break;
            }
        }
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))
}

/// Removes what is needed no more once it is decided how an apply ended.
pub(crate) fn clear(folder: &Path) -> Result<(), Fault> {
    remove_folder(&folder.join("copies"))?;
    remove_folder(&folder.join("new"))
}
