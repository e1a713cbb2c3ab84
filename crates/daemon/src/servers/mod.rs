//! The servers of Brigade's own, for work whose host is gone: started when it is needed, kept while it
//! is, one for each installation, program, environment and profile.
//!
//! What is asked is answered at once from what is known; what has to be done for it becomes a task, and
//! a [`Signal::ServersChanged`](crate::hosts::Signal) says that asking again is worth while.

mod life;
mod profile;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_agents::opencode::{Launcher, Transport};
use brigade_core::clock::Clock;
use brigade_core::delegation::{Confinement, Spec};
use brigade_core::id::DelegationId;
use brigade_os::confine::NotAvailable;
use brigade_os::process::ProcessId;
use brigade_os::spawn::Leash;
use brigade_protocol::daemon::ServerStatus;
use brigade_store::Store;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::hosts::{EnvironmentKey, Hub, lock};
use crate::troubles::Troubles;
use profile::{Profile, profile_of};

/// How long a failed start waits before it is tried again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Where a delegation stands with the servers of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// This process can run it.
    Ready(ProcessId),
    /// A server is being started, or is opening the directory.
    Coming,
    /// As many confined servers run as may at once.
    Full,
    /// Starting one failed; it is tried again.
    Failing(String),
    /// The environment to start one in is not known.
    NoEnvironment,
    /// The person's configuration has none.
    Off,
}

/// What the servers are made of.
pub(crate) struct ServerParts {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) troubles: Troubles,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    /// Where their logs go.
    pub(crate) logs: PathBuf,
    /// Variables by which the bridge in them finds this daemon.
    pub(crate) variables: BTreeMap<String, String>,
    /// Whether there are any, and how long one stays that nothing needs.
    pub(crate) config: crate::config::Server,
    /// What those of worktrees may write to besides.
    pub(crate) writable: Vec<PathBuf>,
}

/// The pool. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Servers(Arc<Inner>);

struct Inner {
    parts: ServerParts,
    /// What the kernel has to confine servers with.
    kernel: Result<u32, NotAvailable>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    servers: HashMap<String, Server>,
    failures: HashMap<PoolKey, Failure>,
}

/// What a server is looked for by: its environment and what confines it.
type PoolKey = (EnvironmentKey, Profile);

/// A failed start.
struct Failure {
    why: String,
    /// How often in a row.
    count: u32,
    until: Instant,
}

/// One server.
struct Server {
    /// What it was started for; unknown for one that an earlier daemon started, until its bridge tells.
    key: Option<EnvironmentKey>,
    host: String,
    profile: Profile,
    stage: Stage,
    /// Its process, once it is started.
    process: Option<ProcessId>,
    /// Ends it with the daemon as long as its bridge isn't in: nothing else would end it then.
    leash: Option<Leash>,
    /// The delegations that run on it, or are about to.
    holds: HashSet<DelegationId>,
    /// When it was last needed.
    needed: Instant,
    directories: HashMap<String, Opening>,
    /// Notified when somebody lets go of it.
    released: Arc<Notify>,
}

enum Stage {
    Starting,
    Up(Arc<dyn Transport>),
    Leaving,
}

/// How the opening of a directory fares.
enum Opening {
    Asked,
    Failed { why: String, until: Instant },
}

impl Server {
    /// Whether somebody waits for a directory to be opened.
    fn is_opening(&self) -> bool {
        let mut openings = self.directories.values();
        openings.any(|opening| matches!(opening, Opening::Asked))
    }

    /// The process and the way to it, while it can be used.
    fn up(&self) -> Option<(ProcessId, &Arc<dyn Transport>)> {
        match (&self.stage, self.process) {
            (Stage::Up(transport), Some(process)) => Some((process, transport)),
            _ => None,
        }
    }
}

impl Servers {
    /// A pool that knows of no server yet.
    pub(crate) fn new(parts: ServerParts) -> Self {
        Self(Arc::new(Inner {
            kernel: parts.launcher.confines(),
            parts,
            state: Mutex::default(),
        }))
    }

    /// Where a delegation could run, as things stand. Changes nothing.
    pub(crate) fn place(&self, spec: &Spec) -> Place {
        let Some((key, mut state)) = self.look(spec) else {
            return self.nowhere();
        };
        let directory = spec.workplace();
        match self.find(&mut state, &key, &spec.host) {
            Some((_, server)) => match server.up() {
                Some((process, _)) if self.serves(&process, directory) => Place::Ready(process),
                _ => match server.directories.get(directory) {
                    Some(Opening::Failed { why, .. }) => Place::Failing(why.clone()),
                    _ => Place::Coming,
                },
            },
            None => match state.failures.get(&key) {
                Some(failure) if failure.until > Instant::now() => {
                    Place::Failing(failure.why.clone())
                }
                _ if self.is_full(&state, &key.1) => Place::Full,
                _ => Place::Coming,
            },
        }
    }

    /// The same, and has done what it takes to get there. Where a place is ready it is held for this
    /// delegation, to be let go with [`Servers::release`].
    pub(crate) fn demand(&self, spec: &Spec) -> Place {
        let Some((key, mut state)) = self.look(spec) else {
            return self.nowhere();
        };
        let now = Instant::now();
        let directory = spec.workplace();
        if let Some((id, server)) = self.find(&mut state, &key, &spec.host) {
            server.needed = now;
            let Some((process, transport)) = server.up() else {
                return Place::Coming;
            };
            let transport = Arc::clone(transport);
            if server.key == Some(key.0) && self.serves(&process, directory) {
                server.holds.insert(spec.id.clone());
                return Place::Ready(process);
            }
            match server.directories.get(directory) {
                Some(Opening::Asked) => return Place::Coming,
                Some(Opening::Failed { why, until }) if *until > now => {
                    return Place::Failing(why.clone());
                }
                _ => {}
            }
            server
                .directories
                .insert(directory.to_owned(), Opening::Asked);
            self.open(id, process, transport, directory.to_owned());
            return Place::Coming;
        }
        match state.failures.get(&key) {
            Some(failure) if failure.until > now => Place::Failing(failure.why.clone()),
            _ if self.is_full(&state, &key.1) => Place::Full,
            _ => {
                let Some(environment) = self.0.parts.hub.environment(spec) else {
                    return Place::NoEnvironment;
                };
                self.start(&mut state, environment, key.1);
                Place::Coming
            }
        }
    }

    fn nowhere(&self) -> Place {
        if self.0.parts.config.enabled {
            Place::NoEnvironment
        } else {
            Place::Off
        }
    }

    fn look(&self, spec: &Spec) -> Option<(PoolKey, std::sync::MutexGuard<'_, State>)> {
        let config = &self.0.parts.config;
        if !config.enabled {
            return None;
        }
        let environment = self.0.parts.hub.environment(spec)?;
        let (profile, _) = profile_of(spec, config, &self.0.kernel);
        Some(((environment.key, profile), lock(&self.0.state)))
    }

    /// How far a delegation is kept from writing elsewhere on the server that it gets here; none where that is not
    /// asked for.
    pub(crate) fn confinement(&self, spec: &Spec) -> Option<Confinement> {
        profile_of(spec, &self.0.parts.config, &self.0.kernel).1
    }

    /// Whether one more server of this profile would be too many. One that is leaving is still there.
    fn is_full(&self, state: &State, profile: &Profile) -> bool {
        let limited = |server: &&Server| server.profile.is_limited();
        let there = state.servers.values().filter(limited).count();
        profile.is_limited() && there >= self.0.parts.config.confined as usize
    }

    /// The server for this key. One that an earlier daemon has started is known by what its bridge tells;
    /// until then it counts for every key of its installation.
    fn find<'a>(
        &self,
        state: &'a mut State,
        (key, profile): &PoolKey,
        host: &str,
    ) -> Option<(String, &'a mut Server)> {
        for server in state.servers.values_mut() {
            if server.key.is_none()
                && let Some((process, _)) = server.up()
            {
                let told = self.0.parts.hub.environment_of(&process);
                server.key = told.map(|environment| environment.key);
            }
        }
        state
            .servers
            .iter_mut()
            .filter(|(_, server)| !matches!(server.stage, Stage::Leaving))
            .filter(|(_, server)| server.profile == *profile && server.host == host)
            .filter(|(_, server)| server.key.is_none_or(|own| own == *key))
            // One that is known to be right goes before one that may be.
            .max_by_key(|(_, server)| server.key.is_some())
            .map(|(id, server)| (id.clone(), server))
    }

    fn serves(&self, process: &ProcessId, directory: &str) -> bool {
        let connection = self.0.parts.hub.of_process(process);
        connection.is_some_and(|connection| connection.serves(directory))
    }

    /// Whether a process is one of these servers.
    pub(crate) fn knows(&self, process: &ProcessId) -> bool {
        let state = lock(&self.0.state);
        state
            .servers
            .values()
            .any(|server| server.process == Some(*process))
    }

    /// The bridge of a server has come in: from here on it sees to it that the server does not outlive its
    /// daemon for long. False where the process is none of these servers.
    pub(crate) fn bridge_came(&self, process: &ProcessId) -> bool {
        let mut state = lock(&self.0.state);
        let Some((id, server)) = state
            .servers
            .iter_mut()
            .find(|(_, server)| server.process == Some(*process))
        else {
            return false;
        };
        if let Some(leash) = server.leash.take() {
            self.release_leash(id.clone(), leash);
        }
        true
    }

    /// A delegation that already runs in this process, found at recovery.
    pub(crate) fn hold(&self, process: &ProcessId, delegation: &DelegationId) {
        let mut state = lock(&self.0.state);
        for server in state.servers.values_mut() {
            if server.process == Some(*process) {
                server.holds.insert(delegation.clone());
            }
        }
    }

    /// A delegation needs its server no longer, if it had one.
    pub(crate) fn release(&self, delegation: &DelegationId) {
        let mut state = lock(&self.0.state);
        for server in state.servers.values_mut() {
            if server.holds.remove(delegation) {
                server.needed = Instant::now();
                server.released.notify_one();
            }
        }
    }

    /// The servers that run or are being started, oldest first.
    pub(crate) fn list(&self) -> Vec<ServerStatus> {
        let state = lock(&self.0.state);
        let mut all: Vec<_> = state
            .servers
            .iter()
            .map(|(id, server)| ServerStatus {
                id: id.clone(),
                pid: server.process.map(|process| process.pid),
                profile: server.profile.to_string(),
                running: server.holds.len(),
            })
            .collect();
        // Their names begin with the time.
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    fn log(&self, id: &str) -> PathBuf {
        self.0.parts.logs.join(format!("server-{id}.log"))
    }

    /// A folder for one server alone; removed with its record.
    fn own_folder(&self, id: &str) -> PathBuf {
        self.0.parts.logs.with_file_name("servers").join(id)
    }
}

/// The variables by which a bridge finds the daemon of these places.
pub(crate) fn variables(
    dirs: &brigade_os::paths::Dirs,
    program: &Path,
) -> BTreeMap<String, String> {
    [
        ("BRIGADE_BIN", program),
        ("BRIGADE_CONFIG_DIR", &dirs.config),
        ("BRIGADE_DATA_DIR", &dirs.data),
        ("BRIGADE_RUNTIME_DIR", &dirs.runtime),
    ]
    .into_iter()
    .map(|(name, path)| (name.to_owned(), path.display().to_string()))
    .collect()
}
