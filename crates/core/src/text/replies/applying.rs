//! What is said of bringing changes into a tree.

use std::fmt::Write as _;

use crate::id::DelegationId;
use crate::text::line::one_line;

/// How many files are named.
const FILES: usize = 60;
/// How many conflicts are shown with their text.
const CONFLICTS: usize = 10;
/// How much of a conflicting file is shown, in characters.
const TEXT: usize = 3_000;
/// Longest path, in characters.
const PATH: usize = 200;

/// A conflict between what a delegation has changed and what the tree is now.
#[derive(Debug, Clone, Copy)]
pub struct Conflict<'a> {
    /// The file.
    pub path: &'a str,
    /// What conflicts.
    pub what: &'a str,
    /// The file with both sides marked, where it is text.
    pub text: Option<&'a str>,
}

/// Changes that are in the tree now.
#[derive(Debug, Clone, Copy)]
pub struct Applied<'a> {
    /// Whose.
    pub id: &'a DelegationId,
    /// The files, each with what became of it.
    pub files: &'a [(String, String)],
    /// Conflicts that were written as markers.
    pub conflicts: &'a [Conflict<'a>],
    /// What could not be applied.
    pub left_out: &'a [String],
    /// Whether that is all of its changes.
    pub whole: bool,
}

/// The answer to an apply that was carried out.
pub fn applied(view: &Applied<'_>) -> String {
    let n = view.files.len();
    let part = if view.whole { "" } else { "a part of " };
    let mut text = format!(
        "Applied {part}{}: {n} file{}.\n",
        view.id,
        if n == 1 { "" } else { "s" }
    );
    // Writing to a string can't fail.
    for (path, kind) in view.files.iter().take(FILES) {
        let _ = writeln!(text, "- {} ({kind})", one_line(path, PATH));
    }
    if n > FILES {
        let _ = writeln!(text, "- and {} more", n - FILES);
    }
    if !view.conflicts.is_empty() {
        text.push_str("With conflict markers, which you have to resolve now:\n");
        for conflict in view.conflicts {
            let _ = writeln!(
                text,
                "- {}: {}",
                one_line(conflict.path, PATH),
                one_line(conflict.what, PATH)
            );
        }
    }
    for what in view.left_out {
        let _ = writeln!(text, "Left out: {}", one_line(what, PATH));
    }
    text.push_str("The files are in the working tree, and nothing is staged. The person can undo this like an edit of yours.");
    text
}

/// The answer where conflicts are in the way; nothing was written.
pub fn conflicting(id: &DelegationId, conflicts: &[Conflict<'_>]) -> String {
    let n = conflicts.len();
    let mut text = format!(
        "Nothing was changed: {n} file{} of {id} conflict{} with what this tree is now.\n",
        if n == 1 { "" } else { "s" },
        if n == 1 { "s" } else { "" }
    );
    for conflict in conflicts.iter().take(CONFLICTS) {
        let _ = writeln!(
            text,
            "\n{}: {}",
            one_line(conflict.path, PATH),
            one_line(conflict.what, PATH)
        );
        if let Some(marked) = conflict.text {
            let shown: String = marked.chars().take(TEXT).collect();
            let cut = if shown.len() < marked.len() {
                "\n…"
            } else {
                ""
            };
            let _ = writeln!(text, "```\n{shown}{cut}\n```");
        }
    }
    if n > CONFLICTS {
        let _ = writeln!(text, "\nand {} more.", n - CONFLICTS);
    }
    let _ = write!(
        text,
        "\nCall delegation_apply(\"{id}\", markers=true) to have them written with conflict markers and resolve these, \
         name the other files in paths, or make the edits yourself (delegation_read shows what was changed)."
    );
    text
}

/// The answer where the tree has everything already.
pub fn nothing_to_apply(id: &DelegationId) -> String {
    format!(
        "There is nothing to apply of {id}: this tree has all of it, or it has changed nothing there."
    )
}

/// The answer to an agent that may not edit.
pub fn may_not_apply(id: &DelegationId, agent: &str) -> String {
    format!(
        "{} may not edit files, so it can't apply {id} either, and nothing was changed. Ask the person to switch to an \
         agent that edits, or to run `brigade apply {id}`.",
        one_line(agent, 80)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> DelegationId {
        "brave-amber-otter".parse().unwrap()
    }

    #[test]
    fn what_was_applied_is_named_file_by_file() {
        let id = id();
        let files: Vec<_> = (0..FILES + 2)
            .map(|n| (format!("src/{n}.rs"), "modified".to_owned()))
            .collect();
        let mut view = Applied {
            id: &id,
            files: &files,
            conflicts: &[],
            left_out: &["the submodule vendor/x".to_owned()],
            whole: true,
        };
        let text = applied(&view);
        assert!(text.starts_with("Applied brave-amber-otter: 62 files.\n- src/0.rs (modified)\n"));
        assert!(
            text.contains("- and 2 more\n") && text.contains("Left out: the submodule vendor/x")
        );
        view.whole = false;
        assert!(applied(&view).starts_with("Applied a part of brave-amber-otter"));
    }

    #[test]
    fn a_conflict_shows_both_sides_and_how_to_go_on() {
        let marked = format!("<<<<<<<\nmine\n=======\n{}\n>>>>>>>\n", "x".repeat(TEXT));
        let conflict = Conflict {
            path: "a\nb",
            what: "both changed it",
            text: Some(&marked),
        };
        let text = conflicting(&id(), &[conflict]);
        assert!(text.starts_with("Nothing was changed: 1 file of brave-amber-otter conflicts"));
        assert!(text.contains("a b: both changed it") && text.contains("\n…\n"));
        assert!(text.contains("markers=true"));
    }
}
