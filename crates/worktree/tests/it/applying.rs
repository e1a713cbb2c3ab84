//! A child's changes on their way into the person's tree, and out again.

use std::fs;
use std::path::{Path, PathBuf};

use brigade_worktree::{
    ChangeKind, ConflictKind, Place, Plan, PlanError, Target, WriteError, Written, no_step, plan,
    roll_back, write,
};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, collected, everything, executable, link, put};

pub(crate) async fn planned(
    rig: &Rig,
    place: &Place,
    base: &str,
    result: &str,
    paths: &[&str],
) -> Plan {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    plan(
        place,
        base,
        result,
        &Target::new(rig.top()),
        &paths,
        &no_step(),
    )
    .await
    .unwrap()
}

async fn written(rig: &Rig, plan: &Plan) -> Result<Written, WriteError> {
    let journal = rig.path().join("work/journal");
    write(plan, &journal, &CancellationToken::new(), &no_step()).await
}

fn read(rig: &Rig, path: &str) -> String {
    fs::read_to_string(rig.top().join(path)).unwrap()
}

#[tokio::test]
async fn all_kinds_of_changes_are_written_beside_the_persons_own_and_undone() {
    let rig = Rig::new();
    rig.write("tool", "tool\n");
    rig.write("becomes-folder", "file\n");
    rig.write("becomes-file/a", "a\n");
    rig.write("becomes-file/b/c", "c\n");
    rig.write("goes/away/file", "file\n");
    link(&rig.top(), "link", "kept");
    rig.commit("more");
    rig.write("kept", "the person's own\n");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    put(&tree, "changed", "one\ntwo\nthree\nfour\n");
    put(&tree, "new/deep/file", "new\n");
    put(&tree, "new/binary", [0_u8, 1, 2, 255]);
    put(&tree, "script", "#!/bin/sh\n");
    executable(&tree.join("script"));
    executable(&tree.join("tool"));
    fs::remove_file(tree.join("deleted")).unwrap();
    fs::remove_dir_all(tree.join("goes")).unwrap();
    fs::remove_file(tree.join("becomes-folder")).unwrap();
    put(&tree, "becomes-folder/inner", "inner\n");
    fs::remove_dir_all(tree.join("becomes-file")).unwrap();
    put(&tree, "becomes-file", "file\n");
    fs::remove_file(tree.join("link")).unwrap();
    put(&tree, "link", "a file now\n");
    fs::remove_file(tree.join("sub/inner")).unwrap();
    link(&tree, "sub/inner", "../kept");
    let found = collected(&place, &taken).await;

    // Meanwhile, in the person's tree: another line of the same file, and another file.
    rig.write("changed", "zero\none\ntwo\nthree\n");
    rig.write("meanwhile", "meanwhile\n");
    rig.write("new/ignored.log", "ignored\n");
    let before = everything(&rig.top(), false);
    let git = everything(&rig.top().join(".git"), true);
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    assert_eq!(applying.conflicts, []);
    assert_eq!(everything(&rig.top(), false), before);
    let done = written(&rig, &applying).await.unwrap();

    let mut expected = everything(&tree, false);
    let changed = expected.get_mut(Path::new("changed")).unwrap();
    changed.1 = b"zero\none\ntwo\nthree\nfour\n".to_vec();
    for path in ["meanwhile", "new/ignored.log"] {
        expected.insert(PathBuf::from(path), before[Path::new(path)].clone());
    }
    assert_eq!(everything(&rig.top(), false), expected);
    assert_eq!(
        everything(&rig.top().join(".git"), true),
        git,
        "index and names are untouched"
    );
    let kinds = |path: &str| {
        let at = done.files.iter().find(|file| file.0 == Path::new(path));
        at.unwrap().1
    };
    assert_eq!(kinds("tool"), ChangeKind::Mode);
    assert_eq!(kinds("link"), ChangeKind::Type);
    let again = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    assert!(again.is_empty(), "{:?}", again.operations);

    // Undone after the person went on: their edits stay.
    rig.write("meanwhile", "went on\n");
    rig.write("changed", "minus one\nzero\none\ntwo\nthree\nfour\n");
    let undoing = planned(&rig, &place, &done.after, &done.before, &[]).await;
    written(&rig, &undoing).await.unwrap();
    let mut expected = before;
    let mut set = |path: &str, content: &str| {
        expected.get_mut(Path::new(path)).unwrap().1 = content.as_bytes().to_vec();
    };
    set("meanwhile", "went on\n");
    set("changed", "minus one\nzero\none\ntwo\nthree\n");
    assert_eq!(everything(&rig.top(), false), expected);
    rig.check();
}

#[tokio::test]
async fn a_conflict_leaves_everything_as_it_is_unless_markers_are_wanted() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "one\nthe child's\nthree\n");
    put(&place.tree(), "kept", "changed too\n");
    fs::remove_file(place.tree().join("deleted")).unwrap();
    let found = collected(&place, &taken).await;
    rig.write("changed", "one\nthe person's\nthree\n");
    rig.write("deleted", "still needed\n");
    let before = everything(&rig.top(), true);
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    let conflicts: Vec<_> = applying
        .conflicts
        .iter()
        .map(|conflict| (conflict.path.to_str().unwrap(), conflict.kind))
        .collect();
    assert_eq!(
        conflicts,
        [
            ("changed", ConflictKind::Both),
            ("deleted", ConflictKind::Both)
        ]
    );
    let marked =
        "one\n<<<<<<< yours\nthe person's\n=======\nthe child's\n>>>>>>> incoming\nthree\n";
    assert_eq!(applying.conflicts[0].hunks.as_deref(), Some(marked));
    let what = &applying.conflicts[1].what;
    assert!(
        what.contains("deleted in incoming") && what.contains("modified in yours"),
        "{what}"
    );
    let refused = written(&rig, &applying).await.unwrap_err();
    assert!(
        matches!(refused, WriteError::Conflicts { count: 2 }),
        "{refused}"
    );
    assert_eq!(everything(&rig.top(), true), before);

    let done = written(&rig, &applying.with_markers()).await.unwrap();
    assert_eq!(read(&rig, "changed"), marked);
    assert_eq!(read(&rig, "kept"), "changed too\n");
    assert_eq!(read(&rig, "deleted"), "still needed\n");
    let undoing = planned(&rig, &place, &done.after, &done.before, &[]).await;
    written(&rig, &undoing).await.unwrap();
    assert_eq!(everything(&rig.top(), true), before);
}

#[tokio::test]
async fn a_part_is_applied_by_path_and_the_rest_later() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "child\n");
    put(&place.tree(), "sub/inner", "child\n");
    put(&place.tree(), "sub/other", "child\n");
    put(&place.tree(), "submarine", "child\n");
    let found = collected(&place, &taken).await;
    let part = planned(&rig, &place, &taken.base, &found.result, &["./sub/"]).await;
    let done = written(&rig, &part).await.unwrap();
    assert_eq!(done.files.len(), 2);
    assert_eq!(read(&rig, "changed"), "one\ntwo\nthree\n");
    let rest = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    assert_eq!(written(&rig, &rest).await.unwrap().files.len(), 2);
    assert_eq!(
        everything(&rig.top(), false),
        everything(&place.tree(), false)
    );

    let target = Target::new(rig.top());
    let paths = ["kept".to_owned()];
    let error = plan(
        &place,
        &taken.base,
        &found.result,
        &target,
        &paths,
        &no_step(),
    )
    .await;
    assert!(matches!(error, Err(PlanError::NoSuchPath { path }) if path == "kept"));
}

#[tokio::test]
async fn what_is_in_the_way_is_a_conflict_and_stays() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    let tree = place.tree();
    rig.git_in(&tree, &["config", "core.excludesFile", "/dev/null"]);
    fs::write(tree.join(".gitignore"), "").unwrap();
    put(&tree, "ignored", "child\n");
    put(&tree, "folder", "child\n");
    put(&tree, "led/away", "child\n");
    let found = collected(&place, &taken).await;
    rig.write("ignored", "precious\n");
    rig.write("folder/some.log", "precious\n");
    let outside = rig.path().join("outside");
    fs::create_dir(&outside).unwrap();
    link(&rig.top(), "led", "../outside");
    let before = everything(&rig.path().join("repo"), true);
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    let paths: Vec<_> = applying
        .conflicts
        .iter()
        .filter(|conflict| conflict.kind == ConflictKind::InTheWay)
        .map(|conflict| conflict.path.to_str().unwrap())
        .collect();
    assert!(
        paths.contains(&"ignored") && paths.contains(&"folder"),
        "{paths:?}"
    );
    let refused = written(&rig, &applying.with_markers()).await.unwrap_err();
    assert!(matches!(refused, WriteError::Conflicts { .. }));
    assert_eq!(everything(&rig.top(), true), before);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[tokio::test]
async fn what_changes_after_the_plan_stops_it() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "child\n");
    put(&place.tree(), "kept", "child\n");
    let found = collected(&place, &taken).await;
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    let before = everything(&rig.top(), true);
    // Just when the first file is written, somebody writes the second.
    let top = rig.top();
    let step: brigade_worktree::Step = std::sync::Arc::new(move |name| {
        if name == "apply-file" {
            fs::write(top.join("kept"), "somebody\n").unwrap();
        }
    });
    let journal = rig.path().join("work/journal");
    let stopped = write(&applying, &journal, &CancellationToken::new(), &step)
        .await
        .unwrap_err();
    assert!(matches!(&stopped, WriteError::Changed { path, .. } if path == Path::new("kept")));
    let mut expected = before;
    expected.get_mut(Path::new("kept")).unwrap().1 = b"somebody\n".to_vec();
    assert_eq!(everything(&rig.top(), true), expected);
}

#[tokio::test]
async fn what_changes_while_the_plan_is_made_stops_it() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "one\ntwo\nchild\n");
    let found = collected(&place, &taken).await;
    let top = rig.top();
    // The tree is looked at already.
    let step: brigade_worktree::Step = std::sync::Arc::new(move |name| {
        if name == "plan-merged" {
            fs::write(top.join("changed"), "somebody's own\n").unwrap();
        }
    });
    let target = Target::new(rig.top());
    let stopped = plan(&place, &taken.base, &found.result, &target, &[], &step).await;
    let stopped = stopped.unwrap_err();
    assert!(
        matches!(&stopped, PlanError::Changed { path } if path == Path::new("changed")),
        "{stopped}"
    );
    assert_eq!(read(&rig, "changed"), "somebody's own\n");
}

#[tokio::test]
async fn an_agents_copy_is_nobodys_tree() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "child\n");
    let found = collected(&place, &taken).await;
    let link = rig.path().join("way");
    std::os::unix::fs::symlink(place.tree(), &link).unwrap();
    for top in [place.tree(), link] {
        let target = Target::new(top);
        let refused = plan(&place, &taken.base, &found.result, &target, &[], &no_step())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("is in a copy"), "{refused}");
    }
}

#[tokio::test]
async fn rolling_back_follows_no_link_that_was_put_in_the_way() {
    let rig = Rig::new();
    rig.write("folder/x", "the person's\n");
    rig.commit("more");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    fs::remove_dir_all(place.tree().join("folder")).unwrap();
    let found = collected(&place, &taken).await;
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    let journal = rig.path().join("work/journal");
    let died = tokio::spawn(async move {
        let step: brigade_worktree::Step =
            std::sync::Arc::new(|name| assert!(name != "apply-file", "it dies here"));
        write(&applying, &journal, &CancellationToken::new(), &step).await
    });
    assert!(died.await.is_err());
    assert!(!rig.top().join("folder/x").exists());
    let elsewhere = rig.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let _ = fs::remove_dir(rig.top().join("folder"));
    std::os::unix::fs::symlink(&elsewhere, rig.top().join("folder")).unwrap();
    let journal = rig.path().join("work/journal");
    let back = roll_back(&journal, &no_step()).await.unwrap();
    assert_eq!(back.left.len(), 1, "{back:?}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    // Even where the whole tree is gone it comes to an end.
    let kept = back.left[0].copy.as_ref().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "the person's\n");
}

#[tokio::test]
async fn a_cancel_takes_everything_back() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "child\n");
    fs::remove_dir_all(place.tree().join("sub")).unwrap();
    put(&place.tree(), "new/file", "child\n");
    let found = collected(&place, &taken).await;
    let before = everything(&rig.top(), true);
    for after in 0..3 {
        let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
        let cancel = CancellationToken::new();
        let (token, left) = (cancel.clone(), std::sync::atomic::AtomicUsize::new(after));
        let step: brigade_worktree::Step = std::sync::Arc::new(move |name| {
            use std::sync::atomic::Ordering::SeqCst;
            let counted = matches!(name, "apply-journal" | "apply-file");
            if counted
                && left
                    .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
                    .is_err()
            {
                token.cancel();
            }
        });
        let journal = rig.path().join("work/journal");
        let stopped = write(&applying, &journal, &cancel, &step)
            .await
            .unwrap_err();
        let WriteError::Cancelled { rolled_back } = stopped else {
            panic!("{stopped}");
        };
        assert_eq!(
            (rolled_back.restored.len(), rolled_back.left.len()),
            (after, 0)
        );
        assert_eq!(everything(&rig.top(), true), before);
    }
}

#[tokio::test]
async fn line_ends_and_filters_are_the_persons_where_it_is_written() {
    let rig = Rig::empty(&[]);
    rig.git(&["config", "core.autocrlf", "true"]);
    rig.git(&["config", "filter.up.clean", "tr a-z A-Z"]);
    rig.git(&["config", "filter.up.smudge", "tr A-Z a-z"]);
    rig.write(".gitattributes", "*.up filter=up -text\n");
    rig.write("windows", "one\r\n");
    rig.write("file.up", "text\n");
    rig.commit("first");
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "windows", "one\r\ntwo\r\n");
    put(&place.tree(), "file.up", "OTHER\n");
    let found = collected(&place, &taken).await;
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    written(&rig, &applying).await.unwrap();
    assert_eq!(read(&rig, "windows"), "one\r\ntwo\r\n");
    assert_eq!(read(&rig, "file.up"), "other\n");
    let asked = ["diff-index", "--name-only", "HEAD"];
    assert_eq!(rig.git(&asked), "file.up\nwindows");
}

#[tokio::test]
async fn rolling_back_leaves_what_somebody_has_changed_since() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    put(&place.tree(), "changed", "child\n");
    put(&place.tree(), "kept", "child\n");
    put(&place.tree(), "new/file", "child\n");
    let found = collected(&place, &taken).await;
    let applying = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    let journal = rig.path().join("work/journal");
    let aside = rig.path().join("work/aside");
    // The journal as a crash after the last file would leave it.
    let (from, to) = (journal.clone(), aside.clone());
    let step: brigade_worktree::Step = std::sync::Arc::new(move |name| {
        if name == "apply-journal" {
            let status = std::process::Command::new("cp")
                .arg("-r")
                .args([&from, &to])
                .status();
            assert!(status.unwrap().success());
        }
    });
    write(&applying, &journal, &CancellationToken::new(), &step)
        .await
        .unwrap();
    rig.write("kept", "somebody's\n");
    rig.write("new/other", "somebody's\n");
    let back = roll_back(&aside, &no_step()).await.unwrap();
    assert_eq!(
        back.restored,
        [PathBuf::from("changed"), PathBuf::from("new/file")]
    );
    assert_eq!(back.left.len(), 1);
    assert_eq!(back.left[0].path, Path::new("kept"));
    assert_eq!(
        fs::read_to_string(back.left[0].copy.as_ref().unwrap()).unwrap(),
        "kept\n"
    );
    assert_eq!(read(&rig, "kept"), "somebody's\n");
    assert_eq!(read(&rig, "new/other"), "somebody's\n");
    assert_eq!(read(&rig, "changed"), "one\ntwo\nthree\n");
    assert_eq!(
        roll_back(&aside, &no_step()).await.unwrap(),
        brigade_worktree::RolledBack::default()
    );
}
