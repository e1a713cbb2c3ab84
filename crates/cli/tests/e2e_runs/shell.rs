//! Commands that an agent's author allowed one by one.

use brigade_testkit::Script;
use serde_json::json;

use crate::access::approve_always;
use crate::rig::{Rig, builder};

#[tokio::test(flavor = "multi_thread")]
async fn shell_patterns_stay_and_nothing_beside_them() {
    let sandbox = builder()
        .config("permission", json!({"bash": "ask"}))
        .build()
        .await
        .unwrap();
    let reviewer = "description: Reviews\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"git diff*\": allow";
    sandbox.agent("reviewer", reviewer, "You review.").unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    rig.sandbox
        .write("src/main.txt", "one\ntwo\nfour\n")
        .unwrap();
    // From now on `touch x` passes the host's own rules in every session of the project.
    approve_always(&rig, &root, "touch x").await;
    std::fs::remove_file(rig.sandbox.project().join("x")).unwrap();
    let before = rig.changed().await;
    assert_eq!(before.trim(), "M src/main.txt");

    let refused = [
        "touch x",
        "git diff; touch x",
        "git diff && touch x",
        "git diff | tee x",
        "git diff > x",
        "git diff $(touch x)",
        "git diff `touch x`",
        "git diff\ntouch x",
        "git diff & touch x",
        "git status",
        "env git diff",
    ];
    let run = |command: &str| json!({"command": command, "description": "Runs"});
    let allowed = Script::new()
        .call("bash", &run("git diff -- src/main.txt"))
        .step();
    let work = refused.iter().fold(allowed, |script, command| {
        script.call("bash", &run(command)).step()
    });
    let id = rig
        .delegate(&root, "reviewer", &work.say("Reviewed."))
        .await;
    let (shown, _) = rig.ends_as(&id, "complete").await;
    let told = rig.told(&shown);
    assert_eq!(told.len(), refused.len() + 1, "{told:#?}");
    assert!(told[0].contains("+four"), "{}", told[0]);
    for (command, answer) in refused.iter().zip(&told[1..]) {
        assert!(
            answer.contains("not among those that a background agent may run")
                || answer.contains("prevents you from using"),
            "{command:?}: {answer}"
        );
    }
    assert_eq!(rig.changed().await, before, "nothing was written");
    assert_eq!(
        shown["access"],
        "read-only by rule: shell commands git diff*"
    );
    assert_eq!(shown["progress"]["refused"], 0, "nobody was asked");
}
