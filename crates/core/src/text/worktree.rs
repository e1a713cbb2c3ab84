//! What an agent is told of the worktree that it works in.

use std::fmt::Write as _;

use super::line::one_line;
use crate::delegation::Worktree;

/// How much of what is missing is told, in characters.
const MISSING: usize = 600;

/// Where it is and what becomes of what is done there, for the beginning of its prompt. `setup` is how the setup
/// command ended, where there was one.
pub fn opening(worktree: &Worktree, setup: Option<&str>) -> String {
    let mut text = format!(
        "You work in {}, in a copy of the working tree {} as it was when this was delegated, uncommitted changes \
         included. A path below the latter means the same path in the copy. Read and change files in the copy alone. \
         Leave your changes in the files: they are collected as a patch when you end, and nothing needs to be \
         committed.",
        worktree.directory, worktree.top
    );
    // Writing to a string can't fail.
    if let Some(from) = &worktree.from {
        let _ = write!(text, " It begins with what the delegation {from} has left.");
    }
    if !worktree.left_out.is_empty() {
        let left_out = one_line(&worktree.left_out.join("; "), MISSING);
        let _ = write!(text, " Not in the copy: {left_out}.");
    }
    match setup {
        None | Some("done") => {}
        Some(setup) => {
            let _ = write!(
                text,
                " The command that sets it up: {}.",
                one_line(setup, MISSING)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_where_it_works_and_what_is_missing() {
        let mut worktree = Worktree {
            id: "brave-amber-otter".parse().unwrap(),
            top: "/home/p/app".into(),
            directory: "/data/worktrees/brave-amber-otter/tree/web".into(),
            base: "b".into(),
            from: None,
            confine: true,
            left_out: Vec::new(),
        };
        let plain = opening(&worktree, Some("done"));
        assert!(plain.starts_with("You work in /data/worktrees/brave-amber-otter/tree/web, "));
        assert!(plain.contains("/home/p/app") && plain.ends_with("committed."));
        worktree.left_out.push("the submodule vendor/x".into());
        worktree.from = Some("calm-blue-heron".parse().unwrap());
        let all = opening(&worktree, Some("exit status: 1, saying: no network"));
        assert!(all.contains("begins with what the delegation calm-blue-heron has left"));
        assert!(all.contains("Not in the copy: the submodule vendor/x."));
        assert!(all.ends_with("sets it up: exit status: 1, saying: no network."));
    }
}
