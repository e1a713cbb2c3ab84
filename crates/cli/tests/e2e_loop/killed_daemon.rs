//! The daemon is killed and nobody starts it by hand: everything ends, once.

use brigade_testkit::model::Outcome;
use brigade_testkit::{Sandbox, Script};
use rustix::process::Signal;
use serde_json::json;

use crate::stage::{
    Host, LIMIT, Parent, answer, begun, delegating, ended, gated, others_were_served, sandbox,
    show, turns_of,
};

/// Kills it as a crash would; the bridges start the next.
fn kill(sandbox: &Sandbox) {
    assert!(sandbox.signal_daemon(Signal::KILL), "no daemon to kill");
}

#[tokio::test]
async fn runs_and_notices_outlive_the_daemon() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    while_runs_are_under_way(&sandbox, &host).await;
    while_the_parent_reads(&sandbox, &host).await;
    with_notices_waiting(&sandbox, &host).await;
    with_runs_queued(&sandbox, &host).await;
}

async fn while_runs_are_under_way(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Under way").await;
    let names = ["alpha", "beta", "gamma"];
    let script = delegating(&names.map(gated)).step().say("under way");
    parent.says(script).await;
    let ids = parent.delegations().await;
    for name in names {
        sandbox.model().reached(name, 1, LIMIT).await.unwrap();
    }
    let before = sandbox.daemon_pid();
    kill(sandbox);
    // One ends while there is no daemon, the others when it is there again.
    sandbox.model().open("beta");
    parent.notice(&ids[1]).await;
    assert_ne!(sandbox.daemon_pid(), before);
    for name in names {
        sandbox.model().open(name);
    }
    parent.answered(3).await;
    parent.assert_told_once(&ids).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 3);
    for (name, id) in names.iter().zip(&ids) {
        assert_eq!(begun(sandbox, name), 1, "{name}");
        let row = show(sandbox, id).await;
        assert_eq!(
            (&row["state"], &row["attempt"]),
            (&json!("complete"), &json!(1))
        );
        let child = row["child"].as_str().unwrap();
        assert_eq!(turns_of(sandbox, child).len(), 1);
    }
    assert_eq!(host.children(&parent.id).await.unwrap().len(), 3);
}

async fn while_the_parent_reads(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Reads").await;
    let script = format!(
        "{}::step\n::call delegation_read {}\n::step\n::say read",
        delegating(&[gated("delta")]),
        json!({"id": "{{delegation}}"})
    );
    parent.begins(script).await;
    parent.tool_runs("delegation_read").await;
    sandbox.model().reached("delta", 1, LIMIT).await.unwrap();
    kill(sandbox);
    sandbox.model().open("delta");
    parent.answered(3).await;
    // It asked the next daemon, and had the result from that one.
    let read = parent.outputs("delegation_read").await;
    assert!(read[0].contains(&answer("delta")), "{}", read[0]);
    others_were_served(sandbox, host).await;
    parent.assert_told_once(&[]).await;
    assert_eq!(parent.requests().len(), 3);
}

async fn with_notices_waiting(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Notices wait").await;
    let script = delegating(&[gated("epsilon"), gated("zeta")])
        .step()
        .chunk("hm ")
        .gate("hm")
        .say("so");
    parent.begins(script).await;
    sandbox.model().reached("hm", 1, LIMIT).await.unwrap();
    let ids = parent.delegations().await;
    for (name, id) in ["epsilon", "zeta"].iter().zip(&ids) {
        sandbox.model().open(name);
        ended(sandbox, id).await;
    }
    kill(sandbox);
    sandbox.model().open("hm");
    parent.answered(3).await;
    others_were_served(sandbox, host).await;
    parent.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), 3);
}

async fn with_runs_queued(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "A queue").await;
    let names: Vec<String> = (0..12).map(|n| format!("queued {n}")).collect();
    let works: Vec<String> = names
        .iter()
        .map(|name| crate::stage::work(name, Script::new().gate("queue").say(answer(name))))
        .collect();
    parent
        .says(delegating(&works).step().say("under way"))
        .await;
    sandbox.model().reached("queue", 8, LIMIT).await.unwrap();
    kill(sandbox);
    sandbox.model().open("queue");
    parent.answered(3).await;
    parent.assert_told_once(&parent.delegations().await).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 3);
    for name in &names {
        assert_eq!(begun(sandbox, name), 1, "{name}");
    }
    assert_eq!(host.children(&parent.id).await.unwrap().len(), names.len());
}

/// When the daemon is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    ChildAnswered,
    ChildIdle,
    NoticeStored,
    ParentWoken,
    ParentIdle,
}

#[tokio::test]
async fn whenever_it_dies_after_a_run_the_parent_is_told_and_woken_once() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    for moment in [
        Moment::ChildAnswered,
        Moment::ChildIdle,
        Moment::NoticeStored,
        Moment::ParentWoken,
        Moment::ParentIdle,
    ] {
        let name = format!("{moment:?}");
        let parent = Parent::open(&sandbox, &host, &name).await;
        parent
            .says(delegating(&[gated(&name)]).step().say("begun"))
            .await;
        let ids = parent.delegations().await;
        sandbox.model().reached(&name, 1, LIMIT).await.unwrap();
        let child = host.children(&parent.id).await.unwrap().remove(0).id;
        sandbox.model().open(&name);
        match moment {
            Moment::ChildAnswered => {
                let done = |r: &brigade_testkit::Record| {
                    r.session.as_ref() == Some(&child) && r.outcome == Outcome::Answered
                };
                sandbox
                    .model()
                    .wait_for("its answer", LIMIT, done)
                    .await
                    .unwrap();
            }
            Moment::ChildIdle => host.events.idle(&child, 0, LIMIT).await.unwrap(),
            Moment::NoticeStored => parent.notice(&ids[0]).await,
            Moment::ParentWoken => {
                let woken = |records: &[brigade_testkit::Record]| {
                    let of_parent = records
                        .iter()
                        .filter(|r| r.session.as_ref() == Some(&parent.id));
                    (of_parent.count() >= 3).then_some(())
                };
                sandbox
                    .model()
                    .until("the waking", LIMIT, woken)
                    .await
                    .unwrap();
            }
            Moment::ParentIdle => drop(parent.answered(3).await),
        }
        kill(&sandbox);
        parent.answered(3).await;
        others_were_served(&sandbox, &host).await;
        parent.assert_told_once(&ids).await;
        assert_eq!(parent.requests().len(), 3, "{moment:?}");
        assert_eq!(turns_of(&sandbox, &child).len(), 1, "{moment:?}");
        assert_eq!(show(&sandbox, &ids[0]).await["attempt"], 1);
    }
}
