//! Work on a server that the kernel confines, and what is on record of that.

use std::num::NonZeroU16;
use std::path::Path;

use brigade_testkit::{Sandbox, Script, Serve, Tui};
use serde_json::json;

use super::{LIMIT, SIZE, save};
use crate::demo;
use crate::error::Result;

const ASKED: &str = "Does our build leave anything behind?";
const AGENT: &str = "description: Builds and looks\nmode: subagent\npermission:\n  edit: deny\n  bash:\n    \"*\": deny\n    \"sh build.sh\": allow";

/// Takes the picture.
pub(super) async fn take() -> Result<()> {
    let sandbox: Sandbox = demo::sandbox().await?;
    sandbox.brigade(&["install", "opencode"]).await?;
    sandbox.brigade_toml("[server]\nconfine_read_only = true\n")?;
    sandbox.agent("builder", AGENT, "You build, and look.")?;
    sandbox.write("build.sh", "echo made > leftover.txt\n")?;
    let build = json!({"command": "sh build.sh", "description": "Builds"});
    let answer = Script::new().call("bash", &build).step().say(
        "# The build wants to write beside its sources\n\n\
         It stops at `leftover.txt`, which it is not allowed to make.",
    );
    sandbox.model().when(ASKED, answer);
    // A confined server makes no database; the person has used OpenCode before.
    Serve::start(&sandbox).await?.stop().await?;
    let program = sandbox.brigade_program()?.display().to_string();
    let opencode = sandbox.opencode().display().to_string();
    let script = format!(
        "export CLICOLOR_FORCE=1; echo '$ brigade run --agent builder --wait \"{ASKED}\"'; \
         \"$0\" run --agent builder --opencode \"$1\" --wait \"{ASKED}\" 2>&1 | sed 's,{home},~,'; \
         id=$(\"$0\" list --session shell --json | sed -n 's/.*\"id\": *\"\\([a-z-]*\\)\".*/\\1/p'); \
         printf '\\n$ brigade show %s\\n' $id; \"$0\" show $id | sed 's,{home},~,g'; \
         printf '\\n$ ls leftover.txt\\n'; ls leftover.txt 2>&1",
        home = sandbox.home().display()
    );
    let size = (
        NonZeroU16::new(47).unwrap_or(SIZE.0),
        NonZeroU16::new(124).unwrap_or(SIZE.1),
    );
    let args = ["-c", &script, &program, &opencode];
    let tui = Tui::sized(&sandbox, Path::new("/bin/sh"), &args, size)?;
    tui.ended(LIMIT).await?;
    save(
        &tui,
        "confinement.svg",
        "brigade run on a server that can write to no project, and brigade show, which says that the kernel saw to it",
    )
}
