//! The daemon dies between each two steps of a worktree's life: no work is lost, and no repository broken.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brigade_testkit::{Sandbox, Script};
use serde_json::{Value, json};

use crate::figures::Figures;
use crate::rig::{World, task};
use crate::stage::{Host, Parent, answer, ended, show, shown};

/// The steps from the call of `delegate` to the end, in their order.
const LIFE: &[&str] = &[
    "snapshot-vault",
    "snapshot-index",
    "snapshot-objects",
    "snapshot-tree",
    "snapshot-record",
    "build-cleared",
    "build-files",
    "build-repository",
    "worktree-built",
    "worktree-set-up",
    "collect-objects",
    "collect-tree",
    "collect-packed",
    "collect-commits",
    "collect-patch",
    "changes-collected",
    "patch-written",
    "changes-recorded",
];

/// Which of them a daemon dies at in the life of one delegation: each time the next goes on from there. A call of
/// `delegate` is repeated only a few times.
const CHAINS: [std::ops::Range<usize>; 2] = [0..3, 3..LIFE.len()];

/// The steps of an apply and of what follows it, and at which of their passes the daemon dies.
const APPLY: &[&str] = &[
    "plan-target",
    "plan-merged",
    "plan-kept",
    "apply-recorded",
    "apply-contents",
    "apply-journal",
    "apply-file",
    "apply-done",
    "apply-written",
];

/// The steps of an undo.
const UNDO: &[&str] = &["apply-journal", "apply-file", "undo-written"];

/// The steps of a roll-back, which the next daemon begins with: at each it dies, too.
const ROLL_BACK: &[&str] = &["rollback-file", "rollback-done"];

/// The steps of a removal.
const REMOVAL: &[&str] = &["worktree-unneeded", "remove-all", "worktree-removed"];

/// The steps of a removal that leaves what is needed to apply.
const LETTING_GO: &[&str] = &["worktree-claimed", "remove-tree"];

/// The points that are tested here.
pub(crate) fn points() -> impl Iterator<Item = &'static str> {
    let all = [LIFE, APPLY, UNDO, ROLL_BACK, REMOVAL, LETTING_GO];
    all.into_iter().flatten().copied()
}

/// A child that changes two files and adds one.
fn edits(name: &str) -> String {
    let file = name.replace(' ', "-");
    let command = format!(
        "printf 'one\\n{name}\\nthree\\n' > kept.txt && rm -f gone.txt && printf '{name}\\n' > {file}.txt"
    );
    let call = json!({"command": command, "description": "change files"});
    task(
        name,
        Script::new().call("bash", &call).step().say(answer(name)),
    )
}

fn delegating(name: &str) -> Script {
    let args = json!({"agent": "general", "prompt": edits(name)});
    Script::new().call("delegate", &args).step().say("begun")
}

async fn repository(sandbox: &Sandbox) {
    let project = sandbox.project();
    fs::write(project.join("kept.txt"), "one\ntwo\nthree\n").unwrap();
    fs::write(project.join("gone.txt"), "to be removed\n").unwrap();
    sandbox.git(&["add", "-A"]).await.unwrap();
    sandbox.git(&["commit", "-qm", "Begin"]).await.unwrap();
    fs::write(project.join("own.txt"), "nobody has added this\n").unwrap();
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// The folders of worktrees, whatever is in them.
fn folders(sandbox: &Sandbox) -> Vec<PathBuf> {
    let root = sandbox.brigade_data().join("worktrees");
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Clears up as a person would, a while later; what is left is explained by a record.
async fn cleared(sandbox: &Sandbox) {
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    for folder in folders(sandbox) {
        let opened = fs::File::open(&folder).unwrap();
        opened.set_modified(long_ago).unwrap();
    }
    let done = sandbox.brigade(&["gc"]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    sandbox.git(&["fsck", "--strict"]).await.unwrap();
    let listed = sandbox.git(&["worktree", "list"]).await.unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let status = sandbox.git(&["status", "--porcelain"]).await.unwrap();
    assert!(!status.contains("U"), "{status}");
}

#[tokio::test]
async fn wherever_the_daemon_dies_what_a_worktree_holds_is_collected() {
    let world = World::new("[worktree]\nsetup = \"true\"\n").await;
    let sandbox = &world.sandbox;
    repository(sandbox).await;
    let host = Host::start(sandbox).await;
    let before = files(&sandbox.project());
    let mut ids = Vec::new();
    for chain in CHAINS {
        let point = format!("chain {}", chain.start);
        let parent = Parent::open(sandbox, &host, &point).await;
        let mut armed = Vec::new();
        for point in &LIFE[chain] {
            armed.push(world.arm(point, 1).await);
        }
        parent.says(delegating(&point)).await;
        let id = parent.delegations().await.remove(0);
        parent.answered(3).await;
        for point in &armed {
            point.assert_reached();
        }
        let row = show(sandbox, &id).await;
        assert_eq!(row["state"], "complete", "{point}: {row:#}");
        let changes = &row["worktree"]["changes"];
        assert_eq!(changes["files"], 3, "{point}: {row:#}");
        let patch = fs::read_to_string(changes["patch"].as_str().unwrap()).unwrap();
        assert!(patch.contains(&format!("+{point}")), "{point}: {patch}");
        assert!(ended(sandbox, &id).await.contains("gone.txt"), "{point}");
        parent.assert_told_once(std::slice::from_ref(&id)).await;
        assert_eq!(files(&sandbox.project()), before, "{point}");
        ids.push(id);
    }
    cleared(sandbox).await;
    let mut left: Vec<String> = folders(sandbox)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    left.sort();
    ids.sort();
    assert_eq!(left, ids, "one folder for each, and none besides");
    let figures = Figures {
        kills: LIFE.len(),
        survived: ids.len(),
        ..Figures::default()
    };
    figures.tell("daemon killed in a worktree's life");
}

/// Whether what a delegation has changed is in the tree, by its record.
fn is_applied(row: &Value) -> bool {
    let applies = row["worktree"]["applies"].as_array().unwrap();
    applies
        .last()
        .is_some_and(|apply| apply["state"] == "applied")
}

#[tokio::test]
async fn wherever_the_daemon_dies_an_apply_is_whole_or_taken_back() {
    let world = World::new("").await;
    let sandbox = &world.sandbox;
    repository(sandbox).await;
    let host = Host::start(sandbox).await;
    let parent = Parent::open(sandbox, &host, "Applies").await;
    parent.says(delegating("alpha")).await;
    let id = parent.delegations().await.remove(0);
    parent.answered(3).await;
    let old = files(&sandbox.project());
    let mut new = None;
    let consistent = async |point: &str| {
        let settled = |row: &Value| {
            let applies = row["worktree"]["applies"].as_array().unwrap();
            applies.iter().all(|apply| apply["state"] != "writing")
        };
        let row = shown(sandbox, &id, "the apply to be settled", settled).await;
        let now = files(&sandbox.project());
        if is_applied(&row) {
            assert_ne!(now, old, "{point}: it is applied");
        } else {
            assert_eq!(now, old, "{point}: it is taken back");
        }
        is_applied(&row)
    };
    for point in APPLY {
        let armed = world.arm(point, 1).await;
        let cut_off = sandbox.brigade(&["apply", &id]).await.unwrap();
        assert_ne!(cut_off.code(), Some(0), "{point}: {cut_off:?}");
        armed.died().await;
        if !consistent(point).await {
            let done = sandbox.brigade(&["apply", &id]).await.unwrap();
            assert_eq!(done.code(), Some(0), "{point}: {done:?}");
        }
        let applied = files(&sandbox.project());
        assert_eq!(&applied, new.get_or_insert(applied.clone()), "{point}");
        let done = sandbox.brigade(&["apply", "--undo", &id]).await.unwrap();
        assert_eq!(done.code(), Some(0), "{point}: {done:?}");
        assert_eq!(files(&sandbox.project()), old, "{point}");
    }
    for point in ROLL_BACK {
        let first = world.arm("apply-file", 2).await;
        let then = world.arm(point, 1).await;
        let cut_off = sandbox.brigade(&["apply", &id]).await.unwrap();
        assert_ne!(cut_off.code(), Some(0), "{point}: {cut_off:?}");
        first.died().await;
        then.died_starting(sandbox).await;
        assert!(!consistent(point).await, "{point}");
    }
    for point in UNDO {
        let done = sandbox.brigade(&["apply", &id]).await.unwrap();
        assert_eq!(done.code(), Some(0), "{point}: {done:?}");
        let armed = world.arm(point, 1).await;
        let cut_off = sandbox.brigade(&["apply", "--undo", &id]).await.unwrap();
        assert_ne!(cut_off.code(), Some(0), "{point}: {cut_off:?}");
        armed.died().await;
        if consistent(point).await {
            assert_eq!(Some(files(&sandbox.project())), new, "{point}");
            let done = sandbox.brigade(&["apply", "--undo", &id]).await.unwrap();
            assert_eq!(done.code(), Some(0), "{point}: {done:?}");
        }
        assert_eq!(files(&sandbox.project()), old, "{point}");
    }
    // What was not let go in the end is found.
    for point in LETTING_GO {
        let parent = Parent::open(sandbox, &host, point).await;
        parent.says(delegating(point)).await;
        let id = parent.delegations().await.remove(0);
        parent.answered(3).await;
        let armed = world.arm(point, 1).await;
        let done = sandbox.brigade(&["apply", &id]).await.unwrap();
        assert_eq!(done.code(), Some(0), "{done:?}");
        armed.died().await;
        cleared(sandbox).await;
        shown(sandbox, &id, "the removal", |row| {
            row["worktree"]["state"] == "removed"
        })
        .await;
    }
    // All of the removals, too, leave a record that is right and nothing that gc can't explain.
    for point in REMOVAL {
        let parent = Parent::open(sandbox, &host, point).await;
        parent.says(delegating(point)).await;
        let id = parent.delegations().await.remove(0);
        parent.answered(3).await;
        let armed = world.arm(point, 1).await;
        let cut_off = sandbox.brigade(&["discard", &id]).await.unwrap();
        assert_ne!(cut_off.code(), Some(0), "{point}: {cut_off:?}");
        armed.died().await;
        let done = sandbox.brigade(&["discard", &id]).await.unwrap();
        assert_eq!(done.code(), Some(0), "{point}: {done:?}");
        cleared(sandbox).await;
        assert!(
            folders(sandbox).iter().all(|path| !path.ends_with(&id)),
            "{point}"
        );
        let row = show(sandbox, &id).await;
        assert_eq!(row["worktree"]["state"], "discarded", "{point}");
        let patch = row["worktree"]["changes"]["patch"].as_str().unwrap();
        assert!(Path::new(patch).exists(), "{point}");
    }
    cleared(sandbox).await;
    let figures = Figures {
        kills: APPLY.len() + UNDO.len() + LETTING_GO.len() + REMOVAL.len(),
        survived: 1 + REMOVAL.len(),
        ..Figures::default()
    };
    figures.tell("daemon killed while it applies and removes");
}
