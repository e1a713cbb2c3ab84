//! Notices to a parent that is idle, streaming or in a tool: each once, and one waking for a batch.

use std::collections::BTreeSet;
use std::fs;

use brigade_testkit::{Hold, Kind, Sandbox, Script};
use serde_json::json;

use crate::stage::{
    Host, LIMIT, Parent, answer, begun, delegating, ended, gated, others_were_served, sandbox,
    shown, task_id, turns_of, work,
};

#[tokio::test]
async fn each_notice_comes_once_and_costs_one_request_at_most() {
    let sandbox = sandbox("").await;
    let front = "mode: primary\ndescription: Asks others";
    sandbox.agent("asker", front, "You ask.").unwrap();
    let host = Host::start(&sandbox).await;
    an_idle_parent(&sandbox, &host).await;
    a_streaming_parent(&sandbox, &host).await;
    a_parent_in_a_tool(&sandbox, &host).await;
    the_person_writes_first(&sandbox, &host).await;
    two_sessions(&sandbox, &host).await;
}

async fn an_idle_parent(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Idle").await;
    let script = delegating(&[gated("alpha"), gated("beta")])
        .step()
        .say("under way");
    let body = json!({"agent": "asker", "parts": [{"type": "text", "text": script.to_string()}]});
    host.prompt_with(&parent.id, &body).await.unwrap();
    let ids = parent.delegations().await;
    assert_eq!((ids.len(), parent.requests().len()), (2, 2));

    // The first: stored for the model and the person, and nobody is asked anything.
    sandbox.model().open("alpha");
    parent.notice(&ids[0]).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 2);

    // The last wakes the parent, which goes on as the agent that it was.
    sandbox.model().open("beta");
    let requests = parent.answered(3).await;
    assert!(
        requests[2].contains(&answer("alpha")),
        "a short result stands in the notice"
    );
    parent.assert_told_once(&ids).await;
    let messages = parent.messages().await;
    assert!(
        messages
            .iter()
            .all(|message| message.info["agent"] == "asker")
    );
    assert!(messages.last().unwrap().text().contains("noted"));

    // And that is all: the next request is the person's next word.
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 3);
    parent.says("go on").await;
    parent.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), 4);
}

async fn a_streaming_parent(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "Streaming").await;
    let script = delegating(&[gated("gamma"), gated("delta")])
        .step()
        .chunk("let me think ")
        .gate("thinking")
        .say("done");
    parent.begins(script).await;
    sandbox.model().reached("thinking", 1, LIMIT).await.unwrap();
    let ids = parent.delegations().await;
    for (name, id) in ["gamma", "delta"].iter().zip(&ids) {
        sandbox.model().open(name);
        ended(sandbox, id).await;
    }
    others_were_served(sandbox, host).await;
    let texts: String = parent
        .messages()
        .await
        .iter()
        .map(brigade_testkit::Message::text)
        .collect();
    assert!(!texts.contains("<task-id>"), "nothing goes into a stream");
    sandbox.model().open("thinking");
    parent.answered(3).await;
    parent.assert_told_once(&ids).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 3);
}

async fn a_parent_in_a_tool(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "In a tool").await;
    let hold = Hold::new(sandbox, "busy").unwrap();
    let bash = json!({"command": hold.command(), "description": "wait"});
    let script = delegating(&[gated("epsilon"), gated("zeta")])
        .step()
        .call("bash", &bash)
        .step()
        .say("done");
    parent.begins(script).await;
    let held = hold.reached(LIMIT).await.unwrap();
    parent.tool_runs("bash").await;
    let ids = parent.delegations().await;
    for (name, id) in ["epsilon", "zeta"].iter().zip(&ids) {
        sandbox.model().open(name);
        parent.notice(id).await;
    }
    drop(held);
    let requests = parent.answered(3).await;
    assert!(ids.iter().all(|id| requests[2].contains(&task_id(id))));
    others_were_served(sandbox, host).await;
    parent.assert_told_once(&ids).await;
    // The step after the tool has seen them all: nothing is left to wake for.
    assert_eq!(parent.requests().len(), 3);
    assert!(
        parent
            .messages()
            .await
            .last()
            .unwrap()
            .text()
            .contains("done")
    );
}

async fn the_person_writes_first(sandbox: &Sandbox, host: &Host) {
    let parent = Parent::open(sandbox, host, "The person writes").await;
    let script = delegating(&[gated("eta"), gated("theta")])
        .step()
        .say("under way");
    parent.says(script).await;
    let ids = parent.delegations().await;
    sandbox.model().open("eta");
    parent.notice(&ids[0]).await;
    // A turn of the person's between the first and the last.
    parent
        .begins(Script::new().gate("person").say("answered"))
        .await;
    sandbox.model().reached("person", 1, LIMIT).await.unwrap();
    sandbox.model().open("theta");
    ended(sandbox, &ids[1]).await;
    sandbox.model().open("person");
    parent.answered(4).await;
    parent.assert_told_once(&ids).await;
    others_were_served(sandbox, host).await;
    assert_eq!(parent.requests().len(), 4);
}

async fn two_sessions(sandbox: &Sandbox, host: &Host) {
    let one = Parent::open(sandbox, host, "One").await;
    let two = Parent::open(sandbox, host, "Two").await;
    let (first, second) = (
        delegating(&[gated("iota"), gated("kappa")])
            .step()
            .say("one"),
        delegating(&[gated("lambda"), gated("mu")])
            .step()
            .say("two"),
    );
    tokio::join!(one.says(first), two.says(second));
    for name in ["kappa", "lambda", "mu", "iota"] {
        sandbox.model().open(name);
    }
    tokio::join!(one.answered(3), two.answered(3));
    for (mine, others) in [(&one, &two), (&two, &one)] {
        mine.assert_told_once(&mine.delegations().await).await;
        for id in others.delegations().await {
            let requests = mine.requests();
            assert!(requests.iter().all(|r| !r.body.to_string().contains(&id)));
        }
    }
}

#[tokio::test]
async fn waking_is_as_the_configuration_says() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let pair = |name: &str| (format!("{name} first"), format!("{name} second"));

    sandbox
        .write(".brigade.toml", "[notice]\nwake = \"each\"\n")
        .unwrap();
    let parent = Parent::open(&sandbox, &host, "Each").await;
    let (first, second) = pair("each");
    let script = delegating(&[gated(&first), gated(&second)])
        .step()
        .say("begun");
    parent.says(script).await;
    let ids = parent.delegations().await;
    for (count, name) in [(3, first), (4, second)] {
        sandbox.model().open(&name);
        parent.answered(count).await;
    }
    parent.assert_told_once(&ids).await;
    others_were_served(&sandbox, &host).await;
    assert_eq!(parent.requests().len(), 4);

    sandbox
        .write(".brigade.toml", "[notice]\nwake = \"never\"\n")
        .unwrap();
    let parent = Parent::open(&sandbox, &host, "Never").await;
    let (first, second) = pair("never");
    let script = delegating(&[gated(&first), gated(&second)])
        .step()
        .say("begun");
    parent.says(script).await;
    let ids = parent.delegations().await;
    for (id, name) in ids.iter().zip([first, second]) {
        sandbox.model().open(&name);
        parent.notice(id).await;
        shown(&sandbox, id, "the delivery", |row| {
            row["notice"] == "delivered"
        })
        .await;
    }
    sandbox.write(".brigade.toml", "").unwrap();
    others_were_served(&sandbox, &host).await;
    assert_eq!(parent.requests().len(), 2);
    parent.says("what came of it?").await;
    parent.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), 3);
}

#[tokio::test]
async fn twenty_at_once_are_twenty_notices_and_one_waking() {
    const COUNT: usize = 20;
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let crowd = |name: &str| -> Vec<String> {
        let one = |n| {
            work(
                &format!("{name} {n}"),
                Script::new().gate(name).say(answer(name)),
            )
        };
        (0..COUNT).map(one).collect()
    };

    // An idle parent.
    let parent = Parent::open(&sandbox, &host, "Twenty").await;
    parent
        .says(delegating(&crowd("idle")).step().say("under way"))
        .await;
    let ids = parent.delegations().await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), COUNT);
    // All were answered before any could begin its answer: the gate was shut.
    sandbox.model().open("idle");
    for id in &ids {
        parent.notice(id).await;
    }
    parent.answered(3).await;
    parent.assert_told_once(&ids).await;
    for id in &ids {
        let row = shown(&sandbox, id, "the delivery", |row| {
            row["notice"] == "delivered"
        })
        .await;
        let text = fs::read_to_string(row["artifact"].as_str().unwrap()).unwrap();
        assert!(
            text.starts_with("# About idle\n") && text.contains(id.as_str()),
            "{text}"
        );
    }
    // Neither a session nor a model request more than the work itself.
    let children = host.children(&parent.id).await.unwrap();
    assert_eq!(children.len(), COUNT);
    let sessions: Vec<serde_json::Value> = host.get("/session").await.unwrap();
    assert_eq!(sessions.len(), COUNT + 1);
    for child in &children {
        assert_eq!(turns_of(&sandbox, &child.id).len(), 1);
    }
    let records = sandbox.model().records();
    assert_eq!(records.len(), COUNT + 3, "requests of all kinds");
    assert!(records.iter().all(|record| record.kind == Kind::Turn));

    // One that is in a tool all the while.
    let parent = Parent::open(&sandbox, &host, "Twenty in a tool").await;
    let hold = Hold::new(&sandbox, "long").unwrap();
    let bash = json!({"command": hold.command(), "description": "wait"});
    let script = delegating(&crowd("tool"))
        .step()
        .call("bash", &bash)
        .step()
        .say("done");
    parent.begins(script).await;
    let held = hold.reached(LIMIT).await.unwrap();
    sandbox.model().open("tool");
    let ids = parent.delegations().await;
    for id in &ids {
        parent.notice(id).await;
    }
    drop(held);
    parent.answered(3).await;
    others_were_served(&sandbox, &host).await;
    parent.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), 3);

    // One that streams all the while.
    let parent = Parent::open(&sandbox, &host, "Twenty in a stream").await;
    let script = delegating(&crowd("stream"))
        .step()
        .chunk("well ")
        .gate("long")
        .say("done");
    parent.begins(script).await;
    sandbox.model().reached("long", 1, LIMIT).await.unwrap();
    sandbox.model().open("stream");
    let ids = parent.delegations().await;
    for id in &ids {
        ended(&sandbox, id).await;
    }
    sandbox.model().open("long");
    parent.answered(3).await;
    others_were_served(&sandbox, &host).await;
    parent.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), 3);
    for n in 0..COUNT {
        assert_eq!(begun(&sandbox, &format!("stream {n}")), 1);
    }
}
