//! Runs that are stopped by a limit.

use brigade_testkit::Script;
use brigade_testkit::model::Outcome;
use brigade_testkit::model::script::Op;
use serde_json::{Value, json};

use crate::rig::{LIMIT, READER, Rig, answer, builder, started};

/// Checks that the child's model was cut off and its session is at rest.
async fn stopped(rig: &Rig, shown: &Value) {
    let child = shown["child"].as_str().unwrap();
    let model = rig.sandbox.model();
    model
        .wait_for("the model to be cut off", LIMIT, |turn| {
            turn.session.as_deref() == Some(child) && turn.outcome == Outcome::Disconnected
        })
        .await
        .unwrap();
    assert!(rig.server.status().await.unwrap()[child].is_null());
    let messages = rig.server.messages(child).await.unwrap();
    let error = messages.last().unwrap().error();
    assert_eq!(error.map(|(name, _)| name), Some("MessageAbortedError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_stops_the_run_and_keeps_what_it_had_said() {
    let sandbox = builder().build().await.unwrap();
    sandbox
        .brigade_toml(
            "[limits]\nmax_run = \"10s\"\n[agent.patient]\nmax_run = \"9s\"\n[agent.endless]\nmax_run = \"0\"\n",
        )
        .unwrap();
    for agent in ["patient", "endless"] {
        sandbox.agent(agent, READER, "You read.").unwrap();
    }
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    let never = |name: &str| {
        Script::new()
            .say("# Found so far\n\nOne of two: ")
            .chunk(name)
            .gate("never")
            .say("and the other")
    };
    // Each waits at a step of its own, so that all four limits run at the same time.
    let call = |agent: &str, minutes: Option<f64>| {
        let mut args = json!({"agent": agent, "prompt": never(agent).to_string()});
        if let Some(minutes) = minutes {
            args["prompt"] = never("call").to_string().into();
            args["timeout_minutes"] = minutes.into();
        }
        args
    };
    let mut script = Script::new();
    for args in [
        call("explore", None),
        call("patient", None),
        call("explore", Some(0.15)),
        call("endless", None),
    ] {
        script = script.call("delegate", &args);
    }
    let messages = rig.turn(&root, &script.step().say("went on")).await;
    let ids: Vec<String> = crate::rig::outputs(&messages, "delegate")
        .iter()
        .map(|answer| started(answer))
        .collect();
    for (id, (limit_ms, words)) in ids.iter().zip([
        (10_000, "over its time limit of 10s"),
        (9_000, "over its time limit of 9s"),
        (9_000, "over its time limit of 9s"),
    ]) {
        let (shown, artifact) = rig.ends_as(id, "timeout").await;
        assert_eq!(shown["max_run_ms"], limit_ms, "{shown:#}");
        assert_eq!(shown["reason"], words);
        assert_eq!(shown["title"], "Found so far");
        let kept = answer(&artifact);
        assert!(kept.contains("One of two: "), "{artifact}");
        assert!(!kept.contains("and the other"), "{artifact}");
        assert!(kept.contains(words), "it is marked: {artifact}");
        stopped(&rig, &shown).await;
        let notice = rig.notice(&root, id).await;
        assert!(notice.contains("<status>timeout</status>"), "{notice}");
        assert!(notice.contains("The result is partial"), "{notice}");
    }
    let endless = rig.show(&ids[3]).await;
    assert_eq!(endless["state"], "running", "{endless:#}");
    assert!(endless["max_run_ms"].is_null(), "{endless:#}");
    rig.sandbox.model().open("never");
    rig.ends_as(&ids[3], "complete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_in_time_is_complete() {
    let rig = Rig::new("[limits]\nmax_run = \"12s\"\nstall = \"12s\"\n").await;
    let root = rig.root().await;
    let close = Script::new()
        .chunk("In ")
        .op(Op::Sleep(6_000))
        .chunk("time.");
    let id = rig.delegate(&root, "explore", &close).await;
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "In time.");
    assert!(shown["ran_ms"].as_u64().unwrap() < 12_000, "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_a_stall_unless_a_tool_runs() {
    let sandbox = builder().build().await.unwrap();
    sandbox.brigade_toml("[limits]\nstall = \"3s\"\n").unwrap();
    let waiter = "description: Waits\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"sleep *\": allow";
    sandbox.agent("waiter", waiter, "You wait.").unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;

    let silent = Script::new()
        .chunk("I have begun.")
        .gate("never")
        .chunk("I have ended.");
    let id = rig.delegate(&root, "explore", &silent).await;
    let (shown, artifact) = rig.ends_as(&id, "error").await;
    assert_eq!(shown["reason"], "stalled: nothing was heard from it for 3s");
    let kept = answer(&artifact);
    assert!(kept.contains("I have begun."), "{artifact}");
    assert!(!kept.contains("I have ended."), "{artifact}");
    stopped(&rig, &shown).await;
    let notice = rig.notice(&root, &id).await;
    assert!(notice.contains("nothing was heard"), "{notice}");

    let slow = json!({"command": "sleep 5", "description": "Waits"});
    let work = Script::new()
        .call("bash", &slow)
        .step()
        .say("It took a while.");
    let id = rig.delegate(&root, "waiter", &work).await;
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "It took a while.");
    assert!(shown["ran_ms"].as_u64().unwrap() >= 5_000, "{shown:#}");
}
