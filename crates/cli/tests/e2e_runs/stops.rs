//! Who may stop a delegation, and what is kept of it.

use brigade_testkit::{Message, Method, Script};
use serde_json::{Value, json};

use crate::rig::{LIMIT, Rig, answer, builder};

/// Says something and hangs until `gate` opens.
fn hanging(gate: &str) -> Script {
    Script::new()
        .chunk(format!("Half of {gate}. "))
        .gate(gate)
        .chunk("The other half.")
}

/// Waits until a child's text so far is known to the daemon.
async fn said(rig: &Rig, id: &str, text: &str) {
    rig.events
        .wait_for(&format!("{text:?} of {id}"), LIMIT, |event| {
            event["type"] == "message.part.delta"
                && event["properties"]["delta"]
                    .as_str()
                    .is_some_and(|delta| text.starts_with(delta))
        })
        .await
        .unwrap();
}

/// Starts one that hangs after its first words.
async fn begin(rig: &Rig, root: &str, gate: &str) -> String {
    let id = rig.delegate(root, "explore", &hanging(gate)).await;
    said(rig, &id, &format!("Half of {gate}. ")).await;
    id
}

/// Checks the end of one that was stopped after its first words.
async fn kept(rig: &Rig, id: &str, gate: &str, why: &str) -> Value {
    let (shown, artifact) = rig.ends_as(id, "cancelled").await;
    assert_eq!(shown["reason"], why, "{shown:#}");
    let text = answer(&artifact);
    assert!(text.contains(&format!("Half of {gate}.")), "{artifact}");
    assert!(!text.contains("The other half."), "{artifact}");
    assert!(text.contains(why), "it is marked: {artifact}");
    shown
}

const BY_PERSON: &str = "cancelled by the person";

#[tokio::test(flavor = "multi_thread")]
async fn a_person_cancels_what_runs_and_what_waits() {
    let rig = Rig::new("[limits]\nconcurrent = 1\n").await;
    let (root, other) = (rig.root().await, rig.root().await);
    let model = rig.sandbox.model();
    let cancel = async |args: &[&str]| {
        let all = [&["cancel"], args].concat();
        rig.sandbox.brigade(&all).await.unwrap()
    };
    let running = begin(&rig, &root, "one").await;
    let waiting = rig.delegate(&root, "explore", &hanging("two")).await;
    assert_eq!(rig.show(&waiting).await["phase"], "queued");

    // A waiting one, by a prefix of its ID: it ends at once, and its agent is never asked.
    let prefix = &waiting[..waiting.len() - 2];
    let done = cancel(&[prefix]).await;
    assert_eq!(done.code(), Some(0), "{done:?}");
    let (shown, artifact) = rig.ends_as(&waiting, "cancelled").await;
    assert_eq!(shown["reason"], BY_PERSON);
    assert!(shown["child"].is_null(), "{shown:#}");
    assert!(artifact.contains(BY_PERSON), "{artifact}");
    let notice = rig.notice(&root, &waiting).await;
    assert!(notice.contains("<status>cancelled</status>"), "{notice}");

    // A running one. It stays cancelled whatever its model says later.
    let done = cancel(&[&running]).await;
    assert_eq!(done.code(), Some(0), "{done:?}");
    let shown = kept(&rig, &running, "one", BY_PERSON).await;
    model.open("one");
    let notice = rig.notice(&root, &running).await;
    assert!(notice.contains("<status>cancelled</status>"), "{notice}");
    assert!(notice.contains("Half of one."), "{notice}");
    let child = shown["child"].as_str().unwrap();
    assert!(rig.server.status().await.unwrap()[child].is_null());
    let done = cancel(&[&running]).await;
    assert_eq!(done.code(), Some(5), "once is enough: {done:?}");
    assert!(
        done.stdout.contains("already ended as cancelled"),
        "{done:?}"
    );

    // Several by name; then all of one session; then all there are.
    let a = begin(&rig, &root, "a").await;
    let b = rig.delegate(&root, "explore", &hanging("b")).await;
    let c = rig.delegate(&root, "explore", &hanging("c")).await;
    assert_eq!(cancel(&[&a, &b]).await.code(), Some(0));
    kept(&rig, &a, "a", BY_PERSON).await;
    rig.ends_as(&b, "cancelled").await;
    said(&rig, &c, "Half of c. ").await;
    let d = rig.delegate(&other, "explore", &hanging("d")).await;
    assert_eq!(cancel(&["--session", &root]).await.code(), Some(0));
    kept(&rig, &c, "c", BY_PERSON).await;
    said(&rig, &d, "Half of d. ").await;
    let e = rig.delegate(&root, "explore", &hanging("e")).await;
    assert_eq!(cancel(&["--all"]).await.code(), Some(0));
    kept(&rig, &d, "d", BY_PERSON).await;
    rig.ends_as(&e, "cancelled").await;
    assert_eq!(cancel(&["no-such-one"]).await.code(), Some(3));

    for (session, id) in [
        (&root, &a),
        (&root, &b),
        (&root, &c),
        (&other, &d),
        (&root, &e),
    ] {
        rig.notice(session, id).await;
        assert_eq!(rig.notices(session, id).await, 1);
    }
    // Two running and two waiting ones were never asked of a model.
    let prompts = model
        .turns()
        .into_iter()
        .filter(|turn| turn.parent_session.is_some() && turn.step == 0);
    assert_eq!(prompts.count(), 4, "only one, a, c and d had begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_stops_or_deletes_the_child_in_the_host() {
    let rig = Rig::new("").await;
    let root = rig.root().await;

    let id = begin(&rig, &root, "aborted").await;
    let child = rig.show(&id).await["child"].as_str().unwrap().to_owned();
    rig.server.abort(&child).await.unwrap();
    let why = "cancelled by the person, who stopped the child session";
    kept(&rig, &id, "aborted", why).await;
    let notice = rig.notice(&root, &id).await;
    assert!(notice.contains("<status>cancelled</status>"), "{notice}");
    assert_eq!(rig.requests(&child).len(), 1, "it is not tried again");

    let id = begin(&rig, &root, "deleted").await;
    let child = rig.show(&id).await["child"].as_str().unwrap().to_owned();
    rig.server.delete(&child).await.unwrap();
    let why = "cancelled because the child session was deleted";
    kept(&rig, &id, "deleted", why).await;
    let notice = rig.notice(&root, &id).await;
    assert!(notice.contains("<status>cancelled</status>"), "{notice}");
    assert_eq!(rig.notices(&root, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_parent_takes_its_delegations_with_it_but_not_their_text() {
    let rig = Rig::new("[limits]\nconcurrent = 1\n").await;
    let (root, other) = (rig.root().await, rig.root().await);
    let done = rig
        .delegate(&root, "explore", &Script::saying("whole"))
        .await;
    rig.ends_as(&done, "complete").await;
    rig.notice(&root, &done).await;
    let id = begin(&rig, &root, "orphan").await;
    let queued = rig.delegate(&root, "explore", &hanging("never")).await;
    rig.server.delete(&root).await.unwrap();

    let why = "cancelled because the parent session was deleted";
    let shown = kept(&rig, &id, "orphan", why).await;
    assert_eq!(shown["notice"], "none", "{shown:#}");
    let (shown, _) = rig.ends_as(&queued, "cancelled").await;
    assert_eq!(shown["reason"], why);
    assert_eq!(shown["notice"], "none", "{shown:#}");

    // The results stay readable from elsewhere, and no other session is told of the ends.
    let read = rig
        .tool(&other, "delegation_read", &json!({"id": id}))
        .await;
    assert!(read.contains("Half of orphan."), "{read}");
    let read = rig
        .tool(&other, "delegation_read", &json!({"id": done}))
        .await;
    assert!(read.contains("whole"), "{read}");
    let messages = rig.server.messages(&other).await.unwrap();
    let texts: Vec<String> = messages.iter().map(Message::text).collect();
    assert!(!texts.concat().contains("<task-notification>"), "{texts:?}");
    let (status, _) = rig
        .server
        .request(Method::GET, &format!("/session/{root}"), None)
        .await
        .unwrap();
    assert_eq!(status, 404, "it stays deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_provider_or_a_command_is_stopped_at_once() {
    let sandbox = builder().build().await.unwrap();
    let waiter = "description: Waits\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"sleep *\": allow";
    sandbox.agent("waiter", waiter, "You wait.").unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;

    // The host sleeps before it asks the provider again.
    let busy = Script::new().fail(500, "Overloaded");
    let id = rig.delegate(&root, "explore", &busy).await;
    rig.events
        .wait_for("the host's third try", LIMIT, |event| {
            let status = &event["properties"]["status"];
            status["type"] == "retry" && status["attempt"] == 2
        })
        .await
        .unwrap();
    let done = rig.sandbox.brigade(&["cancel", &id]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let (shown, _) = rig.ends_as(&id, "cancelled").await;
    assert_eq!(shown["reason"], BY_PERSON);
    let child = shown["child"].as_str().unwrap();
    assert!(rig.server.status().await.unwrap()[child].is_null());

    // A command goes with the run that began it.
    let command = json!({"command": "sleep 98765", "description": "Waits"});
    let slow = Script::new().say("I wait.").call("bash", &command);
    let id = rig.delegate(&root, "waiter", &slow).await;
    rig.events
        .wait_for("the command to run", LIMIT, |event| {
            let part = &event["properties"]["part"];
            part["tool"] == "bash" && part["state"]["status"] == "running"
        })
        .await
        .unwrap();
    let done = rig.sandbox.brigade(&["cancel", &id]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let (shown, artifact) = rig.ends_as(&id, "cancelled").await;
    assert!(answer(&artifact).contains("I wait."), "{artifact}");
    assert_eq!(shown["progress"]["tool_calls"], 1);
    let processes = rig.sandbox.command("ps").args(["-axo", "args"]).output();
    let processes = String::from_utf8_lossy(&processes.unwrap().stdout).into_owned();
    assert!(!processes.contains("sleep 98765"), "{processes}");
}
