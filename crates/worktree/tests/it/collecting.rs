//! What a child has changed, whatever it did to its repository.

use std::fs;
use std::path::{Path, PathBuf};

use brigade_worktree::{
    Change, ChangeKind, Held, Limits, Origin, Reason, held, no_step, remove_all, remove_tree,
    snapshot, sweep, usage,
};

use crate::rig::{Rig, built, collected, everything, executable, link, put};

#[tokio::test]
async fn all_kinds_of_changes_are_in_the_patch_and_it_applies() {
    let rig = Rig::new();
    rig.write("tool", "tool\n");
    link(&rig.top(), "link", "kept");
    rig.commit("more");
    rig.write("kept", "uncommitted\n");
    let before = everything(&rig.top(), true);
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    put(&tree, "changed", "one\n2\nthree\nfour\n");
    put(&tree, "new/file", "new\n");
    put(&tree, "new/binary", [0_u8, 1, 2, 255]);
    put(&tree, "some.log", "ignored\n");
    fs::remove_file(tree.join("deleted")).unwrap();
    executable(&tree.join("tool"));
    fs::remove_file(tree.join("sub/inner")).unwrap();
    link(&tree, "sub/inner", "../kept");
    fs::remove_file(tree.join("link")).unwrap();
    link(&tree, "link", "changed");

    let found = collected(&place, &taken).await;
    let change = |path: &str, kind, lines| Change {
        path: PathBuf::from(path),
        kind,
        lines,
    };
    assert_eq!(
        found.changes,
        [
            change("changed", ChangeKind::Modified, Some((2, 1))),
            change("deleted", ChangeKind::Deleted, Some((0, 1))),
            change("link", ChangeKind::Modified, Some((1, 1))),
            change("new/binary", ChangeKind::Added, None),
            change("new/file", ChangeKind::Added, Some((1, 0))),
            change("sub/inner", ChangeKind::Type, Some((1, 1))),
            change("tool", ChangeKind::Mode, Some((0, 0))),
        ]
    );
    assert_eq!(found.left_out, []);
    assert_eq!(everything(&rig.top(), true), before);
    assert_eq!(
        collected(&place, &taken).await,
        found,
        "again it is the same"
    );
    assert_eq!(held(&place, &taken, &found.result).await.unwrap(), []);

    rig.git(&["apply", found.patch.unwrap().to_str().unwrap()]);
    let mut expected = everything(&tree, false);
    expected.remove(Path::new("some.log"));
    assert_eq!(everything(&rig.top(), false), expected);
    rig.check();
}

#[tokio::test]
async fn an_unchanged_tree_has_no_patch() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "other\n");
    assert!(collected(&place, &taken).await.patch.is_some());
    put(&place.tree(), "changed", "one\ntwo\nthree\n");
    let found = collected(&place, &taken).await;
    assert!(found.is_unchanged());
    assert_eq!(found.result, taken.base);
    assert_eq!(found.patch, None);
    assert!(!place.vault().join("result.patch").exists());
}

#[tokio::test]
async fn nothing_that_a_child_has_configured_is_run() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    let ran = rig.path().join("ran");
    let trap = rig.path().join("trap");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\ncat\n", ran.display())).unwrap();
    executable(&trap);
    let trap = trap.to_str().unwrap();
    put(&tree, "nested/file", "x\n");
    rig.git_in(&tree.join("nested"), &["init", "-q"]);
    rig.git_in(&tree.join("sub"), &["init", "-q"]);
    for repository in [tree.clone(), tree.join("nested"), tree.join("sub")] {
        for name in [
            "core.fsmonitor",
            "filter.trap.clean",
            "filter.trap.smudge",
            "filter.trap.process",
            "diff.trap.textconv",
            "diff.trap.command",
            "diff.external",
            "merge.trap.driver",
            "alias.ls-files",
            "core.pager",
            "core.sshCommand",
        ] {
            rig.git_in(&repository, &["config", name, trap]);
        }
        rig.git_in(&repository, &["config", "core.hooksPath", ".git/hooks"]);
        for hook in ["post-index-change", "reference-transaction", "pre-commit"] {
            let path = repository.join(".git/hooks").join(hook);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(trap, &path).unwrap();
        }
    }
    put(
        &tree,
        ".gitattributes",
        "* filter=trap diff=trap merge=trap\n",
    );
    put(&tree, "changed", "other\n");
    put(&tree, "sub/other", "other\n");
    let _ = fs::remove_file(&ran);

    let found = collected(&place, &taken).await;
    let paths: Vec<_> = found
        .changes
        .iter()
        .map(|change| change.path.to_str().unwrap())
        .collect();
    assert_eq!(paths, [".gitattributes", "changed", "sub/other"]);
    let beside: Vec<_> = found
        .left_out
        .iter()
        .map(|left| left.path.to_str().unwrap())
        .collect();
    assert_eq!(beside, ["nested", "sub"]);
    let kept = held(&place, &taken, &found.result).await.unwrap();
    let nested =
        |held: &Held| matches!(held, Held::Beside(left) if left.reason == Reason::NestedRepository);
    assert!(kept.len() == 2 && kept.iter().all(nested), "{kept:?}");
    assert!(!ran.exists());
}

#[tokio::test]
async fn the_files_count_whatever_became_of_the_repository() {
    let rig = Rig::new();
    for harm in 0..4 {
        let place = rig.place(&format!("place-{harm}"));
        let taken = rig.begin(&place).await;
        let git_dir = place.tree().join(".git");
        put(&place.tree(), "changed", "other\n");
        fs::remove_dir_all(git_dir.join("objects")).unwrap();
        match harm {
            0 => fs::remove_dir_all(&git_dir).unwrap(),
            1 => {
                fs::remove_dir_all(&git_dir).unwrap();
                fs::write(&git_dir, "gitdir: /nowhere\n").unwrap();
            }
            2 => {
                put(&git_dir, "HEAD", [0xff_u8; 100]);
                put(&git_dir, "packed-refs", "nonsense\n\n ^\n");
            }
            _ => {
                put(&git_dir, "refs/heads/lost", format!("{}\n", "1".repeat(40)));
            }
        }
        let found = collected(&place, &taken).await;
        assert_eq!(found.changes.len(), 1);
        let lost = if harm == 3 {
            vec!["refs/heads/lost".to_owned()]
        } else {
            vec![]
        };
        assert_eq!(found.commits.lost, lost);
        let kept = held(&place, &taken, &found.result).await.unwrap();
        assert_eq!(kept.len(), lost.len());
    }
}

#[tokio::test]
async fn commits_and_stashes_are_copied() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    put(&tree, "changed", "committed\n");
    rig.git_in(&tree, &["commit", "-q", "-a", "-m", "The child's first"]);
    rig.git_in(&tree, &["checkout", "-q", "-b", "side"]);
    put(&tree, "side", "side\n");
    rig.git_in(&tree, &["add", "-A"]);
    rig.git_in(&tree, &["commit", "-q", "-m", "On the side"]);
    put(&tree, "kept", "stashed\n");
    rig.git_in(&tree, &["stash", "-q"]);
    rig.git_in(&tree, &["gc", "-q"]);
    let kept = |result: String| {
        let (place, taken) = (place.clone(), taken.clone());
        async move { held(&place, &taken, &result).await.unwrap() }
    };
    assert!(
        kept(taken.base.clone())
            .await
            .iter()
            .any(|held| matches!(held, Held::Commit(_)))
    );

    let found = collected(&place, &taken).await;
    let subjects: Vec<_> = found
        .commits
        .made
        .iter()
        .map(|commit| commit.subject.as_str())
        .collect();
    assert!(subjects.contains(&"The child's first"), "{subjects:?}");
    assert!(subjects.contains(&"On the side"));
    assert!(
        subjects
            .iter()
            .any(|subject| subject.contains("WIP on side") || subject.contains("On side"))
    );
    assert!(
        !subjects.contains(&"first"),
        "the person's own are not told"
    );
    assert_eq!(found.commits.lost, Vec::<String>::new());
    assert_eq!(kept(found.result.clone()).await, []);
    let side = rig.git_in(&tree, &["rev-parse", "side"]);

    put(&tree, "more", "more\n");
    rig.git_in(&tree, &["add", "-A"]);
    rig.git_in(&tree, &["commit", "-q", "-m", "Later"]);
    let later = kept(found.result.clone()).await;
    assert!(later.contains(&Held::Changed(PathBuf::from("more"))));
    assert!(later.contains(&Held::Commit("refs/heads/side".to_owned())));

    // A name that was a branch is a folder of branches now.
    rig.git_in(&tree, &["branch", "-m", "side", "side/more"]);
    let found = collected(&place, &taken).await;
    assert_eq!(found.commits.lost, Vec::<String>::new());

    remove_tree(&place, &no_step()).await.unwrap();
    assert_eq!(kept(found.result).await, []);
    let vault = place.vault();
    let asked = [
        "--git-dir",
        vault.to_str().unwrap(),
        "cat-file",
        "-p",
        &format!("{side}:side"),
    ];
    assert_eq!(rig.git_in(&rig.path(), &asked), "side");
}

#[tokio::test]
async fn a_result_outlives_what_the_persons_repository_forgets() {
    let rig = Rig::new();
    rig.write("kept", "amended away\n");
    rig.commit("amended");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "kept", "changed by the child\n");
    let found = collected(&place, &taken).await;
    rig.git(&["reset", "-q", "--hard", "HEAD^"]);
    rig.git(&["reflog", "expire", "--expire=now", "--all"]);
    rig.git(&["gc", "-q", "--prune=now"]);
    let vault = place.vault();
    let show = [
        "--git-dir",
        vault.to_str().unwrap(),
        "diff",
        &taken.base,
        &found.result,
    ];
    let shown = rig.git_in(&rig.path(), &show);
    assert!(shown.contains("-amended away") && shown.contains("+changed by the child"));
}

#[tokio::test]
async fn a_second_one_starts_from_the_firsts_result() {
    let rig = Rig::new();
    rig.write("untracked", "untracked\n");
    let first = rig.place("first");
    let taken = rig.begin(&first).await;
    put(&first.tree(), "changed", "first\n");
    let found = collected(&first, &taken).await;
    let files = everything(&first.tree(), false);
    rig.write("changed", "meanwhile\n");

    let second = rig.place("second");
    let origin = Origin {
        place: first.clone(),
        result: found.result.clone(),
    };
    let taken = snapshot(
        &rig.top(),
        &second,
        &Limits::default(),
        Some(&origin),
        &no_step(),
    )
    .await
    .unwrap();
    remove_all(&first, &no_step()).await.unwrap();
    assert!(!first.root().exists());
    built(&second, &taken).await;
    assert_eq!(taken.base, found.result);
    assert_eq!(everything(&second.tree(), false), files);
    put(&second.tree(), "changed", "second\n");
    let found = collected(&second, &taken).await;
    assert_eq!(found.changes.len(), 1);
    assert!(usage(second.root()).await > 0);
    assert_eq!(
        sweep(&rig.path().join("work")).await.unwrap(),
        Vec::<PathBuf>::new()
    );
}

#[tokio::test]
async fn attributes_that_a_childs_files_do_not_fit_cost_nothing() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(
        &place.tree(),
        ".gitattributes",
        "*.bad working-tree-encoding=UTF-16\n",
    );
    put(&place.tree(), "file.bad", "odd");
    put(&place.tree(), "good", "good\n");
    let found = collected(&place, &taken).await;
    let paths: Vec<_> = found
        .changes
        .iter()
        .map(|change| change.path.to_str().unwrap())
        .collect();
    assert_eq!(paths, [".gitattributes", "file.bad", "good"]);
}

#[tokio::test]
async fn pipes_in_the_place_of_files_hold_nobody_up() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    fs::remove_file(tree.join(".gitignore")).unwrap();
    put(&tree, "nested/.git/objects/x", "");
    put(&tree, "nested/.git/refs/x", "");
    put(&tree, "changed", "other\n");
    for path in [
        ".gitignore",
        "sub/.gitattributes",
        "nested/.git/HEAD",
        "kept-pipe",
        ".git/HEAD.lock",
    ] {
        let made = std::process::Command::new("mkfifo")
            .arg(tree.join(path))
            .status();
        assert!(made.unwrap().success());
    }
    let _ = fs::remove_file(tree.join(".git/HEAD"));
    fs::rename(tree.join(".git/HEAD.lock"), tree.join(".git/HEAD")).unwrap();
    let found = collected(&place, &taken).await;
    let paths: Vec<_> = found
        .changes
        .iter()
        .map(|change| change.path.to_str().unwrap())
        .collect();
    assert!(paths.starts_with(&[".gitignore", "changed"]), "{paths:?}");
}

#[tokio::test]
async fn what_git_does_not_take_or_tell_of_is_named() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    put(&tree, "git~1/file", "work\n");
    rig.git_in(&tree.join("sub"), &["init", "-q"]);
    let found = collected(&place, &taken).await;
    let left: Vec<_> = found
        .left_out
        .iter()
        .map(|left| left.path.clone())
        .collect();
    assert_eq!(left, [PathBuf::from("git~1/file"), PathBuf::from("sub")]);
    let holds = held(&place, &taken, &found.result).await.unwrap();
    assert_eq!(holds.len(), 2, "{holds:?}");
}
