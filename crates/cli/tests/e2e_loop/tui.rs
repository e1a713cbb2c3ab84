//! The real terminal UI, on a pseudo-terminal: what a person types and sees.

use std::time::Duration;

use brigade_testkit::{Sandbox, Script, Tui};
use serde_json::{Value, json};

use crate::stage::{CONTINUED, LIMIT, answer, ended, sandbox};

/// How long leaving may take: what runs is aborted, and nothing is waited for.
const LEAVING: Duration = Duration::from_secs(10);
const DOWN: &str = "\x1b[B";
const RIGHT: &str = "\x1b[C";
const UP: &str = "\x1b[A";

#[tokio::test]
async fn a_person_delegates_watches_is_told_and_leaves() {
    let sandbox = sandbox("").await;
    teach(&sandbox);
    let tui = Tui::start(&sandbox, &[]).await.unwrap();
    tui.line("please have two pieces done").await.unwrap();
    tui.wait_for("both are under way", LIMIT).await.unwrap();
    for name in ["alpha", "beta"] {
        sandbox.model().reached(name, 1, LIMIT).await.unwrap();
    }

    // The children are the session's own: the host's keys lead to each and back.
    let mut seen = Vec::new();
    for keys in [format!("\x18{DOWN}"), RIGHT.to_owned()] {
        tui.keys(&keys).unwrap();
        tui.until("another child's text", LIMIT, |screen| {
            ["alpha", "beta"].iter().any(|name| {
                screen.contains(&format!("reading about {name}")) && !seen.contains(name)
            })
        })
        .await
        .unwrap();
        let text = tui.text();
        let there = |name: &&&str| text.contains(&format!("reading about {name}"));
        seen.push(["alpha", "beta"].iter().find(there).unwrap());
    }
    tui.keys(UP).unwrap();
    tui.wait_for("both are under way", LIMIT).await.unwrap();

    // The person sees a line for each, and the parent goes on by itself, once.
    sandbox.model().open("alpha");
    tui.wait_for("complete: About alpha · 1 under way", LIMIT)
        .await
        .unwrap();
    assert!(!tui.text().contains("I was woken"));
    sandbox.model().open("beta");
    tui.wait_for("complete: About beta · all 2 ended", LIMIT)
        .await
        .unwrap();
    tui.wait_for("I was woken", LIMIT).await.unwrap();
    assert!(
        !tui.text().contains("<task-"),
        "what is the model's is not shown:\n{}",
        tui.text()
    );
    let turns = sandbox.model().turns();
    assert_eq!(
        turns
            .iter()
            .filter(|turn| turn.parent_session.is_none())
            .count(),
        3
    );

    // Leaving interrupts what runs, and cancels nothing.
    tui.line("please have a third done").await.unwrap();
    tui.wait_for("the third is under way", LIMIT).await.unwrap();
    sandbox.model().reached("gamma", 1, LIMIT).await.unwrap();
    tui.until("the end of the turn", LIMIT, |screen| {
        !screen.contains("interrupt")
    })
    .await
    .unwrap();
    tui.keys("\x03").unwrap();
    tui.ended(LEAVING).await.unwrap();
    let id = newest(&sandbox).await["id"].as_str().unwrap().to_owned();
    // It goes on without a window.
    assert!(ended(&sandbox, &id).await.contains(&answer("gamma")));
    let row = newest(&sandbox).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(2))
    );
}

/// Those that wait at the same time come in one message; the person sees the line of each.
#[tokio::test]
async fn what_ended_while_the_parent_spoke_is_shown_line_by_line() {
    let sandbox = sandbox("").await;
    teach(&sandbox);
    let tui = Tui::start(&sandbox, &[]).await.unwrap();
    tui.line("please have two while you speak").await.unwrap();
    tui.wait_for("I go on meanwhile", LIMIT).await.unwrap();
    for name in ["alpha", "beta"] {
        sandbox.model().open(name);
    }
    for row in list(&sandbox).await {
        ended(&sandbox, row["id"].as_str().unwrap()).await;
    }
    sandbox.model().open("speech");
    tui.wait_for("I was woken", LIMIT).await.unwrap();
    let text = tui.text();
    for name in ["alpha", "beta"] {
        assert!(
            text.contains(&format!("complete: About {name}")),
            "the line of {name}:\n{text}"
        );
    }
    assert!(
        !text.contains("<task-"),
        "only what is the person's:\n{text}"
    );
}

fn teach(sandbox: &Sandbox) {
    let model = sandbox.model();
    let delegate = |names: &[&str], then: &str| {
        let call = |script: Script, name: &&str| {
            let prompt = format!("Look into {name}.");
            script.call("delegate", &json!({"agent": "explore", "prompt": prompt}))
        };
        names.iter().fold(Script::new(), call).step().say(then)
    };
    model.when(
        "please have two pieces",
        delegate(&["alpha", "beta"], "both are under way"),
    );
    model.when(
        "please have two while you speak",
        delegate(&["alpha", "beta"], "I go on meanwhile").gate("speech"),
    );
    model.when(
        "please have a third",
        delegate(&["gamma"], "the third is under way"),
    );
    model.when(CONTINUED, Script::saying(answer("gamma")));
    for name in ["alpha", "beta", "gamma"] {
        let script = Script::new()
            .say(format!("# About {name}\n\nreading about {name}\n"))
            .gate(name)
            .say("and that is all");
        model.when(&format!("Look into {name}."), script);
    }
    model.configure(|defaults| defaults.notice = Script::saying("I was woken"));
}

async fn newest(sandbox: &Sandbox) -> Value {
    list(sandbox).await.remove(0)
}

async fn list(sandbox: &Sandbox) -> Vec<Value> {
    let done = sandbox.brigade(&["list", "--json"]).await.unwrap();
    let list = done.json().unwrap();
    list["delegations"].as_array().unwrap().clone()
}
