//! The panel in OpenCode's terminal UI: three run, one has failed, one is unread.

use std::num::NonZeroU16;

use brigade_testkit::{Sandbox, Script, Tui};
use serde_json::json;

use super::{LIMIT, save};
use crate::demo;
use crate::error::{Error, Result};

const SIZE: (NonZeroU16, NonZeroU16) =
    (NonZeroU16::new(40).unwrap(), NonZeroU16::new(140).unwrap());
const ASKED: &str = "Before the release: have everything that can be looked into looked into.";
/// What is delegated, with what is said of it until the picture is taken.
const RUNNING: [(&str, &str); 3] = [
    (
        "Find out why the login got slow.",
        "The token is hashed anew on every request",
    ),
    (
        "Compare the caching docs with the code.",
        "Two of five settings are not in the docs",
    ),
    (
        "Look for tests that wait by sleeping.",
        "So far three, all in the importer",
    ),
];
const FAILING: &str = "Read the provider's changelog.";
const ENDED: &str = "List the public functions without a caller.";

/// Takes the pictures of sidebar, list and live screen.
pub(super) async fn take() -> Result<()> {
    let sandbox = demo::sandbox().await?;
    sandbox.brigade(&["install", "opencode"]).await?;
    let model = sandbox.model();
    let prompts = RUNNING.iter().map(|(prompt, _)| *prompt);
    let all = prompts
        .chain([FAILING, ENDED])
        .fold(Script::new(), |script, prompt| {
            script.call("delegate", &json!({"agent": "explore", "prompt": prompt}))
        });
    let then = "Five are under way; I will go on as they come back.";
    model.when(ASKED, all.step().say(then));
    for (prompt, line) in RUNNING {
        let script = Script::new().say(line).say("").gate("picture").say("done");
        model.when(prompt, script);
    }
    model.when(FAILING, Script::new().fail(400, "the page is too long"));
    let list = "- `import::legacy_path`, last called in 2019\n".repeat(120);
    model.when(
        ENDED,
        Script::saying(format!(
            "# 14 functions without a caller\n\nMost are in the importer.\n\n{list}"
        )),
    );
    let tui = Tui::sized(&sandbox, sandbox.opencode(), &[], SIZE)?;
    tui.wait_for("commands", LIMIT).await?;
    tui.line(ASKED).await?;
    tui.until("the panel", LIMIT, |screen| {
        let all = ["3 running · 1 unread", "✗ Read the", "✓ 14 functions"];
        let lines = RUNNING.map(|(_, line)| &line[..20]);
        let toast = screen.contains("┃  the page is too long");
        let turn = screen.contains("interrupt");
        all.iter().chain(&lines).all(|part| screen.contains(part)) && !toast && !turn
    })
    .await?;
    save(
        &tui,
        "opencode-panel.svg",
        "OpenCode's terminal UI: the sidebar shows five delegations, three of them at work",
    )?;
    tui.keys("/delegations")?;
    tui.wait_for("what was delegated", LIMIT).await?;
    tui.keys("\r")?;
    tui.wait_for("Search delegations", LIMIT).await?;
    tui.wait_for("This session", LIMIT).await?;
    save(
        &tui,
        "opencode-list.svg",
        "OpenCode's terminal UI: /delegations lists what was delegated in this session",
    )?;
    if !tui.text().contains("✓ 14 functions") {
        return Err(Error::Wrong(format!(
            "the list is not whole:\n{}",
            tui.text()
        )));
    }
    watch(&sandbox).await
}

/// The same on the live screen, with the one that has ended read.
async fn watch(sandbox: &Sandbox) -> Result<()> {
    let program = sandbox.brigade_program()?;
    let watch = Tui::sized(sandbox, program, &["watch"], SIZE)?;
    watch.wait_for("active 3", LIMIT).await?;
    watch.wait_for(RUNNING[2].1, LIMIT).await?;
    watch.keys("jjj\r")?;
    watch
        .until("the whole pane", LIMIT, |screen| {
            screen.matches("import::legacy_path").count() > 30
        })
        .await?;
    save(
        &watch,
        "watch.svg",
        "brigade watch: five delegations, and the result of the one that has ended",
    )?;
    watch.keys("q")?;
    Ok(watch.ended(LIMIT).await?)
}
