//! A process that dies at each step of everything, and what is found afterwards.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade_worktree::{
    Limits, Place, Snapshot, Step, Target, build, collect, no_step, plan, remove_all, remove_tree,
    roll_back, snapshot, sweep, write,
};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, built, collected, everything, put};

const WHAT: &str = "WORKTREE_TEST_WHAT";
const WHERE: &str = "WORKTREE_TEST_WHERE";
const STEP: &str = "WORKTREE_TEST_STEP";

/// Has a process of its own do something and die at a step. Whether it died: there may be fewer steps.
fn dies(rig: &Rig, what: &str, step: usize) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashing::the_one_that_dies", "--nocapture"])
        .env(WHAT, what)
        .env(WHERE, rig.path())
        .env(STEP, step.to_string())
        .output()
        .unwrap();
    if output.status.signal().is_some() {
        return true;
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{what} {step}: {said}"
    );
    false
}

#[tokio::test]
async fn the_one_that_dies() {
    let Ok(what) = std::env::var(WHAT) else {
        return;
    };
    let path = std::path::PathBuf::from(std::env::var(WHERE).unwrap());
    let left = AtomicUsize::new(std::env::var(STEP).unwrap().parse().unwrap());
    let step: Step = Arc::new(move |_| {
        if left.fetch_sub(1, Ordering::SeqCst) == 0 {
            std::process::abort();
        }
    });
    let place = Place::new(path.join("work/one")).with_environment([
        ("HOME", path.join("home").into_os_string()),
        ("PATH", std::env::var_os("PATH").unwrap()),
    ]);
    let top = path.join("repo");
    let taken = || Snapshot::load(&place).unwrap().unwrap();
    match what.as_str() {
        "snapshot" => drop(
            snapshot(&top, &place, &Limits::default(), None, &step)
                .await
                .unwrap(),
        ),
        "build" => drop(build(&place, &taken(), &step).await.unwrap()),
        "collect" => drop(collect(&place, &taken(), &step).await.unwrap()),
        "write" => {
            let result = fs::read_to_string(path.join("result")).unwrap();
            let target = Target::new(&top);
            let plan = plan(&place, &taken().base, &result, &target, &[], &step)
                .await
                .unwrap();
            let cancel = CancellationToken::new();
            drop(
                write(&plan, &path.join("work/journal"), &cancel, &step)
                    .await
                    .unwrap(),
            );
        }
        "roll-back" => drop(roll_back(&path.join("work/journal"), &step).await.unwrap()),
        "remove-tree" => remove_tree(&place, &step).await.unwrap(),
        _ => remove_all(&place, &step).await.unwrap(),
    }
}

fn work(tree: &std::path::Path) {
    put(tree, "changed", "child\n");
    put(tree, "new/deep/file", "child\n");
    fs::remove_dir_all(tree.join("sub")).unwrap();
    put(tree, "sub", "a file\n");
    fs::remove_file(tree.join("deleted")).unwrap();
    put(tree, "deleted/inner", "inner\n");
}

#[tokio::test]
async fn whatever_dies_can_be_done_again_and_costs_the_person_nothing() {
    let rig = Rig::new();
    rig.write("untracked", "untracked\n");
    let place = rig.place("one");
    let person = everything(&rig.top(), true);
    let mut kills = 0;
    let mut killed = |what: &str, step: usize| {
        let died = dies(&rig, what, step);
        assert_eq!(everything(&rig.top(), true), person, "{what} {step}");
        rig.check();
        kills += usize::from(died);
        died
    };
    for step in 0.. {
        let died = killed("snapshot", step);
        let taken = rig.take(&place).await;
        assert_eq!(taken.top, rig.top());
        remove_all(&place, &no_step()).await.unwrap();
        if !died {
            break;
        }
    }
    let taken = rig.take(&place).await;
    for step in 0.. {
        let died = killed("build", step);
        built(&place, &taken).await;
        assert_eq!(
            everything(&place.tree(), false),
            everything(&rig.top(), false)
        );
        assert_eq!(
            fs::read_dir(place.root()).unwrap().count(),
            3,
            "nothing else is left"
        );
        if !died {
            break;
        }
    }
    work(&place.tree());
    let child = everything(&place.tree(), true);
    for step in 0.. {
        let died = killed("collect", step);
        let found = collected(&place, &taken).await;
        assert_eq!(found.changes.len(), 6);
        assert_eq!(everything(&place.tree(), true), child);
        if !died {
            break;
        }
    }
    for step in 0.. {
        let died = killed("remove-tree", step);
        assert!(!place.tree().exists());
        remove_tree(&place, &no_step()).await.unwrap();
        assert_eq!(
            fs::read_dir(place.root()).unwrap().count(),
            1,
            "the vault stays"
        );
        if !died {
            break;
        }
        built(&place, &taken).await;
    }
    killed("remove-all", 0);
    remove_all(&place, &no_step()).await.unwrap();
    sweep(&rig.path().join("work")).await.unwrap();
    assert_eq!(fs::read_dir(rig.path().join("work")).unwrap().count(), 0);
    assert!(kills >= 15, "{kills}");
}

#[tokio::test]
async fn an_apply_that_dies_is_taken_back_even_if_that_dies_too() {
    let rig = Rig::new();
    let place = rig.place("one");
    let taken = rig.begin(&place).await;
    work(&place.tree());
    let found = collected(&place, &taken).await;
    fs::write(rig.path().join("result"), &found.result).unwrap();
    rig.write("kept", "the person's\n");
    let before = everything(&rig.top(), true);
    let journal = rig.path().join("work/journal");
    let mut kills = 0;
    for step in 0.. {
        if !dies(&rig, "write", step) {
            break;
        }
        let done = journal.join("done.json").exists();
        for again in 0.. {
            if !dies(&rig, "roll-back", again) {
                break;
            }
            kills += 1;
        }
        let back = roll_back(&journal, &no_step()).await.unwrap();
        assert_eq!(
            back,
            brigade_worktree::RolledBack::default(),
            "it was all taken back before"
        );
        if done {
            let mut expected = everything(&place.tree(), false);
            expected.get_mut(std::path::Path::new("kept")).unwrap().1 = b"the person's\n".to_vec();
            assert_eq!(everything(&rig.top(), false), expected);
        } else {
            assert_eq!(everything(&rig.top(), true), before, "after step {step}");
        }
        rig.check();
        kills += 1;
        if done {
            break;
        }
    }
    assert!(kills >= 20, "{kills}");
}
