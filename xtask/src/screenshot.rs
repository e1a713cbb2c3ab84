//! `cargo xtask screenshot`: the pictures in the docs, taken of the real programs.

mod confined;
mod panel;
mod worktrees;

use std::fs;
use std::num::NonZeroU16;
use std::path::Path;
use std::time::Duration;

use brigade_testkit::{Sandbox, Script, Tui};

use crate::error::{Error, Result, io};
use crate::steps::{cargo, run as run_command};
use crate::{block_on, demo, fill, root, say, svg};

/// Rows and columns of the pictures.
const SIZE: (NonZeroU16, NonZeroU16) =
    (NonZeroU16::new(54).unwrap(), NonZeroU16::new(118).unwrap());
/// What the person goes on with.
const MEANWHILE: &str = "Good. Is the first one back?";
/// What one that has ended is asked further.
const FURTHER: &str = "Would a cache of the checked tokens help?";
const LIMIT: Duration = Duration::from_secs(60);

/// Takes all pictures anew.
///
/// # Errors
/// When OpenCode does not show what it should, or a file can't be written.
pub(crate) fn run() -> Result<()> {
    run_command(cargo(&["build", "--quiet", "--package", "brigade"]))?;
    block_on(async {
        let sandbox = demo::sandbox().await?;
        sandbox.brigade(&["install", "opencode"]).await?;
        // Before the others, whose words it may hold as well.
        sandbox.model().when(
            FURTHER,
            Script::saying("# A cache would not help")
                .say("Each request brings a token of its own.")
                .say("")
                .say("Tokens live for one request, so none would be found in a cache again."),
        );
        demo::teach_by_hand(&sandbox);
        sandbox.model().when(
            MEANWHILE,
            Script::saying(
                "Yes: the token check comes first. I will know more when the other two are back.",
            ),
        );
        let tui = Tui::sized(&sandbox, sandbox.opencode(), &[], SIZE)?;
        tui.wait_for("commands", LIMIT).await?;
        tui.line("Our login got slow. Please delegate what can be looked into.")
            .await?;
        tui.wait_for("Three are under way", LIMIT).await?;
        tui.wait_for("hashed on every request", LIMIT).await?;
        tui.line(MEANWHILE).await?;
        tui.wait_for("all 3 ended", LIMIT).await?;
        tui.wait_for("All three are back", LIMIT).await?;
        tui.until("the end of the turn", LIMIT, |screen| {
            !screen.contains("interrupt")
        })
        .await?;
        if tui.text().matches("all 3 ended").count() != 1 {
            return Err(Error::Wrong(format!(
                "the last notice is not shown once:\n{}",
                tui.text()
            )));
        }
        save(
            &tui,
            "delegating.svg",
            "OpenCode's terminal UI: three pieces of work were delegated, their notices came in, and the agent went on by itself",
        )?;
        steering(&sandbox).await?;
        drop(tui);
        list(&sandbox).await?;
        reading(&sandbox).await?;
        log(&sandbox).await?;
        drop(sandbox);
        shell().await?;
        confined::take().await?;
        worktrees::take().await?;
        panel::take().await
    })?;
    usage()
}

/// What was found by searching, and everything about it.
async fn reading(sandbox: &Sandbox) -> Result<()> {
    let found = sandbox.brigade(&["search", "token", "--json"]).await?;
    let found = found.json()?;
    let Some(id) = found["hits"][0]["id"].as_str() else {
        return Err(Error::Wrong(format!("nothing is found: {found}")));
    };
    let program = sandbox.brigade_program()?.display().to_string();
    let home = sandbox.home();
    let script = format!(
        "echo '$ brigade search token --limit 2'; CLICOLOR_FORCE=1 \"$0\" search token --limit 2; \
         printf '\\n$ brigade show {id}\\n'; CLICOLOR_FORCE=1 \"$0\" show {id} | sed 's,{},~,g'",
        home.display()
    );
    let size = (NonZeroU16::new(52).unwrap_or(SIZE.0), SIZE.1);
    let args = ["-c", &script, &program];
    let tui = Tui::sized(sandbox, Path::new("/bin/sh"), &args, size)?;
    tui.ended(LIMIT).await?;
    save(
        &tui,
        "reading.svg",
        "brigade search finds delegations by their words, brigade show tells everything about one",
    )
}

/// What is logged, changed for a while.
async fn log(sandbox: &Sandbox) -> Result<()> {
    let program = sandbox.brigade_program()?.display().to_string();
    let home = sandbox.home();
    let script = format!(
        "export CLICOLOR_FORCE=1; \
         say() {{ echo \"$ brigade daemon log${{*:+ $*}}\"; \"$0\" daemon log \"$@\" 2>&1 | sed 's,{},~,g'; echo; }}; \
         say; say info,brigade_daemon::delivery=debug --for 10m; say verbose",
        home.display()
    );
    let size = (NonZeroU16::new(14).unwrap_or(SIZE.0), SIZE.1);
    let args = ["-c", &script, &program];
    let tui = Tui::sized(sandbox, Path::new("/bin/sh"), &args, size)?;
    tui.ended(LIMIT).await?;
    save(
        &tui,
        "log.svg",
        "brigade daemon log says what is logged, changes it for ten minutes, and refuses what is no level",
    )
}

/// What a month of delegations has used, in a store that was filled for the picture.
fn usage() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("brigade-usage-{}", std::process::id()));
    let pictured = fill::run(&fill::Args::for_a_picture(folder.clone())).and_then(|()| {
        block_on(async {
            let sandbox = demo::sandbox().await?;
            let program = sandbox.brigade_program()?.display().to_string();
            let script = "cd \"$1/project\"; unset BRIGADE_DATA_DIR; \
                export XDG_DATA_HOME=\"$1\" BRIGADE_RUNTIME_DIR=\"$1/run\"; \
                echo '$ brigade stats --since 14d --plot'; \"$0\" stats --since 14d --plot; \
                printf '\\n$ brigade stats --by model\\n'; \"$0\" stats --by model; \
                \"$0\" daemon stop >\"$1/stopped\"";
            let size = (NonZeroU16::new(30).unwrap_or(SIZE.0), SIZE.1);
            let folder = folder.display().to_string();
            let args = ["-c", script, &program, &folder];
            let tui = Tui::sized(&sandbox, Path::new("/bin/sh"), &args, size)?;
            tui.ended(LIMIT).await?;
            save(
                &tui,
                "usage.svg",
                "brigade stats: what two weeks of delegations have cost by day, and a month of them by model",
            )
        })
    });
    let removed = fs::remove_dir_all(&folder).map_err(io(format!("remove {}", folder.display())));
    pictured.and(removed)
}

/// One that has ended goes on, as a person has it go on in a shell.
async fn steering(sandbox: &Sandbox) -> Result<()> {
    let listed = sandbox.brigade(&["list", "--json"]).await?.json()?;
    let Some(id) = listed["delegations"][2]["id"].as_str() else {
        return Err(Error::Wrong(format!("nothing is listed: {listed}")));
    };
    let said = sandbox.home().join("said");
    let said = said.display();
    let script = format!(
        "printf '$ brigade send {id} \"{FURTHER}\"\\n'
         brigade send {id} '{FURTHER}' | tee {said}
         round=$(sed -n 's/.* as \\([a-z-]*\\),.*/\\1/p' {said})
         printf '\\n$ brigade read --follow %s\\n' $round
         brigade read --follow $round"
    );
    let folder = sandbox
        .brigade_program()?
        .parent()
        .unwrap_or(Path::new("/"));
    let path = format!("PATH={}:$PATH; {script}", folder.display());
    let size = (NonZeroU16::new(33).unwrap_or(SIZE.0), SIZE.1);
    let tui = Tui::sized(sandbox, Path::new("/bin/sh"), &["-c", &path], size)?;
    tui.ended(LIMIT).await?;
    save(
        &tui,
        "steering.svg",
        "brigade send has a delegation that has ended go on in its session, and brigade read follows it",
    )
}

/// Work from the shell, with no OpenCode open.
async fn shell() -> Result<()> {
    const PROMPT: &str = "Which of our docs name a setting that the code does not have?";
    let sandbox = demo::sandbox().await?;
    sandbox.brigade(&["install", "opencode"]).await?;
    sandbox.agent(
        "reviewer",
        "description: Reads and compares\nmode: subagent\npermission:\n  edit: deny\n  bash: deny",
        "You read with care.",
    )?;
    sandbox.model().when(
        PROMPT,
        Script::saying(
            "# Two settings are in the docs only\n\nBoth were renamed last spring.\n\n\
             - `docs/cache.md` names `CACHE_TTL`; the code reads `CACHE_MAX_AGE`.\n\
             - `docs/login.md` names `TOKEN_ROUNDS`; nothing reads it.\n",
        ),
    );
    let program = sandbox.brigade_program()?.display().to_string();
    let opencode = sandbox.opencode().display().to_string();
    let script = format!(
        "echo '$ brigade run --agent reviewer --wait \"{PROMPT}\"'; \
         \"$0\" run --agent reviewer --opencode \"$1\" --wait \"{PROMPT}\" 2>&1 | \
         sed 's,{home},~,'; \
         echo '$ brigade list --session shell'; \"$0\" list --session shell",
        home = sandbox.home().display()
    );
    let size = (NonZeroU16::new(15).unwrap_or(SIZE.0), SIZE.1);
    let args = ["-c", &script, &program, &opencode];
    let tui = Tui::sized(&sandbox, Path::new("/bin/sh"), &args, size)?;
    tui.ended(LIMIT).await?;
    save(
        &tui,
        "run.svg",
        "brigade run in a shell: the answer as it came, and the delegation in the list",
    )
}

/// The same delegations on the command line.
async fn list(sandbox: &Sandbox) -> Result<()> {
    let program = sandbox.brigade_program()?.to_owned();
    let size = (NonZeroU16::new(5).unwrap_or(SIZE.0), SIZE.1);
    let tui = Tui::sized(sandbox, &program, &["list"], size)?;
    tui.ended(LIMIT).await?;
    save(
        &tui,
        "list.svg",
        "brigade list: three delegations with their states and titles",
    )
}

fn save(tui: &Tui, name: &str, title: &str) -> Result<()> {
    let folder = root().join("docs/images");
    fs::create_dir_all(&folder).map_err(io(format!("make {}", folder.display())))?;
    let path = folder.join(name);
    let picture = tui.look(|screen| svg::draw(screen, title));
    fs::write(&path, picture).map_err(io(format!("write {}", path.display())))?;
    let shown = path.strip_prefix(root()).unwrap_or(Path::new(name));
    say(&format!("wrote {}", shown.display()));
    Ok(())
}
