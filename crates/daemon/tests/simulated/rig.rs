//! A daemon that can be crashed and whose clock can be moved, with its places in a temporary folder.

use std::ffi::OsString;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use brigade_client::{Client, StartPolicy};
use brigade_core::delegation::Event;
use brigade_daemon::{Options, run};
use brigade_os::paths::Dirs;
use brigade_protocol::daemon::EventsQuery;
use brigade_protocol::delegations::{Details, Scope};
use brigade_store::{Store, StorePaths};
use brigade_testkit::FakeClock;
use brigade_testkit::simulated::{Faults, Helper, HostOptions, Role, SimulatedHost, World};
use futures::StreamExt;
use tempfile::TempDir;
use tokio::sync::Mutex;

/// The test that is the helpers'.
const HELPER: &str = "helper_process";
const CLOCK: &str = "BRIGADE_TEST_CLOCK";
const SEED: &str = "BRIGADE_TEST_SEED";
/// No servers of Brigade's own here: what cannot be started leaves the work to the hosts.
pub(crate) const NO_PROGRAM: &str = "/nonexistent/brigade";
/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// The daemon's life in a process of its own.
pub(crate) fn daemon() -> Result<(), Box<dyn std::error::Error>> {
    let number = |name: &str| std::env::var(name).unwrap_or_default().parse::<i64>();
    let clock = FakeClock::at(number(CLOCK)?);
    let dirs = Dirs::from_env()?;
    let mut options = Options::new(dirs, NO_PROGRAM.into(), [], |_| Role::ready().unwrap());
    options.clock = Arc::new(clock.clone());
    options.seed = number(SEED)?.unsigned_abs();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            clock.set(line.parse().unwrap());
        }
        // Whoever started this process is gone.
        std::process::abort();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    Ok(runtime.block_on(run(options))?)
}

/// The places of a test.
pub(crate) struct Rig {
    pub(crate) temp: TempDir,
    pub(crate) dirs: Dirs,
    pub(crate) world: Arc<World>,
    pub(crate) faults: Faults,
    pub(crate) clock: FakeClock,
    seed: u64,
    /// What the daemon is started by.
    by: Arc<Vec<OsString>>,
    daemon: Arc<Mutex<Option<Helper>>>,
}

/// Sends a signal to a process of this test's.
#[cfg(target_os = "linux")]
pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    if signal == Signal::STOP {
        // It is one of ours; until the system has told of its halt it may still do something.
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    }
}

pub(crate) fn dirs_in(folder: &Path) -> Dirs {
    let lookup = |name: &str| {
        let place = match name {
            "HOME" => "home",
            "BRIGADE_CONFIG_DIR" => "config",
            "BRIGADE_DATA_DIR" => "data",
            "BRIGADE_RUNTIME_DIR" => "run",
            "XDG_DATA_HOME" => "xdg",
            _ => return None,
        };
        Some(OsString::from(folder.join(place)))
    };
    Dirs::from_lookup(lookup, None, 0).unwrap()
}

impl Rig {
    /// A daemon with this configuration, started.
    pub(crate) async fn new(config: &str) -> Self {
        Self::seeded(config, 1).await
    }

    pub(crate) async fn seeded(config: &str, seed: u64) -> Self {
        Self::started_by(config, seed, |_, _| Vec::new()).await
    }

    /// A daemon that is started by another program; see [`Helper::start_by`].
    pub(crate) async fn started_by(
        config: &str,
        seed: u64,
        by: impl FnOnce(&Path, &Dirs) -> Vec<OsString>,
    ) -> Self {
        let temp = tempfile::Builder::new().prefix("bs").tempdir().unwrap();
        let dirs = dirs_in(temp.path());
        let project = temp.path().join("project");
        for folder in [&project, &dirs.config] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(dirs.config_file(), config).unwrap();
        let world = Arc::new(World::new(project));
        let rig = Self {
            clock: FakeClock::at(world.epoch()),
            faults: Faults::default(),
            daemon: Arc::default(),
            by: Arc::new(by(temp.path(), &dirs)),
            temp,
            dirs,
            world,
            seed,
        };
        rig.start().await;
        let restart = rig.restarter();
        rig.faults.on_crash(move || {
            let restart = restart.clone();
            tokio::spawn(async move { restart.crash().await });
        });
        rig
    }

    /// Where the daemon looks for a desktop; nothing is there unless a test puts it there.
    pub(crate) fn bus(&self) -> PathBuf {
        self.temp.path().join("bus")
    }

    fn restarter(&self) -> Restarter {
        let env = [
            ("HOME", self.dirs.home.clone().into()),
            ("BRIGADE_CONFIG_DIR", self.dirs.config.clone().into()),
            ("BRIGADE_DATA_DIR", self.dirs.data.clone().into()),
            ("BRIGADE_RUNTIME_DIR", self.dirs.runtime.clone().into()),
            ("XDG_DATA_HOME", self.temp.path().join("xdg").into()),
            (SEED, OsString::from(self.seed.to_string())),
            // The desktop of whoever runs this is left alone.
            (
                "DBUS_SESSION_BUS_ADDRESS",
                OsString::from(format!("unix:path={}", self.bus().display())),
            ),
        ];
        Restarter {
            env: Arc::new(env.into()),
            clock: self.clock.clone(),
            by: Arc::clone(&self.by),
            daemon: Arc::clone(&self.daemon),
        }
    }

    /// Starts the daemon.
    pub(crate) async fn start(&self) {
        self.restarter().start(&mut *self.daemon.lock().await).await;
    }

    /// Kills the daemon where it stands, and starts the next one.
    pub(crate) async fn crash(&self) {
        self.restarter().crash().await;
    }

    /// Kills the daemon where it stands.
    pub(crate) async fn kill(&self) {
        if let Some(mut daemon) = self.daemon.lock().await.take() {
            daemon.kill().await.unwrap();
        }
    }

    /// The daemon's process.
    pub(crate) async fn daemon_pid(&self) -> u32 {
        let daemon = self.daemon.lock().await;
        daemon.as_ref().and_then(Helper::pid).unwrap()
    }

    /// Waits until the daemon tells of such a trouble, and gives it.
    pub(crate) async fn trouble(&self, about: &str) -> String {
        let telling = async {
            loop {
                let troubles = self.client().await.status().await.unwrap().troubles;
                if let Some(found) = troubles.into_iter().find(|told| told.contains(about)) {
                    return found;
                }
                // The daemon tells its troubles only to who asks.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(LIMIT, telling).await {
            Ok(found) => found,
            Err(_) => panic!("no trouble with {about:?}\n{}", self.dump()),
        }
    }

    /// Waits until the daemon's log holds these words.
    pub(crate) async fn logged(&self, words: &str) {
        let path = self.inside(&self.dirs.logs()).join("daemon.log");
        let logging = async {
            while !std::fs::read_to_string(&path)
                .unwrap_or_default()
                .contains(words)
            {
                // Nothing tells that a file has grown.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, logging).await.is_ok();
        assert!(found, "{words:?} was not logged\n{}", self.dump());
    }

    /// Waits until the daemon has no trouble any more.
    pub(crate) async fn healthy(&self) {
        let healing = async {
            while !self
                .client()
                .await
                .status()
                .await
                .unwrap()
                .troubles
                .is_empty()
            {
                // As above.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let healed = tokio::time::timeout(LIMIT, healing).await.is_ok();
        assert!(healed, "a trouble stays\n{}", self.dump());
    }

    /// Shows the daemon another time, in milliseconds since 1970.
    pub(crate) async fn set_clock(&self, ms: i64) {
        self.clock.set(ms);
        if let Some(daemon) = self.daemon.lock().await.as_mut() {
            daemon.tell(&ms.to_string()).await.unwrap();
        }
    }

    /// A host's process with its bridge.
    pub(crate) async fn host(&self, name: &str) -> SimulatedHost {
        self.host_in(name, "tui").await
    }

    pub(crate) async fn host_in(&self, name: &str, mode: &str) -> SimulatedHost {
        let options = HostOptions {
            name,
            mode,
            test: HELPER,
            dirs: &self.dirs,
            folder: self.temp.path(),
            faults: self.faults.clone(),
        };
        SimulatedHost::start(&self.world, options).await.unwrap()
    }

    /// A client of the daemon that runs now; one that is being restarted is waited for.
    pub(crate) async fn client(&self) -> Client {
        let connecting = async {
            loop {
                match Client::connect(&self.dirs, StartPolicy::Never).await {
                    Ok(client) => return client,
                    // Nothing tells when the socket is there again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(LIMIT, connecting).await.unwrap()
    }

    /// Waits until all of these have ended, whatever becomes of the daemon meanwhile.
    pub(crate) async fn ended(&self, ids: &[String]) {
        let mut open: Vec<&String> = ids.iter().collect();
        let mut query = EventsQuery { after: 0 };
        let waiting = async {
            while !open.is_empty() {
                let Ok(mut events) = self.client().await.events(&query).await else {
                    continue;
                };
                while let Some(Ok(logged)) = events.next().await {
                    query.after = logged.seq;
                    if matches!(logged.event, Event::Ended { .. }) {
                        open.retain(|id| id.as_str() != logged.delegation.as_str());
                    }
                    if open.is_empty() {
                        break;
                    }
                }
            }
        };
        let in_time = tokio::time::timeout(LIMIT, waiting).await.is_ok();
        assert!(in_time, "{open:?} did not end\n{}", self.dump());
    }

    pub(crate) async fn show(&self, id: &str) -> Details {
        self.client()
            .await
            .show(id, &Scope::default())
            .await
            .unwrap()
    }

    /// A path as the daemon sees it, which may have file systems of its own.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        let pid = self.daemon.try_lock().ok();
        let pid = pid.and_then(|daemon| daemon.as_ref().and_then(Helper::pid));
        match pid {
            Some(pid) if !self.by.is_empty() => {
                let inside = path.strip_prefix("/").unwrap_or(path);
                Path::new(&format!("/proc/{pid}/root")).join(inside)
            }
            _ => path.to_owned(),
        }
    }

    /// The store, read beside the daemon.
    pub(crate) fn store(&self) -> Store {
        let paths = StorePaths {
            db: self.dirs.store(),
            artifacts: self.dirs.opencode_data.join("delegations"),
            predecessor: self.dirs.home.join("none"),
        };
        Store::open(&paths, Arc::new(self.clock.clone())).unwrap()
    }

    /// Waits until no notice and no waking is open any more: nothing will be sent by itself after that.
    pub(crate) async fn settled(&self) {
        let store = self.store();
        let settling = async {
            while !store.parents_with_pending().await.unwrap().is_empty() {
                // The daemon tells nobody what becomes of a notice.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(LIMIT, settling).await.is_err() {
            let status = self.client().await.status().await;
            let troubles = status.map(|status| status.troubles);
            let mut open = String::new();
            for parent in store.parents_with_pending().await.unwrap() {
                let (notices, wakes) = store.outbox(&parent).await.unwrap();
                open.push_str(&format!("{parent}: {notices:?} {wakes:?}\n"));
            }
            panic!("notices stay open: {open} {troubles:?}\n{}", self.dump());
        }
        store.close().await;
    }

    /// Waits until a delegation's notice has become this.
    pub(crate) async fn notice_becomes(&self, id: &str, state: &str) {
        let becoming = async {
            while self.show(id).await.notice != state {
                // The daemon tells nobody what becomes of a notice.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, becoming).await.is_ok();
        assert!(in_time, "{id} is not {state}\n{}", self.dump());
    }

    /// Everything there is to read about a failure.
    pub(crate) fn dump(&self) -> String {
        let mut all = self.world.read(brigade_testkit::simulated::State::dump);
        for entry in std::fs::read_dir(self.inside(&self.dirs.logs()))
            .into_iter()
            .flatten()
            .flatten()
        {
            all.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default());
        }
        all
    }

    /// How many requests a session's model has had.
    pub(crate) fn requests(&self, session: &str) -> usize {
        self.world.read(|state| state.requests_of(session).len())
    }

    /// Waits until a session's messages hold the notice of each of these.
    pub(crate) async fn noticed(&self, session: &str, ids: &[String]) {
        let all = |state: &brigade_testkit::simulated::State| {
            ids.iter()
                .all(|id| state.notices(session, id) > 0)
                .then_some(())
        };
        self.until("the notices", all).await;
    }

    /// Waits until everything that was to go wrong does so.
    pub(crate) async fn faulted(&self) {
        if let Err(error) = self.faults.all_happen(LIMIT).await {
            panic!("{error}\n{}", self.dump());
        }
    }

    pub(crate) async fn until<T>(
        &self,
        what: &str,
        look: impl FnMut(&brigade_testkit::simulated::State) -> Option<T>,
    ) -> T {
        match self.world.until(what, look).await {
            Ok(found) => found,
            Err(error) => panic!("{error}\n{}", self.dump()),
        }
    }

    /// Waits until nothing is open, and asserts that a session has each notice once, and its model was asked so
    /// often.
    pub(crate) async fn assert_once(&self, session: &str, ids: &[String], requests: usize) {
        self.settled().await;
        for id in ids {
            let found = self.world.read(|state| state.notices(session, id));
            assert_eq!(found, 1, "notices of {id}\n{}", self.dump());
        }
        assert_eq!(self.requests(session), requests, "{}", self.dump());
    }
}

/// What it takes to start the daemon again.
#[derive(Clone)]
struct Restarter {
    env: Arc<Vec<(&'static str, OsString)>>,
    clock: FakeClock,
    by: Arc<Vec<OsString>>,
    daemon: Arc<Mutex<Option<Helper>>>,
}

impl Restarter {
    async fn start(&self, daemon: &mut Option<Helper>) {
        let clock = OsString::from(self.clock.millis().to_string());
        let mut env: Vec<(&str, &Path)> = self
            .env
            .iter()
            .map(|(name, value)| (*name, Path::new(value)))
            .collect();
        env.push((CLOCK, Path::new(&clock)));
        let started = Helper::start_by(&self.by, HELPER, "daemon", &env).await;
        *daemon = Some(started.unwrap());
    }

    async fn crash(&self) {
        let mut daemon = self.daemon.lock().await;
        if let Some(mut old) = daemon.take() {
            old.kill().await.unwrap();
        }
        self.start(&mut daemon).await;
    }
}
