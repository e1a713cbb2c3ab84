//! The sandbox keeps what runs in it to itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use brigade_testkit::daemon::TestDaemon;
use brigade_testkit::process::Exit;
use brigade_testkit::{Error, Sandbox, Script, Serve};
use serde_json::json;

/// A program in the place of `brigade`.
fn stand_in(folder: &tempfile::TempDir, script: &str) -> PathBuf {
    let path = folder.path().join("brigade");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the stand-in is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    path
}

#[tokio::test]
async fn commands_see_the_sandbox_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let program = stand_in(&folder, "pwd; env; echo oops >&2; exit 3");
    let sandbox = Sandbox::builder()
        .brigade(program)
        .env("EXTRA", "1")
        .build()
        .await
        .unwrap();
    let done = sandbox.brigade(&["list"]).await.unwrap();
    assert_eq!((done.code(), done.stderr.as_str()), (Some(3), "oops"));
    let project = sandbox.project().display().to_string();
    assert_eq!(done.stdout.lines().next(), Some(project.as_str()));
    let root = sandbox.root().display().to_string();
    for line in done.stdout.lines().skip(1) {
        let (name, value) = line.split_once('=').unwrap();
        let known = [
            "PATH",
            "LANG",
            "EXTRA",
            "_",
            "SHLVL",
            "OLDPWD",
            "BRIGADE_BIN",
        ]
        .contains(&name)
            || name.starts_with("OPENCODE_DISABLE_");
        assert!(
            known || value.starts_with(&root),
            "{line} leaks out of {root}"
        );
    }
    // The name of a Unix socket may be 104 bytes long on macOS, 108 on Linux.
    assert!(sandbox.socket().as_os_str().len() < 60);
    assert_eq!(sandbox.git(&["status", "--porcelain"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_daemon_is_awaited_killed_and_its_refusal_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ready = r#"echo '{"daemon":"ready","socket":"/s"}'; exec sleep 1000"#;
    let sandbox = Sandbox::builder()
        .brigade(stand_in(&folder, ready))
        .build()
        .await
        .unwrap();
    let daemon = TestDaemon::start(&sandbox).await.unwrap();
    assert_eq!(daemon.kill9().await.unwrap(), Exit::Signal(9));
    assert_eq!(sandbox.daemon_pid(), None);

    stand_in(
        &folder,
        r#"echo '{"daemon":"failed","message":"store is newer"}'; exit 1"#,
    );
    let Err(Error::Exited { output, .. }) = TestDaemon::start(&sandbox).await else {
        panic!("a refusal is no start");
    };
    assert!(output.contains("store is newer"));

    stand_in(&folder, "echo broken >&2; exit 1");
    let Err(Error::Exited { output, .. }) = TestDaemon::start(&sandbox).await else {
        panic!("silence is no start");
    };
    assert!(output.contains("broken"));
}

#[tokio::test]
async fn a_plugin_and_a_worktree_are_found_by_the_host() {
    let sandbox = Sandbox::new().await.unwrap();
    let plugin = r#"export default { id: "p", server: async () => ({ tool: { ping: {
        description: "d", args: {}, async execute(_, context) { return `pong in ${context.directory}`; } } } }) };"#;
    sandbox.plugin("p.js", plugin).unwrap();
    let tree = sandbox.root().join("w");
    sandbox
        .git(&["worktree", "add", "-q", tree.to_str().unwrap()])
        .await
        .unwrap();
    let server = Serve::start(&sandbox).await.unwrap();
    let client = server.at(&tree);
    let session = client.create("There").await.unwrap();
    let script = Script::new().call("ping", &json!({})).step().say("done");
    assert_eq!(
        client.prompt(&session.id, script).await.unwrap().text(),
        "done"
    );
    let pong = format!("pong in {}", tree.display());
    let saw = |record: &brigade_testkit::Record| record.tool_results().contains(&pong);
    let record = sandbox
        .model()
        .wait_for("the pong", Duration::from_secs(5), saw)
        .await
        .unwrap();
    assert!(record.tools().contains(&"ping".to_owned()));
}
