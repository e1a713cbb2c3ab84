//! A child that means harm, on a server that the kernel confines.

use std::fs;
use std::path::PathBuf;

use brigade_os::confine::available;
use brigade_os::process::{ProcessId, marked};
use brigade_testkit::{Sandbox, Script};
use serde_json::{Value, json};

use crate::servers::servers_are;
use crate::stage::{Host, ended, sandbox, show};

/// What it tries, by name; each line is a script of its own. `$T` is its folder for temporary files.
fn attacks(sandbox: &Sandbox, victim: u32) -> Vec<(&'static str, String)> {
    let root = sandbox.root().display().to_string();
    let daemon = sandbox.daemon_pid().unwrap();
    let brigade = sandbox.brigade_program().unwrap().display().to_string();
    let data = format!("{root}/h/.local/share");
    [
        ("home", format!("echo x >> {root}/h/.profile")),
        ("tree", "echo x > README.md".to_owned()),
        ("new file", "echo x > new.txt".to_owned()),
        ("git hook", "echo x > .git/hooks/post-commit".to_owned()),
        ("git config", "git config core.pager x".to_owned()),
        (
            "link",
            format!("ln -s {root}/p/README.md $T/link && echo x > $T/link"),
        ),
        ("hard link", format!("ln {root}/p/README.md $T/hard")),
        (
            "rename out",
            format!("echo x > $T/mine && mv $T/mine {root}/h/mine && cat {root}/h/mine"),
        ),
        ("truncate", format!("truncate -s 0 {root}/p/README.md")),
        (
            "plugin",
            format!("echo x > {root}/h/.config/opencode/plugin/evil.js"),
        ),
        ("credentials", format!("echo x > {data}/opencode/auth.json")),
        (
            "programs",
            format!("mkdir -p {data}/opencode/bin && echo x > {data}/opencode/bin/rg"),
        ),
        ("results", format!("mkdir -p {data}/opencode/delegations/x")),
        ("store", format!("echo x >> {data}/brigade/brigade.db")),
        ("socket", format!("rm {root}/r/brigade/daemon.sock")),
        ("tmp", format!("echo x > {root}/evil")),
        ("kill", format!("kill -9 {victim}")),
        ("kill daemon", format!("kill -9 {daemon}")),
        ("environment", format!("cat /proc/{victim}/environ")),
        ("memory", format!("head -c 1 /proc/{victim}/mem")),
        ("cancel", format!("{brigade} cancel --all")),
        ("stop", format!("{brigade} daemon stop")),
        ("gc", format!("{brigade} gc")),
        (
            "socket by hand",
            format!("curl -sf --unix-socket {root}/r/brigade/daemon.sock -X POST http://x/v1/stop"),
        ),
    ]
    .into()
}

/// What lies where it was not to write, and what is in it.
fn kept(sandbox: &Sandbox) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let root = sandbox.root();
    let own = [
        "h/.local/share/opencode/opencode.db",
        "h/.local/share/opencode/opencode.db-wal",
        "h/.local/share/opencode/opencode.db-shm",
        "h/.local/share/opencode/log",
        "h/.local/share/opencode/tool-output",
        // The daemon's own, and the server's folder in it.
        "h/.local/share/brigade",
        "h/.local/share/opencode/delegations",
    ]
    .map(|path| root.join(path));
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if own.contains(&path) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path.clone());
            }
            let bytes = kind.is_file().then(|| fs::read(&path).unwrap());
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_child_that_means_harm_changes_nothing() {
    if let Err(why) = available() {
        // What is recorded where the kernel can't is tested with the pool of servers.
        println!("not confined here: {why}");
        return;
    }
    let sandbox = sandbox("[server]\nconfine_read_only = true\nlinger = \"2s\"\n").await;
    let patterns = "description: Harms\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"sh attack.sh\": allow";
    sandbox.agent("villain", patterns, "You attack.").unwrap();
    // The database has to be there, and somebody to be killed.
    let host = Host::start(&sandbox).await;
    let victim = host.process().id();
    let started = sandbox.brigade(&["daemon", "start"]).await.unwrap();
    assert_eq!(started.code(), Some(0), "{started:?}");
    let daemon = sandbox.daemon_pid();
    let attacks = attacks(&sandbox, victim);
    let mut script = "T=$TMPDIR\n".to_owned();
    for (name, attack) in &attacks {
        script += &format!("({attack}) >$T/out 2>&1; echo \"{name}: $?\"; sed 's/^/  /' $T/out\n");
    }
    script += "echo x > $T/own && echo own: $?\n";
    script += "setsid sleep 54321 >/dev/null 2>&1 & kill -0 $! && echo left: $?\n";
    sandbox.write("attack.sh", &script).unwrap();
    let auth = sandbox.home().join(".local/share/opencode/auth.json");
    fs::write(auth, "{}").unwrap();
    let before = kept(&sandbox);
    let work = Script::new()
        .call(
            "bash",
            &json!({"command": "sh attack.sh", "description": "x"}),
        )
        .step()
        .say("# Done\n\nDone.");
    let prompt = format!("Attack.\n{work}");
    let opencode = sandbox.opencode().to_str().unwrap();
    let run = [
        "run",
        "--agent",
        "villain",
        "--json",
        "--opencode",
        opencode,
        &prompt,
    ];
    let begun = sandbox.brigade(&run).await.unwrap();
    assert_eq!(begun.code(), Some(0), "{begun:?}");
    let begun: Value = begun.json().unwrap();
    let id = begun["id"].as_str().unwrap();
    ended(&sandbox, id).await;
    let row = show(&sandbox, id).await;
    assert_eq!(row["state"], "complete", "{row:#}");
    assert!(
        row["timeline"].to_string().contains("by the kernel"),
        "{row:#}"
    );

    let child = row["child"].as_str().unwrap();
    let messages = host.messages(child).await.unwrap();
    let parts = messages.iter().flat_map(|message| message.parts_of("tool"));
    let told: Vec<String> = parts
        .map(|part| part["state"]["output"].to_string().replace("\\n", "\n"))
        .collect();
    let told = told.concat();
    for (name, _) in &attacks {
        assert!(
            told.contains(&format!("{name}: ")),
            "{name} was tried: {told}"
        );
        assert!(!told.contains(&format!("{name}: 0\n")), "{name}: {told}");
    }
    assert!(
        told.contains("own: 0") && told.contains("left: 0"),
        "{told}"
    );
    assert_eq!(
        told.matches("from inside a delegation").count(),
        3,
        "{told}"
    );
    assert!(ProcessId::of(victim).is_some());
    assert_eq!(sandbox.daemon_pid(), daemon);
    let after = kept(&sandbox);
    for (path, bytes) in &before {
        let now = after.iter().find(|(other, _)| other == path);
        assert_eq!(
            now.map(|(_, bytes)| bytes),
            Some(bytes),
            "{}",
            path.display()
        );
    }
    let names = |all: &[(PathBuf, _)]| all.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    // And nothing of it stays.
    servers_are(&sandbox, 0).await;
    let left = marked("BRIGADE_SESSION").into_iter();
    let left: Vec<_> = left
        .filter(|process| process.value == child && process.command == "sleep 54321")
        .collect();
    assert_eq!(left, []);
    let own = sandbox.brigade_data().join("servers");
    assert_eq!(fs::read_dir(own).unwrap().count(), 0);
}
