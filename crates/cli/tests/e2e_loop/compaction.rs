//! What the model sees: the rules and tools, what they cost, and the ledger after a compaction.

use brigade_testkit::{Kind, Record, Sandbox, Script};
use serde_json::{Value, json};

use crate::stage::{
    Host, LEDGER, LIMIT, Parent, delegating, gated, in_conversation, sandbox, show, turns_of, work,
};

/// An answer too long to stand in a notice: it is unread until it is read.
fn long(name: &str) -> String {
    let script = Script::new().say(format!(
        "# About {name}\n\nShort of {name}.\n\n{}",
        "word ".repeat(1_000)
    ));
    work(name, script)
}

/// The text of a request's last message, if it is the ledger.
fn ledger(request: &Record) -> Option<String> {
    let last = request.body["messages"].as_array()?.last()?;
    let content = &last["content"];
    let text = content
        .as_str()
        .or_else(|| content[0]["text"].as_str())
        .unwrap_or_default();
    (last["role"] == "user" && text.starts_with(LEDGER)).then(|| text.to_owned())
}

#[tokio::test]
async fn after_a_compaction_the_model_still_knows_what_is_open() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Is compacted").await;
    parent
        .says(
            delegating(&[long("alpha"), gated("beta")])
                .step()
                .say("under way"),
        )
        .await;
    let ids = parent.delegations().await;
    parent.notice(&ids[0]).await;
    parent.says("what now?").await;
    assert!(
        parent
            .requests()
            .iter()
            .all(|request| !in_conversation(request, LEDGER))
    );

    // The summarising request holds it; its summary mentions nothing.
    host.compact(&parent.id).await.unwrap();
    let records = sandbox.model().records();
    let summarising = records
        .iter()
        .rfind(|r| r.kind == Kind::Compaction)
        .unwrap();
    for id in &ids {
        assert!(summarising.body.to_string().contains(id.as_str()));
    }
    assert!(summarising.contains(LEDGER));

    // From then on each step ends with it, also between tools, and it is stored nowhere.
    let read = Script::new()
        .call(
            "read",
            &json!({"filePath": sandbox.project().join("README.md")}),
        )
        .step()
        .say("read");
    parent.says(read).await;
    let requests = parent.requests();
    for request in &requests[requests.len() - 2..] {
        let text = ledger(request).unwrap();
        assert!(ids.iter().all(|id| text.contains(id.as_str())), "{text}");
        assert!(text.chars().count() <= 1_000);
        assert!(
            !request.contains("What alpha is"),
            "the summary mentions nothing"
        );
    }
    // Shown in three turns it shrinks to a count.
    for _ in 0..2 {
        parent.says("and now?").await;
        assert!(
            ledger(parent.requests().last().unwrap())
                .unwrap()
                .contains(&ids[0])
        );
    }
    parent.says("and now?").await;
    let text = ledger(parent.requests().last().unwrap()).unwrap();
    assert!(ids.iter().all(|id| !text.contains(id.as_str())), "{text}");
    assert!(
        text.contains("1 running") && text.contains("1 ended and unread"),
        "{text}"
    );

    // It follows what happens, and is gone when all is read.
    let script = Script::new()
        .call("delegation_read", &json!({"id": ids[0]}))
        .step()
        .say("read");
    parent.says(script).await;
    assert_eq!(show(&sandbox, &ids[0]).await["unread"], false);
    parent.says("and now?").await;
    let text = ledger(parent.requests().last().unwrap()).unwrap();
    assert!(
        text.contains("1 running") && !text.contains("unread"),
        "{text}"
    );
    let count = parent.requests().len();
    sandbox.model().open("beta");
    parent.answered(count + 1).await;
    parent.says("and now?").await;
    assert!(
        parent
            .requests()
            .iter()
            .rev()
            .take(1)
            .all(|r| !in_conversation(r, LEDGER))
    );
    let stored = serde_json::to_string(
        &parent
            .messages()
            .await
            .iter()
            .map(|m| json!(m.parts))
            .collect::<Vec<_>>(),
    );
    assert!(!stored.unwrap().contains(LEDGER));
    let of_children = sandbox.model().turns();
    let mut of_children = of_children
        .iter()
        .filter(|turn| turn.parent_session.is_some());
    assert!(of_children.all(|turn| !in_conversation(turn, LEDGER)));
}

#[tokio::test]
async fn twenty_open_ones_fit_into_the_ledger_and_others_see_none_of_it() {
    let sandbox = sandbox("[limits]\nconcurrent = 1\n").await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Many").await;
    let works: Vec<String> = (0..20)
        .map(|n| {
            work(
                &format!("<the {n}th> & a rather long heading of many words"),
                Script::new().gate("many"),
            )
        })
        .collect();
    parent
        .says(delegating(&works).step().say("under way"))
        .await;
    let other = Parent::open(&sandbox, &host, "Another").await;
    other.says("hello").await;
    for id in [&parent.id, &other.id] {
        host.compact(id).await.unwrap();
    }
    parent.says("and now?").await;
    other.says("and now?").await;
    let text = ledger(parent.requests().last().unwrap()).unwrap();
    let size = text.chars().count();
    assert!((700..=1_000).contains(&size), "{size}: {text}");
    assert!(text.contains(" more running"), "{text}");
    assert!(
        other
            .requests()
            .iter()
            .all(|request| !in_conversation(request, LEDGER))
    );
    let records = sandbox.model().records();
    let summarising = records
        .iter()
        .rfind(|r| r.kind == Kind::Compaction)
        .unwrap();
    assert_eq!(summarising.session.as_ref(), Some(&other.id));
    assert!(!summarising.contains(LEDGER));
    let done = sandbox.brigade(&["cancel", "--all"]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
}

#[tokio::test]
async fn rules_and_tools_stand_in_root_sessions_and_cost_little() {
    let sandbox = sandbox("").await;
    let without = first_request(&sandbox, &[("OPENCODE_PURE", "1")]).await;
    let with = first_request(&sandbox, &[]).await;
    let of_ours = |record: &Record| -> Vec<Value> {
        let tools = record.body["tools"].as_array().unwrap();
        let ours = |tool: &&Value| {
            tool["function"]["name"]
                .as_str()
                .unwrap()
                .starts_with("delegat")
        };
        tools.iter().filter(ours).cloned().collect()
    };
    assert!(of_ours(&without).is_empty());
    let ours = of_ours(&with);
    let names: Vec<&str> = ours
        .iter()
        .map(|t| t["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "delegate",
            "delegation_apply",
            "delegation_cancel",
            "delegation_list",
            "delegation_read",
            "delegation_send"
        ]
    );
    // What is required is what cannot be left out, though the host would make it all.
    assert_eq!(
        ours[0]["function"]["parameters"]["required"],
        json!(["prompt", "agent"])
    );

    let rules = with.system().chars().count() - without.system().chars().count();
    let schemas: usize = ours
        .iter()
        .map(|tool| tool.to_string().chars().count())
        .sum();
    assert!(rules > 300, "{rules}");
    assert!(rules + schemas < 2_600, "{rules} + {schemas}");
    let grown = with.body.to_string().len() - without.body.to_string().len();
    assert!(
        grown < 2_800,
        "the request as a whole has grown by {grown} bytes"
    );

    // A child has neither, whoever made it.
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Root").await;
    parent
        .says(
            delegating(&[work("alpha", Script::saying("done"))])
                .step()
                .say("begun"),
        )
        .await;
    parent.answered(3).await;
    let foreign = host
        .create_with(&json!({"parentID": parent.id, "title": "Made by the host"}))
        .await
        .unwrap();
    host.prompt(&foreign.id, "hello").await.unwrap();
    for child in host.children(&parent.id).await.unwrap() {
        let turns = turns_of(&sandbox, &child.id);
        assert_eq!(turns.len(), 1);
        assert!(!turns[0].system().contains("# Background delegation"));
        if child.id != foreign.id {
            assert!(of_ours(&turns[0]).is_empty());
        }
    }
    assert!(
        parent
            .requests()
            .iter()
            .all(|r| r.system().contains("# Background delegation"))
    );
}

async fn first_request(sandbox: &Sandbox, env: &[(&str, &str)]) -> Record {
    let serve = brigade_testkit::Serve::start_with(sandbox, |command| {
        command.envs(env.iter().copied());
    })
    .await
    .unwrap();
    let session = serve.create("First").await.unwrap();
    serve.prompt(&session.id, "hello").await.unwrap();
    let request = turns_of(sandbox, &session.id).remove(0);
    serve.stop().await.unwrap();
    sandbox
        .model()
        .wait_for("the request", LIMIT, |record| record.index == request.index)
        .await
        .unwrap()
}
