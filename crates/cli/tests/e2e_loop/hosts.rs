//! Hosts that stop, are killed, are suspended, and share a home: delegations go on, notices wait.

use brigade_testkit::model::Outcome;
use brigade_testkit::{Kind, Method, Record, Sandbox, Script};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{
    CONTINUED, Host, LIMIT, NOTICE, Parent, answer, begun, delegating, ended, gated,
    others_were_served, sandbox, show, shown,
};

/// How often any run was told to go on.
fn continued(sandbox: &Sandbox) -> Vec<Record> {
    let mut turns = sandbox.model().turns();
    turns.retain(|turn| turn.prompt.starts_with(CONTINUED));
    turns
}

/// The daemon's log, for a test that fails.
fn log(sandbox: &Sandbox) -> String {
    let folder = sandbox.brigade_data().join("logs");
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .collect()
}

#[tokio::test]
async fn a_host_that_quits_interrupts_and_does_not_cancel() {
    let sandbox = sandbox("").await;
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    sandbox.model().when(CONTINUED, go_on);
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Quits").await;
    parent
        .says(delegating(&[gated("alpha")]).step().say("under way"))
        .await;
    let ids = parent.delegations().await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    // The process is asked to end, as by a person.
    host.process().signal_leader(Signal::INT).unwrap();
    host.process().gone(LIMIT).await.unwrap();
    sandbox.model().open("continued");
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(2))
    );
    assert_eq!(begun(&sandbox, "alpha"), 1);
}

#[tokio::test]
async fn a_run_goes_on_when_its_directory_is_closed_under_it() {
    let sandbox = sandbox("").await;
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    sandbox.model().when(CONTINUED, go_on);
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Disposed").await;
    parent
        .says(delegating(&[gated("alpha")]).step().say("under way"))
        .await;
    let ids = parent.delegations().await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    // The directory is closed in a process that lives on, and opened again by the next request.
    let disposed: (u16, Value) = host
        .request(Method::POST, "/instance/dispose", Some(&json!({})))
        .await
        .unwrap();
    assert_eq!(disposed.0, 200, "{}", disposed.1);
    host.get::<Value>("/path").await.unwrap();
    sandbox
        .model()
        .reached("continued", 1, LIMIT)
        .await
        .unwrap();
    sandbox.model().open("continued");
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(2))
    );
    assert_eq!(begun(&sandbox, "alpha"), 1);
}

#[tokio::test]
async fn a_notice_that_waited_over_a_restart_and_a_compaction_comes_once() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Comes back").await;
    parent
        .says(delegating(&[gated("alpha")]).step().say("under way"))
        .await;
    let ids = parent.delegations().await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    sandbox
        .model()
        .when(CONTINUED, Script::saying(answer("alpha")));
    host.kill9().await.unwrap();
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    assert!(sandbox.signal_daemon(Signal::KILL));

    // Another process opens the project; the session is compacted there before anybody writes in it.
    let next = Host::start(&sandbox).await;
    let parent = parent.in_host(&next);
    shown(&sandbox, &ids[0], "the offer", |row| {
        row["notice"] == "leased"
    })
    .await;
    next.compact(&parent.id).await.unwrap();
    parent.says(Script::saying("so that is that")).await;
    parent.answered(parent.requests().len()).await;
    shown(&sandbox, &ids[0], "the delivery", |row| {
        row["notice"] == "delivered"
    })
    .await;
    others_were_served(&sandbox, &next).await;
    parent.assert_told_once(&ids).await;
    assert_eq!(begun(&sandbox, "alpha"), 1);
}

#[tokio::test]
async fn a_suspended_host_keeps_its_runs() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Suspended").await;
    parent
        .says(delegating(&[gated("alpha")]).step().say("under way"))
        .await;
    let ids = parent.delegations().await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    host.sigstop().unwrap();
    sandbox.model().open("alpha");
    // Another host of the same home and project does not take it up meanwhile, nor does a new daemon.
    let second = Host::start(&sandbox).await;
    others_were_served(&sandbox, &second).await;
    assert!(sandbox.signal_daemon(Signal::KILL));
    others_were_served(&sandbox, &second).await;
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("running"), &json!(1))
    );
    host.sigcont().unwrap();
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    parent.answered(3).await;
    parent.assert_told_once(&ids).await;
    assert!(continued(&sandbox).is_empty());
    assert_eq!(begun(&sandbox, "alpha"), 1);
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(1))
    );
}

#[tokio::test]
async fn the_host_that_the_person_writes_in_gets_the_notices() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Moves").await;
    let script = delegating(&[gated("alpha"), gated("beta")])
        .step()
        .chunk("well ")
        .gate("well")
        .say("so");
    parent.begins(script).await;
    sandbox.model().reached("well", 1, LIMIT).await.unwrap();
    let ids = parent.delegations().await;
    for (name, id) in ["alpha", "beta"].iter().zip(&ids) {
        sandbox.model().open(name);
        ended(&sandbox, id).await;
    }
    // It goes while its stream keeps the notices waiting.
    host.kill9().await.unwrap();

    // Two others have the project open: one of them is offered the notices, the person writes in the
    // other and then in both.
    let second = Host::start(&sandbox).await;
    let third = Host::start(&sandbox).await;
    for id in &ids {
        shown(&sandbox, id, "the offer", |row| row["notice"] == "leased").await;
    }
    let before = parent.requests().len();
    let there = parent.in_host(&second);
    there.says("here I am").await;
    for id in &ids {
        shown(&sandbox, id, "the delivery", |row| {
            row["notice"] == "delivered"
        })
        .await;
    }
    others_were_served(&sandbox, &second).await;
    others_were_served(&sandbox, &third).await;
    there.rest().await;
    there.assert_told_once(&ids).await;
    // On the message itself, or by a waking of their own after it.
    let after = parent.requests().len() - before;
    assert!(
        (1..=2).contains(&after),
        "{after} requests\n{}",
        log(&sandbox)
    );
    let here = parent.in_host(&third);
    let before = parent.requests().len();
    here.says("and here").await;
    here.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), before + 1);

    // From there the parent delegates: whoever it runs in is the one that is told.
    here.says(delegating(&[gated("gamma")]).step().say("under way"))
        .await;
    let ids = parent.in_host(&third).delegations().await;
    let before = parent.requests().len();
    sandbox.model().open("gamma");
    here.answered(before + 1).await;
    here.assert_told_once(&ids).await;
    others_were_served(&sandbox, &second).await;
    others_were_served(&sandbox, &third).await;
    assert_eq!(parent.requests().len(), before + 1);
    let kinds = sandbox.model().records();
    assert!(kinds.iter().all(|record| record.kind == Kind::Turn));
}

#[tokio::test]
async fn a_session_that_is_busy_in_two_hosts_is_left_alone_until_it_rests() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let second = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Busy in two").await;
    let script = delegating(&[gated("alpha")])
        .step()
        .chunk("here ")
        .gate("here")
        .say("done");
    parent.begins(script).await;
    sandbox.model().reached("here", 1, LIMIT).await.unwrap();
    let ids = parent.delegations().await;
    let there = parent.in_host(&second);
    let script = Script::new().chunk("there ").gate("there").say("done");
    there.begins(script).await;
    sandbox.model().reached("there", 1, LIMIT).await.unwrap();
    sandbox.model().open("alpha");
    ended(&sandbox, &ids[0]).await;

    // The one has come to the end of its stream, the other has not.
    sandbox.model().open("here");
    sandbox
        .model()
        .wait_for("the end of the first stream", LIMIT, |record| {
            record.session.as_ref() == Some(&parent.id)
                && record.step == 1
                && record.outcome == Outcome::Answered
        })
        .await
        .unwrap();
    others_were_served(&sandbox, &host).await;
    others_were_served(&sandbox, &second).await;
    parent.assert_told_once(&[]).await;

    sandbox.model().open("there");
    let woken = |record: &Record| {
        record.session.as_ref() == Some(&parent.id) && record.prompt.starts_with(NOTICE)
    };
    sandbox
        .model()
        .wait_for("the waking", LIMIT, woken)
        .await
        .unwrap();
    for host in [&host, &second] {
        others_were_served(&sandbox, host).await;
        parent.in_host(host).rest().await;
    }
    parent.assert_told_once(&ids).await;
    let turns = sandbox.model().turns();
    assert_eq!(turns.iter().filter(|turn| woken(turn)).count(), 1);
}
