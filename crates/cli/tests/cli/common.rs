//! A home of its own for the real binary: nothing of the person's environment gets in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use brigade_os::process::ProcessId;

/// A temporary home. Its daemon, if one runs, is stopped at the end.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a command has printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(home.path().join("project")).unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of lock and socket.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    /// `brigade` in this home's project.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
        command
            .args(args)
            .env_clear()
            .env("HOME", self.path())
            .env("TMPDIR", self.path())
            .env("BRIGADE_RUNTIME_DIR", self.runtime())
            .env("PATH", "/usr/bin:/bin")
            .env("TZ", "UTC")
            .current_dir(self.path().join("project"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.said(&self.command(args).output().unwrap())
    }

    /// What was said, with this home's path taken out.
    pub(crate) fn said(&self, output: &Output) -> Said {
        let home = self.path().to_str().unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .unwrap()
                .replace(home, "HOME")
        };
        Said {
            out: text(&output.stdout),
            err: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Kills the daemon, and waits until it is gone: its lock is free then. Says which process it was.
    pub(crate) fn kill_daemon(&self) -> u32 {
        let daemon = self.daemon();
        let process = ProcessId::of(daemon).unwrap();
        let pid = daemon.to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
        assert!(killed.success());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(process.wait_exit()).unwrap();
        daemon
    }

    /// The process that holds the daemon's lock.
    pub(crate) fn daemon(&self) -> u32 {
        let status = self.run(&["daemon", "status", "--json"]);
        assert_eq!(status.code, 0, "{status:?}");
        let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
        u32::try_from(status["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.runtime().join("daemon.sock").exists() {
            let _ = self.command(&["daemon", "stop"]).output();
        }
    }
}
