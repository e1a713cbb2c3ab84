//! Work that changes files, from the shell: what was changed, applied, and taken out again.

use std::num::NonZeroU16;
use std::path::Path;

use brigade_testkit::{Script, Tui};
use serde_json::json;

use super::{LIMIT, SIZE, save};
use crate::demo;
use crate::error::{Error, Result, io};

const PROMPT: &str = "Keep tokens cached for as long as docs/caching.md promises, and test that.";
/// What the agent does in its shell.
const WORK: &str = "sed -i.bak 's/5_000/5 * 60_000/' src/cache.js && rm src/cache.js.bak && mkdir -p test && \
    printf 'import { cached } from \"../src/cache.js\";\\n\\ncached(\"token\", () => 1);\\n' > test/cache.test.js";

/// Takes the picture.
pub(super) async fn take() -> Result<()> {
    let sandbox = demo::sandbox().await?;
    sandbox.brigade(&["install", "opencode"]).await?;
    let call = json!({"command": WORK, "description": "Change the time and add a test"});
    sandbox.model().when(
        PROMPT,
        Script::new().call("bash", &call).step().say(
            "# Tokens stay cached for five minutes\n\nThe time in src/cache.js was 5 seconds; a test holds it now.\n",
        ),
    );
    // The person is at work there, too.
    let own = sandbox.project().join("README.md");
    let readme = "# Shop\n\nA small web shop, soon with a login that is fast.\n";
    std::fs::write(&own, readme).map_err(io(format!("write {}", own.display())))?;
    let exclude = sandbox.project().join(".git/info/exclude");
    std::fs::write(&exclude, ".opencode/\n").map_err(io(format!("write {}", exclude.display())))?;
    let program = sandbox.brigade_program()?.display().to_string();
    let opencode = sandbox.opencode().display().to_string();
    let script = format!(
        "export CLICOLOR_FORCE=1 PAGER=cat; tidy() {{ sed 's,{home},~,g; s,{project},~/shop,g'; }}
         say() {{ printf '\\n$ %s\\n' \"$*\"; }}
         echo '$ brigade run --agent general --wait \"{PROMPT}\"'
         \"$0\" run --agent general --opencode \"$1\" --wait '{PROMPT}' 2>&1 | tidy
         id=$(\"$0\" list --json | sed -n 's/.*\"id\": \"\\([a-z-]*\\)\".*/\\1/p' | head -n 1)
         say git status --short; git status --short
         say brigade diff $id src; \"$0\" diff $id src
         say brigade apply $id; \"$0\" apply $id | tidy
         say git status --short; git status --short
         say brigade apply --undo $id; \"$0\" apply --undo $id | tidy",
        home = sandbox.home().display(),
        project = sandbox.project().display()
    );
    let size = (NonZeroU16::new(66).unwrap_or(SIZE.0), SIZE.1);
    let args = ["-c", &script, &program, &opencode];
    let tui = Tui::sized(&sandbox, Path::new("/bin/sh"), &args, size)?;
    tui.ended(LIMIT).await?;
    if !tui.text().contains("taken out of ~/shop again") {
        let what = format!("its changes did not come in and go:\n{}", tui.text());
        return Err(Error::Wrong(what));
    }
    save(
        &tui,
        "worktrees.svg",
        "brigade run with an agent that edits: its patch, applied beside the person's own changes and taken out again",
    )
}
