//! Hosts that stop, are killed, are suspended, and share a home: delegations go on, notices wait.

use brigade_testkit::model::Outcome;
use brigade_testkit::{Kind, Method, Record, Sandbox, Script};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{
    CONTINUED, Host, LIMIT, NOTICE, Parent, answer, begun, delegating, ended, gated,
    others_were_served, sandbox, show, shown, task_id, turns_of,
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

async fn waiting_for_host(sandbox: &Sandbox, id: &str) -> Value {
    shown(sandbox, id, "the wait for a host", |row| {
        row["phase"]
            .as_str()
            .unwrap()
            .starts_with("waiting for a host")
    })
    .await
}

#[tokio::test]
async fn a_killed_host_costs_an_attempt_and_the_third_is_the_last() {
    let sandbox = sandbox("").await;
    sandbox.model().when(
        CONTINUED,
        Script::new().gate("continued").say(answer("alpha")),
    );
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Killed").await;
    parent
        .says(
            delegating(&[gated("alpha"), gated("beta")])
                .step()
                .say("under way"),
        )
        .await;
    let ids = parent.delegations().await;
    for name in ["alpha", "beta"] {
        sandbox.model().reached(name, 1, LIMIT).await.unwrap();
    }
    let mut children: Vec<String> = Vec::new();
    for id in &ids {
        children.push(
            show(&sandbox, id).await["child"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    host.kill9().await.unwrap();
    for id in &ids {
        let row = waiting_for_host(&sandbox, id).await;
        assert_eq!(
            (&row["state"], &row["notice"]),
            (&json!("running"), &json!("none"))
        );
    }

    // The next host of the same home and project takes both up, each in its own session.
    let second = Host::start(&sandbox).await;
    sandbox
        .model()
        .reached("continued", 2, LIMIT)
        .await
        .unwrap();
    let told = continued(&sandbox);
    for child in &children {
        assert_eq!(
            told.iter()
                .filter(|turn| turn.session.as_ref() == Some(child))
                .count(),
            1
        );
    }
    // One is let through, the other is killed again, and then once more.
    sandbox.model().admit("continued", 1);
    let done = sandbox
        .model()
        .wait_for("one continued", LIMIT, |record| {
            record.prompt.starts_with(CONTINUED) && record.outcome == Outcome::Answered
        })
        .await
        .unwrap();
    let (good, bad) = if done.session.as_ref() == Some(&children[0]) {
        (&ids[0], &ids[1])
    } else {
        (&ids[1], &ids[0])
    };
    assert!(ended(&sandbox, good).await.contains(&answer("alpha")));
    let row = show(&sandbox, good).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(2))
    );
    second.kill9().await.unwrap();
    waiting_for_host(&sandbox, bad).await;

    let third = Host::start(&sandbox).await;
    sandbox
        .model()
        .reached("continued", 3, LIMIT)
        .await
        .unwrap();
    third.kill9().await.unwrap();
    let row = shown(&sandbox, bad, "the end", |row| row["state"] == "error").await;
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.contains("3 attempts"), "{reason}");
    assert_eq!(row["attempt"], 3);
    for name in ["alpha", "beta"] {
        assert_eq!(begun(&sandbox, name), 1);
    }
    for (id, child) in ids.iter().zip(&children) {
        let runs = if id == bad { 3 } else { 2 };
        assert_eq!(turns_of(&sandbox, child).len(), runs, "{id}");
    }

    // Nobody was there to be told; whoever writes into the session next tells the parent of both.
    let fourth = Host::start(&sandbox).await;
    for id in &ids {
        shown(&sandbox, id, "the offer", |row| row["notice"] == "leased").await;
    }
    let other = Parent::open(&sandbox, &fourth, "Not the parent").await;
    other.says("hello").await;
    other.assert_told_once(&[]).await;
    let parent = parent.in_host(&fourth);
    let before = parent.requests().len();
    parent.says("what came of them?").await;
    let requests = parent.requests();
    assert_eq!(requests.len(), before + 1);
    parent.assert_told_once(&ids).await;
    others_were_served(&sandbox, &fourth).await;
    assert_eq!(parent.requests().len(), before + 1, "{}", log(&sandbox));
    // They ride on the person's own message.
    let messages = parent.messages().await;
    let persons = messages
        .iter()
        .find(|m| m.text().contains("what came of them?"))
        .unwrap();
    assert!(ids.iter().all(|id| persons.text().contains(&task_id(id))));
}

#[tokio::test]
async fn a_host_that_quits_interrupts_and_does_not_cancel() {
    let sandbox = sandbox("").await;
    sandbox.model().when(
        CONTINUED,
        Script::new().gate("continued").say(answer("alpha")),
    );
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Quits").await;
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
    shown(&sandbox, &ids[0], "the second attempt", |row| {
        row["attempt"] == 2
    })
    .await;
    sandbox
        .model()
        .reached("continued", 1, LIMIT)
        .await
        .unwrap();

    // The process is asked to end, as by a person.
    host.process().signal_leader(Signal::INT).unwrap();
    host.process().gone(LIMIT).await.unwrap();
    let row = waiting_for_host(&sandbox, &ids[0]).await;
    assert_eq!(row["state"], "running");
    sandbox.model().open("continued");
    let _next = Host::start(&sandbox).await;
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(3))
    );
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
