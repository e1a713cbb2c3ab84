//! Worktrees beyond the first round: gone on in, begun anew, given up.

use std::fs;

use brigade_testkit::Script;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::stage::{Host, LIMIT, Parent, ended, others_were_served, sandbox, show, shown};
use crate::worktrees::{editing, repository, shell};

#[tokio::test]
async fn a_further_round_goes_on_where_files_are_gone_and_the_round_before_is_no_conflict() {
    let sandbox = sandbox("").await;
    repository(&sandbox).await;
    let project = sandbox.project();
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Rounds").await;
    let first = shell(
        "alpha",
        "printf 'one\\ntwo\\nALPHA\\n' > kept.txt && mkdir web && echo a > web/a.txt",
    );
    parent.says(editing(&first).step().say("begun")).await;
    let id = parent.delegations().await.remove(0);
    ended(&sandbox, &id).await;
    parent.rest().await;
    let applied = sandbox.brigade(&["apply", &id]).await.unwrap();
    assert_eq!(applied.code(), Some(0), "{applied:?}");
    shown(&sandbox, &id, "the removal", |row| {
        row["worktree"]["state"] == "removed"
    })
    .await;

    let more = shell(
        "beta",
        "sed -i s/ALPHA/BETA/ kept.txt && mv web site && cat site/a.txt",
    );
    let sent = sandbox.brigade(&["send", &id, "--json", &more]).await;
    let sent = sent.unwrap().json().unwrap();
    let second = sent["id"].as_str().unwrap().to_owned();
    assert_ne!(second, id, "{sent:#}");
    ended(&sandbox, &second).await;
    let row = show(&sandbox, &second).await;
    assert_eq!(row["state"], "complete", "{row:#}");
    assert_eq!(
        row["worktree"]["path"],
        show(&sandbox, &id).await["worktree"]["path"]
    );
    // Both rounds are in its patch, and one of them is in the tree already.
    let applied = sandbox.brigade(&["apply", &second]).await.unwrap();
    assert_eq!(applied.code(), Some(0), "{applied:?}");
    let read = |name: &str| fs::read_to_string(project.join(name)).unwrap();
    assert_eq!(read("kept.txt"), "one\ntwo\nBETA\n", "{applied:?} {row:#}");
    assert_eq!(read("site/a.txt"), "a\n");
    assert!(!project.join("web/a.txt").exists());
    let undone = sandbox
        .brigade(&["apply", "--undo", &second])
        .await
        .unwrap();
    assert_eq!(undone.code(), Some(0), "{undone:?}");
    assert_eq!(
        read("kept.txt"),
        "one\ntwo\nALPHA\n",
        "the first round stays"
    );
    assert_eq!(read("web/a.txt"), "a\n");
}

#[tokio::test]
async fn what_only_read_is_repeated_in_a_worktree_once_it_may_edit() {
    let sandbox = sandbox("[agent.general]\nrun = \"read-only\"\n").await;
    repository(&sandbox).await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Rights").await;
    let wants = shell("alpha", "echo mine > mine.txt");
    parent.says(editing(&wants).step().say("begun")).await;
    let id = parent.delegations().await.remove(0);
    sandbox.brigade(&["read", &id, "--follow"]).await.unwrap();
    assert!(show(&sandbox, &id).await["worktree"].is_null());
    parent.rest().await;
    sandbox.brigade_toml("").unwrap();
    // It is read at the start; the bridge has the next one started.
    sandbox.brigade(&["daemon", "stop"]).await.unwrap();
    others_were_served(&sandbox, &host).await;
    let again = sandbox.brigade(&["retry", &id, "--json"]).await.unwrap();
    let again = again.json().unwrap();
    let again = again["id"].as_str().unwrap();
    ended(&sandbox, again).await;
    let row = show(&sandbox, again).await;
    assert_eq!(row["worktree"]["changes"]["files"], 1, "{row:#}");
    assert!(!sandbox.project().join("mine.txt").exists());
}

#[tokio::test]
async fn what_is_cancelled_while_it_is_set_up_leaves_nothing_at_work() {
    let sandbox = sandbox("").await;
    repository(&sandbox).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let setup = format!(
        "echo half > half.txt; node -e 'require(\"net\").connect({port}, \"127.0.0.1\"); setInterval(() => {{}}, 1e6)'"
    );
    let config = format!("[worktree]\nsetup = {setup:?}\n");
    fs::write(sandbox.project().join(".brigade.toml"), config).unwrap();
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Setup").await;
    let script = editing(&shell("alpha", "cat half.txt")).step().say("begun");
    parent.says(script).await;
    let id = parent.delegations().await.remove(0);
    let (mut setting_up, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let done = sandbox.brigade(&["cancel", &id]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let ended = timeout(LIMIT, setting_up.read(&mut [0])).await;
    assert!(matches!(ended.unwrap(), Ok(0) | Err(_)), "it runs on");
    let row = shown(&sandbox, &id, "the removal", |row| {
        row["worktree"]["state"] == "removed"
    })
    .await;
    assert_eq!(row["state"], "cancelled", "{row:#}");
    parent.says(Script::saying("still here")).await;
}
