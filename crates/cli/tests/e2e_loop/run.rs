//! Work from the shell: no OpenCode is open, and none has to be.

use std::ffi::OsStr;
use std::fs;

use brigade_testkit::process::{Exit, Process};
use brigade_testkit::{Sandbox, Script};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::servers::{kill9, servers_are};
use crate::stage::{
    CONTINUED, Host, LIMIT, answer, ended, gated, sandbox, show, shown, turns_of, work,
};

/// `brigade run` for this agent.
async fn run(sandbox: &Sandbox, agent: &str, more: &[&str]) -> brigade_testkit::Finished {
    let opencode = sandbox.opencode().to_str().unwrap();
    let mut args = vec!["run", "--agent", agent, "--opencode", opencode];
    args.extend(more);
    sandbox.brigade(&args).await.unwrap()
}

/// `brigade run --wait`, not awaited.
fn waiting(sandbox: &Sandbox, prompt: &str) -> Process {
    let mut command = sandbox.command(sandbox.brigade_program().unwrap());
    command.args(["run", "--agent", "explore", "--wait", "--opencode"]);
    command.arg(sandbox.opencode()).arg(prompt);
    Process::start("brigade run", command).unwrap()
}

/// The one delegation that there is.
async fn only(sandbox: &Sandbox) -> Value {
    let listed = sandbox.brigade(&["list", "--json"]).await.unwrap();
    let listed: Value = listed.json().unwrap();
    assert_eq!(listed["delegations"].as_array().unwrap().len(), 1);
    listed["delegations"][0].clone()
}

#[tokio::test]
async fn work_from_the_shell_outlives_its_server_and_the_daemon() {
    let sandbox = sandbox("").await;
    let model = sandbox.model();
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    model.when(CONTINUED, go_on);
    let waiting = waiting(&sandbox, &gated("alpha"));
    model.reached("alpha", 1, LIMIT).await.unwrap();
    let id = only(&sandbox).await["id"].as_str().unwrap().to_owned();
    let row = shown(&sandbox, &id, "its child", |row| row["child"].is_string()).await;
    assert_eq!(row["session"], "shell");
    assert_eq!(row["access"], "enforced");
    let child = row["child"].as_str().unwrap().to_owned();

    // Both at once: nobody but the command that waits still has the environment.
    let [server] = servers_are(&sandbox, 1).await[..] else {
        panic!("one server");
    };
    assert!(sandbox.signal_daemon(Signal::KILL));
    kill9(server);
    model.reached("continued", 1, LIMIT).await.unwrap();
    model.open("alpha");
    model.open("continued");
    assert_eq!(waiting.exited(LIMIT).await.unwrap(), Exit::Code(0));
    waiting.drained().await;
    let printed = waiting.stdout();
    assert_eq!(printed.trim(), answer("alpha"), "{}", waiting.stderr());

    let row = show(&sandbox, &id).await;
    assert_eq!(
        (&row["state"], &row["attempt"]),
        (&json!("complete"), &json!(2))
    );
    assert_eq!(
        (&row["unread"], &row["notice"]),
        (&json!(false), &json!("none"))
    );
    assert_eq!(row["child"], child);
    let asked: Vec<String> = model.turns().into_iter().map(|turn| turn.prompt).collect();
    assert_eq!(asked.len(), 2, "once begun, once continued: {asked:#?}");
    assert_eq!(turns_of(&sandbox, &child).len(), 2);

    // Whoever opens OpenCode later finds it among the sessions, and nothing is wrong with it.
    let host = Host::start(&sandbox).await;
    let session = host.session(&child).await.unwrap();
    assert_eq!(session.parent_id, None);
    assert_eq!(session.title, "Look into alpha. (@explore)");
    let looked = sandbox.brigade(&["gc", "--dry-run", "--json"]).await;
    let looked: Value = looked.unwrap().json().unwrap();
    for finding in looked["findings"].as_array().unwrap() {
        assert_eq!(finding["kind"], "store", "{looked:#}");
    }
    // A further round goes on in that session, and is nobody's notice either.
    let message = Script::saying(answer("beta")).to_string();
    let sent = sandbox.brigade(&["send", &id, &message, "--json"]).await;
    let sent: Value = sent.unwrap().json().unwrap();
    assert_eq!(sent["continued"], true);
    let next = sent["id"].as_str().unwrap();
    assert!(ended(&sandbox, next).await.contains(&answer("beta")));
    assert_eq!(show(&sandbox, next).await["child"], child);
    assert_eq!(show(&sandbox, next).await["notice"], "none");
}

#[tokio::test]
async fn what_may_not_run_is_refused_and_what_is_not_waited_for_stays_unread() {
    let sandbox = sandbox("[agent.build]\nrun = \"refuse\"\n").await;
    let refused = run(&sandbox, "nobody", &["Look."]).await;
    assert_eq!(refused.code(), Some(5), "{refused:?}");
    assert!(
        refused.stderr.contains("there is no agent \"nobody\""),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("explore"), "{refused:?}");
    let refused = run(&sandbox, "build", &["Look."]).await;
    assert_eq!(refused.code(), Some(5), "{refused:?}");
    assert!(
        refused.stderr.contains("may not be delegated to"),
        "{refused:?}"
    );
    let refused = run(&sandbox, "explore", &["--timeout", "-1", "Look."]).await;
    assert_ne!(refused.code(), Some(0), "{refused:?}");

    // From standard input, and not waited for.
    let prompt = sandbox.root().join("prompt");
    fs::write(&prompt, work("alpha", Script::saying(answer("alpha")))).unwrap();
    let mut shell = sandbox.command("sh");
    shell
        .args([
            "-c",
            "\"$0\" run --agent explore --opencode \"$1\" - <\"$2\"",
        ])
        .arg(sandbox.brigade_program().unwrap())
        .arg(sandbox.opencode())
        .arg(prompt);
    let shell = Process::start("sh", shell).unwrap();
    assert_eq!(shell.exited(LIMIT).await.unwrap(), Exit::Code(0));
    shell.drained().await;
    let id = shell.stdout().trim().to_owned();
    let row = shown(&sandbox, &id, "its end", |row| row["state"] == "complete").await;
    assert_eq!(row["unread"], true);
    let read = sandbox.brigade(&["read", &id]).await.unwrap();
    assert!(read.stdout.contains(&answer("alpha")), "{read:?}");
    assert_eq!(show(&sandbox, &id).await["unread"], false);

    // Anew, after everything that knew the environment of then is gone.
    for server in servers_are(&sandbox, 1).await {
        kill9(server);
    }
    assert!(sandbox.signal_daemon(Signal::KILL));
    let again = async |path: &OsStr| {
        let mut retry = sandbox.command(sandbox.brigade_program().unwrap());
        retry.args(["retry", &id]).env("PATH", path);
        let retry = Process::start("brigade retry", retry).unwrap();
        let exit = retry.exited(LIMIT).await.unwrap();
        retry.drained().await;
        (exit, retry.stdout(), retry.stderr())
    };
    let (exit, _, told) = again(OsStr::new("/nonexistent")).await;
    assert_eq!(exit, Exit::Code(5), "{told}");
    assert!(
        told.contains("the environment to run it in is not known"),
        "{told}"
    );
    let mut places = vec![sandbox.opencode().parent().unwrap().to_owned()];
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let (exit, retried, told) = again(&std::env::join_paths(places).unwrap()).await;
    assert_eq!(exit, Exit::Code(0), "{told}");
    let next = retried
        .split_whitespace()
        .find(|word| word.split('-').count() == 3 && !word.contains(id.as_str()));
    let next = next.unwrap_or_else(|| panic!("{retried}"));
    assert!(
        ended(&sandbox, next.trim_end_matches(['.', ':', ',']))
            .await
            .contains(&answer("alpha"))
    );

    // Whoever stops waiting stops nothing else.
    let waiting = waiting(&sandbox, &gated("gamma"));
    sandbox.model().reached("gamma", 1, LIMIT).await.unwrap();
    waiting.signal_leader(Signal::INT).unwrap();
    assert_eq!(waiting.exited(LIMIT).await.unwrap(), Exit::Code(1));
    waiting.drained().await;
    let told = waiting.stderr();
    assert!(told.contains("it goes on"), "{told}");
    let running = sandbox.brigade(&["list", "--state", "running", "--json"]);
    let running: Value = running.await.unwrap().json().unwrap();
    let id = running["delegations"][0]["id"].as_str().unwrap();
    assert!(told.contains(&format!("brigade cancel {id}")), "{told}");
    let cancelled = sandbox.brigade(&["cancel", id]).await.unwrap();
    assert_eq!(cancelled.code(), Some(0), "{cancelled:?}");

    // What ends otherwise than complete is no success, and says why.
    let failing = work("beta", Script::new().fail(400, "no such thing"));
    let failed = run(&sandbox, "explore", &["--wait", "--json", &failing]).await;
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    let told = failed.json().unwrap();
    assert_eq!(told["state"], "error");
    assert!(
        told["reason"].as_str().unwrap().contains("no such thing"),
        "{told}"
    );
}
