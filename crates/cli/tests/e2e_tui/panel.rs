//! Sidebar, `/delegations` and toast in the real terminal UI, installed as a person installs them.

use std::num::NonZeroU16;
use std::time::Duration;

use brigade_testkit::{Sandbox, Script, Tui};
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const WIDE: (NonZeroU16, NonZeroU16) =
    (NonZeroU16::new(50).unwrap(), NonZeroU16::new(160).unwrap());
const NARROW: (NonZeroU16, NonZeroU16) =
    (NonZeroU16::new(30).unwrap(), NonZeroU16::new(80).unwrap());
/// Where the sidebar begins on the wide screen.
const SIDEBAR: usize = 118;
/// After how long something is typed once more.
const AGAIN: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_person_sees_opens_and_cancels_delegations() {
    let sandbox = Sandbox::builder()
        .brigade(env!("CARGO_BIN_EXE_brigade"))
        .build()
        .await
        .unwrap();
    let done = sandbox.brigade(&["install", "opencode"]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    teach(&sandbox);
    let tui = Tui::sized(&sandbox, sandbox.opencode(), &[], WIDE).unwrap();
    tui.wait_for("commands", LIMIT).await.unwrap();

    // Three run, one has failed, one is unread.
    tui.line("please have all of it looked into").await.unwrap();
    tui.until("the panel", LIMIT, |screen| {
        let lines = sidebar(screen);
        let has = |part: &str| lines.iter().any(|line| line.contains(part));
        has("3 running · 1 unread") && has("✗ ") && has("✓ ")
    })
    .await
    .unwrap();
    keep("wide", &tui.text());
    let lines = sidebar(&tui.text());
    let start = lines.iter().position(|line| line == "Delegations").unwrap();
    let panel: Vec<&str> = lines[start..]
        .iter()
        .take_while(|line| !line.is_empty())
        .map(String::as_str)
        .collect();
    let without_age = |line: &str| {
        line.rsplit_once(' ')
            .map(|(rest, _)| rest.trim().to_owned())
    };
    let mut named: Vec<String> = panel
        .iter()
        .filter(|line| line.starts_with(['●', '✓', '✗']))
        .filter_map(|line| without_age(line))
        .collect();
    // The host makes the calls of one answer at the same time: which comes first is open.
    named[..3].sort();
    assert_eq!(
        named,
        [
            "● Look into alpha.",
            "● Look into beta.",
            "● Look into gamma.",
            "✓ About epsilon",
            "✗ Look into delta.",
        ],
        "{panel:#?}"
    );
    assert_eq!(panel[1], "3 running · 1 unread");
    assert!(panel.contains(&"  explore · unread"), "{panel:#?}");

    // The doctor has heard of it.
    let done = sandbox.brigade(&["doctor", "--json"]).await.unwrap();
    let checks = done.json().unwrap()["checks"].clone();
    let loaded = checks.as_array().unwrap().iter().find(|check| {
        check["name"] == "panel"
            && check["message"]
                .as_str()
                .unwrap()
                .starts_with("loaded in OpenCode")
    });
    assert_eq!(
        loaded.unwrap_or_else(|| panic!("{checks:#}"))["level"],
        "ok"
    );

    // Where there is no sidebar, the figures stand at the prompt.
    tui.resize(NARROW.0, NARROW.1).unwrap();
    tui.until("the figures at the prompt", LIMIT, |screen| {
        screen.contains("3 running · 1 unread") && !screen.contains("● ")
    })
    .await
    .unwrap();
    keep("narrow", &tui.text());
    tui.resize(WIDE.0, WIDE.1).unwrap();
    tui.wait_for("● Look into gamma.", LIMIT).await.unwrap();

    // One is chosen from the list and cancelled, after a question.
    list(&tui).await;
    narrow_down(&tui, "alpha", "● Look into beta.").await;
    keep("list", &tui.text());
    tui.keys("\r").unwrap();
    tui.wait_for("go to its session", LIMIT).await.unwrap();
    keep("choice", &tui.text());
    narrow_down(&tui, "Cancel", "go to its session").await;
    tui.keys("\r").unwrap();
    tui.wait_for("Cancel this delegation?", LIMIT)
        .await
        .unwrap();
    tui.keys("\r").unwrap();
    tui.wait_for("its run is being stopped", LIMIT)
        .await
        .unwrap();
    tui.wait_for("2 running", LIMIT).await.unwrap();
    tui.wait_for("− About alpha", LIMIT).await.unwrap();
    assert_eq!(state(&sandbox, "About alpha").await, "cancelled");

    // A result is read where it is.
    list(&tui).await;
    narrow_down(&tui, "epsilon", "● Look into").await;
    tui.keys("\r").unwrap();
    tui.wait_for("go to its session", LIMIT).await.unwrap();
    narrow_down(&tui, "Read", "go to its session").await;
    tui.keys("\r").unwrap();
    tui.wait_for("**Agent:** explore", LIMIT).await.unwrap();
    keep("read", &tui.text());
    tui.keys("\x1b").unwrap();
    tui.until("the end of the dialog", LIMIT, |screen| {
        !screen.contains("**Agent:** explore")
    })
    .await
    .unwrap();

    // From the list into the session of one.
    list(&tui).await;
    narrow_down(&tui, "beta", "● Look into gamma.").await;
    tui.keys("\r").unwrap();
    tui.wait_for("go to its session", LIMIT).await.unwrap();
    narrow_down(&tui, "Open", "what it has written").await;
    tui.keys("\r").unwrap();
    tui.wait_for("reading about beta", LIMIT).await.unwrap();

    // What ends while another session is in view is told by a toast, and only then.
    assert!(!tui.text().contains("Delegation: "), "{}", tui.text());
    sandbox.model().open("gamma");
    tui.wait_for("Delegation: complete", LIMIT).await.unwrap();
    keep("toast", &tui.text());
    assert!(tui.text().contains("About gamma"), "{}", tui.text());

    // The panel is back with its session; what the daemon's end takes away comes back with the next.
    tui.keys("\x1b[A").unwrap();
    tui.wait_for("1 running", LIMIT).await.unwrap();
    sandbox.brigade(&["daemon", "stop"]).await.unwrap();
    sandbox.brigade(&["daemon", "start"]).await.unwrap();
    sandbox.model().open("beta");
    tui.wait_for("✓ About beta", LIMIT).await.unwrap();
}

/// Opens the list of delegations as a person does.
async fn list(tui: &Tui) {
    tui.keys("/delegations").unwrap();
    tui.wait_for("what was delegated", LIMIT).await.unwrap();
    tui.keys("\r").unwrap();
    tui.wait_for("Search delegations", LIMIT).await.unwrap();
}

/// Writes into the search of a dialog until what does not match is gone from it. The host drops what is typed before
/// the search has the focus, and nothing on the screen tells when it has. What is to go has to be there first: the
/// search may be drawn before the lines are, and then nothing would have been narrowed down.
async fn narrow_down(tui: &Tui, word: &str, other: &str) {
    let there = |screen: &str| dialog(screen).iter().any(|line| line.contains(other));
    let gone = |screen: &str| !there(screen);
    tui.until("what is to be narrowed down", LIMIT, there)
        .await
        .unwrap();
    let mut tries = 0;
    loop {
        tui.keys(&format!("\x15{word}")).unwrap();
        let done = tui.until("the only match", AGAIN, gone).await;
        tries += 1;
        if done.is_ok() || tries == 20 {
            return done.unwrap();
        }
    }
}

/// The lines of the sidebar, without the frame around them.
fn sidebar(screen: &str) -> Vec<String> {
    let cut = |line: &str| {
        let text: String = line.chars().skip(SIDEBAR).collect();
        let text = text.trim_end();
        text.strip_prefix("  ").unwrap_or(text).to_owned()
    };
    screen.lines().map(cut).collect()
}

/// The lines left of the sidebar, where dialogs are.
fn dialog(screen: &str) -> Vec<String> {
    let cut = |line: &str| line.chars().take(SIDEBAR).collect();
    screen.lines().map(cut).collect()
}

/// Keeps a screen to be looked at.
fn keep(name: &str, screen: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("panel");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.txt")), screen).unwrap();
}

async fn state(sandbox: &Sandbox, title: &str) -> Value {
    let done = sandbox.brigade(&["list", "--json"]).await.unwrap();
    let rows = done.json().unwrap()["delegations"].clone();
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["title"] == title);
    row.unwrap_or_else(|| panic!("{title} is not in {rows:#?}"))["state"].clone()
}

fn teach(sandbox: &Sandbox) {
    let model = sandbox.model();
    let names = ["alpha", "beta", "gamma", "delta", "epsilon"];
    let call = |script: Script, name: &str| {
        let prompt = format!("Look into {name}.");
        script.call("delegate", &json!({"agent": "explore", "prompt": prompt}))
    };
    let all = names.into_iter().fold(Script::new(), call);
    model.when(
        "please have all of it",
        all.step().say("five are under way"),
    );
    for name in ["alpha", "beta", "gamma"] {
        let script = Script::new()
            .say(format!("# About {name}\n\nreading about {name}\n"))
            .gate(name)
            .say("and that is all");
        model.when(&format!("Look into {name}."), script);
    }
    model.when("Look into delta.", Script::new().fail(400, "no such model"));
    // Too long to stand in its notice, so that somebody has to read it.
    let long = "What epsilon is, at length.\n".repeat(300);
    model.when(
        "Look into epsilon.",
        Script::saying(format!("# About epsilon\n\nAll of it.\n\n{long}")),
    );
    model.configure(|defaults| defaults.notice = Script::saying("noted"));
}
