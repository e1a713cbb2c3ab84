//! Where Brigade can do little or nothing: `opencode run`, and no daemon to be had.

use brigade_testkit::{Run, Sandbox, Script, Serve};
use serde_json::json;

use crate::stage::{LIMIT, answer, delegating, in_conversation, sandbox, work};

#[tokio::test]
async fn under_opencode_run_the_result_is_collected_within_the_turn() {
    let sandbox = sandbox("").await;
    let work = work("alpha", Script::saying(answer("alpha")));
    let script = format!(
        "{}::step\n::call delegation_read {}\n::step\n::call task {}\n::step\n::say all read",
        delegating(&[work]),
        json!({"id": "{{delegation}}"}),
        json!({"description": "look", "prompt": "::say by task", "subagent_type": "explore"}),
    );
    let run = Run::start(&sandbox, &script, &[]).unwrap();
    let done = run.finished(LIMIT).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("all read"), "{done:?}");
    let turns = sandbox.model().turns();
    let last = turns
        .iter()
        .rfind(|turn| turn.parent_session.is_none())
        .unwrap();
    let results = last.tool_results();
    assert!(
        results[0].starts_with("Delegation started: "),
        "{}",
        results[0]
    );
    assert!(
        results[0].contains("delegation_read(") && results[0].contains("before you end your turn")
    );
    assert!(results[1].contains(&answer("alpha")), "{}", results[1]);
    // The guard is off: it would be a dead end here.
    assert!(results[2].contains("by task"), "{}", results[2]);
    assert!(!in_conversation(last, "<task-notification>"));
}

#[tokio::test]
async fn without_a_daemon_the_host_works_and_the_tools_say_why() {
    let sandbox = sandbox("").await;
    let file = sandbox.write("a-file", "in the way\n").unwrap();
    let missing = sandbox.root().join("nowhere/brigade");
    let cases = [
        (
            "BRIGADE_BIN",
            missing.clone(),
            missing.display().to_string(),
        ),
        (
            "BRIGADE_RUNTIME_DIR",
            file.join("brigade"),
            file.display().to_string(),
        ),
    ];
    for (name, value, said) in cases {
        let serve = Serve::start_with(&sandbox, |command| {
            command.env(name, &value);
        })
        .await
        .unwrap();
        works(&sandbox, &serve, name, &said).await;
        serve.stop().await.unwrap();
    }
    assert_eq!(sandbox.daemon_pid(), None);
}

async fn works(sandbox: &Sandbox, serve: &Serve, name: &str, said: &str) {
    let session = serve.create("Alone").await.unwrap();
    let answered = serve.prompt(&session.id, "hello").await.unwrap();
    assert_eq!(answered.text(), "ok");
    let script = Script::new()
        .call("delegate", &json!({"agent": "explore", "prompt": "look"}))
        .call("delegation_read", &json!({"id": "brave-amber-otter"}))
        .call("delegation_list", &json!({}))
        .step()
        .call(
            "task",
            &json!({"description": "look", "prompt": "::say by task", "subagent_type": "explore"}),
        )
        .step()
        .say("done otherwise");
    let answered = serve.prompt(&session.id, script).await.unwrap();
    assert_eq!(answered.text(), "done otherwise");
    let turns = sandbox.model().turns();
    let last = turns
        .iter()
        .rfind(|turn| turn.parent_session.is_none())
        .unwrap();
    let results = last.tool_results();
    assert_eq!(results.len(), 4, "{results:?}");
    assert!(
        results[0].starts_with("Delegation refused: "),
        "{name}: {}",
        results[0]
    );
    for result in &results[..3] {
        assert!(
            result.contains("could not be reached") && result.contains(said),
            "{name}: {result}"
        );
        assert!(
            result.contains("task tool") && result.contains("brigade doctor"),
            "{result}"
        );
    }
    assert!(results[3].contains("by task"), "{}", results[3]);
    serve.compact(&session.id).await.unwrap();
    let answered = serve.prompt(&session.id, "and now?").await.unwrap();
    assert_eq!(answered.text(), "ok");
}
