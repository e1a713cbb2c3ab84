//! An exclusive lock on a file, held for the life of a process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::process::ProcessId;

/// How long what a dead holder was just starting may hold its lock: as long as it takes to become another program.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// A lock that is held until it is dropped or its process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, or says with `None` that another process holds it. The file holds
    /// the holder's process ID, for people to look at, and is never removed: removing it would let
    /// two processes lock two files of one name.
    ///
    /// # Errors
    /// When the file can't be opened or locked.
    pub fn acquire(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Somebody may have cleaned the folder between opening and locking. What is locked then
            // is no longer what others will open.
            if !is_still(&file, path)? {
                continue;
            }
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            return Ok(Some(Self { _file: file }));
        }
    }
}

/// The process ID in a lock's file as long as its holder lives and holds it; looking takes nothing from it.
///
/// # Errors
/// When the file can't be read or looked at.
pub fn holder(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Shared: it is refused while somebody holds the lock, and two who look are not in each other's way.
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let holder = fs::read_to_string(path)?.trim().to_owned();
    let is_gone = |pid: u32| ProcessId::of(pid).is_none();
    if holder.parse().is_ok_and(is_gone) && comes_free(file)? {
        return Ok(None);
    }
    Ok(Some(holder))
}

/// Whether the lock of a holder that is gone comes free: a process that it was just starting has its files, too, until
/// it becomes another program. One that can't be seen from here (in another container) holds on.
fn comes_free(file: File) -> io::Result<bool> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(file.lock_shared()));
    match told.recv_timeout(LEFT_BEHIND) {
        Ok(locked) => locked.map(|()| true),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(false),
    }
}

/// Whether `file` is the one that stands at `path` now.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it_and_dropping_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::acquire(&path).unwrap().unwrap();
        assert!(Lock::acquire(&path).unwrap().is_none());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim(), std::process::id().to_string());
        assert_eq!(holder(&path).unwrap().as_deref(), Some(text.trim()));
        drop(first);
        assert_eq!(holder(&path).unwrap(), None);
        assert_eq!(holder(&dir.path().join("none")).unwrap(), None);
        assert!(Lock::acquire(&path).unwrap().is_some());
    }

    #[test]
    fn what_a_dead_holder_was_starting_is_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::acquire(&path).unwrap().unwrap();
        // A process that can't be: the ID is beyond what any system gives.
        fs::write(&path, "2147483646\n").unwrap();
        let looks = thread::spawn({
            let path = path.clone();
            move || holder(&path).unwrap()
        });
        drop(held);
        assert_eq!(looks.join().unwrap(), None);
        let _held = Lock::acquire(&path).unwrap().unwrap();
        fs::write(&path, "2147483646\n").unwrap();
        assert_eq!(holder(&path).unwrap().as_deref(), Some("2147483646"));
    }

    #[test]
    fn a_file_that_was_replaced_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        assert!(is_still(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_still(&file, &path).unwrap());
        let _other = File::create(&path).unwrap();
        assert!(!is_still(&file, &path).unwrap());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Lock::acquire(&dir.path().join("no/lock")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
