//! Artifacts and records that do not fit together, and what is left of writing.

use std::io;
use std::path::PathBuf;

use brigade_core::text::line::size as amount;
use brigade_protocol::gc::{Fate, Finding, FindingKind};
use brigade_store::{Left, Stray, TakenBack, Unfit};

use super::Mended;
use crate::engine::Engine;

/// The finding, with what is going to be done.
pub(super) fn finding(stray: &Stray) -> Finding {
    let (kind, subject, what, action) = match stray {
        Stray::Unrecorded(place) => (
            FindingKind::UnrecordedArtifact,
            place.path.display().to_string(),
            "an artifact that the store has no record of".to_owned(),
            Ok("take it back into the store".to_owned()),
        ),
        Stray::Unfit { place, why } => {
            let (what, mend) = unfit(why);
            let path = place.path.display().to_string();
            (FindingKind::UnfitArtifact, path, what, Err(mend))
        }
        Stray::Missing { id, path, left } => {
            let what = format!("its artifact {} is not there", path.display());
            let action = match left {
                Left::Moved(place) => Ok(format!("note its new place, {}", place.display())),
                Left::Text => Ok("write it anew from the store".to_owned()),
                Left::Nothing => Err(
                    "the store has no text of it either; the record is kept. Put the file back if you have a copy"
                        .to_owned(),
                ),
            };
            (FindingKind::MissingArtifact, id.to_string(), what, action)
        }
        Stray::Part {
            path,
            size,
            needless,
        } => {
            let what = format!("{} of a write that was cut off", amount(*size));
            let action = if *needless {
                Ok("remove it".to_owned())
            } else {
                Err(
                    "it may be all there is of a result: look into it, and remove it yourself"
                        .to_owned(),
                )
            };
            (
                FindingKind::PartialFile,
                path.display().to_string(),
                what,
                action,
            )
        }
        Stray::EmptyFolder(path) => (
            FindingKind::EmptyFolder,
            path.display().to_string(),
            "a folder without results".to_owned(),
            Ok("remove it".to_owned()),
        ),
        Stray::Unreadable { path, why } => (
            FindingKind::Unreadable,
            path.display().to_string(),
            format!("it can't be looked at: {why}"),
            Err("see to its owner and permissions".to_owned()),
        ),
    };
    let (fate, action) = match action {
        Ok(action) => (Fate::Planned, action),
        Err(action) => (Fate::Left, action),
    };
    Finding {
        kind,
        subject,
        what,
        fate,
        action,
    }
}

/// What is wrong with an artifact that can't be taken back, and what a person can do.
fn unfit(why: &Unfit) -> (String, String) {
    match why {
        Unfit::Clash(other) if other.as_os_str().is_empty() => (
            "an artifact without a record, with the ID of another delegation, which still runs".to_owned(),
            "both stay as they are; give this file and its ID line another name to have it taken back".to_owned(),
        ),
        Unfit::Clash(other) => (
            format!(
                "an artifact without a record, with the ID of another one, {}",
                other.display()
            ),
            "both stay as they are; remove this one if it is a copy, or give the file and its ID line another name"
                .to_owned(),
        ),
        Unfit::OtherId(id) => (
            format!("an artifact without a record, and its ID line says {id:?}"),
            "it stays as it is; call the file after its ID line, or the other way round".to_owned(),
        ),
        Unfit::NotEnded(status) => (
            format!("an artifact without a record, and its status {status:?} is no end"),
            "it stays as it is; correct its status line to have it taken back".to_owned(),
        ),
    }
}

/// Does what the finding says.
pub(super) async fn mend(engine: &Engine, stray: &Stray) -> Mended {
    let store = engine.store();
    match stray {
        Stray::Unrecorded(place) => match store.take_back(place).await {
            Ok(TakenBack::Done) => {
                engine.refresh_ledger(place.root.as_str());
                Mended::done(format!("taken back as {}, unread", place.id))
            }
            Ok(TakenBack::Known) => Mended::left("it has a record by now"),
            Ok(TakenBack::Changed(why)) => Mended::left(format!("it has changed meanwhile: {why}")),
            Err(error) => Mended::failed(&error),
        },
        Stray::Missing { id, path, left } => match left {
            // What has come back meanwhile is not written over.
            _ if path.is_file() => Mended::left("it is there again"),
            Left::Moved(place) => match store.set_artifact(id, place).await {
                Ok(()) => Mended::done(format!("its place is {}", place.display())),
                Err(error) => Mended::failed(&error),
            },
            Left::Text => match engine.rewrite_artifact(id).await {
                Ok(Some(path)) => Mended::done(format!("written anew: {}", path.display())),
                Ok(None) => Mended::left("its record is gone by now"),
                Err(error) => Mended::failed(&error),
            },
            Left::Nothing => Mended::left("nothing can be done"),
        },
        Stray::Part { path, size, .. } => remove(path.clone(), *size).await,
        Stray::EmptyFolder(path) => match tokio::fs::remove_dir(path).await {
            Ok(()) => Mended::done("removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Mended::done("gone by now"),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Mended::left("something has come into it")
            }
            Err(error) => Mended::failed(&error),
        },
        Stray::Unfit { .. } | Stray::Unreadable { .. } => Mended::left("nothing can be done"),
    }
}

/// Removes a file.
pub(super) async fn remove(path: PathBuf, size: u64) -> Mended {
    match tokio::fs::remove_file(path).await {
        Ok(()) => Mended {
            freed: size,
            ..Mended::done("removed")
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Mended::done("gone by now"),
        Err(error) => Mended::failed(&error),
    }
}
