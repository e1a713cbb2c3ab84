//! Artifact files, written so that they are whole or not there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use brigade_core::id::{DelegationId, ProjectId, SessionId};

use crate::worker::Workers;

/// An artifact could not be written. The outcome and its text are in the store, and an earlier version
/// of the file is as it was; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}. The result is kept in the store; writing the file is tried again", .path.display())]
pub struct ArtifactError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The ending of a file that is being written.
pub(crate) const PART: &str = "md.part";

/// Where an artifact lies. Only validated IDs make up the path.
pub(crate) fn path(
    root: &Path,
    project: &ProjectId,
    session: &SessionId,
    id: &DelegationId,
) -> PathBuf {
    root.join(project.as_str())
        .join(session.as_str())
        .join(format!("{id}.md"))
}

/// Writes the file: temporary file, fsync, rename, fsync of the folder.
pub(crate) async fn write(
    workers: &Workers,
    root: &Path,
    path: PathBuf,
    text: String,
) -> Result<PathBuf, ArtifactError> {
    let root = root.to_owned();
    let target = path.clone();
    let written = workers
        .files(move || write_blocking(&root, &target, text.as_bytes()))
        .await;
    match written.flatten() {
        Ok(()) => Ok(path),
        Err(source) => Err(ArtifactError { path, source }),
    }
}

fn write_blocking(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a folder"))?;
    create_folders(root, folder)?;
    // The name is fixed: what a crash left half-written is overwritten by the next try.
    let temporary = path.with_extension(PART);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path))
        .inspect_err(|_| {
            // A part of a file is of no use and takes up what may be the last space.
            if let Err(error) = std::fs::remove_file(&temporary) {
                tracing::debug!(%error, "a part of an artifact stays until the next try");
            }
        })?;
    File::open(folder)?.sync_all()
}

/// Makes the folders below and including the root, each private and each durable in its parent.
fn create_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder
        .parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a folder needs a parent"))?;
    if folder == root {
        std::fs::create_dir_all(parent)?;
    } else {
        create_folders(root, parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}
