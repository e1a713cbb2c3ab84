//! What an earlier daemon or attempt has left is found, collected or gone on with.

use brigade_agents::opencode::RunSpec;
use brigade_core::delegation::RunEnd;
use serde_json::json;

use crate::fake::{Host, spec, start};
use crate::{at, ended, used};

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_while_nobody_listened_is_collected() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    host.assistant(&child, "done meanwhile", &json!({}));
    let driving = start(&host, spec(1));
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Answered, "done meanwhile")
    );
    assert_eq!(host.count("POST"), 0, "{:#?}", host.timeline());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_still_runs_is_followed() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    host.assistant(&child, "", &json!({"finish": null, "time": {"created": 1}}));
    host.set_busy(&child, true);
    let driving = start(
        &host,
        RunSpec {
            child: Some(child.parse().unwrap()),
            ..spec(1)
        },
    );
    host.until("GET /question", 1).await;
    host.forget_last();
    host.answer(&child, "done").await;
    let ended = ended(driving.outcome.await.unwrap());
    assert_eq!(ended.answer, "done");
    assert_eq!(host.count("POST"), 0, "{:#?}", host.timeline());
}

#[tokio::test(start_paused = true)]
async fn a_child_without_its_prompt_is_prompted_with_the_work() {
    let host = Host::new();
    let child = host.child(1);
    let driving = start(&host, spec(1));
    host.until("log prompted", 1).await;
    assert_eq!(host.messages()[0]["parts"][0]["text"], "the work");
    assert_eq!(host.count("POST /session/ses_child1/prompt_async"), 1);
    host.answer(&child, "done").await;
    ended(driving.outcome.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_attempt_after_a_cut_off_continues_in_the_same_child() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    let cut_off = host.assistant(
        &child,
        "half",
        &json!({"finish": null, "time": {"created": 1}}),
    );
    let driving = start(&host, spec(2));
    host.until("log prompted", 1).await;
    let messages = host.messages();
    let prompt = messages.last().unwrap();
    assert_eq!(prompt["parts"][0]["text"], "go on");
    assert!(
        prompt["info"]["id"].as_str() > cut_off["id"].as_str(),
        "it must sort after what was there"
    );
    let timeline = host.timeline();
    assert!(
        at(&timeline, "PATCH") < at(&timeline, "POST"),
        "the attempt is marked before its prompt"
    );
    assert_eq!(host.count("POST /session "), 0);
    host.answer(&child, "whole").await;
    let whole = ended(driving.outcome.await.unwrap());
    assert_eq!(whole.answer, "whole");
    assert_eq!(used(&whole).tokens.input, 20, "of both attempts");
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_that_is_followed_counts_what_the_earlier_ones_have_used() {
    let host = Host::new();
    let child = host.child(1);
    for attempt in 1..=3 {
        // The second never came as far as its prompt.
        if attempt != 2 {
            host.prompted_before(&child, attempt);
            let cut = json!({"finish": null, "time": {"created": attempt}, "cost": 0.5});
            host.assistant(&child, "half", &cut);
        }
    }
    host.set_busy(&child, true);
    let driving = start(&host, spec(3));
    host.until("GET /question", 1).await;
    host.forget_last();
    host.answer(&child, "whole").await;
    let whole = ended(driving.outcome.await.unwrap());
    assert_eq!((used(&whole).tokens.input, used(&whole).cost), (20, 0.5));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_attempts_finished_answer_is_not_asked_for_again() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    host.assistant(&child, "finished", &json!({}));
    let driving = start(&host, spec(2));
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "finished");
    assert_eq!(host.count("POST"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_quitting_hosts_abort_is_continued_and_not_collected() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    let error = json!({"name": "MessageAbortedError", "data": {"message": "Aborted"}});
    host.assistant(&child, "half", &json!({"finish": null, "error": error}));
    let driving = start(&host, spec(2));
    host.until("log prompted", 1).await;
    host.answer(&child, "whole").await;
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "whole");
}

#[tokio::test(start_paused = true)]
async fn who_only_collects_asks_nothing_of_a_model() {
    let collecting = || RunSpec {
        collect: true,
        ..spec(4)
    };
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 3);
    host.assistant(&child, "half", &json!({"finish": null}));
    let end = ended(start(&host, collecting()).outcome.await.unwrap());
    assert_eq!((&end.end, end.answer.as_str()), (&RunEnd::CutOff, "half"));
    assert_eq!(used(&end).tokens.input, 10);
    host.assistant(&child, "finished", &json!({}));
    let end = ended(start(&host, collecting()).outcome.await.unwrap());
    assert_eq!(
        (end.end, end.answer.as_str()),
        (RunEnd::Answered, "finished")
    );
    assert_eq!(host.count("POST"), 0);
    let empty = Host::new();
    let end = ended(start(&empty, collecting()).outcome.await.unwrap());
    assert_eq!((end.end, end.usage), (RunEnd::CutOff, None));
    assert_eq!(empty.count("POST"), 0);
}
