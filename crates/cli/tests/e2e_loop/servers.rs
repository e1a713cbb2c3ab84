//! What a host leaves behind goes on in a server of Brigade's own, by itself.

use brigade_testkit::{Sandbox, Script};
use serde_json::{Value, json};

use crate::stage::{
    CONTINUED, Host, LIMIT, Parent, answer, begun, delegating, ended, gated, sandbox, show,
    turns_of, work,
};

/// How the daemon is, as a person's script would ask.
async fn status(sandbox: &Sandbox) -> Value {
    let done = sandbox
        .brigade(&["daemon", "status", "--json"])
        .await
        .unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.json().unwrap()
}

#[tokio::test]
async fn what_a_killed_host_ran_goes_on_without_anybody() {
    let sandbox = sandbox("").await;
    sandbox.model().when(
        CONTINUED,
        Script::new().gate("continued").say(answer("alpha")),
    );
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Killed").await;
    parent
        .says(delegating(&[gated("alpha")]).step().say("under way"))
        .await;
    let [id] = &parent.delegations().await[..] else {
        panic!("one was asked for");
    };
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    host.kill9().await.unwrap();
    sandbox
        .model()
        .reached("continued", 1, LIMIT)
        .await
        .unwrap();
    let servers = status(&sandbox).await["servers"].clone();
    assert_eq!(servers.as_array().map(Vec::len), Some(1), "{servers}");
    assert_eq!(servers[0]["running"], 1);
    sandbox.model().admit("continued", 1);
    assert!(ended(&sandbox, id).await.contains(&answer("alpha")));
    let row = show(&sandbox, id).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(2))
    );
    assert_eq!(begun(&sandbox, "alpha"), 1);
    let child = row["child"].as_str().unwrap();
    assert_eq!(turns_of(&sandbox, child).len(), 2);
    let _ = work;
}
