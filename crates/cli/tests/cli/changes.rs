//! `diff`, `apply` and `discard` against a daemon that is scripted, in this process.

use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segment, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use brigade_testkit::Tui;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use crate::common::{Home, Said};

const ID: &str = "brave-amber-otter";
/// With what would steer a terminal, and with what is no text.
const PATCH: &[u8] = b"diff --git a/x.txt b/x.txt\nindex 1..2 100644\n--- a/x.txt\n+++ b/x.txt\n@@ -1,2 +1,2 @@\n kept\n-old\x1b[2J\n+new\xff\n";

/// What the daemon has been asked: path with query, and body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

#[derive(Clone)]
struct Script {
    asked: Asked,
    details: Value,
    answer: (u16, Value),
    /// Where it is said that a request without an answer has come, and that who asked has hung up.
    unanswered: Arc<Mutex<mpsc::Sender<&'static str>>>,
}

/// As the answer's status: there is none.
const NEVER: u16 = 0;

/// A home with a scripted daemon, which is gone with the runtime.
struct Rig {
    home: Home,
    asked: Asked,
    unanswered: mpsc::Receiver<&'static str>,
    _runtime: tokio::runtime::Runtime,
}

fn details(worktree: &Value, state: &str) -> Value {
    json!({
        "id": ID, "project": "p", "session": "ses_root", "state": state, "phase": "ended", "agent": "general",
        "title": "T", "summary": "S", "unread": false, "attempt": 1, "registered_at": "2026-03-01T12:00:00Z",
        "started_at": null, "ended_at": null, "reason": null, "artifact": null, "predecessor": false,
        "progress": {"tool_calls": 0, "last_tool": null, "tokens_in": 0, "tokens_out": 0, "cost": 0.0,
            "heard_at": null, "refused": 0},
        "prompt": "p", "child": null, "directory": "/p", "model": null, "access": "enforced", "withheld": [],
        "ran_ms": 0, "max_run_ms": null, "notice": "none", "worktree": worktree, "timeline": [],
    })
}

fn worktree() -> Value {
    let file =
        |path: &str, added: u64| json!({"path": path, "kind": "modified", "lines": [added, 1]});
    json!({
        "directory": "/w/tree", "top": "/p", "state": "ready", "bytes": 1, "from": null, "confinement": null,
        "left_out": [], "setup": null, "applies": [],
        "changes": {"tree": "t", "files": 2, "added": 3, "removed": 2, "patch": "/r/x.patch",
            "shown": [file("src/x.txt", 1), file("y.txt", 2)], "beside": ["a repository at vendor"]},
    })
}

fn report(outcome: &str, conflicts: &Value) -> Value {
    json!({"id": ID, "outcome": outcome, "top": "/p", "whole": true, "left_out": [], "conflicts": conflicts,
        "files": [{"path": "src/x.txt", "kind": "modified"}]})
}

impl Rig {
    fn new(details: Value, answer: (u16, Value)) -> Self {
        let home = Home::new();
        std::fs::create_dir_all(home.path().join("project/.git")).unwrap();
        std::fs::create_dir_all(home.path().join("project/src")).unwrap();
        std::fs::create_dir(home.runtime()).unwrap();
        std::fs::set_permissions(home.runtime(), PermissionsExt::from_mode(0o700)).unwrap();
        let asked = Asked::default();
        let (told, unanswered) = mpsc::channel();
        let script = Script {
            asked: asked.clone(),
            details,
            answer,
            unanswered: Arc::new(Mutex::new(told)),
        };
        let welcome = json!({"protocol": brigade_protocol::PROTOCOL, "version": "0", "pid": std::process::id()});
        let app = Router::new()
            .route("/v1/hello", post(async || axum::Json(welcome)))
            .route("/v1/delegations/{id}", get(show))
            .route("/v1/delegations/{id}/{what}", get(act).post(act))
            .with_state(script);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener =
            runtime.block_on(async { UnixListener::bind(home.runtime().join("daemon.sock")) });
        runtime.spawn(async { axum::serve(listener.unwrap(), app).await });
        Self {
            home,
            asked,
            unanswered,
            _runtime: runtime,
        }
    }

    /// A write-capable delegation that has ended, and a daemon that answers this.
    fn ended(answer: (u16, Value)) -> Self {
        Self::new(details(&worktree(), "complete"), answer)
    }

    fn brigade(&self, folder: &str, args: &[&str]) -> Said {
        let mut command = self.home.command(args);
        command.current_dir(self.home.path().join("project").join(folder));
        self.home.said(&command.output().unwrap())
    }

    /// What was asked last.
    fn last(&self) -> (String, Value) {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // The home would ask whoever listens there to stop.
        let _ = std::fs::remove_file(self.home.runtime().join("daemon.sock"));
    }
}

async fn show(State(script): State<Script>, RawQuery(query): RawQuery) -> Response {
    let anywhere = query.is_none_or(|query| !query.contains("directory="));
    if script.details["project"] == "another" && !anywhere {
        let body = json!({"code": "not_found", "message": "no such delegation in this project"});
        return (StatusCode::NOT_FOUND, axum::Json(body)).into_response();
    }
    axum::Json(script.details).into_response()
}

/// Tells that whoever asked has hung up: the server drops what it was doing for them.
struct HungUp(mpsc::Sender<&'static str>);

impl Drop for HungUp {
    fn drop(&mut self) {
        // The test may be over.
        let _ = self.0.send("hung up");
    }
}

async fn act(
    State(script): State<Script>,
    Segment((_, what)): Segment<(String, String)>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let query = query.unwrap_or_default();
    script
        .asked
        .lock()
        .unwrap()
        .push((format!("{what}?{query}"), body));
    if what == "diff" {
        return PATCH.into_response();
    }
    let (status, body) = script.answer;
    if status == NEVER {
        let told = script.unanswered.lock().unwrap().clone();
        told.send("come").unwrap();
        let _gone = HungUp(told);
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

#[test]
fn a_patch_is_passed_on_byte_by_byte() {
    let rig = Rig::ended((200, json!(null)));
    let mut diff = rig.home.command(&["diff", ID, "x.txt", "../docs"]);
    diff.current_dir(rig.home.path().join("project/src"));
    // Even where colours are wanted: somebody is to apply it.
    let output = diff.env("CLICOLOR_FORCE", "1").output().unwrap();
    assert_eq!(output.stdout, PATCH);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("not in the patch: a repository at vendor"),
        "{said}"
    );
    let (asked, _) = rig.last();
    assert!(asked.ends_with("paths=src%2Fx.txt%0Adocs"), "{asked}");
}

#[test]
fn the_stat_needs_no_patch() {
    let rig = Rig::ended((200, json!(null)));
    let said = rig.brigade("src", &["diff", ID, "--stat", "."]);
    assert_eq!(said.out, " src/x.txt | +1 -1\n 1 file changed, +1 -1\n");
    assert!(rig.asked.lock().unwrap().is_empty());
}

#[test]
fn on_a_terminal_the_pager_gets_what_steers_nothing() {
    let rig = Rig::ended((200, json!(null)));
    let seen = rig.home.path().join("seen");
    let pager = format!("cat > '{}'", seen.display());
    let mut environment: Vec<_> = rig
        .home
        .command(&[])
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    environment.push(("PAGER".into(), pager.into()));
    environment.push(("TERM".into(), "xterm".into()));
    let size = (NonZeroU16::new(24).unwrap(), NonZeroU16::new(80).unwrap());
    let project = rig.home.path().join("project");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let program = Path::new(env!("CARGO_BIN_EXE_brigade"));
        let tui = Tui::placed(program, &["diff", ID], &environment, &project, size).unwrap();
        tui.ended(Duration::from_secs(30)).await.unwrap();
    });
    let shown = std::fs::read_to_string(seen).unwrap();
    assert!(
        shown.contains("\u{1b}[31m-old\u{FFFD}[2J\u{1b}[0m\n"),
        "{shown:?}"
    );
    assert!(shown.contains("+new\u{FFFD}"), "{shown:?}");
}

#[test]
fn what_has_no_changes_is_refused_with_the_reason() {
    let mut unknown = worktree();
    unknown["changes"] = json!(null);
    for (worktree, state, why) in [
        (json!(null), "complete", "read-only"),
        (unknown, "running", "is running"),
    ] {
        let rig = Rig::new(details(&worktree, state), (200, json!(null)));
        for verb in ["diff", "apply"] {
            let said = rig.brigade("", &[verb, ID]);
            assert_eq!(said.code, 5, "{said:?}");
            assert!(said.err.contains(why), "{said:?}");
        }
        assert!(rig.asked.lock().unwrap().is_empty());
    }
}

#[test]
fn an_apply_goes_to_the_tree_that_one_is_in() {
    let rig = Rig::ended((200, report("applied", &json!([]))));
    let said = rig.brigade("src", &["apply", ID, "x.txt", "--markers"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out
            .contains("brigade apply --undo brave-amber-otter takes it back"),
        "{said:?}"
    );
    let (_, asked) = rig.last();
    let here = rig.home.path().join("project/src").canonicalize().unwrap();
    assert_eq!(asked["to"], here.to_str().unwrap());
    assert_eq!(asked["paths"], json!(["src/x.txt"]));
    assert_eq!(
        (&asked["markers"], &asked["undo"]),
        (&json!(true), &json!(false))
    );
    let said = rig.brigade("", &["apply", ID, "../elsewhere"]);
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn of_another_project_it_goes_where_it_came_from() {
    let mut details = details(&worktree(), "complete");
    details["project"] = json!("another");
    let rig = Rig::new(details, (200, report("undone", &json!([]))));
    assert_eq!(rig.brigade("", &["apply", ID, "--undo"]).code, 3);
    let said = rig.brigade("", &["apply", ID, "--undo", "--all"]);
    assert_eq!(said.code, 0, "{said:?}");
    let (_, asked) = rig.last();
    assert_eq!((&asked["to"], &asked["undo"]), (&json!(null), &json!(true)));
}

#[test]
fn conflicts_and_what_is_held_back_have_their_exit_codes() {
    let conflict = json!([{"path": "src/x.txt", "what": "both have changed it", "text": null}]);
    let conflicts = report("conflicts", &conflict);
    let rig = Rig::ended((200, conflicts.clone()));
    let said = rig.brigade("", &["apply", ID]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("both have changed it") && said.err.is_empty(),
        "{said:?}"
    );
    let said = rig.brigade("", &["apply", ID, "--json"]);
    assert_eq!(said.code, 1);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap(), conflicts);

    let held = json!({"id": ID, "gone": false, "held": ["a commit"], "freed": 0, "patch": null});
    let rig = Rig::ended((200, held));
    let said = rig.brigade("", &["discard", ID]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("a commit"), "{said:?}");
    assert_eq!(rig.last().1["force"], json!(false));

    let refused =
        json!({"code": "refused", "message": "its worktree is being written", "hint": "wait"});
    let rig = Rig::ended((422, refused));
    for verb in ["apply", "discard"] {
        let said = rig.brigade("", &[verb, ID]);
        assert_eq!((said.code, said.out.as_str()), (5, ""), "{said:?}");
    }
}

#[test]
fn ctrl_c_hangs_up_so_that_the_daemon_takes_back_what_is_written() {
    let rig = Rig::ended((NEVER, json!(null)));
    let mut apply = rig.home.command(&["apply", ID]);
    apply.stdout(Stdio::null()).stderr(Stdio::null());
    let mut apply = apply.spawn().unwrap();
    let limit = Duration::from_secs(30);
    assert_eq!(rig.unanswered.recv_timeout(limit).unwrap(), "come");
    let process = Pid::from_child(&apply);
    kill_process(process, Signal::INT).unwrap();
    assert_eq!(rig.unanswered.recv_timeout(limit).unwrap(), "hung up");
    assert!(!apply.wait().unwrap().success());
}
