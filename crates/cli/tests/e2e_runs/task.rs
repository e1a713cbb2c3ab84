//! The guard on the host's own `task` tool, and that it is never a dead end.

use brigade_testkit::{Message, Run, Script};
use serde_json::{Value, json};

use crate::rig::{LIMIT, Rig, builder, outputs};

/// A call of `task` whose child says `words`.
fn task(agent: &str, words: &str) -> Value {
    json!({"description": "Looks", "prompt": Script::saying(words).to_string(), "subagent_type": agent})
}

async fn tasked(rig: &Rig, session: &str, agent: &str, words: &str) -> String {
    rig.tool(session, "task", &task(agent, words)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn task_is_guarded_only_where_delegate_is_the_way() {
    let sandbox = builder()
        .config("subagent_depth", json!(2))
        .build()
        .await
        .unwrap();
    // Write-capable, and allowed to use `task` as a child: what it starts there must pass.
    let lead = "description: Leads\nmode: subagent\npermission:\n  \"*\": allow\n  task: allow";
    sandbox.agent("lead", lead, "You lead.").unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;

    let refused = tasked(&rig, &root, "explore", "never").await;
    assert!(
        refused.contains("delegate(prompt, agent=\"explore\")"),
        "{refused}"
    );
    assert_eq!(rig.server.children(&root).await.unwrap().len(), 0);
    let passed = tasked(&rig, &root, "general", "by general").await;
    assert!(passed.contains("by general"), "{passed}");

    // In a child it passes, and there `delegate` is refused: a child can't delegate.
    let inner = Script::new()
        .call("task", &task("explore", "from below"))
        .step()
        .call("delegate", &json!({"agent": "explore", "prompt": "deeper"}))
        .step()
        .say("led");
    let outer =
        json!({"description": "Leads", "prompt": inner.to_string(), "subagent_type": "lead"});
    let passed = rig.tool(&root, "task", &outer).await;
    assert!(passed.contains("led"), "{passed}");
    let children = rig.server.children(&root).await.unwrap();
    let child = children
        .iter()
        .find(|child| child.agent.as_deref() == Some("lead"));
    let child = &child.unwrap().id;
    let messages = rig.server.messages(child).await.unwrap();
    let below = &outputs(&messages, "task")[0];
    assert!(below.contains("from below"), "{below}");
    let delegated = &outputs(&messages, "delegate")[0];
    assert!(
        delegated.starts_with("Delegation refused: a delegated agent can't delegate"),
        "{delegated}"
    );
    for turn in rig.requests(child) {
        assert!(!turn.system().contains("# Background delegation"));
    }
    let listed = rig.json(&["list", "--json"]).await;
    assert_eq!(listed["delegations"], json!([]));

    // With the daemon gone `task` is what is left.
    let done = rig.sandbox.brigade(&["daemon", "stop"]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let passed = tasked(&rig, &root, "explore", "by explore itself").await;
    assert!(passed.contains("by explore itself"), "{passed}");
    assert_eq!(rig.sandbox.daemon_pid(), None, "nothing has started it");

    // A call of a tool starts it again, and with it the guard.
    let listed = rig.tool(&root, "delegation_list", &json!({})).await;
    assert!(listed.contains("There are no delegations"), "{listed}");
    let refused = tasked(&rig, &root, "explore", "never").await;
    assert!(refused.contains("delegate(prompt"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_can_be_switched_off() {
    let rig = Rig::new("[guard]\ntask = false\n").await;
    let root = rig.root().await;
    // A delegation shows that the daemon is there, and with it what it has to say on `task`.
    let id = rig
        .delegate(&root, "explore", &Script::saying("delegated"))
        .await;
    rig.ends_as(&id, "complete").await;
    let passed = tasked(&rig, &root, "explore", "by explore itself").await;
    assert!(passed.contains("by explore itself"), "{passed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_opencode_run_both_ways_lead_to_a_result() {
    let sandbox = builder().build().await.unwrap();
    let work = Script::saying("by delegation").to_string();
    let script = Script::new()
        .call("delegate", &json!({"agent": "explore", "prompt": work}))
        .step()
        .call("task", &task("explore", "by task"))
        .step()
        .call("delegation_read", &json!({"id": "{{delegation}}"}))
        .step()
        .say("collected");
    let run = Run::start(&sandbox, &script.to_string(), &["--agent", "build"]).unwrap();
    let done = run.finished(LIMIT).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let turns = sandbox.model().turns();
    let last = turns
        .iter()
        .rfind(|turn| turn.parent_session.is_none())
        .unwrap();
    let [delegated, tasked, read] = &last.tool_results()[..] else {
        panic!("{:#?}", last.tool_results());
    };
    assert!(
        delegated.contains("collect the result with delegation_read"),
        "{delegated}"
    );
    assert!(tasked.contains("by task"), "{tasked}");
    assert!(read.contains("by delegation"), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_in_the_parent_works_with_delegations_in_it() {
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let file = rig.sandbox.project().join("src/main.txt");
    let before = std::fs::read_to_string(&file).unwrap();
    let script = Script::new()
        .call("write", &json!({"filePath": file, "content": "changed\n"}))
        .step()
        .call(
            "delegate",
            &json!({"agent": "explore", "prompt": "::say done"}),
        )
        .step()
        .say("went on");
    let messages = rig.turn(&root, &script).await;
    let id = crate::rig::started(&outputs(&messages, "delegate")[0]);
    rig.ends_as(&id, "complete").await;
    rig.notice(&root, &id).await;
    rig.sandbox
        .model()
        .wait_for("the waking", LIMIT, |turn| {
            turn.session.as_deref() == Some(&*root) && turn.prompt.contains(&*id)
        })
        .await
        .unwrap();
    let idle = |events: &[Value]| {
        let last = events.iter().rfind(|event| {
            event["type"] == "session.status" && event["properties"]["sessionID"] == *root
        })?;
        (last["properties"]["status"]["type"] == "idle").then_some(())
    };
    rig.events
        .until("the root to rest", LIMIT, idle)
        .await
        .unwrap();
    let changed = std::fs::read_to_string(&file).unwrap();
    assert_eq!(changed, "changed\n");

    rig.server.revert(&root, messages[0].id()).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    rig.server.unrevert(&root).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "changed\n");

    // For good: the next prompt drops what was taken back, and nothing of it comes again.
    rig.server.revert(&root, messages[0].id()).await.unwrap();
    rig.turn(&root, &Script::saying("anew")).await;
    let left = rig.server.messages(&root).await.unwrap();
    let texts: Vec<String> = left.iter().map(Message::text).collect();
    assert_eq!(left.len(), 2, "{texts:?}");
    assert_eq!(rig.notices(&root, &id).await, 0, "{texts:?}");
    let read = rig.tool(&root, "delegation_read", &json!({"id": id})).await;
    assert!(
        read.contains("done"),
        "the result outlives the undo: {read}"
    );
}
