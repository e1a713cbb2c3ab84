//! Reading, listing and summing with a real daemon, of a store that another one has left.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::Arc;

use brigade_core::clock::Clock;
use brigade_core::delegation::{Access, Command, Delegation, Spec};
use brigade_core::id::ProjectId;
use brigade_store::{Along, Change, Progress, Registration, Store, StorePaths};
use jiff::Timestamp;

use crate::common::Home;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The store's places in this home.
fn paths(home: &Home) -> StorePaths {
    let data = home.path().join(".local/share");
    std::fs::create_dir_all(data.join("brigade")).unwrap();
    let artifacts = data.join("opencode/delegations");
    StorePaths {
        db: data.join("brigade/brigade.db"),
        predecessor: artifacts.clone(),
        artifacts,
    }
}

/// What is asked for in this home's project.
fn spec(home: &Home, id: &str, prompt: &str) -> Spec {
    let directory = home.path().join("project").canonicalize().unwrap();
    let directory = directory.to_str().unwrap().to_owned();
    Spec {
        id: id.parse().unwrap(),
        project: ProjectId::from_path(&directory),
        directory,
        parent: "ses_1".parse().unwrap(),
        root: "ses_1".parse().unwrap(),
        host: "nobody's".into(),
        origin: None,
        credentials: Vec::new(),
        caller: None,
        agent: "explore".into(),
        model: None,
        prompt: prompt.into(),
        ask_title: true,
        access: Access::default(),
        registered_at: Timestamp::now(),
        max_run_ms: None,
        stall_ms: None,
        max_attempts: 3,
        continues: None,
        retries: None,
        worktree: None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Leaves a delegation that was under way in a process which is gone, with a text so far.
pub(crate) fn leave_one_under_way(home: &Home, text: &str) {
    let (paths, now) = (paths(home), Timestamp::now());
    let spec = spec(home, "brave-amber-otter", "Look.");
    runtime().block_on(async {
        let store = Store::open(&paths, Arc::new(Wall)).unwrap();
        let Registration::New(row) = store.register(spec.clone(), now).await.unwrap() else {
            panic!("it is new");
        };
        let mut delegation = Delegation::new(spec);
        let start = Command::Start {
            // No system gives such a number to a process.
            runner: "2147483646:1".into(),
            own: false,
            confinement: None,
        };
        let events = delegation.apply(&start).unwrap().events;
        for event in &events {
            delegation.evolve(event, now);
        }
        let id = delegation.spec.id.clone();
        let attempt = delegation.attempt;
        let change = Change {
            id: id.clone(),
            expect_version: row.version,
            delegation,
            events,
            at: now,
            along: Along::default(),
        };
        store.commit(change).await.unwrap();
        let mut progress = Progress {
            tool_calls: 2,
            tokens_in: 1_000,
            tokens_out: 20,
            cost: 1.5,
            model: Some("lab/small".into()),
            ..Progress::default()
        };
        progress.tools.insert("grep".into(), 2);
        progress.refuse("bash (git push)".into(), now);
        let saved = store.save_progress(&id, attempt, progress, Some(text), 5_000);
        saved.await.unwrap();
        store.close().await;
    });
}

#[test]
fn a_text_is_followed_over_daemons_and_printed_once() {
    let home = Home::new();
    leave_one_under_way(&home, "So far so good.\n");
    let mut follower = home
        .command(&["read", "brave", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "So far so good.\n");
    let first = home.kill_daemon();
    // The follower has started another one, or this has.
    let said = home.run(&["list", "--state", "running"]);
    assert!(said.out.contains("brave-amber-otter"), "{said:?}");
    assert_ne!(home.daemon(), first);
    let said = home.run(&["cancel", "brave"]);
    assert_eq!(said.code, 0, "{said:?}");
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("So far so good."), "printed again: {rest}");
    let ended = follower.wait_with_output().unwrap();
    let said = home.said(&ended);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("(cancelled: "), "{said:?}");
    assert!(!said.err.contains("error:"), "{said:?}");
    // What had ended is all there at once.
    let said = home.run(&["read", "brave", "--follow"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("**ID:** brave-amber-otter"), "{said:?}");
    assert!(said.out.contains("So far so good."), "{said:?}");
}

#[test]
fn what_it_used_is_shown_listed_and_summed() {
    let home = Home::new();
    leave_one_under_way(&home, "");
    let json = |args: &[&str]| -> serde_json::Value {
        let said = home.run(args);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    };
    let shown = json(&["show", "brave", "--json"]);
    assert_eq!(
        shown["tools"],
        serde_json::json!([{"name": "grep", "calls": 2}])
    );
    assert_eq!(shown["refusals"][0]["what"], "bash (git push)");
    assert_eq!(shown["attempts"][0]["attempt"], 1);
    assert_eq!(shown["attempts"][0]["own_server"], false);
    let ids = |listing: &serde_json::Value| listing["delegations"].as_array().unwrap().len();
    for (args, found) in [
        (&["--state", "running,registered"][..], 1),
        (&["--state", "error", "--state", "timeout"], 0),
        (
            &["--agent", "explore", "--since", "1h", "--sort", "cost"],
            1,
        ),
        (&["--agent", "other"], 0),
        (&["--unread"], 0),
        (&["--offset", "1"], 0),
        (
            &["--session", "ses_1", "--sort", "duration", "--reverse"],
            1,
        ),
    ] {
        let mut all = vec!["list", "--json"];
        all.extend(args);
        assert_eq!(ids(&json(&all)), found, "{args:?}");
    }
    for by in ["day", "agent", "model", "session", "project"] {
        let stats = json(&["stats", "--by", by, "--json"]);
        assert_eq!(stats["total"]["cost"], 1.5, "{by}");
        assert_eq!(stats["rows"].as_array().unwrap().len(), 1, "{by}");
    }
    let stats = json(&["stats", "--by", "model", "--json"]);
    assert_eq!(stats["rows"][0]["key"], "lab/small");
    assert_eq!(stats["rows"][0]["active"], 1);
    let said = home.run(&["stats", "--plot", "--by", "agent"]);
    assert!(said.out.contains("explore  $1.50  █"), "{said:?}");
    assert_eq!(home.run(&["list", "--since", "yesterday"]).code, 2);
}

#[test]
fn a_screen_has_a_hundred_and_says_how_many_more_there_are() {
    let home = Home::new();
    runtime().block_on(async {
        let store = Store::open(&paths(&home), Arc::new(Wall)).unwrap();
        for n in 0..103_u8 {
            let letter = |n: u8| char::from(b'a' + n);
            let id = format!("brave-amber-{}{}", letter(n / 26), letter(n % 26));
            let spec = spec(&home, &id, &format!("Look at {n}."));
            let registered = store.register(spec, Timestamp::now()).await.unwrap();
            assert!(matches!(registered, Registration::New(_)), "{registered:?}");
        }
        store.close().await;
    });
    let rows = |said: &str| said.matches("brave-amber-").count();
    let said = home.run(&["list"]);
    assert_eq!((said.code, rows(&said.out)), (0, 100), "{said:?}");
    assert!(said.out.contains("3 more not shown"), "{said:?}");
    // Whoever asks for more is given it, and a program is not on a screen.
    let said = home.run(&["list", "--limit", "102"]);
    assert_eq!((said.code, rows(&said.out)), (0, 102), "{said:?}");
    let said = home.run(&["list", "--json"]);
    let listing: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(listing["delegations"].as_array().unwrap().len(), 103);
    assert_eq!(listing["more"], 0);
}
