//! How runs end by themselves, and that each ends as what it is.

use brigade_testkit::model::Outcome;
use brigade_testkit::model::script::Op;
use brigade_testkit::{Kind, Script};
use serde_json::json;

use crate::rig::{READER, Rig, answer, builder};

/// Delegates `work`, and checks that it ends as an error with these words in the record, the artifact
/// and the notice.
async fn fails(rig: &Rig, agent: &str, work: &Script, words: &str) {
    let root = rig.root().await;
    let id = rig.delegate(&root, agent, work).await;
    let (shown, artifact) = rig.ends_as(&id, "error").await;
    assert!(
        shown["reason"].as_str().unwrap().contains(words),
        "{shown:#}"
    );
    assert!(artifact.contains(words), "{artifact}");
    let notice = rig.notice(&root, &id).await;
    assert!(notice.contains("<status>error</status>"), "{notice}");
    assert!(notice.contains("<error>"), "{notice}");
    assert!(notice.contains(words), "{notice}");
    let text = rig.sandbox.brigade(&["show", &id]).await.unwrap();
    assert!(text.stdout.contains(words), "{}", text.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_ends_as_an_error_in_the_words_of_who_failed() {
    let sandbox = builder().build().await.unwrap();
    sandbox
        .agent(
            "lost",
            &format!("{READER}\nmodel: scripted/none"),
            "You have no model.",
        )
        .unwrap();
    let rig = Rig::serve(sandbox).await;

    let refused = Script::new().fail(401, "Incorrect API key provided: none");
    fails(
        &rig,
        "explore",
        &refused,
        "Incorrect API key provided: none",
    )
    .await;
    let model = rig.sandbox.model();
    let asked = model.turns();
    let asked = asked
        .iter()
        .filter(|turn| turn.outcome == Outcome::Failed(401));
    assert_eq!(asked.count(), 1, "what is not to be retried was asked once");

    // After work that went well the failure counts all the same, and what was said is kept.
    let later = Script::new()
        .say("I begin to look.")
        .call("glob", &json!({"pattern": "*"}))
        .step()
        .fail(403, "Your account is closed");
    fails(&rig, "explore", &later, "Your account is closed").await;

    fails(&rig, "explore", &Script::new().op(Op::Empty), "empty").await;
    fails(
        &rig,
        "lost",
        &Script::saying("never said"),
        "Model not found: scripted/none",
    )
    .await;
    let blank = Script::new().say("  \n");
    fails(&rig, "explore", &blank, "empty").await;

    let listed = rig.json(&["list", "--json"]).await;
    let rows = listed["delegations"].as_array().unwrap();
    assert_eq!(rows.len(), 5, "{listed:#}");
    assert!(rows.iter().all(|row| row["state"] == "error"), "{listed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_whole_whatever_it_took() {
    let rig = Rig::new("").await;
    let root = rig.root().await;

    // The host asks again after a cut stream, and keeps the half that it had.
    let cut = Script::new()
        .say("# Cut\n\nThe first half, ")
        .op(Op::Drop { times: Some(1) })
        .chunk("and the second.");
    let id = rig.delegate(&root, "explore", &cut).await;
    let (_, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(
        answer(&artifact),
        "# Cut\n\nThe first half, and the second."
    );

    // Only the last step is the answer; what was said between tool calls is not.
    let steps = Script::new()
        .say("Let me look.")
        .call(
            "read",
            &json!({"filePath": rig.sandbox.project().join("src/main.txt")}),
        )
        .step()
        .say("# Three lines")
        .say("")
        .say("The file has three lines.");
    let id = rig.delegate(&root, "explore", &steps).await;
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(
        answer(&artifact),
        "# Three lines\n\nThe file has three lines."
    );
    assert_eq!(shown["title"], "Three lines");
    assert_eq!(shown["summary"], "The file has three lines.");
    assert_eq!(shown["progress"]["tool_calls"], 1);
    let notice = rig.notice(&root, &id).await;
    assert!(notice.contains("<status>complete</status>"), "{notice}");
    assert!(notice.contains("The file has three lines."), "{notice}");

    // No further model call and no further session than the work itself needed.
    let children = rig.server.children(&root).await.unwrap();
    assert_eq!(children.len(), 2);
    let child = shown["child"].as_str().unwrap();
    assert_eq!(rig.requests(child).len(), 2);
    let others = rig.sandbox.model().records();
    let others = others
        .iter()
        .filter(|record| record.kind != Kind::Turn && record.session.as_deref() == Some(child));
    assert_eq!(others.count(), 0, "its title costs no request");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_many_megabytes_is_kept_whole() {
    // More than is shown while it streams. Ten times as much works as well, and takes a minute.
    const LENGTH: usize = 10 << 20;
    let rig = Rig::new("").await;
    let root = rig.root().await;
    let huge = Script::new()
        .say("# Huge\n\nVery long.\n")
        .op(Op::Long(LENGTH));
    let id = rig.delegate(&root, "explore", &huge).await;
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(shown["title"], "Huge");
    assert!(answer(&artifact).len() > LENGTH);
    let ran = &shown["attempt"];
    assert_eq!(ran, 1);
    let notice = rig.notice(&root, &id).await;
    assert!(notice.contains("<retrieval>"), "{notice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_retried_is_no_stall() {
    let rig = Rig::new("[limits]\nstall = \"4s\"\n").await;
    let root = rig.root().await;
    let busy = Script::new()
        .op(Op::Fail {
            status: 500,
            times: Some(2),
            message: "Overloaded".to_owned(),
        })
        .say("At the third try.");
    let id = rig.delegate(&root, "explore", &busy).await;
    let (shown, artifact) = rig.ends_as(&id, "complete").await;
    assert_eq!(answer(&artifact), "At the third try.");
    assert_eq!(shown["attempt"], 1, "the host's retries are no attempts");
    let turns = rig.requests(shown["child"].as_str().unwrap());
    assert_eq!(turns.len(), 3);
    let quiet = turns[2].received - turns[1].received;
    assert!(
        quiet.as_secs() >= 4,
        "the pause was longer than the limit, or this shows nothing: {quiet:?}"
    );
}
