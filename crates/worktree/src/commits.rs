//! The commits that a child has made: found by reading its files as text, copied into the vault.
//!
//! Its git directory may hold anything. So git never runs with it; only objects are read from it, and
//! each that is copied is hashed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::build::refs;
use crate::bytes;
use crate::disk::{Kind, kind_beneath};
use crate::error::Fault;
use crate::git::Git;
use crate::place::Place;
use crate::refs::{Points, Refs};
use crate::snapshot::Snapshot;

/// The largest file of names that is read.
const LARGEST: u64 = 64 * 1024 * 1024;

/// How many commits are told by their subject.
const TOLD: usize = 200;

/// How many names are gone through one by one where not all can be copied at once.
const ONE_BY_ONE: usize = 200;

/// How long a child's objects may take to be read: it may have made them so that it takes forever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A commit of the child's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub oid: String,
    /// The first line of its message.
    pub subject: String,
}

/// What a child has committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChildCommits {
    /// Its commits, newest first, the first 200 of them. They are in the vault, under `refs/child/`.
    pub made: Vec<Commit>,
    /// The names that point to something that could not be copied, as the child had them.
    pub lost: Vec<String>,
}

/// Copies the commits to which the child's names point, where the person's did not.
pub(crate) async fn copy_commits(
    place: &Place,
    snapshot: &Snapshot,
) -> Result<ChildCommits, Fault> {
    let length = if snapshot.format == "sha256" { 64 } else { 40 };
    let before = refs(place)?;
    let known: BTreeSet<&str> = before.objects().collect();
    let names = child_names(&place.tree().join(".git"), length);
    let moved: BTreeMap<String, String> = names
        .into_iter()
        .filter(|(_, oid)| !known.contains(oid.as_str()))
        .collect();
    if moved.is_empty() {
        return Ok(ChildCommits::default());
    }
    let known = commits_there(place, &known).await?;
    let objects: BTreeSet<&String> = moved.values().collect();
    let mut copied: Vec<String> = Vec::new();
    if copy(place, objects.iter().map(|oid| oid.as_str()), &known).await? {
        copied.extend(objects.into_iter().cloned());
    } else {
        // One by one: what is broken in one is to cost no other.
        for oid in objects.into_iter().take(ONE_BY_ONE) {
            if copy(place, std::iter::once(oid.as_str()), &known).await? {
                copied.push(oid.clone());
            }
        }
    }
    // By what they are, not by the child's names: those may clash with names of an earlier round.
    let kept: String = copied
        .iter()
        .map(|oid| format!("update refs/child/{oid} {oid}\n"))
        .collect();
    Git::of_vault(place)
        .args(["update-ref", "--stdin"])
        .reading(kept.into_bytes())
        .output()
        .await?;
    let lost = moved
        .into_iter()
        .filter(|(_, oid)| !copied.contains(oid))
        .map(|(name, _)| name)
        .collect();
    Ok(ChildCommits {
        made: subjects(place, &copied, &known).await?,
        lost,
    })
}

/// The names that point to something in the child's git directory which the vault does not have.
pub(crate) async fn not_copied(place: &Place, snapshot: &Snapshot) -> Result<Vec<String>, Fault> {
    let length = if snapshot.format == "sha256" { 64 } else { 40 };
    let mut known: BTreeSet<String> = refs(place)?.objects().map(str::to_owned).collect();
    let kept = Git::of_vault(place)
        .args(["for-each-ref", "--format=%(objectname)", "refs/child"])
        .output()
        .await?;
    known.extend(bytes::lines(&kept).map(bytes::text));
    Ok(child_names(&place.tree().join(".git"), length)
        .into_iter()
        .filter(|(_, oid)| !known.contains(oid))
        .map(|(name, _)| name)
        .collect())
}

/// The names in a git directory that may hold anything, and what they point to.
fn child_names(git_dir: &Path, length: usize) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let packed = read(git_dir, Path::new("packed-refs")).unwrap_or_default();
    for (name, points) in Refs::from_text(&packed).0 {
        if let Points::At(oid) = points {
            names.insert(name, oid);
        }
    }
    loose(git_dir, Path::new("refs"), &mut names, 0);
    if let Some(head) = read(git_dir, Path::new("HEAD")) {
        names.insert("HEAD".to_owned(), head.trim().to_owned());
    }
    let stashes = read(git_dir, Path::new("logs/refs/stash")).unwrap_or_default();
    for (number, line) in stashes.lines().enumerate() {
        // "OLD NEW WHO WHEN\tMESSAGE"
        if let Some(oid) = line.split(' ').nth(1) {
            names.insert(format!("refs/stashes/{number}"), oid.to_owned());
        }
    }
    names.retain(|name, oid| {
        (name == "HEAD" || is_name(name))
            && oid.len() == length
            && oid
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && oid.bytes().any(|byte| byte != b'0')
    });
    names
}

/// Whether git would take it for a name, and nothing else.
fn is_name(name: &str) -> bool {
    name.len() < 512
        && name
            .strip_prefix("refs/")
            .is_some_and(|rest| !rest.is_empty())
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.ends_with('.')
                && !part.ends_with(".lock")
        })
        && !name
            .chars()
            .any(|char| char.is_control() || " ~^:?*[\\".contains(char))
}

fn loose(git_dir: &Path, folder: &Path, names: &mut BTreeMap<String, String>, depth: usize) {
    if depth > 20 || names.len() > 100_000 || kind_beneath(git_dir, folder) != Kind::Folder {
        return;
    }
    for entry in fs::read_dir(git_dir.join(folder))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = folder.join(entry.file_name());
        match kind_beneath(git_dir, &path) {
            Kind::Folder => loose(git_dir, &path, names, depth + 1),
            Kind::File => {
                if let (Some(name), Some(text)) = (path.to_str(), read(git_dir, &path)) {
                    names.insert(name.to_owned(), text.trim().to_owned());
                }
            }
            _ => {}
        }
    }
}

/// A plain file of the child's, unless it is too large for what it should be.
fn read(git_dir: &Path, path: &Path) -> Option<String> {
    let whole = git_dir.join(path);
    let fits = fs::symlink_metadata(&whole).is_ok_and(|found| found.len() <= LARGEST);
    if kind_beneath(git_dir, path) != Kind::File || !fits {
        return None;
    }
    fs::read(whole)
        .ok()
        .map(|content| String::from_utf8_lossy(&content).into_owned())
}

/// Those of the person's objects that are commits, and still there.
async fn commits_there(place: &Place, known: &BTreeSet<&str>) -> Result<Vec<String>, Fault> {
    let asked: String = known
        .iter()
        .map(|oid| format!("{oid}^{{commit}}\n"))
        .collect();
    let answer = Git::of_vault(place)
        .args(["cat-file", "--batch-check=%(objectname) %(objecttype)"])
        .reading(asked.into_bytes())
        .output()
        .await?;
    Ok(bytes::lines(&answer)
        .filter_map(|line| bytes::text(line).strip_suffix(" commit").map(str::to_owned))
        .collect())
}

/// Copies what objects of the child's reach, beyond what the person has. Whether it could.
async fn copy<'a>(
    place: &Place,
    objects: impl Iterator<Item = &'a str>,
    known: &[String],
) -> Result<bool, Fault> {
    let mut wanted = String::new();
    for oid in objects {
        wanted += &format!("{oid}\n");
    }
    for known in known {
        wanted += &format!("^{known}\n");
    }
    let pack = place.vault().join("child.pack");
    let file = fs::File::create(&pack).map_err(crate::error::io_at("writing", &pack))?;
    let packed = Git::of_vault(place)
        .env(
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            quoted(&place.tree().join(".git/objects")),
        )
        .args([
            "pack-objects",
            "--revs",
            "--stdout",
            "--quiet",
            "--threads=1",
        ])
        .reading(wanted.into_bytes())
        .within_time(PATIENCE)
        .into_file(&file)
        .await;
    let copied = match packed {
        Ok(()) => {
            let taken = Git::of_vault(place)
                .args(["index-pack", "--stdin", "--strict"])
                .reading_file(&pack)?
                .within_time(PATIENCE)
                .output()
                .await;
            is_done(taken.map(drop))?
        }
        Err(fault) => is_done(Err(fault))?,
    };
    fs::remove_file(&pack).map_err(crate::error::io_at("removing", &pack))?;
    Ok(copied)
}

/// What is wrong with the child's objects is no failure of ours.
fn is_done(result: Result<(), Fault>) -> Result<bool, Fault> {
    match result {
        Ok(()) => Ok(true),
        Err(Fault::Git { .. } | Fault::Slow { .. }) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// A path in a list of paths that colons part.
fn quoted(path: &Path) -> std::ffi::OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut text = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            byte => text.push(*byte),
        }
    }
    text.push(b'"');
    std::ffi::OsString::from_vec(text)
}

async fn subjects(
    place: &Place,
    copied: &[String],
    known: &[String],
) -> Result<Vec<Commit>, Fault> {
    if copied.is_empty() {
        return Ok(Vec::new());
    }
    let mut asked = copied.join("\n") + "\n";
    for known in known {
        asked += &format!("^{known}\n");
    }
    let output = Git::of_vault(place)
        .args(["log", "--stdin", "-z", "--format=%H %s"])
        .arg(format!("--max-count={TOLD}"))
        .reading(asked.into_bytes())
        .output()
        .await?;
    Ok(bytes::records(&output)
        .filter_map(|record| {
            let record = bytes::text(record);
            let (oid, subject) = record.split_once(' ').unwrap_or((&record, ""));
            (!oid.is_empty()).then(|| Commit {
                oid: oid.to_owned(),
                subject: subject.to_owned(),
            })
        })
        .collect())
}
