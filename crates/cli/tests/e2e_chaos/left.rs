//! `opencode run` that delegates and ends: the work goes on without it.

use std::time::Instant;

use brigade_testkit::{Run, Script};
use serde_json::json;

use crate::figures::Figures;
use crate::rig::{World, hanging};
use crate::stage::{CONTINUED, Host, LIMIT, Parent, answer, delegating, ended, show};

#[tokio::test]
async fn what_a_run_has_left_behind_is_finished_and_read_by_the_next() {
    let world = World::new("").await;
    let sandbox = &world.sandbox;
    let names = ["alpha", "beta"];
    let script = delegating(&names.map(hanging)).step().say("begun");
    let run = Run::start(sandbox, &script.to_string(), &[]).unwrap();
    for name in names {
        sandbox.model().reached(name, 1, LIMIT).await.unwrap();
    }
    let done = run.finished(LIMIT).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let left = Instant::now();
    let mut figures = Figures::default();
    // Nobody does anything.
    let turns = sandbox
        .model()
        .wait_for_count("both to go on", names.len(), LIMIT, |record| {
            record.prompt.starts_with(CONTINUED)
        })
        .await
        .unwrap();
    figures
        .running_again
        .extend(turns.iter().map(|turn| turn.received.duration_since(left)));
    let parent = turns[0].parent_session.clone().unwrap();
    let ids = world.delegated(&parent).await;
    assert_eq!(ids.len(), names.len());
    let mut answers = Vec::new();
    for id in &ids {
        let text = ended(sandbox, id).await;
        // Two calls of one step are made at once: either may be the first on record.
        let name = names.into_iter().find(|name| text.contains(&answer(name)));
        answers.push(answer(name.unwrap_or_else(|| panic!("{id}: {text}"))));
        let row = show(sandbox, id).await;
        assert_eq!(
            (&row["state"], &row["attempt"]),
            (&json!("complete"), &json!(2)),
            "{id}"
        );
    }
    assert_ne!(answers[0], answers[1]);

    let host = Host::start(sandbox).await;
    let next = Parent::open(sandbox, &host, "The next").await;
    let reads = ids.iter().fold(
        Script::new()
            .call("delegation_list", &json!({"scope": "project"}))
            .step(),
        |script, id| script.call("delegation_read", &json!({"id": id})),
    );
    next.says(reads.step().say("read")).await;
    let listed = next.outputs("delegation_list").await;
    let read = next.outputs("delegation_read").await;
    for ((answer, id), text) in answers.iter().zip(&ids).zip(&read) {
        assert!(listed[0].contains(id.as_str()), "{}", listed[0]);
        assert!(text.contains(answer), "{id}: {text}");
    }
    figures.survived = names.len();
    figures.tell("opencode run that has left");
}
