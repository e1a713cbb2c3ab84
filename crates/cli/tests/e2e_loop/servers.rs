//! What a host leaves behind goes on in a server of Brigade's own, by itself.

use std::time::Instant;

use brigade_testkit::model::Outcome;
use brigade_testkit::{Record, Sandbox, Script, Serve};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::stage::{
    CONTINUED, Host, LIMIT, Parent, answer, begun, delegating, ended, gated, others_were_served,
    sandbox, show, shown, turns_of,
};

/// The servers of Brigade's own, as a person's script would ask.
async fn servers(sandbox: &Sandbox) -> Vec<Value> {
    let started = sandbox.brigade(&["daemon", "start"]).await.unwrap();
    assert_eq!(started.code(), Some(0), "{started:?}");
    let done = sandbox.brigade(&["daemon", "status", "--json"]).await;
    let status: Value = done.unwrap().json().unwrap();
    status["servers"].as_array().cloned().unwrap_or_default()
}

/// Waits until there are so many, all of them up.
pub(crate) async fn servers_are(sandbox: &Sandbox, count: usize) -> Vec<u32> {
    let began = Instant::now();
    loop {
        let servers = servers(sandbox).await;
        let pids: Vec<u32> = servers
            .iter()
            .filter_map(|server| u32::try_from(server["pid"].as_u64()?).ok())
            .collect();
        if pids.len() == count && servers.len() == count {
            return pids;
        }
        assert!(began.elapsed() < LIMIT, "{count} servers: {servers:?}");
    }
}

pub(crate) fn kill9(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// How often any run was told to go on.
fn continued(sandbox: &Sandbox) -> Vec<Record> {
    let mut turns = sandbox.model().turns();
    turns.retain(|turn| turn.prompt.starts_with(CONTINUED));
    turns
}

fn state_and_attempt(row: &Value) -> (&Value, &Value) {
    (&row["state"], &row["attempt"])
}

async fn child_of(sandbox: &Sandbox, id: &str) -> String {
    let row = show(sandbox, id).await;
    row["child"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_killed_server_costs_an_attempt_and_the_third_is_the_last() {
    let sandbox = sandbox("[server]\nlinger = \"1s\"\n").await;
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    sandbox.model().when(CONTINUED, go_on);
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Killed").await;
    parent
        .says(
            delegating(&[gated("alpha"), gated("beta")])
                .step()
                .say("under way"),
        )
        .await;
    let ids = parent.delegations().await;
    let mut children = Vec::new();
    for (name, id) in ["alpha", "beta"].iter().zip(&ids) {
        sandbox.model().reached(name, 1, LIMIT).await.unwrap();
        children.push(child_of(&sandbox, id).await);
    }
    host.kill9().await.unwrap();

    // Nobody does anything: both go on, each in its own session, in one server.
    let model = sandbox.model();
    model.reached("continued", 2, LIMIT).await.unwrap();
    let told = continued(&sandbox);
    for child in &children {
        let of_child = told
            .iter()
            .filter(|turn| turn.session.as_ref() == Some(child));
        assert_eq!(of_child.count(), 1);
    }
    let [first] = servers_are(&sandbox, 1).await[..] else {
        panic!("one server");
    };
    // One is let through; the other loses its server, and the next one, and that was the third attempt.
    model.admit("continued", 1);
    let done = model
        .wait_for("one continued", LIMIT, |record| {
            record.prompt.starts_with(CONTINUED) && record.outcome == Outcome::Answered
        })
        .await
        .unwrap();
    let (good, bad) = if done.session.as_ref() == Some(&children[0]) {
        (&ids[0], &ids[1])
    } else {
        (&ids[1], &ids[0])
    };
    assert!(ended(&sandbox, good).await.contains(&answer("alpha")));
    let row = show(&sandbox, good).await;
    assert_eq!(state_and_attempt(&row), (&json!("complete"), &json!(2)));
    kill9(first);
    model.reached("continued", 3, LIMIT).await.unwrap();
    let [second] = servers_are(&sandbox, 1).await[..] else {
        panic!("one server");
    };
    assert_ne!(first, second);
    kill9(second);
    let row = shown(&sandbox, bad, "the end", |row| row["state"] == "error").await;
    let reason = row["reason"].as_str().unwrap();
    assert!(reason.contains("3 attempts"), "{reason}");
    for name in ["alpha", "beta"] {
        assert_eq!(begun(&sandbox, name), 1);
    }
    for (id, child) in ids.iter().zip(&children) {
        let runs = if id == bad { 3 } else { 2 };
        let turns = turns_of(&sandbox, child);
        let told: Vec<_> = turns
            .iter()
            .map(|turn| (&turn.prompt, &turn.outcome))
            .collect();
        assert_eq!(turns.len(), runs, "{id}: {told:#?}");
    }

    // Nobody was there to be told; whoever writes into the session next tells the parent of both.
    let next = Host::start(&sandbox).await;
    for id in &ids {
        shown(&sandbox, id, "the offer", |row| row["notice"] == "leased").await;
    }
    // What went down to the host after the offer has arrived, and so has the offer.
    others_were_served(&sandbox, &next).await;
    let parent = parent.in_host(&next);
    let before = parent.requests().len();
    parent.says(Script::saying("so that is that")).await;
    parent.assert_told_once(&ids).await;
    assert_eq!(parent.requests().len(), before + 1);
    // And no server stays that nothing needs.
    servers_are(&sandbox, 0).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_finds_its_server_again() {
    let sandbox = sandbox("").await;
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    sandbox.model().when(CONTINUED, go_on);
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Killed").await;
    parent
        .says(delegating(&[gated("alpha")]).step().say("under way"))
        .await;
    let ids = parent.delegations().await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    host.kill9().await.unwrap();
    let model = sandbox.model();
    model.reached("continued", 1, LIMIT).await.unwrap();
    let before = servers_are(&sandbox, 1).await;
    assert!(sandbox.signal_daemon(Signal::KILL));
    assert_eq!(servers_are(&sandbox, 1).await, before);
    model.open("continued");
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(state_and_attempt(&row), (&json!("complete"), &json!(2)));
    assert_eq!(continued(&sandbox).len(), 1);
    // Stopped by a person while nothing runs there, the daemon takes its server along.
    let stopped = sandbox.brigade(&["daemon", "stop"]).await.unwrap();
    assert_eq!(stopped.code(), Some(0), "{stopped:?}");
    assert!(brigade_os::process::ProcessId::of(before[0]).is_none());
}

#[tokio::test]
async fn without_its_credentials_a_delegation_waits_and_says_so() {
    let sandbox = sandbox("").await;
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    sandbox.model().when(CONTINUED, go_on);
    let with_key = |command: &mut std::process::Command| {
        command.env("SCRIPTED_API_KEY", "only here");
    };
    let serve = Serve::start_with(&sandbox, with_key).await.unwrap();
    let events = serve.events().await.unwrap();
    let host = Host { serve, events };
    let parent = Parent::open(&sandbox, &host, "Key").await;
    parent
        .says(
            delegating(&[gated("alpha"), gated("beta")])
                .step()
                .say("under way"),
        )
        .await;
    let ids = parent.delegations().await;
    for name in ["alpha", "beta"] {
        sandbox.model().reached(name, 1, LIMIT).await.unwrap();
    }
    // The daemon knows the key as long as it lives: the server is started with it.
    host.kill9().await.unwrap();
    let model = sandbox.model();
    model.reached("continued", 2, LIMIT).await.unwrap();
    let [server] = servers_are(&sandbox, 1).await[..] else {
        panic!("one server");
    };
    let environment = std::fs::read(format!("/proc/{server}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("SCRIPTED_API_KEY=only here"));

    // Daemon and server gone, nobody knows it: nothing is tried, no attempt is spent.
    assert!(sandbox.signal_daemon(Signal::KILL));
    kill9(server);
    let row = shown(&sandbox, &ids[0], "the wait", |row| {
        row["phase"]
            .as_str()
            .unwrap()
            .contains("with SCRIPTED_API_KEY set")
    })
    .await;
    assert_eq!(state_and_attempt(&row), (&json!("running"), &json!(3)));
    // Neither the key nor a trace of it is on disk.
    for file in ["brigade.db", "brigade.db-wal"] {
        let bytes = std::fs::read(sandbox.brigade_data().join(file)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("only here"), "{file}");
    }
    let poor = Host::start(&sandbox).await;
    let other = Parent::open(&sandbox, &poor, "Another").await;
    other.says(Script::saying("hello")).await;
    assert_eq!(continued(&sandbox).len(), 2);
    // The next one that has it is what they go on with.
    let rich = Serve::start_with(&sandbox, with_key).await.unwrap();
    model.reached("continued", 4, LIMIT).await.unwrap();
    model.open("continued");
    for id in &ids {
        assert!(ended(&sandbox, id).await.contains(&answer("alpha")));
        let row = show(&sandbox, id).await;
        assert_eq!(state_and_attempt(&row), (&json!("complete"), &json!(3)));
    }
    rich.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_shell_left_running_is_told() {
    let sandbox = sandbox("").await;
    let patterns = "description: Waits\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"sleep *\": allow";
    sandbox.agent("waiter", patterns, "You wait.").unwrap();
    sandbox
        .model()
        .when(CONTINUED, Script::saying(answer("alpha")));
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Shell").await;
    let sleep = json!({"command": "sleep 1234", "description": "waits"});
    let prompt = format!(
        "Look into alpha.\n{}",
        Script::new().call("bash", &sleep).step().say("done")
    );
    let call = json!({"agent": "waiter", "prompt": prompt});
    parent
        .says(Script::new().call("delegate", &call).step().say("begun"))
        .await;
    let ids = parent.delegations().await;
    let began = Instant::now();
    let shell = loop {
        let marked = brigade_os::process::marked("BRIGADE_SESSION");
        let child = show(&sandbox, &ids[0]).await["child"].clone();
        let own = marked
            .into_iter()
            .find(|found| child == found.value.as_str() && found.command == "sleep 1234");
        if let Some(own) = own {
            break own.id;
        }
        assert!(began.elapsed() < LIMIT, "no shell command runs");
    };
    host.kill9().await.unwrap();
    assert!(ended(&sandbox, &ids[0]).await.contains(&answer("alpha")));
    assert!(shell.is_alive(), "it is reported, not ended");
    let left = format!("process {} (sleep 1234)", shell.pid);
    assert!(
        continued(&sandbox)[0].prompt.contains(&left),
        "{:?}",
        continued(&sandbox)[0].prompt
    );
    let row = show(&sandbox, &ids[0]).await;
    assert!(row["timeline"].to_string().contains(&left), "{row:#}");
    // Whether it is still wanted is the person's to say.
    let subject = format!("process {}", shell.pid);
    for (command, fate) in [
        (&["gc", "--json"][..], "left"),
        (&["gc", "--processes", "--json"], "done"),
    ] {
        let said = sandbox.brigade(command).await.unwrap();
        assert_eq!(said.code(), Some(0), "{said:?}");
        let report: Value = said.json().unwrap();
        let findings = report["findings"].as_array().unwrap();
        let found = findings
            .iter()
            .find(|finding| finding["subject"] == subject);
        assert_eq!(found.unwrap()["fate"], fate, "{report:#}");
        let servers = findings
            .iter()
            .filter(|finding| finding["kind"] == "server");
        assert_eq!(
            servers.count(),
            0,
            "the server of Brigade's own is looked after: {report:#}"
        );
        assert_eq!(shell.is_alive(), fate == "left");
    }
}
