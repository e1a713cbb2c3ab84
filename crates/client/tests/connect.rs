//! Clients against a daemon that is scripted, in this process, and programs that play its start.

#![expect(clippy::unwrap_used, reason = "tests may")]

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use brigade_client::{Client, ClientError, Connector, Handshake, StartPolicy};
use brigade_os::paths::Dirs;
use brigade_protocol::daemon::{Hello, Stop, Welcome};
use brigade_protocol::delegations::{Cancel, Follow, ListQuery, Scope};
use brigade_protocol::{ErrorBody, ErrorCode, PROTOCOL, paths};
use futures::StreamExt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// Places in a temporary folder.
struct Home {
    _folder: tempfile::TempDir,
    root: PathBuf,
    dirs: Dirs,
}

fn home() -> Home {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let home = root.clone();
    let lookup = move |name: &str| match name {
        "HOME" => Some(home.clone().into_os_string()),
        "BRIGADE_RUNTIME_DIR" => Some(home.join("run").into_os_string()),
        _ => None::<OsString>,
    };
    let dirs = Dirs::from_lookup(lookup, None, 1).unwrap();
    dirs.prepare_runtime().unwrap();
    Home {
        _folder: folder,
        root,
        dirs,
    }
}

/// What the scripted daemon does.
#[derive(Clone)]
struct Script {
    hello: Result<Welcome, ErrorBody>,
    heard: Arc<Mutex<Vec<String>>>,
    /// The process that plays the daemon's; it ends when the daemon is asked to stop.
    process: Arc<Mutex<Option<Child>>>,
    /// What it removes when it is asked to stop.
    leaves: Option<PathBuf>,
}

fn script(protocol: u32) -> Script {
    let process = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Script {
        hello: Ok(Welcome {
            protocol,
            version: "9.9.9".into(),
            pid: process.id(),
        }),
        heard: Arc::default(),
        process: Arc::new(Mutex::new(Some(process))),
        leaves: None,
    }
}

impl Script {
    fn end(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

fn refuse(body: ErrorBody) -> Response {
    (
        StatusCode::from_u16(body.code.status()).unwrap(),
        Json(body),
    )
        .into_response()
}

async fn hello(Shared(script): Shared<Script>, Json(hello): Json<Hello>) -> Response {
    script
        .heard
        .lock()
        .unwrap()
        .push(format!("hello {}", hello.data_dir));
    match script.hello {
        Ok(welcome) => Json(welcome).into_response(),
        Err(body) => refuse(body),
    }
}

async fn stop(Shared(script): Shared<Script>, Json(stop): Json<Stop>) -> StatusCode {
    script
        .heard
        .lock()
        .unwrap()
        .push(format!("stop {}", stop.reason));
    if let Some(socket) = &script.leaves {
        std::fs::remove_file(socket).unwrap();
    }
    script.end();
    StatusCode::NO_CONTENT
}

async fn follow() -> &'static str {
    "data: {\"type\":\"reset\",\"text\":\"a\"}\n\n: alive\n\ndata: {\"type\":\"novelty\"}\n\ndata: {\"type\":\"more\",\"text\":\"b\"}\n\n"
}

async fn list(uri: axum::http::Uri) -> Response {
    match uri.query() {
        Some(query) if query.contains("state=running") && query.contains("directory=%2Fa+b") => {
            r#"{"delegations":[],"more":3}"#.into_response()
        }
        _ => "nonsense".into_response(),
    }
}

/// Serves at `socket`, which stays until the test ends.
fn serve(socket: &Path, script: &Script) {
    let listener = UnixListener::bind(socket).unwrap();
    let missing =
        || async { refuse(ErrorBody::new(ErrorCode::NotFound, "there is none").with_hint("look")) };
    let app = Router::new()
        .route(paths::HELLO, post(hello))
        .route(paths::STOP, post(stop))
        .route(paths::DELEGATIONS, get(list))
        .route(paths::DELEGATION_FOLLOW, get(follow))
        .route(paths::DELEGATION, get(missing))
        .with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
}

/// A program that stands for the daemon's: a shell script.
fn program(home: &Home, text: &str) -> PathBuf {
    let path = home.root.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn start(home: &Home, text: &str) -> Result<Client, ClientError> {
    let connector = Connector::new(home.dirs.clone(), StartPolicy::IfNeeded);
    connector.program(program(home, text)).connect().await
}

/// The script of a program that puts the prepared socket in place and says `line`.
fn takes_over(home: &Home, line: &Handshake) -> String {
    let (from, to) = (home.root.join("prepared"), home.dirs.socket());
    format!(
        "echo $* >> {}; mv {} {}; echo '{line}'",
        home.root.join("args").display(),
        from.display(),
        to.display()
    )
}

#[tokio::test]
async fn a_running_daemon_is_greeted_with_our_data_home() {
    let home = home();
    let script = script(PROTOCOL);
    serve(&home.dirs.socket(), &script);
    let client = Client::connect(&home.dirs, StartPolicy::Never)
        .await
        .unwrap();
    assert_eq!(client.welcome().unwrap().version, "9.9.9");
    let heard = script.heard.lock().unwrap().clone();
    assert_eq!(heard, [format!("hello {}", home.dirs.data.display())]);
    script.end();
}

#[tokio::test]
async fn without_a_daemon_and_leave_to_start_one_it_is_not_running() {
    let home = home();
    let error = Client::connect(&home.dirs, StartPolicy::Never)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    // A socket that a killed daemon left behind is no daemon either.
    drop(UnixListener::bind(home.dirs.socket()).unwrap());
    let error = Client::connect(&home.dirs, StartPolicy::Never)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("brigade daemon start"));
}

#[tokio::test]
async fn a_missing_daemon_is_started_and_used_once_it_is_ready() {
    let home = home();
    let script = script(PROTOCOL);
    serve(&home.root.join("prepared"), &script);
    let ready = Handshake::Ready {
        socket: home.dirs.socket(),
    };
    start(&home, &takes_over(&home, &ready)).await.unwrap();
    let args = std::fs::read_to_string(home.root.join("args")).unwrap();
    assert_eq!(args, "daemon run --detached\n");
    script.end();
}

#[tokio::test]
async fn the_loser_of_a_race_uses_the_winner() {
    let home = home();
    let script = script(PROTOCOL);
    serve(&home.root.join("prepared"), &script);
    start(&home, &takes_over(&home, &Handshake::AlreadyRunning))
        .await
        .unwrap();
    script.end();
}

#[tokio::test]
async fn a_daemon_that_can_not_start_says_why_through_the_client() {
    let home = home();
    let failed = Handshake::Failed {
        message: "the store is newer".into(),
        hint: Some("update".into()),
    };
    let error = start(&home, &format!("echo '{failed}'; exit 1"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Brigade's daemon could not be started: the store is newer"
    );
    assert_eq!(error.hint().as_deref(), Some("update"));

    let error = start(&home, "echo dead >&2; exit 3")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("without a word") && error.contains("daemon.stderr"),
        "{error}"
    );
    let said = std::fs::read_to_string(home.dirs.logs().join("daemon.stderr")).unwrap();
    assert_eq!(said, "dead\n");

    let error = start(&home, "echo hello").await.unwrap_err().to_string();
    assert!(error.contains("no daemon's first line"), "{error}");
}

#[tokio::test]
async fn an_older_daemon_is_replaced_after_its_end() {
    let home = home();
    let (mut old, new) = (script(PROTOCOL - 1), script(PROTOCOL));
    // The old daemon takes its socket away when it goes.
    old.leaves = Some(home.dirs.socket());
    serve(&home.dirs.socket(), &old);
    serve(&home.root.join("prepared"), &new);
    let ready = Handshake::Ready {
        socket: home.dirs.socket(),
    };
    let client = start(&home, &takes_over(&home, &ready)).await.unwrap();
    assert_eq!(client.welcome().unwrap().protocol, PROTOCOL);
    assert_eq!(old.heard.lock().unwrap()[1..], ["stop upgrade"]);
    assert!(
        old.process.lock().unwrap().is_none(),
        "its end was waited for"
    );
    new.end();
}

#[tokio::test]
async fn a_program_that_is_as_old_is_not_started_over_and_over() {
    let home = home();
    let old = script(PROTOCOL - 1);
    serve(&home.dirs.socket(), &old);
    let error = start(&home, "exit 1").await.unwrap_err();
    assert!(
        matches!(error, ClientError::DaemonTooOld { .. }),
        "{error:?}"
    );
    let heard = old.heard.lock().unwrap().clone();
    assert_eq!(
        heard.iter().filter(|line| line.starts_with("stop")).count(),
        1
    );
}

#[tokio::test]
async fn an_older_daemon_stays_without_leave_to_start() {
    let home = home();
    let script = script(PROTOCOL - 1);
    serve(&home.dirs.socket(), &script);
    let error = Client::connect(&home.dirs, StartPolicy::Never)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::DaemonTooOld { .. }),
        "{error:?}"
    );
    assert_eq!(
        script.heard.lock().unwrap().len(),
        1,
        "it was not asked to stop"
    );
    script.end();
}

#[tokio::test]
async fn a_newer_daemon_is_left_alone() {
    let home = home();
    let script = script(PROTOCOL + 1);
    serve(&home.dirs.socket(), &script);
    let error = Client::connect(&home.dirs, StartPolicy::IfNeeded)
        .await
        .unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("update this brigade to version 9.9.9"),
        "{error:?}"
    );
    assert_eq!(
        script.heard.lock().unwrap().len(),
        1,
        "it was not asked to stop"
    );
    script.end();
}

#[tokio::test]
async fn another_data_home_is_refused_by_name() {
    let home = home();
    let mut script = script(PROTOCOL);
    script.hello = Err(ErrorBody::new(
        ErrorCode::OtherDataHome,
        "this daemon serves /other",
    ));
    serve(&home.dirs.socket(), &script);
    let error = Client::connect(&home.dirs, StartPolicy::IfNeeded)
        .await
        .unwrap_err();
    let ClientError::Api(body) = error else {
        panic!("{error:?}")
    };
    assert_eq!(body.code, ErrorCode::OtherDataHome);
    script.end();
}

#[tokio::test]
async fn answers_errors_and_streams_are_understood() {
    let home = home();
    let script = script(PROTOCOL);
    serve(&home.dirs.socket(), &script);
    let client = Client::connect(&home.dirs, StartPolicy::Never)
        .await
        .unwrap();

    let query = ListQuery {
        directory: Some("/a b".into()),
        state: Some("running".parse().unwrap()),
        ..ListQuery::default()
    };
    assert_eq!(client.list(&query).await.unwrap().more, 3);
    let error = client.list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    let error = client
        .show("brave-amber-otter", &Scope::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint().as_deref()),
        ("there is none", Some("look"))
    );

    let events: Vec<_> = client
        .follow("brave", &Scope::default())
        .await
        .unwrap()
        .collect()
        .await;
    let texts: Vec<_> = events
        .into_iter()
        .map(|event| match event.unwrap() {
            Follow::Reset { text } | Follow::More { text } => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["a", "b"]);
    script.end();
}

/// A daemon that greets, and goes at the first request after that.
async fn brief(socket: PathBuf, listener: UnixListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        if request.starts_with("POST /v1/hello") {
            let body = format!(r#"{{"protocol":{PROTOCOL},"version":"1","pid":1}}"#);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        } else if !request.is_empty() {
            std::fs::remove_file(&socket).unwrap();
            return;
        }
    }
}

#[tokio::test]
async fn a_question_to_a_daemon_that_goes_is_answered_by_the_next() {
    let home = home();
    let script = script(PROTOCOL);
    serve(&home.root.join("prepared"), &script);
    let socket = home.dirs.socket();
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(brief(socket.clone(), listener));
    let ready = Handshake::Ready { socket };
    let client = start(&home, &takes_over(&home, &ready)).await.unwrap();
    assert!(
        script.heard.lock().unwrap().is_empty(),
        "the first one greeted us"
    );
    let query = ListQuery {
        directory: Some("/a b".into()),
        state: Some("running".parse().unwrap()),
        ..ListQuery::default()
    };
    assert_eq!(client.list(&query).await.unwrap().more, 3);
    script.end();
}

#[tokio::test]
async fn an_order_that_may_have_been_heard_is_not_given_twice() {
    let home = home();
    let script = script(PROTOCOL);
    serve(&home.root.join("prepared"), &script);
    let socket = home.dirs.socket();
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(brief(socket.clone(), listener));
    let ready = Handshake::Ready { socket };
    let client = start(&home, &takes_over(&home, &ready)).await.unwrap();
    let error = client.cancel(&Cancel::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
    assert!(
        !home.root.join("args").exists(),
        "no other daemon was started"
    );
    script.end();
}

/// Makes the socket that it is given as its standard input listen, and ends: what connects there is told of a process
/// that is gone, as with a daemon of many threads that is being killed.
#[test]
#[ignore = "a process of another test"]
fn listens_and_ends() {
    rustix::net::listen(std::io::stdin(), 8).unwrap();
}

#[tokio::test]
async fn a_daemon_that_is_killed_as_it_is_greeted_gives_way_to_the_one_that_a_host_has_started() {
    let home = home();
    let script = script(PROTOCOL);
    let (socket, prepared) = (home.dirs.socket(), home.root.join("prepared"));
    serve(&prepared, &script);
    let dying = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&dying, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
    let listens = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "listens_and_ends"])
        .stdin(dying.try_clone().unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(listens.unwrap().success());
    let dying = StdListener::from(dying);
    let another = std::thread::spawn(move || {
        let looked = dying.accept().unwrap();
        let mut greeted = dying.accept().unwrap();
        drop(looked);
        greeted.0.read_exact(&mut [0]).unwrap();
        std::fs::rename(prepared, socket).unwrap();
    });
    let client = Client::connect(&home.dirs, StartPolicy::Never)
        .await
        .unwrap();
    assert_eq!(client.welcome().unwrap().version, "9.9.9");
    another.join().unwrap();
    script.end();
}
