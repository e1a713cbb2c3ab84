//! The configuration: the person's file, and over it a project's, which can only tighten.

mod duration;
mod file;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use brigade_core::permission::{AskPolicy, McpPolicy, RunMode};
use brigade_store::Wake;

use crate::hosts::lock;
use file::File;

/// The name of a project's file, at the directory the host was started in.
pub const PROJECT_FILE: &str = ".brigade.toml";

/// Why a configuration can't be used. Nothing was changed; the file is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file has a mistake.
    #[error("{}:{line}: {message}", .file.display())]
    Mistake {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The file can't be read.
    #[error("{}: could not be read: {message}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        message: String,
    },
}

/// `[limits]`: how much, how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many run at once, over all projects. Default 8. The person's file alone decides.
    pub concurrent: u32,
    /// How many may be queued and running together. Default 1,000.
    pub queue: usize,
    /// Running time of one delegation over all its attempts; none for no limit. Default 15 minutes.
    pub max_run: Option<Duration>,
    /// How long nothing may be heard of a run that runs no tool; none for no limit. Default 6 minutes: the
    /// host itself gives a silent provider up after 5.
    pub stall: Option<Duration>,
    /// How many attempts an interrupted delegation has. Default 3.
    pub attempts: u32,
    /// Longest prompt in characters. Default 100,000.
    pub prompt: usize,
    /// Up to how many characters a result stands in its notice. Default 4,000.
    pub inline_result: usize,
    /// Characters of one page of `delegation_read`, at most: what the host would cut goes to the next page.
    /// Default 30,000.
    pub page: usize,
}

/// `[notice]`: who hears of an end, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// After the last of a batch, after each, or never. Default all.
    pub wake: Wake,
    /// Whether the desktop shows what has ended out of sight. Default true.
    pub desktop: bool,
}

/// `[guard]`: what is kept from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Whether read-only agents are sent from `task` to `delegate`. Default true.
    pub task: bool,
    /// Which MCP tools a child keeps. Default as the agent's rules have them.
    pub mcp: McpPolicy,
}

/// `[budget]`: what may be used before new delegations are refused; none for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Budget {
    /// By the delegations of one root session, in US dollars as the host counts them.
    pub session_cost: Option<f64>,
    /// On one local day, over all projects, in US dollars.
    pub day_cost: Option<f64>,
    /// By the delegations of one root session, in tokens read and written.
    pub session_tokens: Option<u64>,
    /// On one local day, over all projects, in tokens.
    pub day_tokens: Option<u64>,
}

/// `[agent.NAME]`: what holds for one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentConfig {
    /// How it runs; none for what its own rules say.
    pub run: Option<RunMode>,
    /// Its time limit: none for the general one, some none for no limit.
    pub max_run: Option<Option<Duration>>,
    /// Whether it is asked to open with a title and a summary. Default true.
    pub title: Option<bool>,
}

/// `[daemon]`: the daemon itself. The person's file alone decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// After how long without work and hosts it goes; none for never. Default 30 minutes.
    pub idle_exit: Option<Duration>,
    /// What is logged: a level, or directives of `tracing`. Default info.
    pub log: String,
}

/// `[server]`: the servers of Brigade's own. The person's file alone decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether there are any. Without them what a host leaves behind waits for the next one. Default true.
    pub enabled: bool,
    /// How long one stays that nothing needs; none for as long as the daemon. One that has lost its daemon
    /// stays as long, 2 minutes where there is no limit. Default 2 minutes.
    pub linger: Option<Duration>,
    /// How many of them may be confined to a worktree each, at once. Default 3.
    pub confined: u32,
    /// Whether what only reads is confined there to change no project at all. Default false.
    pub confine_read_only: bool,
}

/// `[worktree]`: where write-capable agents work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worktree {
    /// Whether the kernel is to keep their writes inside, where it can. Default true. The person's file alone
    /// decides.
    pub confine: bool,
    /// What they may write to besides, such as the caches of package managers. The person's file alone decides.
    pub writable: Vec<PathBuf>,
    /// What becomes of shell commands that would ask a person. Default refuse.
    pub ask: AskPolicy,
    /// A command that is run in each new one before the agent begins, by `sh -c`; none for none.
    pub setup: Option<String>,
    /// Where that command stands: a project's runs only where the kernel confines it, or the person trusts it.
    pub setup_by: SetupBy,
    /// Whether a project's setup command may run without being confined. Default false. The person's file alone
    /// decides.
    pub trust_setup: bool,
    /// How long the setup command may take; none for no limit. Default 10 minutes.
    pub setup_time: Option<Duration>,
    /// How long the files of one stay once its delegation has ended; none for ever. What is in no patch stays
    /// anyway. Default 7 days.
    pub keep: Option<Duration>,
    /// How much all of them may take up on disk, in bytes, before no new one is made. Default 20 GB. The person's
    /// file alone decides.
    pub disk: u64,
    /// How much untracked content is copied into one, in bytes; with more, none is made. Default 500 MB.
    pub untracked: u64,
}

/// Who has written a setup command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetupBy {
    /// The person, in their own file.
    #[default]
    Person,
    /// Whoever has written the project's file.
    Project,
}

/// `[telemetry]`: traces. The person's file alone decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Where a collector of OpenTelemetry listens; none for no traces, unless the environment names one.
    pub endpoint: Option<String>,
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[limits]`.
    pub limits: Limits,
    /// `[notice]`.
    pub notice: Notice,
    /// `[guard]`.
    pub guard: Guard,
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[server]`.
    pub server: Server,
    /// `[worktree]`.
    pub worktree: Worktree,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// `[budget]`.
    pub budget: Budget,
    /// `[agent.NAME]`.
    pub agents: BTreeMap<String, AgentConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits {
                concurrent: 8,
                queue: 1_000,
                max_run: Some(Duration::from_mins(15)),
                stall: Some(Duration::from_mins(6)),
                attempts: 3,
                prompt: 100_000,
                inline_result: 4_000,
                page: 30_000,
            },
            notice: Notice {
                wake: Wake::All,
                desktop: true,
            },
            guard: Guard {
                task: true,
                mcp: McpPolicy::Agent,
            },
            daemon: Daemon {
                idle_exit: Some(Duration::from_mins(30)),
                log: "info".to_owned(),
            },
            server: Server {
                enabled: true,
                linger: Some(Duration::from_mins(2)),
                confined: 3,
                confine_read_only: false,
            },
            worktree: Worktree {
                confine: true,
                writable: Vec::new(),
                ask: AskPolicy::Refuse,
                setup: None,
                setup_by: SetupBy::Person,
                trust_setup: false,
                setup_time: Some(Duration::from_mins(10)),
                keep: Some(Duration::from_hours(7 * 24)),
                disk: 20_000_000_000,
                untracked: 500_000_000,
            },
            telemetry: Telemetry::default(),
            budget: Budget::default(),
            agents: BTreeMap::new(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Config {
    /// An agent's time limit in milliseconds; none for no limit.
    pub fn max_run_ms(&self, agent: &str) -> Option<u64> {
        self.agents
            .get(agent)
            .and_then(|agent| agent.max_run)
            .unwrap_or(self.limits.max_run)
            .map(millis)
    }

    /// How long nothing may be heard, in milliseconds; none for no limit.
    pub fn stall_ms(&self) -> Option<u64> {
        self.limits.stall.map(millis)
    }

    /// How an agent runs, where the configuration says so.
    pub fn run_mode(&self, agent: &str) -> Option<RunMode> {
        self.agents.get(agent).and_then(|agent| agent.run)
    }

    /// Whether an agent is asked for a title and a summary.
    pub fn asks_title(&self, agent: &str) -> bool {
        self.agents
            .get(agent)
            .and_then(|agent| agent.title)
            .unwrap_or(true)
    }
}

/// A file as it was read last.
#[derive(Debug, Clone)]
struct Cached {
    stamp: Option<(SystemTime, u64)>,
    result: Result<Arc<Config>, ConfigError>,
}

/// The person's configuration, and each project's over it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Configs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    user: Arc<Config>,
    projects: Mutex<HashMap<PathBuf, Cached>>,
}

impl Configs {
    /// Reads the person's file; one that is not there is an empty one.
    ///
    /// # Errors
    /// [`ConfigError`], naming file and line.
    pub fn load(user_file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let mut config = Config::default();
        if let Some(file) = read(user_file.as_ref())? {
            file.apply(&mut config);
        }
        Ok(Self(Arc::new(Inner {
            user: Arc::new(config),
            projects: Mutex::default(),
        })))
    }

    /// The person's configuration.
    pub fn user(&self) -> &Config {
        &self.0.user
    }

    /// What holds in a directory. Where the project's file has a mistake, the person's configuration
    /// holds and the mistake is logged; `delegate` refuses meanwhile.
    pub fn for_directory(&self, directory: &str) -> Arc<Config> {
        self.checked(directory).unwrap_or_else(|error| {
            tracing::warn!(%error, "a project's configuration is left out");
            Arc::clone(&self.0.user)
        })
    }

    /// What holds in a directory. The file is read anew when it has changed.
    ///
    /// # Errors
    /// [`ConfigError`] where the project's file has a mistake.
    pub fn checked(&self, directory: &str) -> Result<Arc<Config>, ConfigError> {
        let path = Path::new(directory).join(PROJECT_FILE);
        let stamp = std::fs::metadata(&path)
            .and_then(|meta| Ok((meta.modified()?, meta.len())))
            .ok();
        let mut projects = lock(&self.0.projects);
        if let Some(cached) = projects.get(&path)
            && cached.stamp == stamp
        {
            return cached.result.clone();
        }
        let result = read(&path).map(|file| match file {
            None => Arc::clone(&self.0.user),
            Some(file) => {
                let mut config = Config::clone(&self.0.user);
                file.tighten(&mut config);
                Arc::new(config)
            }
        });
        let cached = Cached {
            stamp,
            result: result.clone(),
        };
        projects.insert(path, cached);
        result
    }
}

/// The keys in a directory's project file that only the person's own file may set: they have no effect there.
///
/// # Errors
/// [`ConfigError`] where the file has a mistake.
pub fn left_out(directory: &Path) -> Result<Vec<&'static str>, ConfigError> {
    Ok(read(&directory.join(PROJECT_FILE))?.map_or_else(Vec::new, |file| file.left_out()))
}

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The text of a file. A project's is as trustworthy as the project: a link to a device or pipe would
/// never end, so only a regular file is read, and no more of it than a configuration can have.
fn text(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let refuse = |what: &str| Err(std::io::Error::other(what.to_owned()));
    if !std::fs::metadata(path)?.is_file() {
        return refuse("it is no regular file");
    }
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return refuse("it is larger than 1 MiB");
    }
    Ok(text)
}

fn read(path: &Path) -> Result<Option<File>, ConfigError> {
    let text = match text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(ConfigError::Unreadable {
                file: path.to_owned(),
                message: error.to_string(),
            });
        }
    };
    toml::from_str(&text)
        .map(Some)
        .map_err(|error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            ConfigError::Mistake {
                file: path.to_owned(),
                line: text[..offset.min(text.len())].matches('\n').count() + 1,
                message: error.message().to_owned(),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Configs, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Configs::load(&path)
    }

    #[test]
    fn a_file_that_is_not_there_leaves_the_defaults() {
        let configs = Configs::load("/nonexistent/config.toml").unwrap();
        assert_eq!(configs.user(), &Config::default());
    }

    #[test]
    fn every_key_is_heard() {
        let configs = load(
            r#"
            [limits]
            concurrent = 2
            queue = 10
            max_run = "90s"
            stall = "0"
            attempts = 5
            prompt = 100
            inline_result = 50
            page = 1000
            [notice]
            wake = "each"
            [guard]
            task = false
            mcp = "named"
            [daemon]
            idle_exit = "0"
            log = "debug"
            [server]
            enabled = false
            linger = "1m"
            confined = 1
            confine_read_only = true
            [telemetry]
            endpoint = "http://127.0.0.1:4318/"
            [budget]
            session_cost = 5
            day_cost = 20.5
            session_tokens = 1000000
            day_tokens = 9000000
            [agent.explore]
            run = "refuse"
            max_run = "1h30m"
            title = false
            "#,
        )
        .unwrap();
        let config = configs.user();
        assert_eq!(config.limits.concurrent, 2);
        assert_eq!(config.limits.max_run, Some(Duration::from_secs(90)));
        assert_eq!(config.limits.stall, None);
        assert_eq!(config.notice.wake, Wake::Each);
        assert_eq!(config.guard.mcp, McpPolicy::Named);
        assert_eq!(config.daemon.idle_exit, None);
        assert!(!config.server.enabled);
        assert_eq!(
            config.telemetry.endpoint.as_deref(),
            Some("http://127.0.0.1:4318")
        );
        assert_eq!(config.server.linger, Some(Duration::from_mins(1)));
        assert_eq!(config.server.confined, 1);
        assert!(config.server.confine_read_only);
        let budget = Budget {
            session_cost: Some(5.0),
            day_cost: Some(20.5),
            session_tokens: Some(1_000_000),
            day_tokens: Some(9_000_000),
        };
        assert_eq!(config.budget, budget);
        assert_eq!(config.max_run_ms("explore"), Some(5_400_000));
        assert_eq!(config.max_run_ms("other"), Some(90_000));
        assert_eq!(config.run_mode("explore"), Some(RunMode::Refuse));
        assert!(!config.asks_title("explore"));
    }

    #[test]
    fn a_mistake_names_file_and_line() {
        let error = load("[limits]\nconcurrent = 2\nconcurent = 3\n").unwrap_err();
        let ConfigError::Mistake {
            line,
            message,
            file,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*line, file.ends_with("config.toml")), (3, true));
        assert!(message.contains("concurent"), "{message}");
        let error = load("[limits]\nqueue = 5\nconcurrent = 0\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.ends_with("config.toml:3: 0 is too small: a number from 1 on is needed"),
            "{text}"
        );
        for bad in [
            "[limits]\nconcurrent = -1\n",
            "[limits]\nconcurrent = 99999999999\n",
            "[limits]\nmax_run = 15\n",
            "[limits]\nmax_run = \"15 parsecs\"\n",
            "[limits]\nconcurrent = 0\n",
            "[notice]\nwake = \"sometimes\"\n",
            "[surprise]\n",
            "[daemon]\nlog = \"verbose\"\n",
            "[telemetry]\nendpoint = \"127.0.0.1:4318\"\n",
            "[budget]\nday_cost = 0\n",
            "[budget]\nday_cost = nan\n",
            "[budget]\nday_cost = \"5\"\n",
            "[budget]\nsession_tokens = 0\n",
        ] {
            assert!(load(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_projects_file_that_never_ends_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().to_str().unwrap();
        let configs = Configs::load("/nonexistent/config.toml").unwrap();
        let project = dir.path().join(PROJECT_FILE);
        std::os::unix::fs::symlink("/dev/zero", &project).unwrap();
        assert!(configs.checked(directory).is_err());
        std::fs::remove_file(&project).unwrap();
        std::fs::write(&project, "#".repeat(2 << 20)).unwrap();
        let error = configs.checked(directory).unwrap_err();
        assert!(error.to_string().contains("1 MiB"), "{error}");
        std::fs::remove_file(&project).unwrap();
        assert_eq!(configs.checked(directory).unwrap().as_ref(), configs.user());
    }

    #[test]
    fn a_project_can_only_tighten() {
        let dir = tempfile::tempdir().unwrap();
        let user = dir.path().join("config.toml");
        std::fs::write(
            &user,
            "[limits]\nmax_run = \"10m\"\n[budget]\nday_cost = 2.0\nsession_tokens = 5\n[guard]\nmcp = \"named\"\n[agent.a]\nrun = \"refuse\"\n",
        )
        .unwrap();
        let project = dir.path().join(PROJECT_FILE);
        std::fs::write(
            &project,
            "[telemetry]\nendpoint = \"http://evil.example:1\"\n[limits]\nconcurrent = 99\nmax_run = \"0\"\nattempts = 1\n[budget]\nday_cost = 9.0\nsession_tokens = 4\nday_tokens = 7\n[guard]\nmcp = \"agent\"\n\
             [agent.a]\nrun = \"read-only\"\n[agent.b]\nrun = \"read-only\"\n[agent.c]\nrun = \"refuse\"\n",
        )
        .unwrap();
        let configs = Configs::load(&user).unwrap();
        let directory = dir.path().to_str().unwrap();
        let config = configs.checked(directory).unwrap();
        assert_eq!(
            left_out(dir.path()).unwrap(),
            ["[limits] concurrent", "[telemetry] endpoint"]
        );
        assert_eq!(config.telemetry.endpoint, None);
        assert_eq!(config.limits.concurrent, 8);
        assert_eq!(config.limits.max_run, Some(Duration::from_mins(10)));
        assert_eq!(config.limits.attempts, 1);
        let budget = Budget {
            session_cost: None,
            day_cost: Some(2.0),
            session_tokens: Some(4),
            day_tokens: Some(7),
        };
        assert_eq!(config.budget, budget);
        assert_eq!(config.guard.mcp, McpPolicy::Named);
        assert_eq!(config.run_mode("a"), Some(RunMode::Refuse));
        // To read is the least that its own rules give.
        assert_eq!(config.run_mode("b"), Some(RunMode::ReadOnly));
        assert_eq!(config.run_mode("c"), Some(RunMode::Refuse));

        std::fs::write(&project, "nonsense = 1\n").unwrap();
        assert!(configs.checked(directory).is_err());
        assert_eq!(configs.for_directory(directory).as_ref(), configs.user());
    }
}
