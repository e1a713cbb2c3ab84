//! A home for the measured daemon, and the daemon in it as a real process.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_client::{Client, StartPolicy};
use brigade_os::paths::Dirs;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::failed;
use crate::error::{Error, Result, io};

/// Where it is measured, and what. All that was made is removed in the end, and no folder before: a file system that has
/// many files to remove is slow meanwhile.
pub(super) struct Place {
    folder: tempfile::TempDir,
    /// The measured program.
    pub(super) program: PathBuf,
    homes: Cell<u32>,
}

/// Folders that are nobody's.
pub(super) struct Home {
    folder: PathBuf,
    program: PathBuf,
}

/// `brigade daemon run`; killed when dropped.
pub(super) struct Daemon {
    pub(super) process: Child,
    /// From the start of the process to its word that it is ready.
    pub(super) took: Duration,
}

impl Place {
    pub(super) fn new(program: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("brigade-bench-")
            .tempdir()
            .map_err(io("make a temporary folder"))?;
        let program = program
            .canonicalize()
            .map_err(io(format!("find {}", program.display())))?;
        Ok(Self {
            folder,
            program,
            homes: Cell::new(0),
        })
    }

    /// A home with this configuration, and nothing else in it.
    pub(super) fn home(&self, config: &str) -> Result<Home> {
        let number = self.homes.get();
        self.homes.set(number + 1);
        let home = Home {
            folder: self.folder.path().join(number.to_string()),
            program: self.program.clone(),
        };
        for folder in ["project", "config/brigade"] {
            fs::create_dir_all(home.path(folder)).map_err(io(format!("make {folder}")))?;
        }
        let file = home.path("config/brigade/config.toml");
        fs::write(&file, config).map_err(io(format!("write {}", file.display())))?;
        Ok(home)
    }
}

impl Home {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The project's folder, as the daemon knows it.
    pub(super) fn project(&self) -> Result<String> {
        let project = self.path("project").canonicalize();
        let project = project.map_err(io("find the project"))?;
        Ok(project.to_string_lossy().into_owned())
    }

    fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("HOME", self.path("")),
            ("XDG_DATA_HOME", self.path("")),
            ("XDG_CONFIG_HOME", self.path("config")),
            ("BRIGADE_RUNTIME_DIR", self.path("run")),
        ]
    }

    /// A command of the measured program's in the project.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(self.path("project"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts the daemon, and waits until it is ready.
    pub(super) async fn daemon(&self) -> Result<Daemon> {
        let begun = Instant::now();
        let mut process = self
            .command(&["daemon", "run"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(io(format!("start {}", self.program.display())))?;
        let out = process.stdout.take();
        let out = out.ok_or_else(|| Error::Wrong("the daemon has no output".to_owned()))?;
        let line = BufReader::new(out).lines().next_line().await;
        let line = line.map_err(io("read what the daemon says"))?;
        let took = begun.elapsed();
        match line {
            Some(line) if line.contains("\"ready\"") => Ok(Daemon { process, took }),
            line => Err(Error::Wrong(format!("the daemon is not ready: {line:?}"))),
        }
    }

    pub(super) fn dirs(&self) -> Result<Dirs> {
        let variables = self.variables();
        let lookup = |name: &str| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, path)| path.clone().into_os_string())
        };
        Dirs::from_lookup(lookup, None, brigade_os::user_id()).map_err(failed)
    }

    pub(super) async fn client(&self) -> Result<Client> {
        Client::connect(&self.dirs()?, StartPolicy::Never)
            .await
            .map_err(failed)
    }
}

impl Daemon {
    pub(super) fn pid(&self) -> Result<u32> {
        let pid = self.process.id();
        pid.ok_or_else(|| Error::Wrong("the daemon has ended".to_owned()))
    }

    /// Kills it, and waits until it is gone.
    pub(super) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.map_err(io("kill the daemon"))
    }
}
