//! Messages that are sent to a run beyond its prompt.

use brigade_agents::opencode::{DriveOutcome, RunSpec, Signal};
use brigade_core::delegation::RunEnd;

use crate::fake::{Fault, Host, spec, start, start_with};
use crate::{CHILD, cancel, ended};

const POST: &str = "POST /session/ses_child1/prompt_async";

fn fresh() -> RunSpec {
    RunSpec {
        fresh: true,
        ..spec(1)
    }
}

/// The texts of the user messages in the child.
fn asked(host: &Host) -> Vec<String> {
    host.messages()
        .iter()
        .filter(|message| message["info"]["role"] == "user")
        .map(|message| message["parts"][0]["text"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_it_works_is_in_its_answer() {
    let host = Host::new();
    let driving = start(&host, fresh());
    host.until("log prompted", 1).await;
    host.busy(CHILD).await;
    driving.messages.send_replace(1);
    host.until(POST, 2).await;
    driving.messages.send_replace(3);
    host.until(POST, 4).await;
    host.answer(CHILD, "with all of it").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (ended.answer.as_str(), ended.messages),
        ("with all of it", 3)
    );
    assert_eq!(
        asked(&host),
        ["the work", "message 1", "message 2", "message 3"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_message_is_no_end() {
    let host = Host::new();
    let driving = start(&host, fresh());
    host.until("log prompted", 1).await;
    // The message is on record when the end is heard, and put to a child that does nothing any more.
    host.assistant(CHILD, "first", &serde_json::json!({}));
    driving.messages.send_replace(1);
    host.idle(CHILD).await;
    host.until(POST, 2).await;
    host.heard().await;
    host.busy(CHILD).await;
    host.answer(CHILD, "second").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!((ended.answer.as_str(), ended.messages), ("second", 1));
    assert_eq!(host.count(POST), 2);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_a_message_is_put_once() {
    for fault in [
        Fault::NotSent,
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Status(500),
    ] {
        let host = Host::new();
        let driving = start(&host, fresh());
        host.until("log prompted", 1).await;
        host.busy(CHILD).await;
        host.fault(POST, fault);
        host.fault(POST, fault);
        driving.messages.send_replace(1);
        host.until("GET /session/ses_child1/message", 2).await;
        while asked(&host).len() < 2 {
            host.until(POST, host.count(POST) + 1).await;
        }
        host.answer(CHILD, "done").await;
        let ended = ended(driving.outcome.await.unwrap());
        assert_eq!(ended.answer, "done", "{fault:?}");
        assert_eq!(asked(&host), ["the work", "message 1"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_only_what_is_missing_is_put() {
    let host = Host::new();
    host.child(1);
    host.prompted_before(CHILD, 1);
    host.sent_before(CHILD, 1);
    host.assistant(CHILD, "first", &serde_json::json!({}));
    let driving = start_with(&host, spec(1), 2);
    host.until(POST, 1).await;
    host.busy(CHILD).await;
    host.answer(CHILD, "second").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!((ended.answer.as_str(), ended.messages), ("second", 2));
    assert_eq!(asked(&host), ["earlier", "message 1", "message 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_does_not_take_the_answer_for_the_end_of_what_came_after() {
    let host = Host::new();
    host.child(1);
    host.prompted_before(CHILD, 1);
    host.assistant(CHILD, "first", &serde_json::json!({}));
    let driving = start_with(&host, spec(2), 1);
    host.until(POST, 1).await;
    host.busy(CHILD).await;
    host.answer(CHILD, "second").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!((ended.answer.as_str(), ended.messages), ("second", 1));
    assert_eq!(asked(&host), ["earlier", "message 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_with_which_nothing_begins_is_posted_again() {
    let host = Host::new();
    let driving = start(&host, fresh());
    host.until("log prompted", 1).await;
    host.assistant(CHILD, "first", &serde_json::json!({}));
    driving.messages.send_replace(1);
    host.idle(CHILD).await;
    host.until(POST, 3).await;
    host.busy(CHILD).await;
    host.answer(CHILD, "second").await;
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "second");
    assert_eq!(asked(&host).len(), 2, "the same message each time");

    let host = Host::new();
    let driving = start(&host, fresh());
    host.until("log prompted", 1).await;
    host.assistant(CHILD, "first", &serde_json::json!({}));
    driving.messages.send_replace(1);
    host.idle(CHILD).await;
    let outcome = driving.outcome.await.unwrap();
    assert!(
        matches!(&outcome, DriveOutcome::Interrupted { partial, .. } if partial == "first"),
        "{outcome:?}"
    );
    assert_eq!(host.count(POST), 5);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_is_given_nothing_more() {
    let host = Host::new();
    let driving = start(&host, fresh());
    host.until("log prompted", 1).await;
    host.busy(CHILD).await;
    driving.stop.send_replace(Some(cancel()));
    host.until("POST /session/ses_child1/abort", 1).await;
    driving.messages.send_replace(1);
    host.answer(CHILD, "half").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!((ended.end, ended.messages), (RunEnd::Answered, 0));
    assert_eq!(host.count(POST), 1);
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_the_message_is_no_end_even_if_events_were_missed() {
    let host = Host::new();
    let driving = start(&host, fresh());
    host.until("log prompted", 1).await;
    host.assistant(CHILD, "first", &serde_json::json!({}));
    driving.messages.send_replace(1);
    host.idle(CHILD).await;
    host.until(POST, 2).await;
    // The host has not begun with it yet, and the messages are read.
    let reads = host.count("GET /session/ses_child1/message");
    host.signal(Signal::Reconnected).await;
    host.until("GET /session/ses_child1/message", reads + 1)
        .await;
    host.heard().await;
    host.busy(CHILD).await;
    host.answer(CHILD, "second").await;
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "second");
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_in_an_earlier_attempt_needs_no_answer_in_this_one() {
    let host = Host::new();
    host.child(1);
    host.prompted_before(CHILD, 1);
    host.sent_before(CHILD, 1);
    host.assistant(
        CHILD,
        "half",
        &serde_json::json!({"time": {"created": 1}, "finish": null}),
    );
    host.prompted_before(CHILD, 2);
    let driving = start_with(&host, spec(2), 1);
    host.until("log prompted", 1).await;
    host.heard().await;
    host.busy(CHILD).await;
    host.answer(CHILD, "whole").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!((ended.answer.as_str(), ended.messages), ("whole", 1));
    assert_eq!(host.count(POST), 0);
}
