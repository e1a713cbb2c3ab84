//! Artifact files, written so that they are whole or not there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use brigade_core::id::{DelegationId, ProjectId, SessionId};

use crate::error::StoreError;
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

/// The endings of a file that is being written.
pub(crate) const PARTS: [&str; 2] = ["md.part", "patch.part"];

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

/// A result could not be written into its file.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// The file could not be written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The answer could not be read from the store.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        .files(move || {
            let mut part = Part::begin(&root, target)?;
            part.append(&text)?;
            part.finish()
        })
        .await;
    match written.flatten() {
        Ok(()) => Ok(path),
        Err(source) => Err(ArtifactError { path, source }),
    }
}

/// The same, a piece at a time; none ends the file.
pub(crate) async fn write_pieces<F>(
    workers: &Workers,
    root: &Path,
    path: PathBuf,
    head: String,
    tail: &str,
    mut next: impl FnMut(i64) -> F,
) -> Result<PathBuf, ResultError>
where
    F: Future<Output = Result<Option<String>, StoreError>>,
{
    let fail = |source| ArtifactError {
        path: path.clone(),
        source,
    };
    let (root, target) = (root.to_owned(), path.clone());
    let begun = workers.files(move || Part::begin(&root, target)).await;
    let mut part = begun.flatten().map_err(fail)?;
    let (mut text, mut n) = (head, 0);
    loop {
        let appended = workers.files(move || part.append(&text).map(|()| part));
        part = appended.await.flatten().map_err(fail)?;
        match next(n).await? {
            Some(piece) => (text, n) = (piece, n + 1),
            None => break,
        }
    }
    let tail = tail.to_owned();
    let finished = workers.files(move || {
        part.append(&tail)?;
        part.finish()
    });
    let finished = finished.await;
    finished.flatten().map_err(fail)?;
    Ok(path)
}

/// Copies a file there as durably.
pub(crate) async fn copy(
    workers: &Workers,
    root: &Path,
    path: PathBuf,
    source: PathBuf,
) -> Result<PathBuf, ArtifactError> {
    let root = root.to_owned();
    let target = path.clone();
    let copied = workers
        .files(move || {
            let mut part = Part::begin(&root, target)?;
            io::copy(&mut File::open(source)?, &mut part.file)?;
            part.finish()
        })
        .await;
    match copied.flatten() {
        Ok(()) => Ok(path),
        Err(source) => Err(ArtifactError { path, source }),
    }
}

/// A file that is being written; what is not finished is removed.
struct Part {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Part {
    /// Makes the folders, and the file under a name of its own.
    fn begin(root: &Path, path: PathBuf) -> io::Result<Self> {
        create_folders(root, folder_of(&path)?)?;
        // The name is fixed: what a crash left half-written is overwritten by the next try.
        let temporary = path.with_added_extension("part");
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        Ok(Self {
            file,
            temporary,
            path,
            finished: false,
        })
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())
    }

    /// Makes it durable under its name.
    fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temporary, &self.path)?;
        self.finished = true;
        File::open(folder_of(&self.path)?)?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A part of a file is of no use and takes up what may be the last space.
        if !self.finished
            && let Err(error) = std::fs::remove_file(&self.temporary)
        {
            tracing::debug!(%error, "a part of an artifact stays until the next try");
        }
    }
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a folder"))
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
