//! The real binary with its real daemon.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::common::Home;

#[test]
fn ten_at_once_start_one_daemon() {
    let home = Home::new();
    let start = |_| {
        let mut command = home.command(&["daemon", "start"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..10).map(start).collect();
    let said: BTreeSet<_> = children
        .into_iter()
        .map(|child| home.said(&child.wait_with_output().unwrap()))
        .map(|said| {
            assert_eq!(said.code, 0, "{said:?}");
            said.out
        })
        .collect();
    assert_eq!(said.len(), 1, "each names the same process: {said:?}");
    assert!(
        said.first()
            .unwrap()
            .contains(&format!("process {})", home.daemon()))
    );

    let said = home.run(&["daemon", "stop"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(home.run(&["daemon", "status"]).code, 4);
    assert!(!home.runtime().join("daemon.sock").exists());
}

#[test]
fn a_command_starts_the_daemon_it_needs() {
    let home = Home::new();
    let said = home.run(&["list"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        said.out,
        "No delegations in this project (brigade list --all looks in all).\n"
    );
    let said = home.run(&["list", "--all", "--json"]);
    let listing: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(listing, serde_json::json!({"delegations": [], "more": 0}));
    assert_eq!(
        home.run(&["search", "tokens"]).out,
        "Nothing found in this project (--all searches all).\n"
    );
    assert_eq!(
        home.run(&["cancel", "--all"]).out,
        "Nothing is active there.\n"
    );
    let socket = std::fs::metadata(home.runtime().join("daemon.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn exit_codes_tell_failures_apart() {
    let home = Home::new();
    for command in ["show", "read"] {
        let said = home.run(&[command, "brave-amber-otter"]);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains("hint:"), "{said:?}");
        let long = "a".repeat(10_000);
        for id in ["../../x", "a/b", "a b", "..", &long] {
            assert_eq!(home.run(&[command, id]).code, 2, "{id}");
        }
    }
    assert_eq!(home.run(&["cancel", "brave-amber-otter"]).code, 3);
    let both = home.run(&["cancel", "brave-amber-otter", "calm-red-fox"]);
    assert_eq!(both.code, 3, "{both:?}");
    for id in ["brave-amber-otter", "calm-red-fox"] {
        assert!(both.err.contains(id), "each is named: {both:?}");
    }
    assert_eq!(home.run(&["read", "--follow", "brave-amber-otter"]).code, 3);
}

#[test]
fn another_data_home_is_refused_by_name() {
    let home = Home::new();
    home.run(&["daemon", "start"]);
    let mut command = home.command(&["list"]);
    let other = home.path().join("other");
    let said = home.said(&command.env("BRIGADE_DATA_DIR", &other).output().unwrap());
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("HOME/.local/share/brigade"), "{said:?}");
    assert!(said.err.contains("HOME/other"), "{said:?}");
}

#[test]
fn a_killed_daemon_is_replaced() {
    let home = Home::new();
    home.run(&["daemon", "start"]);
    let first = home.kill_daemon();
    assert!(
        home.runtime().join("daemon.sock").exists(),
        "it had no chance to clean up"
    );
    assert_eq!(home.run(&["list"]).code, 0);
    assert_ne!(home.daemon(), first);
}

#[test]
fn a_daemon_that_can_not_start_says_why_and_how_to_mend_it() {
    let home = Home::new();
    let config = home.path().join(".config/brigade");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("config.toml"), "[limits]\nconcurent = 3\n").unwrap();
    let said = home.run(&["daemon", "start"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(
        said.err.contains("HOME/.config/brigade/config.toml:2"),
        "{said:?}"
    );

    let said = home.run(&["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("FAIL  config"), "{said:?}");

    std::fs::remove_file(config.join("config.toml")).unwrap();
    std::fs::create_dir_all(home.path().join(".local/share/brigade")).unwrap();
    std::fs::write(
        home.path().join(".local/share/brigade/brigade.db"),
        "this is no database at all",
    )
    .unwrap();
    let said = home.run(&["daemon", "start"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("brigade.db"), "{said:?}");
    let kept =
        std::fs::read_to_string(home.path().join(".local/share/brigade/brigade.db")).unwrap();
    assert_eq!(kept, "this is no database at all", "nothing is reset");
}

#[test]
fn the_doctor_looks_at_all_of_it() {
    let home = Home::new();
    let said = home.run(&["doctor", "--json"]);
    assert_eq!(said.code, 1, "the bridge is not installed: {said:?}");
    home.run(&["install", "opencode"]);
    home.run(&["daemon", "start"]);
    let said = home.run(&["doctor", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let names: Vec<_> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "binary",
            "config",
            "data",
            "store",
            "socket",
            "daemon",
            "opencode",
            "bridge",
            "panel",
            "desktop",
            "worktrees",
            "host",
            "leftovers"
        ]
    );
    for check in report["checks"].as_array().unwrap() {
        let expected = if check["name"] == "opencode" {
            "warn"
        } else {
            "ok"
        };
        assert_eq!(check["level"], expected, "{check}");
    }
}

#[test]
fn a_daemon_in_the_foreground_tells_its_reader_and_heeds_signals() {
    use std::io::{BufRead, BufReader};
    let home = Home::new();
    let mut child = home
        .command(&["daemon", "run"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["daemon"], "ready");
    assert_eq!(home.daemon(), child.id());
    let second = home.run(&["daemon", "run"]);
    assert_eq!(second.code, 5, "{second:?}");
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_store_from_a_newer_version_is_refused_and_left_as_it_is() {
    let home = Home::new();
    home.run(&["daemon", "start"]);
    home.run(&["daemon", "stop"]);
    let store = home.path().join(".local/share/brigade/brigade.db");
    let mut bytes = std::fs::read(&store).unwrap();
    // Where SQLite keeps `user_version`.
    bytes[60..64].copy_from_slice(&999_u32.to_be_bytes());
    std::fs::write(&store, &bytes).unwrap();
    let said = home.run(&["daemon", "start"]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("a newer Brigade wrote it"), "{said:?}");
    assert!(said.err.contains("left untouched"), "{said:?}");
    assert!(std::fs::read(&store).unwrap() == bytes, "it was changed");
    let said = home.run(&["doctor"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("FAIL  store"), "{said:?}");
}

#[test]
fn a_home_on_a_path_longer_than_a_socket_name_may_be_is_served() {
    let home = Home::new();
    let long = home.path().join("a-long-way-down".repeat(10)).join("home");
    std::fs::create_dir_all(long.join("project")).unwrap();
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command
            .env("HOME", &long)
            .env("BRIGADE_RUNTIME_DIR", long.join("run"))
            .current_dir(long.join("project"));
        home.said(&command.output().unwrap())
    };
    let said = run(&["list"]);
    assert_eq!(said.code, 0, "{said:?}");
    let status = run(&["daemon", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    let socket = status["socket"].as_str().unwrap();
    assert!(socket.starts_with("HOME/brigade-"), "{socket}");
    let lock = run(&["daemon", "run"]);
    assert_eq!(lock.code, 5, "it is the only one: {lock:?}");
    assert_eq!(run(&["doctor"]).code, 1, "only the bridge is missing");
    assert_eq!(run(&["daemon", "stop"]).code, 0);
}

#[test]
fn what_a_killed_daemon_left_is_in_nobodys_way() {
    let home = Home::new();
    home.run(&["daemon", "start"]);
    let killed = home.kill_daemon();
    // One more that died between making its socket and moving it into place, and one that wrote a log.
    let fresh = home.runtime().join("daemon.new");
    drop(std::os::unix::net::UnixListener::bind(&fresh).unwrap());
    let said = home.run(&["doctor"]);
    assert!(
        said.out.contains("is left from a daemon that has died"),
        "{said:?}"
    );
    assert_eq!(home.run(&["list"]).code, 0);
    assert_ne!(home.daemon(), killed);
    assert!(!fresh.exists());
}
