//! Where OpenCode's rules have a person asked for edits, they are asked before changes are brought in.

use std::fs;

use brigade_testkit::Script;
use serde_json::{Value, json};

use crate::stage::{Host, LIMIT, Parent, ended, sandbox, work};

#[tokio::test]
async fn nothing_comes_in_without_the_persons_leave() {
    let sandbox = sandbox("").await;
    let ask = |config: &mut Value| config["permission"] = json!({"edit": "ask"});
    sandbox.configure(ask).unwrap();
    let project = sandbox.project();
    fs::write(project.join("kept.txt"), "one\n").unwrap();
    sandbox.git(&["add", "kept.txt"]).await.unwrap();
    sandbox.git(&["commit", "-qm", "Begin"]).await.unwrap();
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Asked").await;
    let call = json!({"command": "echo two >> kept.txt; mkdir d; echo new > d/new.txt", "description": "change"});
    let prompt = work(
        "alpha",
        Script::new().call("bash", &call).step().say("done"),
    );
    let args = json!({"agent": "general", "prompt": prompt});
    let script = Script::new().call("delegate", &args).step().say("begun");
    parent.says(script).await;
    let id = parent.delegations().await.remove(0);
    ended(&sandbox, &id).await;
    parent.notice(&id).await;
    parent.answered(3).await;
    let written = || {
        let kept = fs::read_to_string(project.join("kept.txt")).unwrap();
        (kept == "one\ntwo\n", project.join("d/new.txt").exists())
    };

    // The turn goes on to its end; gives what the model was told. Without a reply the person aborts.
    let apply = async |reply: Option<(&str, Option<&str>)>| {
        let before = host.events.all().len();
        let script = Script::new().call("delegation_apply", &json!({"id": id}));
        parent.begins(script.step().say("so")).await;
        let asked = |events: &[Value]| {
            let of_parent = |event: &&Value| {
                event["type"] == "permission.asked" && event["properties"]["sessionID"] == parent.id
            };
            events[before..].iter().find(of_parent).cloned()
        };
        let asked = host.events.until("the ask", LIMIT, asked).await.unwrap();
        let asked = &asked["properties"];
        let wanted = json!(["d/new.txt", "kept.txt"]);
        assert_eq!(
            (&asked["permission"], &asked["patterns"]),
            (&json!("edit"), &wanted)
        );
        assert_eq!(
            written(),
            (false, false),
            "before the person has said anything"
        );
        match reply {
            Some((reply, words)) => {
                let ask = asked["id"].as_str().unwrap();
                host.reply(ask, reply, words).await.unwrap();
            }
            None => host.abort(&parent.id).await.unwrap(),
        }
        host.events.idle(&parent.id, before, LIMIT).await.unwrap();
        parent.outputs("delegation_apply").await.pop().unwrap()
    };
    let said = apply(Some(("reject", Some("Leave it.")))).await;
    assert!(
        said.starts_with("Nothing was written") && said.contains("Leave it."),
        "{said}"
    );
    apply(None).await;
    assert_eq!(
        written(),
        (false, false),
        "what is refused or aborted is not written"
    );
    let said = apply(Some(("once", None))).await;
    assert!(said.starts_with("Applied"), "{said}");
    assert_eq!(written(), (true, true));
}
