//! The hosts that are connected: their processes, directories, sessions and agents.
//!
//! The hub keeps what bridges say and hands it on: events of a child to the run that listens for
//! them, everything else as a [`Signal`] to the engine. It decides nothing.

mod catalogue;
mod connection;
mod environment;
mod inbox;
mod sessions;
mod signal;
mod transport;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use brigade_agents::opencode::Signal as RunSignal;
use brigade_core::delegation::Spec;
use brigade_core::id::{ProjectId, SessionId};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Down, Host, Register, ShellRule};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use catalogue::Catalogue;
pub(crate) use connection::{Connection, lock};
use environment::Environments;
pub(crate) use environment::{Environment, EnvironmentKey};
pub(crate) use sessions::Ownership;
use sessions::Sessions;
pub(crate) use signal::{Recorded, Signal};
pub(crate) use transport::ProcessTransport;

use crate::processes::Processes;

#[derive(Default)]
struct State {
    connections: HashMap<String, Arc<Connection>>,
    by_process: HashMap<ProcessId, Arc<Connection>>,
    sessions: Sessions,
    environments: Environments,
    /// Who hears of a child, and in which process it runs.
    routes: HashMap<String, (ProcessId, mpsc::Sender<RunSignal>)>,
    projects: HashMap<String, ProjectId>,
    /// How often a living process has disposed of a directory.
    disposals: HashMap<(ProcessId, String), u64>,
}

/// All connected hosts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub {
    processes: Arc<dyn Processes>,
    state: Arc<Mutex<State>>,
    signals: mpsc::UnboundedSender<Signal>,
    changed: watch::Sender<u64>,
}

impl Hub {
    /// A hub without hosts, and the receiving end of its signals.
    ///
    /// The signals are unbounded: each stands for a message that a bridge has already sent, and they
    /// are small; a bounded channel could deadlock with an engine that waits for a host's answer.
    pub(crate) fn new(processes: Arc<dyn Processes>) -> (Self, mpsc::UnboundedReceiver<Signal>) {
        let (signals, receiver) = mpsc::unbounded_channel();
        let hub = Self {
            processes,
            state: Arc::default(),
            signals,
            changed: watch::Sender::new(0),
        };
        (hub, receiver)
    }

    /// Which processes live, and when they end.
    pub(crate) fn processes(&self) -> &dyn Processes {
        &*self.processes
    }

    /// An offer went into a person's message.
    pub(crate) fn taken(
        &self,
        process: ProcessId,
        session: String,
        lease: u64,
        message: String,
    ) -> Recorded {
        let (record, recorded) = oneshot::channel();
        self.signal(Signal::Taken {
            process,
            session,
            lease,
            message,
            record,
        });
        recorded
    }

    /// Something about our own servers has changed.
    pub(crate) fn servers_changed(&self) {
        self.signal(Signal::ServersChanged);
        self.bump();
    }

    fn signal(&self, signal: Signal) {
        if self.signals.send(signal).is_err() {
            tracing::debug!("the engine is gone; a signal is dropped");
        }
    }

    fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Changes whenever a connection, directory or catalogue does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes a bridge in. An earlier connection of the same process is replaced. The offers that it has used are
    /// told before, with [`Hub::taken`].
    pub(crate) fn register(
        &self,
        id: &str,
        process: ProcessId,
        request: Register,
    ) -> Arc<Connection> {
        let host_key = host_key(&request.host.home, &request.host.env);
        let environment = Environment::of(&request.host, &host_key);
        let connection = Arc::new(Connection::new(
            id.to_owned(),
            process,
            request.host,
            host_key,
            request.bridge_version,
            request.directories.clone(),
        ));
        let replaced = {
            let mut state = lock(&self.state);
            state
                .connections
                .insert(id.to_owned(), Arc::clone(&connection));
            let replaced = state.by_process.insert(process, Arc::clone(&connection));
            if let Some(old) = &replaced {
                state.connections.remove(&old.id);
            }
            let processes = &self.processes;
            state
                .disposals
                .retain(|(process, _), _| processes.is_alive(process));
            state
                .environments
                .note(process, environment, |seen| processes.is_alive(seen));
            for owned in request.sessions.iter().filter(|_| !connection.is_worker()) {
                state.sessions.sighted(
                    &owned.session,
                    &process,
                    &owned.directory,
                    owned.activity,
                    owned.active_ms,
                );
            }
            replaced
        };
        if let Some(old) = replaced {
            old.close();
        }
        tracing::info!(connection = %id, %process, mode = %connection.host.mode, "a host has connected");
        self.signal(Signal::Connected(id.to_owned()));
        for dir in request.directories {
            self.signal(Signal::Opened {
                connection: id.to_owned(),
                directory: dir.directory,
            });
        }
        for held in request.leases {
            if held.message.is_none() {
                self.signal(Signal::Released {
                    session: held.session,
                    lease: held.lease,
                });
            }
        }
        for owned in request.sessions {
            self.signal(Signal::SessionChanged {
                session: owned.session,
                idle: false,
            });
        }
        self.bump();
        connection
    }

    /// A connection's stream has ended.
    pub(crate) fn disconnect(&self, connection: &Connection) {
        connection.close();
        let sessions = {
            let mut state = lock(&self.state);
            state.connections.remove(&connection.id);
            let current = state
                .by_process
                .get(&connection.process)
                .is_some_and(|current| current.id == connection.id);
            if !current {
                return;
            }
            state.by_process.remove(&connection.process);
            state.sessions.forget_process(&connection.process)
        };
        tracing::info!(connection = %connection.id, process = %connection.process, "a host's connection has closed");
        self.signal(Signal::Disconnected {
            process: connection.process,
            sessions,
        });
        self.bump();
    }

    /// A connection by its name.
    pub(crate) fn connection(&self, id: &str) -> Option<Arc<Connection>> {
        lock(&self.state).connections.get(id).cloned()
    }

    /// The connection of a process.
    pub(crate) fn of_process(&self, process: &ProcessId) -> Option<Arc<Connection>> {
        lock(&self.state).by_process.get(process).cloned()
    }

    /// All connections.
    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.state).connections.values().cloned().collect()
    }

    /// Waits until a process is connected.
    pub(crate) async fn connected(&self, process: &ProcessId) -> Arc<Connection> {
        let mut changes = self.changes();
        loop {
            if let Some(connection) = self.of_process(process) {
                return connection;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The owner of a session.
    pub(crate) fn owner(&self, session: &str) -> Option<Ownership> {
        lock(&self.state).sessions.owner(session)
    }

    /// The sessions that a process has shown.
    pub(crate) fn sessions_of(&self, process: &ProcessId) -> Vec<String> {
        lock(&self.state).sessions.of_process(process)
    }

    /// The connections of the processes that have shown this session.
    pub(crate) fn serving(&self, session: &str) -> Vec<Arc<Connection>> {
        let state = lock(&self.state);
        let processes = state.sessions.processes(session);
        processes
            .iter()
            .filter_map(|process| state.by_process.get(process).cloned())
            .collect()
    }

    /// Lets a connection go whose bridge has registered and never opened its stream: it can be neither
    /// asked nor heard, and its end would not be noticed.
    pub(crate) fn drop_unopened(&self, id: &str) {
        if let Some(connection) = self.connection(id)
            && connection.take_stream().is_some()
        {
            self.disconnect(&connection);
        }
    }

    /// Remembers which project a directory belongs to.
    pub(crate) fn set_project(&self, directory: &str, project: ProjectId) {
        lock(&self.state)
            .projects
            .insert(directory.to_owned(), project);
        self.bump();
    }

    /// The project of a directory, if it has been looked up.
    pub(crate) fn project(&self, directory: &str) -> Option<ProjectId> {
        lock(&self.state).projects.get(directory).cloned()
    }

    /// The environment in which a delegation can run on a server of our own, if it is known.
    pub(crate) fn environment(&self, spec: &Spec) -> Option<Arc<Environment>> {
        lock(&self.state).environments.fit(spec)
    }

    /// The environment that a process has shown.
    pub(crate) fn environment_of(&self, process: &ProcessId) -> Option<Arc<Environment>> {
        lock(&self.state).environments.of_process(process)
    }

    /// A process that is no host has shown the environment that hosts would have in its place. Gives the
    /// installation that this is of.
    pub(crate) fn note_environment(&self, process: ProcessId, host: &Host) -> String {
        let host_key = host_key(&host.home, &host.env);
        let environment = Environment::of(host, &host_key);
        let processes = &self.processes;
        lock(&self.state)
            .environments
            .note(process, environment, |seen| processes.is_alive(seen));
        host_key
    }

    /// A person's host that can run a delegation: its parent's owner, else one that has the project open
    /// and credentials of the same names.
    pub(crate) fn host_for(&self, spec: &Spec) -> Option<Arc<Connection>> {
        let has = |environment: &Environment| environment.has(&spec.credentials);
        self.candidate_with(&spec.host, &spec.project, &spec.parent, |environment| {
            environment.is_some_and(has)
        })
    }

    /// A host that can serve a session of this project: the session's owner where there is one, else
    /// any lasting host of the same installation that has a directory of the project open. A process that
    /// has just ended is none, even if its connection's end was not heard of yet.
    pub(crate) fn candidate(
        &self,
        host_key: &str,
        project: &ProjectId,
        session: &SessionId,
    ) -> Option<Arc<Connection>> {
        self.candidate_with(host_key, project, session, |_| true)
    }

    fn candidate_with(
        &self,
        host_key: &str,
        project: &ProjectId,
        session: &SessionId,
        fits: impl Fn(Option<&Environment>) -> bool,
    ) -> Option<Arc<Connection>> {
        let state = lock(&self.state);
        if let Some(owner) = state.sessions.owner(session.as_str())
            && let Some(connection) = state.by_process.get(&owner.process)
            && connection.host_key == host_key
            && self.processes.is_alive(&connection.process)
        {
            return Some(Arc::clone(connection));
        }
        state
            .by_process
            .values()
            .filter(|connection| connection.host_key == host_key)
            .filter(|connection| !connection.is_transient() && !connection.is_worker())
            .filter(|connection| {
                let environment = state.environments.of_process(&connection.process);
                fits(environment.as_deref())
            })
            .filter(|connection| {
                connection
                    .directories()
                    .iter()
                    .any(|dir| state.projects.get(&dir.directory) == Some(project))
            })
            .filter(|connection| self.processes.is_alive(&connection.process))
            // The one that connected last: most likely the one the person is looking at.
            .max_by(|a, b| a.id.cmp(&b.id))
            .cloned()
    }

    /// Opens the way for a child's events. The channel is bounded: a run that falls behind makes the
    /// bridge's batch wait, the bridge coalesces meanwhile, and memory stays bounded on both sides.
    pub(crate) fn route(&self, child: &str, process: ProcessId, signals: mpsc::Sender<RunSignal>) {
        lock(&self.state)
            .routes
            .insert(child.to_owned(), (process, signals));
    }

    /// Nobody listens for a child's events any more.
    pub(crate) fn unroute(&self, child: &str, process: &ProcessId) {
        lock(&self.state).routes.remove(child);
        if let Some(connection) = self.of_process(process) {
            connection.send(Down::Unwatch {
                sessions: vec![child.to_owned()],
            });
        }
    }

    /// How often this process has disposed of the directory: what ran there ended with each.
    pub(crate) fn disposals(&self, process: &ProcessId, directory: &str) -> u64 {
        let key = (*process, directory.to_owned());
        lock(&self.state).disposals.get(&key).copied().unwrap_or(0)
    }

    /// Keeps what a host has told of a directory's agents.
    pub(crate) fn set_catalogue(
        &self,
        connection: &Connection,
        directory: &str,
        catalogue: Catalogue,
    ) {
        connection.set_catalogue(directory, catalogue);
        self.bump();
    }

    /// Has a bridge forward a child's events, and hold its shell to these rules; without any, the host's own rules
    /// alone hold it.
    pub(crate) fn watch(&self, connection: &Connection, child: &str, shell: Option<&[ShellRule]>) {
        connection.send(Down::Watch {
            sessions: vec![child.to_owned()],
            shell: shell.unwrap_or_default().to_vec(),
            open_shell: shell.is_none(),
        });
    }
}

/// Which installation of the host it is: HOME and the XDG folders decide which sessions it has.
fn host_key(home: &str, env: &std::collections::BTreeMap<String, String>) -> String {
    use std::fmt::Write as _;
    let mut text = format!("home={home}\n");
    for name in [
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "XDG_CACHE_HOME",
    ] {
        let value = env.get(name).map_or("", String::as_str);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}={value}");
    }
    ProjectId::from_path(&text).to_string()
}
