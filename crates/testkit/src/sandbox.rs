//! A temporary world: a home, a project under git, a scripted model, and nothing of the machine's own.

mod files;

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use brigade_os::process::{End, marked};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use files::link;

use crate::finished::{Finished, finish};
use crate::model::ScriptedModel;
use crate::opencode::install::{self, Installed};
use crate::process::Exit;
use crate::{Error, Result};

/// What a sandbox is to hold.
#[derive(Debug, Default)]
pub struct SandboxBuilder {
    bridge: bool,
    brigade: Option<PathBuf>,
    env: Vec<(String, String)>,
    config: Vec<(String, Value)>,
}

impl SandboxBuilder {
    /// Puts the bridge of this checkout where OpenCode looks for it.
    #[must_use]
    pub fn bridge(mut self) -> Self {
        self.bridge = true;
        self
    }

    /// The `brigade` binary, if it is not the one that [`brigade_binary`] finds.
    #[must_use]
    pub fn brigade(mut self, binary: impl Into<PathBuf>) -> Self {
        self.brigade = Some(binary.into());
        self
    }

    /// Sets an environment variable for everything that is started in the sandbox.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a top-level key of `opencode.json`.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.config.push((key.to_owned(), value));
        self
    }

    /// Makes the sandbox, with OpenCode ready to start.
    ///
    /// # Errors
    /// When a file can't be written, or OpenCode is neither in the cache nor to be had.
    pub async fn build(self) -> Result<Sandbox> {
        let opencode = install::ensure().await?;
        // A short path: names of Unix sockets are limited to about 100 bytes.
        let root = tempfile::Builder::new()
            .prefix("bt-")
            .rand_bytes(6)
            .tempdir_in("/tmp")
            .map_err(Error::io("make a temporary folder"))?;
        // What the host reports are resolved paths; on macOS /tmp is a link.
        let path = root
            .path()
            .canonicalize()
            .map_err(Error::io("resolve the temporary folder"))?;
        let model = ScriptedModel::start().await?;
        let sandbox = Sandbox {
            brigade: self.brigade.or_else(brigade_binary),
            _root: root,
            path,
            model,
            opencode,
            env: self.env,
        };
        sandbox.lay_out(&self.config)?;
        if self.bridge {
            sandbox.install_bridge()?;
        }
        Ok(sandbox)
    }
}

/// A temporary world. When dropped, its daemon is stopped and its files are removed.
#[derive(Debug)]
pub struct Sandbox {
    _root: TempDir,
    path: PathBuf,
    model: ScriptedModel,
    opencode: Installed,
    brigade: Option<PathBuf>,
    env: Vec<(String, String)>,
}

impl Sandbox {
    /// A sandbox with OpenCode and the scripted model, without the bridge.
    ///
    /// # Errors
    /// As [`SandboxBuilder::build`].
    pub async fn new() -> Result<Self> {
        Self::builder().build().await
    }

    /// Says what the sandbox is to hold.
    #[must_use]
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// The model that everything in the sandbox talks to.
    #[must_use]
    pub fn model(&self) -> &ScriptedModel {
        &self.model
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The home folder.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.path.join("h")
    }

    /// The project, a git repository with one commit.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.path.join("p")
    }

    /// OpenCode's config folder.
    #[must_use]
    pub fn opencode_config(&self) -> PathBuf {
        self.home().join(".config/opencode")
    }

    /// Where artifacts are written.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.home().join(".local/share/opencode/delegations")
    }

    /// Brigade's config folder.
    #[must_use]
    pub fn brigade_config(&self) -> PathBuf {
        self.home().join(".config/brigade")
    }

    /// Brigade's data folder.
    #[must_use]
    pub fn brigade_data(&self) -> PathBuf {
        self.home().join(".local/share/brigade")
    }

    /// Brigade's runtime folder, with the socket in it.
    #[must_use]
    pub fn brigade_runtime(&self) -> PathBuf {
        self.path.join("r/brigade")
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.brigade_runtime().join("daemon.sock")
    }

    /// The program of OpenCode.
    #[must_use]
    pub fn opencode(&self) -> &Path {
        &self.opencode.program
    }

    /// The `brigade` binary.
    ///
    /// # Errors
    /// When there is none.
    pub fn brigade_program(&self) -> Result<&Path> {
        self.brigade.as_deref().ok_or_else(|| Error::Missing {
            program: "brigade",
            path: PathBuf::from("the target folder of this build"),
            hint: "build it with `cargo build -p brigade`, or set BRIGADE_BIN",
        })
    }

    /// The whole environment of whatever runs in the sandbox.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let home = self.home();
        let mut env: Vec<(OsString, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| env.push((name.into(), value));
        set("PATH", std::env::var_os("PATH").unwrap_or_default());
        set("HOME", home.clone().into());
        set("LANG", "C.UTF-8".into());
        set("TMPDIR", self.path.join("t").into());
        set("XDG_CONFIG_HOME", home.join(".config").into());
        set("XDG_DATA_HOME", home.join(".local/share").into());
        set("XDG_STATE_HOME", home.join(".local/state").into());
        set("XDG_CACHE_HOME", home.join(".cache").into());
        set("XDG_RUNTIME_DIR", self.path.join("r").into());
        set("OPENCODE_DISABLE_MODELS_FETCH", "1".into());
        set("OPENCODE_DISABLE_AUTOUPDATE", "1".into());
        set("BRIGADE_CONFIG_DIR", self.brigade_config().into());
        set("BRIGADE_DATA_DIR", self.brigade_data().into());
        set("BRIGADE_RUNTIME_DIR", self.brigade_runtime().into());
        if let Some(binary) = &self.brigade {
            set("BRIGADE_BIN", binary.clone().into());
        }
        for (name, value) in &self.env {
            set(name, value.into());
        }
        env
    }

    /// A command in the project with the sandbox's environment and no other.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.command_in(program, &self.project())
    }

    /// As [`Self::command`], in another folder.
    #[must_use]
    pub fn command_in(&self, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        // The host follows `PWD` over its real working directory.
        command
            .env_clear()
            .envs(self.environment())
            .env("PWD", folder)
            .current_dir(folder);
        command
    }

    /// Runs `brigade` with these arguments to its end.
    ///
    /// # Errors
    /// When it can't be started or doesn't end within a minute.
    pub async fn brigade(&self, args: &[&str]) -> Result<Finished> {
        let mut command = self.command(self.brigade_program()?);
        command.args(args);
        finish(&format!("brigade {}", args.join(" ")), command).await
    }

    /// Runs git in the project.
    ///
    /// # Errors
    /// When it fails.
    pub async fn git(&self, args: &[&str]) -> Result<String> {
        let mut command = self.command("git");
        command.args(args);
        let done = finish("git", command).await?;
        if done.exit == Exit::Code(0) {
            return Ok(done.stdout);
        }
        Err(Error::Install {
            command: format!("git {}", args.join(" ")),
            output: done.stderr,
        })
    }

    /// The process ID of the sandbox's daemon, if one listens.
    #[must_use]
    pub fn daemon_pid(&self) -> Option<u32> {
        // The socket and not the lock tells whether it lives: a lock taken to look could turn away a
        // daemon that starts at this moment.
        UnixStream::connect(self.socket()).ok()?;
        self.locked_by()
    }

    /// The process ID in the daemon's lock file.
    fn locked_by(&self) -> Option<u32> {
        let text = fs::read_to_string(self.brigade_runtime().join("daemon.lock")).ok()?;
        text.trim().parse().ok()
    }

    /// Sends a signal to the sandbox's daemon; says whether there was one.
    pub fn signal_daemon(&self, signal: Signal) -> bool {
        self.daemon_pid().is_some_and(|pid| send(pid, signal))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Whatever the test left, nothing may outlive the folder that it works in: no daemon, no server of
        // the daemon's own, and none that these start in their last moments.
        let folder = self.brigade_data().display().to_string();
        loop {
            let mut left = marked("BRIGADE_DATA_DIR");
            left.retain(|process| process.value == folder);
            if left.is_empty() {
                break;
            }
            for process in left {
                // What can't be ended is looked for again.
                let _ = process.id.end(End::Kill);
            }
        }
        // Where processes show no environment there is the daemon's lock. One that can be taken is held by
        // nobody: the number in it is of the past, and may be another program's by now.
        let Ok(lock) = fs::File::open(self.brigade_runtime().join("daemon.lock")) else {
            return;
        };
        if lock.try_lock_shared().is_err()
            && let Some(pid) = self.locked_by()
        {
            send(pid, Signal::KILL);
        }
    }
}

fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// The `brigade` binary: `BRIGADE_BIN`, or the one of the build that the running program is of.
#[must_use]
pub fn brigade_binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("BRIGADE_BIN") {
        return Some(path.into());
    }
    let program = std::env::current_exe().ok()?;
    // Tests lie in `target/<profile>/deps`, programs a folder higher.
    program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("brigade"))
        .find(|path| path.is_file())
}
