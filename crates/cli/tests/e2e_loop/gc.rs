//! The store is lost while a child works: results come back from their files, and nothing works for nobody.

use std::time::Instant;

use brigade_testkit::{Sandbox, Script};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::stage::{Host, LIMIT, Parent, answer, delegating, ended, gated, sandbox, show, work};

async fn report(sandbox: &Sandbox, args: &[&str]) -> Value {
    let done = sandbox.brigade(args).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.json().unwrap()
}

/// What `gc` says of this kind of thing.
fn of<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .filter(|finding| finding["kind"] == kind)
        .collect()
}

#[tokio::test]
async fn a_lost_store_costs_no_result_and_leaves_nothing_at_work() {
    let sandbox = sandbox("").await;
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Lost").await;
    let works = [
        work("alpha", Script::saying(answer("alpha"))),
        gated("beta"),
    ];
    parent.says(delegating(&works).step().say("begun")).await;
    let ids = parent.delegations().await;
    sandbox.model().reached("beta", 1, LIMIT).await.unwrap();
    ended(&sandbox, &ids[0]).await;
    let before = show(&sandbox, &ids[0]).await;
    let beta = show(&sandbox, &ids[1]).await["child"].clone();
    let session = beta.as_str().unwrap();
    for name in ["brigade.db", "brigade.db-wal", "brigade.db-shm"] {
        std::fs::remove_file(sandbox.brigade_data().join(name)).unwrap();
    }
    // The next one, which the bridge starts, finds no store.
    assert!(sandbox.signal_daemon(Signal::KILL));

    let began = Instant::now();
    let plan = loop {
        let plan = report(&sandbox, &["gc", "--dry-run", "--json"]).await;
        if !of(&plan, "session").is_empty() {
            break plan;
        }
        // Nothing tells a person either when the host is connected again.
        assert!(began.elapsed() < LIMIT, "{plan:#}");
    };
    assert_eq!(of(&plan, "session")[0]["subject"], beta);
    assert_eq!(of(&plan, "unrecorded_artifact").len(), 1, "{plan:#}");
    let done = report(&sandbox, &["gc", "--json"]).await;
    assert_eq!(of(&done, "session")[0]["fate"], "done", "{done:#}");
    let stopped = host.messages(session).await.unwrap();
    assert!(!stopped.is_empty(), "the session stays");

    let after = show(&sandbox, &ids[0]).await;
    for field in [
        "id", "title", "summary", "state", "reason", "agent", "model", "session", "child",
        "artifact",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["unread"], json!(true));
    let again = report(&sandbox, &["gc", "--dry-run", "--json"]).await;
    assert!(of(&again, "session").is_empty(), "{again:#}");
    assert!(of(&again, "unrecorded_artifact").is_empty(), "{again:#}");
    // The work that came back is there for the parent's model.
    let read = Script::new()
        .call("delegation_read", &json!({"id": ids[0]}))
        .step()
        .say("read");
    parent.says(read).await;
    let outputs = parent.outputs("delegation_read").await;
    assert!(outputs[0].contains("All of alpha."), "{outputs:?}");
}
