//! Files and folders: looked at without following links, written so that they last, removed so that
//! a crash leaves nothing unexplained.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Fault, io_at};

/// What lies at a path, seen without following any link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or something that a link or file among the leading folders hides.
    Nothing,
    File,
    Link,
    Folder,
    /// A pipe, socket or device.
    Other,
}

/// What lies at `path` below `top`. Leading folders that are links or files hide it, as git has it.
pub(crate) fn kind_beneath(top: &Path, path: &Path) -> Kind {
    let mut at = top.to_owned();
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let found = match fs::symlink_metadata(&at) {
            Ok(found) => found,
            Err(why) if absent(&why) => return Kind::Nothing,
            // Something is there that can't be looked at, in a folder that was closed.
            Err(_) => return Kind::Other,
        };
        if parts.peek().is_none() {
            return kind(&found);
        }
        if !found.is_dir() {
            return Kind::Nothing;
        }
    }
    Kind::Folder
}

pub(crate) fn kind(found: &fs::Metadata) -> Kind {
    if found.is_file() {
        Kind::File
    } else if found.is_symlink() {
        Kind::Link
    } else if found.is_dir() {
        Kind::Folder
    } else {
        Kind::Other
    }
}

/// Removes all pipes below a folder, but for what is in its own `.git`. They hold nothing, and git would
/// wait forever on one that is called like a file it reads. Gives the folders below it, seen from there, that have a
/// `.git` of their own.
pub(crate) fn remove_pipes(top: &Path) -> Result<Vec<PathBuf>, Fault> {
    use std::os::unix::fs::FileTypeExt;
    let mut folders = vec![top.to_owned()];
    let mut repositories = Vec::new();
    while let Some(folder) = folders.pop() {
        // What can't be read is told by who takes the files.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = entry.path();
            if folder != top
                && entry.file_name() == ".git"
                && let Ok(below) = folder.strip_prefix(top)
            {
                repositories.push(below.to_owned());
            }
            if kind.is_dir() && (folder != top || entry.file_name() != ".git") {
                folders.push(path);
            } else if kind.is_fifo() {
                fs::remove_file(&path).map_err(io_at("removing the pipe", &path))?;
            }
        }
    }
    Ok(repositories)
}

/// Makes a folder and all above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Fault> {
    fs::create_dir_all(path).map_err(io_at("making", path))
}

/// Makes what a folder names last.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Fault> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io_at("syncing", path))
}

/// Writes a file so that after a crash it is there whole or not at all.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), Fault> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside).map_err(io_at("writing", &beside))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(io_at("writing", &beside))?;
    fs::rename(&beside, path).map_err(io_at("writing", path))?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Writes a file that a crash may lose.
pub(crate) fn write_plainly(path: &Path, content: &[u8]) -> Result<(), Fault> {
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    fs::write(path, content).map_err(io_at("writing", path))
}

/// A file's content; none where there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(why) if absent(&why) => Ok(None),
        Err(why) => Err(io_at("reading", path)(why)),
    }
}

/// Copies a file where there is one.
pub(crate) fn copy_if_there(from: &Path, to: &Path) -> Result<bool, Fault> {
    match read_if_there(from)? {
        Some(content) => write_plainly(to, &content).map(|()| true),
        None => Ok(false),
    }
}

/// Copies an index where there is one, with the time of its last change, which it gives: what an index says of files
/// that are no older is doubted by git, and must be of the copy.
pub(crate) fn copy_index_file(from: &Path, to: &Path) -> Result<Option<SystemTime>, Fault> {
    let mut file = match File::open(from) {
        Ok(file) => file,
        Err(why) if absent(&why) => return Ok(None),
        Err(why) => return Err(io_at("reading", from)(why)),
    };
    let mut content = Vec::new();
    let changed = file
        .metadata()
        .and_then(|found| found.modified())
        .and_then(|changed| file.read_to_end(&mut content).map(|_| changed))
        .map_err(io_at("reading", from))?;
    write_plainly(to, &content)?;
    set_changed(to, changed)?;
    Ok(Some(changed))
}

/// Says when a file was changed last.
pub(crate) fn set_changed(path: &Path, changed: SystemTime) -> Result<(), Fault> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(changed))
        .map_err(io_at("writing", path))
}

pub(crate) fn absent(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether a file can be read. Opening a pipe could take forever, so the kind is looked at before.
pub(crate) fn readable(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).open(path).map(drop)
}

/// Removes a folder with all in it, also where a child has taken the right to from folders.
/// What is not there is removed already.
pub(crate) fn remove_folder(path: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(why) if absent(&why) => return Ok(()),
        Err(_) => {}
    }
    open_up(path);
    match fs::remove_dir_all(path) {
        Err(why) if !absent(&why) => Err(io_at("removing", path)(why)),
        _ => Ok(()),
    }
}

/// Gives the owner back the rights on all folders. What can't be changed is told by the removal.
fn open_up(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// The mark of what is on its way out.
/// What the name of a folder begins with that is on its way out.
pub const GONE: &str = ".gone-";

/// Removes a folder by renaming it first: a crash leaves what is known to be on its way out, in the
/// same parent, and never half a folder under its own name.
pub(crate) fn remove_aside(path: &Path) -> Result<(), Fault> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let mut number = 0_u32;
    let aside = loop {
        let mut aside = std::ffi::OsString::from(GONE);
        aside.push(name);
        aside.push(format!("-{number}"));
        let aside = parent.join(aside);
        if fs::symlink_metadata(&aside).is_err() {
            break aside;
        }
        number += 1;
    };
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(why) if absent(&why) => return Ok(()),
        Err(why) => return Err(io_at("renaming", path)(why)),
    }
    sync_folder(parent)?;
    remove_folder(&aside)
}

/// Removes what earlier removals have left in a folder.
pub(crate) fn sweep(parent: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(why) if absent(&why) => return Ok(Vec::new()),
        Err(why) => return Err(io_at("reading", parent)(why)),
    };
    let mut swept = Vec::new();
    // One that can't be removed keeps none of the others.
    let mut failure = None;
    for entry in entries {
        let entry = entry.map_err(io_at("reading", parent))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(GONE.as_bytes())
        {
            match remove_folder(&entry.path()) {
                Ok(()) => swept.push(entry.path()),
                Err(fault) => failure = Some(fault),
            }
        }
    }
    match failure {
        Some(fault) => Err(fault),
        None => Ok(swept),
    }
}

/// The bytes on disk below a path: what is linked twice counts once, links are not followed.
pub(crate) fn bytes_on_disk(path: &Path) -> u64 {
    fn add(path: &Path, seen: &mut std::collections::HashSet<(u64, u64)>) -> u64 {
        let Ok(found) = fs::symlink_metadata(path) else {
            return 0;
        };
        if found.nlink() > 1 && !found.is_dir() && !seen.insert((found.dev(), found.ino())) {
            return 0;
        }
        let mut bytes = found.blocks() * 512;
        if found.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                bytes += add(&entry.path(), seen);
            }
        }
        bytes
    }
    add(path, &mut std::collections::HashSet::new())
}

/// Runs what takes long on the disk beside the runtime.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels it.
            Err(ended) => Err(io_at("working in", Path::new("the background"))(
                io::Error::other(ended),
            )),
        },
    }
}
