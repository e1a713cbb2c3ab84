//! Steering: messages to what runs, further rounds of what has ended, retries, and the model's own cancel.

use std::io::Write as _;
use std::time::{Duration, Instant};

use brigade_testkit::model::Outcome;
use brigade_testkit::model::script::Op;
use brigade_testkit::{Finished, Message, Script};
use rustix::process::Signal;
use serde_json::json;

use crate::rig::{LIMIT, Rig, answer, builder};

/// Says something and hangs until `gate` opens.
fn hanging(gate: &str) -> Script {
    Script::new()
        .chunk(format!("Half of {gate}. "))
        .gate(gate)
        .chunk("The other half.")
}

/// Starts one that hangs after its first words.
async fn begin(rig: &Rig, root: &str, gate: &str) -> String {
    let id = rig.delegate(root, "explore", &hanging(gate)).await;
    let half = format!("Half of {gate}. ");
    rig.events
        .wait_for("its first words", LIMIT, |event| {
            event["type"] == "message.part.delta" && event["properties"]["delta"] == half.as_str()
        })
        .await
        .unwrap();
    id
}

/// Sends a message, which is taken.
async fn send(rig: &Rig, id: &str, message: &str) -> Finished {
    let done = rig.sandbox.brigade(&["send", id, message]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done
}

/// The ID of the round in which an ended delegation goes on.
fn round(said: &str) -> String {
    let (_, rest) = said.split_once(" goes on in its session as ").unwrap();
    rest.split(',').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_a_running_child_at_its_next_step() {
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let id = begin(&rig, &root, "one").await;
    let correction = Script::saying("Corrected: look at the tests.").to_string();
    let done = send(&rig, &id, &correction).await;
    assert!(
        done.stdout.contains("gets the message at its next step"),
        "{done:?}"
    );
    // It stands in the child's session, and the answer that is still streaming is not its answer.
    let child = rig.show(&id).await["child"].as_str().unwrap().to_owned();
    rig.events
        .wait_for("the message in the session", LIMIT, |event| {
            let part = &event["properties"]["part"];
            part["sessionID"] == child.as_str() && part["text"] == correction.as_str()
        })
        .await
        .unwrap();
    rig.sandbox.model().open("one");
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "Corrected: look at the tests.");
    let requests = rig.requests(&child);
    assert_eq!(requests.len(), 2, "one more model call, which includes it");
    assert!(
        requests[1].prompt.contains("look at the tests"),
        "{}",
        requests[1].prompt
    );
    let timeline = shown["timeline"].as_array().unwrap();
    let sent = timeline.iter().find(|line| line["event"] == "message_sent");
    assert!(
        sent.unwrap()["detail"]
            .as_str()
            .unwrap()
            .contains("message 1 from the person")
    );
    rig.notice(&root, &id).await;
    assert_eq!(rig.notices(&root, &id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_delegation_goes_on_in_its_session_as_a_round_of_its_own() {
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let first = rig
        .delegate(&root, "explore", &Script::saying("The first answer."))
        .await;
    let (before, artifact) = rig.ends_as(&first, "complete").await;
    rig.notice(&root, &first).await;

    let more = Script::saying("The second answer.").to_string();
    let said = rig
        .tool(
            &root,
            "delegation_send",
            &json!({"id": first, "message": more}),
        )
        .await;
    let second = round(&said);
    let (after, later) = rig.ends_as(&second, "complete").await;
    assert_eq!(after["child"], before["child"], "the same session");
    assert!(answer(&later).contains("The second answer."), "{later}");
    assert!(!answer(&later).contains("The first answer."), "{later}");
    let child = after["child"].as_str().unwrap();
    let last = rig.requests(child).pop().unwrap();
    assert!(
        last.body.to_string().contains("The first answer."),
        "it remembers"
    );
    // The earlier round is as it was; each has its own notice.
    assert_eq!(rig.ends_as(&first, "complete").await.1, artifact);
    let notice = rig.notice(&root, &second).await;
    assert!(notice.contains("The second answer."), "{notice}");
    assert_eq!(rig.notices(&root, &first).await, 1);
    assert_eq!(rig.notices(&root, &second).await, 1);

    // A third round, to the first one's ID, and while that runs a message to any of them is one to it.
    let third = rig
        .json(&["send", &first, "--json", &hanging("third").to_string()])
        .await;
    assert_eq!(third["continued"], true, "{third:#}");
    let third = third["id"].as_str().unwrap().to_owned();
    let joined = rig
        .json(&[
            "send",
            &second,
            "--json",
            &Script::saying("All three.").to_string(),
        ])
        .await;
    assert_eq!(
        (&joined["id"], &joined["continued"]),
        (&json!(third), &json!(false))
    );
    rig.sandbox.model().open("third");
    let (_, artifact) = rig.ends_as(&third, "complete").await;
    assert_eq!(answer(&artifact), "All three.");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_cancels_what_it_delegated_and_nothing_else() {
    let rig = Rig::new("").await;
    let (root, other) = (rig.root().await, rig.root().await);
    let id = begin(&rig, &root, "long").await;

    let refused = rig
        .tool(&other, "delegation_cancel", &json!({"id": id}))
        .await;
    assert!(refused.contains("belongs to another session"), "{refused}");
    let refused = rig
        .tool(
            &other,
            "delegation_send",
            &json!({"id": id, "message": "stop"}),
        )
        .await;
    assert!(refused.contains("belongs to another session"), "{refused}");
    let unknown = rig
        .tool(&root, "delegation_cancel", &json!({"id": "no-such-one"}))
        .await;
    assert!(unknown.contains("no delegation"), "{unknown}");

    let said = rig
        .tool(&root, "delegation_cancel", &json!({"id": id}))
        .await;
    assert!(
        said.starts_with(&format!("{id} is cancelled: its run has ended;")),
        "{said}"
    );
    assert!(
        said.contains("Half of long."),
        "what it had written comes with it: {said}"
    );
    let (shown, _) = rig.ends_as(&id, "cancelled").await;
    assert_eq!(
        shown["reason"],
        "cancelled by the agent that had delegated it"
    );
    let child = shown["child"].as_str().unwrap();
    assert!(rig.server.status().await.unwrap()[child].is_null());
    // It has been told: no notice says it again, and what ends later finds it so.
    let marker = rig
        .delegate(&root, "explore", &Script::saying("marker"))
        .await;
    rig.notice(&root, &marker).await;
    assert_eq!(rig.notices(&root, &id).await, 0);
    let again = rig
        .tool(&root, "delegation_cancel", &json!({"id": id}))
        .await;
    assert!(again.contains("had already ended"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_the_work_anew_and_what_is_not_possible_is_said() {
    let rig = Rig::new("[limits]\nconcurrent = 1\n").await;
    let root = rig.root().await;
    let work = Script::new().fail(401, "No key");
    let failed = rig.delegate(&root, "explore", &work).await;
    let (before, _) = rig.ends_as(&failed, "error").await;
    rig.notice(&root, &failed).await;

    let anew = rig.json(&["retry", &failed, "--json"]).await;
    assert_eq!(anew["existing"], false, "{anew:#}");
    let anew = anew["id"].as_str().unwrap().to_owned();
    let (after, _) = rig.ends_as(&anew, "error").await;
    assert_ne!(after["child"], before["child"], "in a session of its own");
    assert_eq!(after["prompt"], before["prompt"]);
    rig.notice(&root, &anew).await;

    let running = begin(&rig, &root, "busy").await;
    let waiting = rig.delegate(&root, "explore", &hanging("never")).await;
    let refused = rig.sandbox.brigade(&["retry", &running]).await.unwrap();
    assert_eq!(refused.code(), Some(5), "{refused:?}");
    assert!(refused.stderr.contains("Cancel it first"), "{refused:?}");
    let early = rig
        .sandbox
        .brigade(&["send", &waiting, "also the docs"])
        .await
        .unwrap();
    assert!(early.stdout.contains("right after its prompt"), "{early:?}");
    let done = rig
        .sandbox
        .brigade(&["cancel", &waiting, &running])
        .await
        .unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("its run has ended"), "{done:?}");
    let refused = rig
        .sandbox
        .brigade(&["send", &waiting, "go on"])
        .await
        .unwrap();
    assert_eq!(refused.code(), Some(5), "{refused:?}");
    assert!(
        refused.stderr.contains("before it had a session"),
        "{refused:?}"
    );
    let refused = rig
        .sandbox
        .brigade(&["send", &running, "  "])
        .await
        .unwrap();
    assert_eq!(refused.code(), Some(5), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_survives_the_death_of_the_daemon() {
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let id = begin(&rig, &root, "one").await;
    let correction = Script::saying("Heard all the same.").to_string();
    send(&rig, &id, &correction).await;
    assert!(rig.sandbox.signal_daemon(Signal::KILL), "no daemon to kill");
    rig.sandbox.model().open("one");
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "Heard all the same.");
    let child = shown["child"].as_str().unwrap();
    let stored = rig.server.messages(child).await.unwrap();
    let texts: Vec<String> = stored.iter().map(Message::text).collect();
    let times = texts.iter().filter(|text| **text == correction).count();
    assert_eq!(times, 1, "{texts:?}");
    assert_eq!(shown["attempt"], 1, "{shown:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_has_no_tools_to_steer_with() {
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let id = rig
        .delegate(&root, "explore", &Script::saying("alone"))
        .await;
    let (shown, _) = rig.ends_as(&id, "complete").await;
    let child = shown["child"].as_str().unwrap();
    let offered = |session: &str, tool: &str| {
        let request = rig.requests(session).pop().unwrap();
        let tools = request.body["tools"].as_array().unwrap().clone();
        tools.iter().any(|one| one["function"]["name"] == tool)
    };
    for tool in ["delegation_send", "delegation_cancel"] {
        assert!(!offered(child, tool), "{tool}");
        assert!(offered(&root, tool), "{tool}");
    }
}

/// Cancels what is in the midst of something; gives the times until the command had answered and until the model's
/// request, if one was under way, had been dropped.
async fn timed_cancel(rig: &Rig, id: &str) -> (Duration, Option<Duration>) {
    let child = rig.show(id).await["child"].as_str().unwrap().to_owned();
    let began = Instant::now();
    let done = rig.sandbox.brigade(&["cancel", id]).await.unwrap();
    let answered = began.elapsed();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("its run has ended"), "{done:?}");
    assert!(rig.server.status().await.unwrap()[&*child].is_null());
    let last = rig.requests(&child).pop().unwrap();
    let dropped = (last.outcome == Outcome::Disconnected)
        .then(|| last.answered.map(|at| at.saturating_duration_since(began)))
        .flatten();
    (answered, dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_has_stopped_and_stays_stopped() {
    let sandbox = builder().build().await.unwrap();
    let waiter = "description: Waits\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"sleep *\": allow";
    sandbox.agent("waiter", waiter, "You wait.").unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    let model = rig.sandbox.model();

    let silent = rig
        .delegate(&root, "explore", &Script::new().gate("never").say("late"))
        .await;
    model
        .wait_for("the silent one's request", LIMIT, |turn| {
            // The parent's own request has the script in it, too.
            turn.parent_session.is_some() && turn.prompt.contains("::gate never")
        })
        .await
        .unwrap();
    let (sleep, dropped) = timed_cancel(&rig, &silent).await;
    let mut said = vec![format!(
        "model silent: {sleep:?}, its request dropped after {dropped:?}"
    )];

    let flood = Script::new().op(Op::Chunks {
        count: 100_000,
        every_ms: 5,
    });
    let stream = rig.delegate(&root, "explore", &flood).await;
    rig.events
        .wait_for("the child's stream", LIMIT, |event| {
            event["type"] == "message.part.delta"
                && event["properties"]["sessionID"] != root.as_str()
        })
        .await
        .unwrap();
    let (time, dropped) = timed_cancel(&rig, &stream).await;
    said.push(format!(
        "streaming: {time:?}, its request dropped after {dropped:?}"
    ));

    let command = json!({"command": "sleep 87654", "description": "Waits"});
    let slow = Script::new().say("I wait.").call("bash", &command);
    let shell = rig.delegate(&root, "waiter", &slow).await;
    rig.events
        .wait_for("the command to run", LIMIT, |event| {
            let part = &event["properties"]["part"];
            part["tool"] == "bash" && part["state"]["status"] == "running"
        })
        .await
        .unwrap();
    let (time, _) = timed_cancel(&rig, &shell).await;
    let processes = rig.sandbox.command("ps").args(["-axo", "args"]).output();
    let processes = String::from_utf8_lossy(&processes.unwrap().stdout).into_owned();
    assert!(!processes.contains("sleep 87654"), "{processes}");
    said.push(format!(
        "command running: {time:?}, its process gone by then"
    ));
    writeln!(
        std::io::stderr(),
        "from `brigade cancel` to its answer: {}",
        said.join("; ")
    )
    .unwrap();

    // Neither the next daemon nor the next host takes any of it up again.
    let asked = model
        .turns()
        .iter()
        .filter(|turn| turn.parent_session.is_some())
        .count();
    let Rig {
        server, sandbox, ..
    } = rig;
    assert!(sandbox.signal_daemon(Signal::KILL));
    drop(server);
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    let marker = rig
        .delegate(&root, "explore", &Script::saying("marker"))
        .await;
    rig.ends_as(&marker, "complete").await;
    for id in [&silent, &stream, &shell] {
        rig.ends_as(id, "cancelled").await;
    }
    let model = rig.sandbox.model();
    let now = model
        .turns()
        .iter()
        .filter(|turn| turn.parent_session.is_some())
        .count();
    assert_eq!(now, asked + 1, "only the marker was asked");
}
