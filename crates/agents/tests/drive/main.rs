//! The driver against a host in memory: order, faults, limits. Time is tokio's own, paused.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod attempts;
mod fake;
mod missed;
mod sent;

use brigade_agents::opencode::{AbortVerdict, DriveOutcome, Ended, RunSpec, Signal, Usage};
use brigade_core::delegation::{Actor, RunEnd, StopCause};
use fake::{Fault, Host, PARENT, hang_up, spec, start};
use serde_json::json;

const CHILD: &str = "ses_child1";

fn ended(outcome: DriveOutcome) -> Ended {
    match outcome {
        DriveOutcome::Ended(ended) => ended,
        other => panic!("not ended: {other:?}"),
    }
}

fn used(ended: &Ended) -> &Usage {
    ended.usage.as_ref().unwrap()
}

fn at(timeline: &[String], line: &str) -> usize {
    timeline
        .iter()
        .position(|entry| entry.starts_with(line))
        .unwrap_or_else(|| panic!("no {line} in {timeline:#?}"))
}

fn cancel() -> StopCause {
    StopCause::Cancel { by: Actor::Person }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_run_is_recorded_watched_prompted_and_shown_in_that_order() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.answer(CHILD, "# Done").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (&ended.end, ended.answer.as_str()),
        (&RunEnd::Answered, "# Done")
    );
    assert_eq!(used(&ended).tokens.input, 10);
    let timeline = host.timeline();
    let order = [
        "POST /session",
        "log child ses_child1",
        "log watch ses_child1",
        "POST /session/ses_child1/prompt_async",
        "log prompted",
        "PATCH /session/ses_child1",
        "GET /session/ses_child1/message",
    ];
    assert_eq!(
        timeline.len(),
        order.len(),
        "nothing else is asked: {timeline:#?}"
    );
    for (line, expected) in timeline.iter().zip(order) {
        assert!(line.starts_with(expected), "{line} for {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_is_lost_around_the_start_one_child_is_prompted_once() {
    for line in [
        "POST /session",
        "POST /session/ses_child1/prompt_async",
        "GET /session/ses_parent/children",
    ] {
        for fault in [
            Fault::NotSent,
            Fault::LostAnswer,
            Fault::LostRequest,
            Fault::Status(500),
        ] {
            let host = Host::new();
            host.fault(line, fault);
            host.fault(line, fault);
            let driving = start(&host, spec(1));
            host.until("log prompted", 1).await;
            host.answer(CHILD, "done").await;
            let ended = ended(driving.outcome.await.unwrap());
            assert_eq!(ended.end, RunEnd::Answered, "{line} {fault:?}");
            assert_eq!(host.count("log child"), 1, "{line} {fault:?}");
            let prompts = host
                .messages()
                .iter()
                .filter(|message| message["info"]["role"] == "user")
                .count();
            assert_eq!(prompts, 1, "{line} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_in_doubt_that_stands_is_not_sent_again() {
    let host = Host::new();
    host.fault("POST /session/ses_child1/prompt_async", Fault::LostAnswer);
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("log prompted", 1).await;
    assert_eq!(host.count("POST /session/ses_child1/prompt_async"), 1);
    host.answer(CHILD, "done").await;
    ended(driving.outcome.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_on_failing_is_taken_at_its_word() {
    let host = Host::new();
    for _ in 0..13 {
        host.fault("POST /session", Fault::Status(500));
    }
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    let ended = ended(driving.outcome.await.unwrap());
    assert!(
        matches!(&ended.end, RunEnd::HostError { message } if message.contains("inner")),
        "{ended:?}"
    );
    assert_eq!(host.count("POST /session"), 13);
}

#[tokio::test(start_paused = true)]
async fn a_busy_child_of_another_session_is_aborted_and_reported() {
    let host = Host::new();
    let old = host.child(1);
    let new = host.child(2);
    host.set_busy(&old, true);
    let driving = start(&host, spec(2));
    host.until("log prompted", 1).await;
    host.answer(&new, "done").await;
    ended(driving.outcome.await.unwrap());
    let timeline = host.timeline();
    assert!(
        at(&timeline, "POST /session/ses_child1/abort") < at(&timeline, "log stray ses_child1")
    );
    assert!(at(&timeline, "log stray") < at(&timeline, "POST /session/ses_child2/prompt_async"));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_written_after_the_first_idle_is_the_end() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(CHILD, "", &json!({"finish": null, "time": {"created": 1}}));
    let error = json!({"name": "APIError", "data": {"message": "bad key", "statusCode": 401}});
    host.event("session.error", CHILD, &json!({"error": error}))
        .await;
    host.idle(CHILD).await;
    host.until("GET /session/ses_child1/message", 1).await;
    host.forget_last();
    let info = host.assistant(CHILD, "", &json!({"finish": null, "error": error}));
    host.event("message.updated", CHILD, &json!({"info": info}))
        .await;
    let end = ended(driving.outcome.await.unwrap()).end;
    assert_eq!(
        end,
        RunEnd::ProviderError {
            message: "bad key (HTTP 401)".to_owned()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn idle_without_an_end_is_an_interruption_and_never_an_answer() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(
        CHILD,
        "half",
        &json!({"finish": null, "time": {"created": 1}}),
    );
    host.idle(CHILD).await;
    let outcome = driving.outcome.await.unwrap();
    assert!(
        matches!(&outcome, DriveOutcome::Interrupted { partial, .. } if partial == "half"),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_agents_error_is_the_hosts() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.forget_last();
    let error = json!({"name": "UnknownError", "data": {"message": "Agent not found"}});
    host.event("session.error", CHILD, &json!({"error": error}))
        .await;
    let end = ended(driving.outcome.await.unwrap()).end;
    assert_eq!(
        end,
        RunEnd::HostError {
            message: "Agent not found".to_owned()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_is_recorded_before_the_abort_and_the_text_is_kept() {
    let host = Host::new();
    let limits = RunSpec {
        fresh: true,
        max_run_ms: Some(60_000),
        spent_ms: 50_000,
        ..spec(1)
    };
    let begun = tokio::time::Instant::now();
    let driving = start(&host, limits);
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(CHILD, "", &json!({"finish": null, "time": {"created": 1}}));
    host.stream(CHILD, "so far").await;
    host.until("POST /session/ses_child1/abort", 1).await;
    assert_eq!(
        begun.elapsed().as_secs(),
        10,
        "what earlier attempts ran counts"
    );
    host.forget_last();
    let error = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
    let info = host.assistant(CHILD, "so far", &json!({"finish": null, "error": error}));
    host.idle(CHILD).await;
    host.event("message.updated", CHILD, &json!({"info": info}))
        .await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Aborted, "so far")
    );
    assert_eq!(host.last_partial().as_deref(), Some("so far"));
    let timeline = host.timeline();
    assert!(
        at(&timeline, "log stop TimeLimit { limit_ms: 60000 }")
            < at(&timeline, "POST /session/ses_child1/abort")
    );
    assert_eq!(host.count("log unordered"), 0);
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_stall_only_while_something_should_be_heard() {
    let host = Host::new();
    let begun = tokio::time::Instant::now();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            stall_ms: Some(360_000),
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(CHILD, "", &json!({"finish": null, "time": {"created": 1}}));
    let tool = |status: &str| {
        json!({"part": {"id": "prt_tool", "messageID": "m", "type": "tool", "tool": "bash",
                        "state": {"status": status}}})
    };
    host.event("message.part.updated", CHILD, &tool("running"))
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(1_000)).await;
    assert_eq!(host.count("log stop"), 0, "a tool runs");
    host.event("message.part.updated", CHILD, &tool("completed"))
        .await;
    let retry =
        json!({"status": {"type": "retry", "attempt": 1, "message": "overloaded", "next": 1}});
    host.event("session.status", CHILD, &retry).await;
    host.set_status(CHILD, &retry["status"]);
    tokio::time::sleep(std::time::Duration::from_secs(1_000)).await;
    assert_eq!(host.count("log stop"), 0, "the host tries again");
    host.busy(CHILD).await;
    host.signal(Signal::Disconnected).await;
    tokio::time::sleep(std::time::Duration::from_secs(1_000)).await;
    assert_eq!(host.count("log stop"), 0, "the host cannot be heard");
    host.signal(Signal::Reconnected).await;
    host.until("log stop Stall { limit_ms: 360000 }", 1).await;
    assert_eq!(begun.elapsed().as_secs(), 3_360);
    host.set_busy(CHILD, false);
    assert_eq!(ended(driving.outcome.await.unwrap()).end, RunEnd::Aborted);
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_repeated_until_the_run_has_stopped() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(CHILD, "", &json!({"finish": null, "time": {"created": 1}}));
    driving.stop.send_replace(Some(cancel()));
    host.until("POST /session/ses_child1/abort", 3).await;
    host.forget_last();
    let error = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
    host.assistant(CHILD, "half", &json!({"finish": null, "error": error}));
    host.idle(CHILD).await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Aborted, "half")
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_proves_no_end_of_an_abort_is_not_awaited_for_ever() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(
        CHILD,
        "stored",
        &json!({"finish": null, "time": {"created": 1}}),
    );
    driving.stop.send_replace(Some(cancel()));
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Aborted, "stored")
    );
}

#[tokio::test(start_paused = true)]
async fn a_suspended_host_is_awaited_and_not_concluded_about() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    for _ in 0..100 {
        host.fault("POST /session/ses_child1/abort", Fault::LostRequest);
    }
    host.assistant(CHILD, "done after all", &json!({}));
    driving.stop.send_replace(Some(cancel()));
    host.until("POST /session/ses_child1/abort", 100).await;
    assert!(!driving.outcome.is_finished());
    host.set_busy(CHILD, false);
    assert_eq!(
        ended(driving.outcome.await.unwrap()).answer,
        "done after all"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stop_before_the_prompt_asks_nothing_of_the_model() {
    let host = Host::new();
    let driving = start(&host, spec(1));
    driving.stop.send_replace(Some(cancel()));
    assert_eq!(ended(driving.outcome.await.unwrap()).end, RunEnd::Aborted);
    assert_eq!(host.count("POST"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_abort_that_nobody_ordered_is_what_the_caller_finds_it_to_be() {
    for by_person in [true, false] {
        let host = Host::new();
        host.verdict(if by_person {
            AbortVerdict::ByPerson
        } else {
            AbortVerdict::Interrupted {
                why: "the host was quitting".to_owned(),
            }
        });
        let driving = start(
            &host,
            RunSpec {
                fresh: true,
                ..spec(1)
            },
        );
        host.until("PATCH", 1).await;
        let error = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
        host.assistant(CHILD, "half", &json!({"finish": null, "error": error}));
        host.idle(CHILD).await;
        match driving.outcome.await.unwrap() {
            DriveOutcome::Ended(ended) => assert!(by_person && ended.end == RunEnd::Aborted),
            DriveOutcome::Interrupted { why, partial, .. } => {
                assert!(!by_person);
                assert_eq!(
                    (why.as_str(), partial.as_str()),
                    ("the host was quitting", "half")
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_gone_leaves_what_was_heard() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.stream(CHILD, "half a sen").await;
    host.signal(Signal::HostGone {
        why: "its process is gone".to_owned(),
    })
    .await;
    let DriveOutcome::Interrupted { why, partial, .. } = driving.outcome.await.unwrap() else {
        panic!("not interrupted");
    };
    assert_eq!(
        (why.as_str(), partial.as_str()),
        ("its process is gone", "half a sen")
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_detaches_the_driver() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    hang_up(&host);
    assert!(matches!(
        driving.outcome.await.unwrap(),
        DriveOutcome::Detached { .. }
    ));
    assert_eq!(
        host.count("POST /session/ses_child1/abort"),
        0,
        "the run goes on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fenced_attempt_does_nothing_more() {
    for (fence, prompts) in [("log child", 0), ("log prompted", 1)] {
        let host = Host::new();
        host.fence_at(fence);
        let driving = start(&host, spec(1));
        assert_eq!(driving.outcome.await.unwrap(), DriveOutcome::Fenced);
        assert_eq!(host.count("POST /session/ses_child1/prompt_async"), prompts);
        let timeline = host.timeline();
        let fenced = at(&timeline, fence);
        assert!(
            timeline[fenced + 1..]
                .iter()
                .all(|line| line.starts_with("log watch")),
            "{timeline:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn asks_are_refused_at_once_and_recorded() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.event(
        "permission.asked",
        CHILD,
        &json!({"id": "per_1", "permission": "bash", "patterns": ["git push"]}),
    )
    .await;
    host.event(
        "question.asked",
        CHILD,
        &json!({"id": "que_1", "questions": [{}, {}]}),
    )
    .await;
    host.event(
        "permission.asked",
        "ses_other",
        &json!({"id": "per_2", "permission": "bash", "patterns": []}),
    )
    .await;
    host.until("log refused question", 1).await;
    host.answer(CHILD, "without it").await;
    ended(driving.outcome.await.unwrap());
    let timeline = host.timeline();
    assert!(
        at(&timeline, "POST /permission/per_1/reply")
            < at(&timeline, "log refused bash (git push)")
    );
    assert!(at(&timeline, "POST /question/que_1/reply") < at(&timeline, "log refused question"));
    assert_eq!(
        host.count("POST /permission"),
        1,
        "other sessions' asks are not ours"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_child_or_parent_is_said_to_be_deleted() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.delete(CHILD);
    host.event(
        "session.deleted",
        CHILD,
        &json!({"info": {"id": CHILD, "parentID": PARENT}}),
    )
    .await;
    assert_eq!(
        ended(driving.outcome.await.unwrap()).end,
        RunEnd::SessionDeleted
    );

    let gone = RunSpec {
        child: Some("ses_gone".parse().unwrap()),
        ..spec(1)
    };
    let gone = ended(start(&host, gone).outcome.await.unwrap());
    // What was reported before is not taken back by who could read nothing.
    assert_eq!((gone.end, gone.usage), (RunEnd::SessionDeleted, None));

    let orphan = RunSpec {
        parent: "ses_nobody".parse().unwrap(),
        ..spec(1)
    };
    let end = ended(start(&host, orphan).outcome.await.unwrap()).end;
    assert!(matches!(end, RunEnd::HostError { .. }), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_out_of_reach_is_not_silent() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            stall_ms: Some(60_000),
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(CHILD, "", &json!({"finish": null, "time": {"created": 1}}));
    // Suspended: nothing is heard and nothing answered, for longer than the limit.
    for _ in 0..30 {
        host.fault("GET /session/status", Fault::LostRequest);
    }
    host.until("GET /session/status", 31).await;
    assert_eq!(host.count("log stop"), 0);
    host.forget_last();
    host.answer(CHILD, "done").await;
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "done");
    assert_eq!(host.count("log stop"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_many_messages_back_is_found_even_if_cursors_changed() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    for step in 0..70 {
        let text = format!("step {step}");
        let finish = if step == 69 { "stop" } else { "tool-calls" };
        host.assistant(&child, &text, &json!({"finish": finish}));
    }
    let driving = start(&host, spec(1));
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (&ended.end, ended.answer.as_str()),
        (&RunEnd::Answered, "step 69")
    );
    assert_eq!(used(&ended).tokens.input, 700);
    assert_eq!(host.count("POST"), 0);
}

#[tokio::test(start_paused = true)]
async fn of_a_deleted_parent_the_known_childs_fate_is_told() {
    let host = Host::new();
    let child = host.child(1);
    host.delete(&child);
    let spec = RunSpec {
        parent: "ses_nobody".parse().unwrap(),
        child: Some(child.parse().unwrap()),
        ..spec(1)
    };
    assert_eq!(
        ended(start(&host, spec).outcome.await.unwrap()).end,
        RunEnd::SessionDeleted
    );
}
