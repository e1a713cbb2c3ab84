//! The three-way merge of trees, in the vault alone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bytes;
use crate::collect::{Entry, RawChange};
use crate::error::Fault;
use crate::git::Git;
use crate::place::Place;
use crate::snapshot::commit;

/// How the sides of a conflict are called.
const YOURS: &str = "yours";
const INCOMING: &str = "incoming";

/// What came of a merge.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The tree, with markers in what conflicts.
    pub(crate) tree: String,
    /// What conflicts, and how in words.
    pub(crate) conflicts: BTreeMap<PathBuf, String>,
    /// The names that git has given the sides.
    sides: [String; 2],
}

/// Merges what leads from `base` to `theirs` into `ours`. The attributes of the tree at `top` count.
pub(crate) async fn merge(
    place: &Place,
    top: &Path,
    base: &str,
    ours: &str,
    theirs: &str,
) -> Result<Merged, Fault> {
    // Before 2.40 a merge base can't be given: it has to follow from commits.
    let base = commit(place, base, &[]).await?;
    let ours = commit(place, ours, &[&base]).await?;
    let mut theirs = commit(place, theirs, &[&base]).await?;
    if theirs == ours {
        // Two sides of one name would be told apart by nobody; and there is nothing to merge.
        theirs = base;
    }
    let said = Git::of_vault_over(place, top, &place.index("none"))
        .args(["-c", "merge.conflictStyle=merge"])
        .args([
            "merge-tree",
            "--write-tree",
            "-z",
            "--messages",
            &ours,
            &theirs,
        ])
        .said()
        .await?;
    if !matches!(said.code, Some(0 | 1)) {
        return Err(said.failed("merge-tree --write-tree".to_owned()));
    }
    let sides = [ours, theirs];
    let mut parts = said.stdout.split(|byte| *byte == 0);
    let tree = bytes::text(parts.next().unwrap_or_default());
    let mut conflicts = BTreeMap::new();
    // "MODE OID STAGE\tPATH" for each side of what conflicts.
    for part in parts.by_ref().take_while(|part| !part.is_empty()) {
        if let Some(path) = part.splitn(2, |byte| *byte == b'\t').nth(1) {
            conflicts.insert(bytes::path(path), String::new());
        }
    }
    // COUNT, that many paths, the kind of message, the message.
    while let Some(count) = parts.next() {
        let Ok(count) = bytes::text(count).parse::<usize>() else {
            break;
        };
        let paths: Vec<PathBuf> = parts.by_ref().take(count).map(bytes::path).collect();
        let kind = bytes::text(parts.next().unwrap_or_default());
        let message = named(&bytes::text(parts.next().unwrap_or_default()), &sides);
        if !kind.starts_with("CONFLICT") {
            continue;
        }
        for path in paths {
            let what = conflicts.entry(path).or_default();
            if what.is_empty() {
                what.clone_from(&message);
            }
        }
    }
    Ok(Merged {
        tree,
        conflicts,
        sides,
    })
}

fn named(text: &str, sides: &[String; 2]) -> String {
    text.replace(&sides[0], YOURS).replace(&sides[1], INCOMING)
}

impl Merged {
    /// A file with both sides marked, the sides called by names that a person understands. The hunks
    /// that conflict, where there are any.
    pub(crate) async fn marked(
        &self,
        place: &Place,
        entry: &Entry,
    ) -> Result<(Entry, Option<String>), Fault> {
        if entry.is_submodule() || entry.is_link() {
            return Ok((entry.clone(), None));
        }
        let content = Git::of_vault(place)
            .args(["cat-file", "blob", &entry.oid])
            .output()
            .await?;
        let Ok(text) = String::from_utf8(content) else {
            return Ok((entry.clone(), None));
        };
        let marked: String = text
            .split_inclusive('\n')
            .map(|line| {
                if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
                    named(line, &self.sides)
                } else {
                    line.to_owned()
                }
            })
            .collect();
        let hunks = hunks(&marked);
        if marked == text {
            return Ok((entry.clone(), hunks));
        }
        let oid = Git::of_vault(place)
            .args(["hash-object", "-w", "--stdin", "--no-filters"])
            .reading(marked.into_bytes())
            .line()
            .await?;
        let mode = entry.mode.clone();
        Ok((Entry { mode, oid }, hunks))
    }
}

/// The parts of a text between markers, with a few lines around them.
fn hunks(text: &str) -> Option<String> {
    const AROUND: usize = 3;
    let lines: Vec<&str> = text.lines().collect();
    let mut shown = BTreeSet::new();
    let mut begun = None;
    for (number, line) in lines.iter().enumerate() {
        if *line == format!("<<<<<<< {YOURS}") || line.starts_with(&format!("<<<<<<< {YOURS}:")) {
            begun = Some(number);
        }
        let ends = line.starts_with(&format!(">>>>>>> {INCOMING}"));
        if let Some(from) = begun.filter(|_| ends) {
            shown.extend(from.saturating_sub(AROUND)..(number + AROUND + 1).min(lines.len()));
            begun = None;
        }
    }
    let mut hunks = String::new();
    let mut last = None;
    for number in shown {
        if last.is_some_and(|last| last + 1 != number) {
            hunks += "...\n";
        }
        hunks += lines[number];
        hunks.push('\n');
        last = Some(number);
    }
    (!hunks.is_empty()).then_some(hunks)
}

/// The tree that changes make of another.
pub(crate) async fn changed_tree<'a>(
    place: &Place,
    tree: &str,
    changes: impl IntoIterator<Item = &'a RawChange>,
) -> Result<String, Fault> {
    let index = place.index("changed");
    let git = || Git::of_vault_over(place, &place.nowhere(), &index);
    git().args(["read-tree", tree]).output().await?;
    let none = "0".repeat(tree.len());
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for change in changes {
        let (to, mode, oid) = match &change.after {
            None => (&mut gone, "0", none.as_str()),
            Some(entry) => (&mut there, entry.mode.as_str(), entry.oid.as_str()),
        };
        to.extend_from_slice(format!("{mode} {oid}\t").as_bytes());
        to.extend_from_slice(change.path.as_os_str().as_bytes());
        to.push(0);
    }
    // A folder can only give way to a file once what was in it is gone.
    gone.extend(there);
    if !gone.is_empty() {
        git()
            .args(["update-index", "--add", "--replace", "-z", "--index-info"])
            .reading(gone)
            .output()
            .await?;
    }
    git().args(["write-tree", "--missing-ok"]).line().await
}
