//! What dies, and what is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use brigade_os::process::{ProcessId, marked};
use brigade_testkit::{Sandbox, Script};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::stage::{CONTINUED, Host, LIMIT, answer};

/// A sandbox whose daemons look for fail points in a folder of the test's.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    points: TempDir,
}

impl World {
    pub(crate) async fn new(config: &str) -> Self {
        let points = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::builder()
            .bridge()
            .brigade(env!("CARGO_BIN_EXE_brigade"))
            .env("BRIGADE_FAILPOINTS", points.path().to_str().unwrap())
            .build()
            .await
            .unwrap();
        sandbox.brigade_toml(config).unwrap();
        // Whoever is told to go on ends with the answer of its own.
        let goes_on = Script::saying(answer("{{topic}}"));
        sandbox.model().when(CONTINUED, goes_on);
        Self { sandbox, points }
    }

    /// The daemon, as soon as one runs: asked for, since no event tells; and not started by that.
    pub(crate) async fn daemon(&self) -> ProcessId {
        let began = Instant::now();
        loop {
            if let Some(daemon) = self.sandbox.daemon_pid().and_then(ProcessId::of) {
                return daemon;
            }
            assert!(began.elapsed() < LIMIT, "no daemon came");
            let status = self.sandbox.brigade(&["daemon", "status"]).await;
            status.unwrap();
        }
    }

    /// Kills the daemon as a crash would; the bridges start the next.
    pub(crate) async fn kill_daemon(&self) {
        let daemon = self.daemon().await;
        assert!(self.sandbox.signal_daemon(Signal::KILL), "no daemon");
        gone(daemon).await;
    }

    /// Kills OpenCode as a crash would: what it has started goes on.
    pub(crate) async fn kill_host(&self, host: &Host) {
        host.kill9().await.unwrap();
    }

    /// The servers of Brigade's own that live in this sandbox.
    pub(crate) fn servers(&self) -> Vec<ProcessId> {
        let home = self.sandbox.brigade_data();
        let ours: Vec<ProcessId> = marked("BRIGADE_DATA_DIR")
            .into_iter()
            .filter(|process| Path::new(&process.value) == home)
            .map(|process| process.id)
            .collect();
        let mut servers: Vec<ProcessId> = marked("BRIGADE_WORKER")
            .into_iter()
            .map(|process| process.id)
            .collect();
        servers.retain(|server| ours.contains(server));
        servers
    }

    /// What is delegated by a session, oldest first.
    pub(crate) async fn delegated(&self, parent: &str) -> Vec<String> {
        let listed = self.sandbox.brigade(&["list", "--all", "--json"]).await;
        let listed = listed.unwrap().json().unwrap();
        let rows = listed["delegations"].as_array().unwrap();
        let mut ids: Vec<String> = rows
            .iter()
            .filter(|row| row["session"] == parent)
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect();
        ids.reverse();
        ids
    }

    /// The daemons' logs and those of the servers, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        let folder = self.sandbox.brigade_data().join("logs");
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        files
            .filter_map(|file| {
                let text = fs::read_to_string(file.path()).ok()?;
                Some(format!("--- {}\n{text}", file.path().display()))
            })
            .collect()
    }

    /// Has the daemon die at the `nth` pass of a point from now on, once.
    pub(crate) async fn arm(&self, point: &str, nth: u32) -> Armed {
        let daemon = self.daemon().await;
        let file = self.points.path().join(point);
        let died = file.with_extension("died");
        if died.exists() {
            fs::remove_file(&died).unwrap();
        }
        fs::write(file, nth.to_string()).unwrap();
        Armed {
            point: format!("{point} {nth}"),
            daemon,
            died,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("BRIGADE_CHAOS_LOGS").is_some() {
            eprintln!("{}", self.logs());
        }
    }
}

/// A point at which the daemon is to die.
#[must_use]
pub(crate) struct Armed {
    point: String,
    daemon: ProcessId,
    died: PathBuf,
}

impl Armed {
    /// Waits until the daemon of then is dead; it was the point that killed it.
    pub(crate) async fn died(&self) {
        let exit = tokio::time::timeout(LIMIT, self.daemon.wait_exit()).await;
        assert!(exit.is_ok(), "the daemon did not come to {}", self.point);
        self.assert_reached();
    }

    /// Starts daemons until one has died at the point: one that comes to it at once can't be awaited by its process.
    pub(crate) async fn died_starting(&self, sandbox: &Sandbox) {
        let began = Instant::now();
        while !self.died.exists() {
            assert!(began.elapsed() < LIMIT, "nobody died at {}", self.point);
            // Its bridge may start it, too; the one that dies is told as one that could not be started.
            sandbox.brigade(&["daemon", "start"]).await.unwrap();
        }
    }

    /// Some daemon died at the point.
    pub(crate) fn assert_reached(&self) {
        assert!(self.died.exists(), "nobody died at {}", self.point);
    }
}

/// Waits until a process is gone.
pub(crate) async fn gone(process: ProcessId) {
    let exit = tokio::time::timeout(LIMIT, process.wait_exit()).await;
    exit.expect("a killed process ends").unwrap();
}

/// A prompt for a child that does as `script` says; whatever run of it ends, it is known what about.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a script is built in place and used up by this"
)]
pub(crate) fn task(name: &str, script: Script) -> String {
    format!("Look into {name}.\nTopic: {name}\n{script}")
}

/// A prompt for a child that hangs at a gate of its name and then answers.
pub(crate) fn hanging(name: &str) -> String {
    task(name, Script::new().gate(name).say(answer(name)))
}
