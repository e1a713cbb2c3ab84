//! What a crash has left, found by `doctor` and mended by `gc`: the real binary with its real daemon.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::{Home, Said};

const PROJECT: &str = "0123456789abcdef";

fn artifact(id: &str, status: &str, reason: &str, answer: &str) -> String {
    format!(
        "# Lock order\n\nTaken first.\n\n**ID:** {id}\n**Agent:** explore\n**Status:** {status}\n\
         **Session:** ses_child\n**Started:** 2026-01-02T03:04:05Z\n**Completed:** 2026-01-02T03:19:05Z\n\
         **Model:** lab/small\n**Tokens:** 1200 in, 34 out\n**Cost:** $0.0120\n**Duration:** 15m\n\
         **Attempts:** 1\n**Reason:** {reason}\n\n---\n\n{answer}"
    )
}

fn complete(id: &str) -> String {
    artifact(id, "complete", "answered", "All about walruses.\n")
}

impl Home {
    fn results(&self) -> PathBuf {
        self.path()
            .join(".local/share/opencode/delegations")
            .join(PROJECT)
    }

    fn put(&self, path: &str, text: &str) -> PathBuf {
        let path = self.results().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn report(&self, args: &[&str]) -> Value {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    fn checks(&self, name: &str) -> Vec<Value> {
        let said = self.run(&["doctor", "--json"]);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks
            .iter()
            .filter(|check| check["name"] == name)
            .cloned()
            .collect()
    }
}

/// Without the sizes of the store, which depend on the machine.
fn steady(said: &Said) -> String {
    let lines = said.out.lines().map(|line| {
        let line = match line.split_once("brigade.db: ") {
            Some((head, _)) => format!("{head}brigade.db: SIZE"),
            None => line.to_owned(),
        };
        let line = match line.split_once("search index merged; ") {
            Some((head, _)) => format!("{head}search index merged; SIZE"),
            None => line,
        };
        match line.split_once("; ") {
            Some((head, rest)) if rest.ends_with("freed.") => format!("{head}; SIZE freed."),
            _ => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn results_survive_the_loss_of_the_store() {
    let home = Home::new();
    home.put("ses_a/brave-amber-otter.md", &complete("brave-amber-otter"));
    let half =
        "> Partial text, not a finished answer: over its time limit of 15m.\n\nhalf a walrus";
    let half = artifact(
        "calm-red-fox",
        "timeout",
        "over its time limit of 15m",
        half,
    );
    home.put("ses_a/calm-red-fox.md", &half);
    home.put("ses_b/brave-amber-otter.md", &complete("brave-amber-otter"));
    home.put("ses_a/odd-blue-elk.md.part", "# Half");
    let empty = home.results().join("ses_c");
    fs::create_dir_all(&empty).unwrap();
    let old = SystemTime::now() - Duration::from_secs(3_600);
    File::open(&empty).unwrap().set_modified(old).unwrap();

    // Seen without a daemon, and none is started for it.
    let artifacts = home.checks("artifacts");
    assert_eq!(artifacts[0]["level"], "warn");
    assert!(
        artifacts[0]["message"]
            .as_str()
            .unwrap()
            .starts_with("3 artifacts without a record\n"),
        "{artifacts:?}"
    );
    assert_eq!(home.run(&["daemon", "status"]).code, 4);

    let plan = home.run(&["gc", "--dry-run"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    insta::assert_snapshot!("plan", steady(&plan));
    assert!(empty.exists());
    assert_eq!(
        home.report(&["list", "--all", "--json"])["delegations"],
        Value::Array(vec![]),
        "nothing was done"
    );
    assert_eq!(
        home.checks("artifacts"),
        artifacts,
        "with a daemon the same is seen"
    );

    let done = home.run(&["gc"]);
    assert_eq!(done.code, 0, "{done:?}");
    insta::assert_snapshot!("done", steady(&done));
    let listing = home.report(&["list", "--all", "--json"]);
    let rows = listing["delegations"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{rows:#?}");
    for row in rows {
        assert_eq!(row["unread"], true);
        assert_eq!(row["predecessor"], false);
        assert_eq!(row["title"], "Lock order");
    }
    let shown = home.report(&["show", "calm", "--all", "--json"]);
    assert_eq!(shown["state"], "timeout");
    assert_eq!(shown["reason"], "over its time limit of 15m");
    assert_eq!(shown["model"], "lab/small");
    assert_eq!(shown["notice"], "none");
    assert_eq!(shown["ran_ms"], 900_000);
    let read = home.run(&["read", "calm", "--all"]);
    assert_eq!(read.out.trim_end(), half, "the file is as it was");
    let hits = home.report(&["search", "walruses", "--all", "--json"]);
    assert_eq!(hits["hits"].as_array().unwrap().len(), 1);
    assert!(!empty.exists());

    // What a person has to decide is told until it is decided; all else is done.
    let again = home.report(&["gc", "--json"]);
    let kinds: Vec<_> = again["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            (
                finding["kind"].as_str().unwrap(),
                finding["fate"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("unfit_artifact", "left"),
            ("partial_file", "left"),
            ("store", "done")
        ]
    );
}

#[test]
fn a_deleted_artifact_is_written_anew_as_it_was_and_an_edited_one_is_left() {
    let home = Home::new();
    let half = "> Partial text, not a finished answer: stalled.\n\nhalf a walrus";
    let lost = home.put(
        "ses_a/calm-red-fox.md",
        &artifact("calm-red-fox", "error", "stalled", half),
    );
    let edited = home.put("ses_a/new-blue-elk.md", &complete("new-blue-elk"));
    assert_eq!(home.run(&["gc"]).code, 0);
    let before = fs::read_to_string(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    fs::write(&edited, "all rewritten").unwrap();
    // A daemon that has died takes nothing of it with it.
    home.kill_daemon();
    let socket = home.checks("socket");
    assert!(
        socket[0]["message"]
            .as_str()
            .unwrap()
            .contains("left from a daemon that has died"),
        "{socket:?}"
    );
    let records = home.checks("records");
    assert_eq!(records[0]["level"], "warn");
    assert!(
        records[0]["message"]
            .as_str()
            .unwrap()
            .contains("calm-red-fox"),
        "{records:?}"
    );
    let report = home.report(&["gc", "--json"]);
    let found = report["findings"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["kind"], "missing_artifact");
    assert_eq!(found[0]["fate"], "done");
    assert_eq!(fs::read_to_string(&lost).unwrap(), before);
    assert_eq!(fs::read_to_string(&edited).unwrap(), "all rewritten");
    assert!(home.checks("records").is_empty());
}

#[test]
fn what_can_not_be_mended_fails_and_says_why() {
    let home = Home::new();
    let path = home.put("ses_a/brave-amber-otter.md", &complete("brave-amber-otter"));
    assert_eq!(home.run(&["gc"]).code, 0);
    // A folder stands where the file should be written.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("x"), "").unwrap();
    let said = home.run(&["gc"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("FAIL  brave-amber-otter"), "{said:?}");
    assert!(said.out.contains("1 done, 1 failed"), "{said:?}");
    assert!(
        path.join("x").exists(),
        "what is in the way is nobody's to remove"
    );
}

/// A process with this in its environment besides what leads to the home's daemon.
#[cfg(target_os = "linux")]
fn lingering(home: &Home, env: &[(&str, &str)]) -> std::process::Child {
    std::process::Command::new("sleep")
        .arg("1000")
        .env_clear()
        .env("HOME", home.path())
        .envs(env.iter().copied())
        .spawn()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn what_dead_hosts_left_running_is_named_and_ended_only_on_request() {
    let home = Home::new();
    let mut host = std::process::Command::new("true").spawn().unwrap();
    host.wait().unwrap();
    let dead = host.id().to_string();
    let own = std::process::id().to_string();
    let mut left = lingering(
        &home,
        &[("BRIGADE_SESSION", "ses_1"), ("BRIGADE_HOST", &dead)],
    );
    let mut working = lingering(
        &home,
        &[("BRIGADE_SESSION", "ses_1"), ("BRIGADE_HOST", &own)],
    );
    let other = Home::new();
    let mut others = lingering(
        &other,
        &[("BRIGADE_SESSION", "ses_1"), ("BRIGADE_HOST", &dead)],
    );
    let mut server = lingering(&home, &[("BRIGADE_WORKER", "lost")]);
    // A shell inside a server carries the server's mark, too.
    let mut shell = lingering(
        &home,
        &[
            ("BRIGADE_WORKER", "gone"),
            ("BRIGADE_SESSION", "ses_1"),
            ("BRIGADE_HOST", &own),
        ],
    );

    let of = |report: &Value, kind: &str| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let findings = report["findings"].as_array().unwrap();
        findings
            .iter()
            .filter(|finding| finding["kind"] == kind)
            .map(|finding| (text(&finding["subject"]), text(&finding["fate"])))
            .collect()
    };
    let named = |child: &std::process::Child| format!("process {}", child.id());
    for name in ["processes", "servers"] {
        assert_eq!(home.checks(name).len(), 1, "{name}, without a daemon");
    }
    let told = &home.checks("processes")[0]["message"];
    let told = told.as_str().unwrap();
    assert!(
        told.contains(&named(&left)) && told.contains("sleep 1000"),
        "{told}"
    );
    let plan = home.report(&["gc", "--dry-run", "--json"]);
    assert_eq!(of(&plan, "process"), [(named(&left), "left".to_owned())]);
    assert_eq!(
        of(&plan, "server"),
        [(named(&server), "planned".to_owned())]
    );
    let done = home.report(&["gc", "--json"]);
    assert_eq!(of(&done, "process"), [(named(&left), "left".to_owned())]);
    assert_eq!(of(&done, "server"), [(named(&server), "done".to_owned())]);
    assert!(!server.wait().unwrap().success());
    let done = home.report(&["gc", "--processes", "--json"]);
    assert_eq!(of(&done, "process"), [(named(&left), "done".to_owned())]);
    assert!(!left.wait().unwrap().success());
    // Those of living hosts and of other daemons are nobody's to end.
    for child in [&mut working, &mut others, &mut shell] {
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
