//! Reads that cross with the end: a result that the parent's own call got needs no notice, any other
//! read changes nothing.

use brigade_testkit::{Sandbox, Script};
use serde_json::json;

use crate::stage::{
    Host, LIMIT, Parent, answer, delegating, ended, gated, others_were_served, sandbox, show, shown,
};

#[tokio::test]
async fn only_a_result_in_the_parents_own_hands_spares_the_notice() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    a_waiting_read(&sandbox, &host).await;
    one_of_two_is_read(&sandbox, &host).await;
    an_aborted_read(&sandbox, &host).await;
    reads_of_others(&sandbox, &host).await;
}

fn reading() -> Script {
    Script::new().call("delegation_read", &json!({"id": "{{delegation}}"}))
}

async fn a_waiting_read(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Reads").await;
    let script = format!(
        "{}::step\n{}::step\n::say read",
        delegating(&[gated("alpha")]),
        reading()
    );
    parent.begins(script).await;
    parent.tool_runs("delegation_read").await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    sandbox.model().open("alpha");
    parent.answered(3).await;
    let ids = parent.delegations().await;
    assert!(parent.outputs("delegation_read").await[0].contains(&answer("alpha")));
    shown(sandbox, &ids[0], "the needless notice", |row| {
        row["notice"] == "needless"
    })
    .await;
    others_were_served(sandbox, host).await;
    parent.assert_told_once(&[]).await;
    assert_eq!(parent.requests().len(), 3);
    assert_eq!(show(sandbox, &ids[0]).await["unread"], false);
}

async fn one_of_two_is_read(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Reads one").await;
    let script = format!(
        "{}::step\n::call delegation_read {}\n::step\n::say read",
        delegating(&[gated("beta"), gated("gamma")]),
        json!({"id": "{{delegation:1}}"})
    );
    parent.begins(script).await;
    parent.tool_runs("delegation_read").await;
    sandbox.model().open("beta");
    parent.answered(3).await;
    let ids = parent.delegations().await;
    // The other one's notice is the last of its batch, and wakes.
    sandbox.model().open("gamma");
    parent.answered(4).await;
    parent.assert_told_once(&ids[1..]).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 4);
}

async fn an_aborted_read(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Is stopped").await;
    let script = format!("{}::step\n{}", delegating(&[gated("delta")]), reading());
    parent.begins(script).await;
    parent.tool_runs("delegation_read").await;
    host.abort(&parent.id).await.unwrap();
    parent.rest().await;
    let before = parent.requests().len();
    let ids = parent.delegations().await;
    sandbox.model().open("delta");
    parent.notice(&ids[0]).await;
    parent.answered(before + 1).await;
    parent.assert_told_once(&ids).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), before + 1);
}

async fn reads_of_others(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Is read over").await;
    let script = delegating(&[gated("epsilon")])
        .step()
        .chunk("still ")
        .gate("streaming")
        .say("here");
    parent.begins(script).await;
    sandbox
        .model()
        .reached("streaming", 1, LIMIT)
        .await
        .unwrap();
    let ids = parent.delegations().await;
    let read = Script::new()
        .call("delegation_read", &json!({"id": ids[0]}))
        .step()
        .say("read");
    // One that waits for the end, one that comes after it, and a person's.
    let waits = Parent::open(sandbox, host, "Waits").await;
    waits.begins(&read).await;
    waits.tool_runs("delegation_read").await;
    sandbox.model().open("epsilon");
    waits.answered(2).await;
    let later = Parent::open(sandbox, host, "Comes later").await;
    later.says(&read).await;
    for other in [&waits, &later] {
        assert!(other.outputs("delegation_read").await[0].contains(&answer("epsilon")));
    }
    assert!(ended(sandbox, &ids[0]).await.contains(&answer("epsilon")));
    let done = sandbox.brigade(&["read", &ids[0]]).await.unwrap();
    assert!(done.stdout.contains(&answer("epsilon")), "{done:?}");

    sandbox.model().open("streaming");
    parent.answered(3).await;
    parent.assert_told_once(&ids).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 3);
    for other in [&waits, &later] {
        other.assert_told_once(&[]).await;
    }
}
