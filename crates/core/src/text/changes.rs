//! What a write-capable delegation has changed, as text: the diffstat, and the artifact's last section.

use std::fmt::Write as _;

use super::line::one_line;
use crate::delegation::{ChangeKind, Changes, FileChange};
use crate::id::DelegationId;

/// Longest path in a diffstat, in characters.
const MAX_PATH: usize = 200;

/// A line for each changed file: its path, and the lines added and removed.
pub fn diffstat(changes: &Changes) -> String {
    let path = |file: &FileChange| one_line(&file.path, MAX_PATH);
    let width = changes
        .shown
        .iter()
        .map(|file| path(file).chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for file in &changes.shown {
        // Writing to a string can't fail.
        let _ = write!(text, " {:width$} | ", path(file));
        let _ = match file.lines {
            Some((added, removed)) => write!(text, "+{added} -{removed}"),
            None => write!(text, "binary"),
        };
        text.push_str(match file.kind {
            ChangeKind::Added => " (new)\n",
            ChangeKind::Deleted => " (deleted)\n",
            ChangeKind::Modified => "\n",
        });
    }
    let shown = u64::try_from(changes.shown.len()).unwrap_or(u64::MAX);
    if changes.files > shown {
        let _ = writeln!(text, " and {} more files", changes.files - shown);
    }
    let _ = writeln!(text, " {changes}");
    text
}

/// The section that an artifact ends with.
pub fn section(id: &DelegationId, changes: &Changes) -> String {
    let mut text = String::from("\n\n---\n\n## Changes\n\n");
    if changes.is_empty() {
        text.push_str("Nothing was changed: the tree is as it was.\n");
    } else {
        let _ = write!(
            text,
            "```\n{}```\n\nThey are in the patch beside this file, and in no tree yet: `delegation_apply(\"{id}\")` or \
             `brigade apply {id}` brings them in, `brigade diff {id}` shows them.\n",
            diffstat(changes)
        );
    }
    if !changes.beside.is_empty() {
        let _ = writeln!(text, "\nNot in the patch:\n");
        for what in &changes.beside {
            let _ = writeln!(text, "- {}", one_line(what, 300));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Changes {
        let file = |path: &str, kind, lines| FileChange {
            path: path.into(),
            kind,
            lines,
        };
        Changes {
            tree: "t".into(),
            files: 4,
            added: 9,
            removed: 2,
            shown: vec![
                file("src/lock.rs", ChangeKind::Modified, Some((8, 1))),
                file("new\n.md", ChangeKind::Added, Some((1, 0))),
                file("logo.png", ChangeKind::Deleted, None),
            ],
            patch: Some("/p/x.patch".into()),
            beside: vec!["a repository at vendor/x".into()],
        }
    }

    #[test]
    fn each_file_has_its_line() {
        assert_eq!(
            diffstat(&changes()),
            " src/lock.rs | +8 -1\n new .md     | +1 -0 (new)\n logo.png    | binary (deleted)\n and 1 more files\n \
             4 files changed, +9 -2\n"
        );
    }

    #[test]
    fn an_unchanged_tree_says_so_and_what_is_in_no_patch_is_named() {
        let id = "brave-amber-otter".parse().unwrap();
        let text = section(&id, &changes());
        assert!(text.contains("delegation_apply(\"brave-amber-otter\")"));
        assert!(text.contains("- a repository at vendor/x"));
        let unchanged = Changes {
            files: 0,
            shown: Vec::new(),
            beside: Vec::new(),
            ..changes()
        };
        let text = section(&id, &unchanged);
        assert!(text.contains("Nothing was changed") && !text.contains("apply"));
    }
}
