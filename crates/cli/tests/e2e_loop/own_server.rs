//! A server that is confined to one folder: work in it goes as ever, and nothing leaves it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use brigade_agents::opencode::{
    Confine, Launcher, Method, Request, ServeLauncher, ServerSpec, Transport, listens,
};
use brigade_os::confine::available;
use brigade_testkit::{Sandbox, Script};
use serde_json::{Value, json};

use crate::stage::{Host, LIMIT, sandbox};

/// A copy of the sandbox's project in `root/tree`.
fn copy_of_project(sandbox: &Sandbox, root: &Path) {
    fs::create_dir_all(root).unwrap();
    let mut clone = sandbox.command("git");
    clone.args(["clone", "--quiet"]).arg(sandbox.project());
    assert!(clone.arg(root.join("tree")).status().unwrap().success());
}

struct Session<'a> {
    server: &'a dyn Transport,
    directory: String,
}

impl Session<'_> {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let asked = self.server.call(Request {
            method,
            path: path.to_owned(),
            directory: self.directory.clone(),
            body,
            timeout: LIMIT,
        });
        let reply = asked.await.unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.body
    }

    /// Has a new session do this; gives what its tools have answered, each with its state.
    async fn does(&self, script: &Script) -> Vec<(String, String)> {
        let rules = json!([{"permission": "*", "pattern": "*", "action": "allow"}]);
        let made = json!({"title": "Work", "permission": rules});
        let session = self.ask(Method::Post, "/session", Some(made)).await;
        let path = format!("/session/{}/message", session["id"].as_str().unwrap());
        let prompt = json!({"parts": [{"type": "text", "text": script.to_string()}]});
        self.ask(Method::Post, &path, Some(prompt)).await;
        let messages = self.ask(Method::Get, &path, None).await;
        let messages = messages.as_array().unwrap();
        let parts = messages.iter().flat_map(|one| one["parts"].as_array());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        parts
            .flatten()
            .filter(|part| part["type"] == "tool")
            .map(|part| {
                let state = &part["state"];
                let said = text(&state["output"]) + &text(&state["error"]);
                (text(&state["status"]), said)
            })
            .collect()
    }
}

#[tokio::test]
async fn in_its_folder_all_tools_work_and_none_beyond() {
    if let Err(why) = available() {
        println!("not confined here: {why}");
        return;
    }
    let sandbox = sandbox("").await;
    // It has been used before: there is a database.
    let host = Host::start(&sandbox).await;
    host.serve.stop().await.unwrap();
    let root = sandbox.root().join("w");
    copy_of_project(&sandbox, &root);
    let tree = root.join("tree");
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        (name.into_string().unwrap(), value.into_string().unwrap())
    };
    let variables: BTreeMap<_, _> = sandbox.environment().into_iter().map(text).collect();
    let launcher = ServeLauncher {
        program: sandbox.brigade_program().unwrap().to_owned(),
        args: vec!["gate".into()],
    };
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let spec = ServerSpec {
        id: "confined".into(),
        executable: sandbox.opencode().to_owned(),
        variables,
        port: port.local_addr().unwrap().port(),
        password: "p".into(),
        linger: Duration::from_secs(60),
        log: root.join("log"),
        confine: Some(Confine {
            folders: vec![tree.clone()],
            also: Vec::new(),
            temporary: root.join("tmp"),
        }),
    };
    drop(port);
    let _leash = launcher.launch(&spec).unwrap().open().await.unwrap();
    let server = launcher.reach(spec.port, &spec.password).unwrap();
    tokio::time::timeout(LIMIT, listens(&*server))
        .await
        .unwrap();
    let session = Session {
        server: &*server,
        directory: tree.display().to_string(),
    };

    let bash = |command: &str| json!({"command": command, "description": "Runs"});
    let file = |name: &str| tree.join(name).display().to_string();
    let commit = "git rm -q README.md && git add -A && git -c user.name=T -c user.email=t@e commit -qm x && mktemp";
    let work = Script::new()
        .call(
            "write",
            &json!({"filePath": file("new.txt"), "content": "new\n"}),
        )
        .step()
        .call("read", &json!({"filePath": file("src/main.txt")}))
        .step()
        .call(
            "edit",
            &json!({"filePath": file("src/main.txt"), "oldString": "two", "newString": "2"}),
        )
        .step()
        .call("bash", &bash(commit))
        .step()
        // More than stands in an answer goes to a file.
        .call("bash", &bash("seq 1 100000"))
        .step()
        .say("done");
    for (state, said) in session.does(&work).await {
        assert_eq!(state, "completed", "{said}");
    }
    let read = |name: &str| fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!(
        (read("new.txt"), read("src/main.txt")),
        ("new\n".into(), "one\n2\nthree\n".into())
    );
    assert!(!tree.join("README.md").exists());

    let theirs = sandbox.project().join("README.md").display().to_string();
    let before = fs::read_to_string(&theirs).unwrap();
    let harm = Script::new()
        .call("write", &json!({"filePath": theirs, "content": "evil"}))
        .step()
        .call(
            "bash",
            &bash(&format!("echo evil > {theirs} || echo refused")),
        )
        .step()
        .call(
            "bash",
            &bash(&format!(
                "ln -s {theirs} link; echo evil > link || echo refused"
            )),
        )
        .step()
        .say("done");
    let told = session.does(&harm).await;
    assert_eq!(told[0].0, "error", "{told:?}");
    assert!(
        told[1..].iter().all(|(_, said)| said.contains("refused")),
        "{told:?}"
    );
    assert_eq!(fs::read_to_string(&theirs).unwrap(), before);
}
