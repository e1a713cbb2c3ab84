//! Edits at random in three copies: what is applied is what git would merge, and undone it is as before.

use std::fs;
use std::path::Path;

use brigade_worktree::{no_step, write};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::applying::planned;
use crate::rig::{Rig, collected, everything, executable, link, put};

#[derive(Debug, Clone)]
enum Edit {
    Line(usize, usize, u8),
    Whole(usize, Vec<u8>),
    Delete(usize),
    Execute(usize),
    Link(usize, u8),
}

const PATHS: [&str; 7] = ["a", "b", "dir/c", "dir/d", "dir/deep/e", "x", "x y"];

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let path = 0..PATHS.len();
    let edit = prop_oneof![
        4 => (path.clone(), 0..12_usize, any::<u8>()).prop_map(|(p, line, to)| Edit::Line(p, line, to)),
        2 => (path.clone(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(p, c)| Edit::Whole(p, c)),
        1 => path.clone().prop_map(Edit::Delete),
        1 => path.clone().prop_map(Edit::Execute),
        1 => (path, any::<u8>()).prop_map(|(p, to)| Edit::Link(p, to)),
    ];
    prop::collection::vec(edit, 0..5)
}

fn carry_out(top: &Path, edits: &[Edit]) {
    for edit in edits {
        let (Edit::Line(number, ..)
        | Edit::Whole(number, _)
        | Edit::Delete(number)
        | Edit::Execute(number)
        | Edit::Link(number, _)) = edit;
        let path = PATHS[*number];
        let whole = top.join(path);
        let is_file = fs::symlink_metadata(&whole).is_ok_and(|found| found.is_file());
        match edit {
            Edit::Line(_, line, to) if is_file => {
                let text = String::from_utf8_lossy(&fs::read(&whole).unwrap()).into_owned();
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.resize(lines.len().max(line + 1), String::new());
                lines[*line] = format!("line {to}");
                fs::write(&whole, lines.join("\n") + "\n").unwrap();
            }
            Edit::Whole(_, content) if is_file => fs::write(&whole, content).unwrap(),
            Edit::Execute(_) if is_file => executable(&whole),
            Edit::Execute(_) | Edit::Line(..) => {}
            Edit::Whole(_, content) => {
                let _ = fs::remove_file(&whole);
                put(top, path, content);
            }
            Edit::Delete(_) => {
                let _ = fs::remove_file(&whole);
                let _ = fs::remove_dir(whole.parent().unwrap());
            }
            Edit::Link(_, to) => {
                let _ = fs::remove_file(&whole);
                fs::create_dir_all(whole.parent().unwrap()).unwrap();
                link(top, path, &format!("to-{to}"));
            }
        }
    }
}

async fn holds(first: &[Edit], child: &[Edit], person: &[Edit]) {
    let rig = Rig::empty(&[]);
    rig.write("anchor", "anchor\n");
    for (number, path) in PATHS.iter().take(5).enumerate() {
        let text: String = (0..10).map(|line| format!("{number} {line}\n")).collect();
        rig.write(path, text);
    }
    rig.commit("first");
    carry_out(&rig.top(), first);
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    carry_out(&place.tree(), child);
    let found = collected(&place, &taken).await;
    carry_out(&rig.top(), person);
    let before = everything(&rig.top(), true);
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;

    // Git's own word for it, from commits of its own.
    let vault = place.vault();
    let git = |arguments: &[&str]| {
        let mut all = vec!["--git-dir", vault.to_str().unwrap()];
        all.extend(["-c", "user.name=P", "-c", "user.email=p@e"]);
        all.extend(arguments);
        rig.command_in(&rig.path(), &all)
    };
    let commit = |tree: &str, parents: &[&str]| {
        let mut all = vec!["commit-tree", "-m", "drawn", tree];
        parents.iter().for_each(|parent| all.extend(["-p", parent]));
        String::from_utf8(git(&all).stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    let base = commit(&taken.base, &[]);
    let ours = commit(&applying.before, &[&base]);
    let theirs = commit(&found.result, &[&base]);
    let merged = git(&[
        "merge-tree",
        "--write-tree",
        "--no-messages",
        &ours,
        &theirs,
    ]);
    let clean = merged.status.code() == Some(0);
    assert_eq!(
        applying.conflicts.is_empty(),
        clean || ours == theirs,
        "{:?}",
        applying.conflicts
    );
    if clean {
        assert_eq!(
            String::from_utf8_lossy(&merged.stdout).trim(),
            applying.after
        );
    }

    let journal = rig.path().join("work/journal");
    let applying = applying.with_markers();
    let done = write(&applying, &journal, &CancellationToken::new(), &no_step())
        .await
        .unwrap();
    let now = planned(&rig, &place, &done.after, &done.after, &[]).await;
    assert_eq!(now.before, done.after, "the tree is what was planned");
    let undoing = planned(&rig, &place, &done.after, &done.before, &[]).await;
    assert_eq!(undoing.conflicts, []);
    write(&undoing, &journal, &CancellationToken::new(), &no_step())
        .await
        .unwrap();
    assert_eq!(everything(&rig.top(), true), before);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("BRIGADE_DRAWN").ok().and_then(|cases| cases.parse().ok()).unwrap_or(16),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn applied_is_what_git_merges_and_undone_is_as_before(first in edits(), child in edits(), person in edits()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(holds(&first, &child, &person));
    }
}
