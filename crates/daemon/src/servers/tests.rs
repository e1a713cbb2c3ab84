//! The pool by itself: what is started for whom, how many at once, and when they go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_agents::opencode::{
    CONFINED, Gate, Launcher, Reply, Request, ServerSpec, Transport, TransportError,
};
use brigade_core::clock::Clock;
use brigade_core::delegation::{Access, Confinement, Spec, Worktree};
use brigade_core::id::{DelegationId, ProjectId};
use brigade_os::confine::NotAvailable;
use brigade_os::process::{End, Marked, ProcessId};
use brigade_os::spawn::Leash;
use brigade_protocol::bridge::{Directory, Host, Register};
use brigade_store::simulation::Disk;
use brigade_store::{Store, StorePaths};
use brigade_testkit::FakeClock;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Place, ServerParts, Servers};
use crate::config;
use crate::hosts::{Hub, Signal, lock};
use crate::processes::Processes;
use crate::troubles::Troubles;

/// Processes that live until they are ended, and servers among them that answer everything.
#[derive(Clone)]
struct World {
    alive: watch::Sender<BTreeSet<ProcessId>>,
    launched: Arc<Mutex<Vec<(ProcessId, ServerSpec)>>>,
    kernel: Result<u32, NotAvailable>,
    hub: Arc<Mutex<Option<Hub>>>,
}

impl World {
    fn new(kernel: Result<u32, NotAvailable>) -> Self {
        Self {
            alive: watch::Sender::new(BTreeSet::new()),
            launched: Arc::default(),
            hub: Arc::default(),
            kernel,
        }
    }

    fn begin(&self, pid: u32) -> ProcessId {
        let process = ProcessId { pid, start: 1 };
        self.alive.send_modify(|alive| {
            alive.insert(process);
        });
        process
    }

    /// The servers that were started, as they were to be.
    fn launched(&self) -> Vec<(ProcessId, ServerSpec)> {
        lock(&self.launched).clone()
    }
}

impl Processes for World {
    fn is_alive(&self, process: &ProcessId) -> bool {
        self.alive.borrow().contains(process)
    }

    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, io::Result<()>> {
        let mut alive = self.alive.subscribe();
        async move {
            let gone = alive.wait_for(|alive| !alive.contains(&process)).await;
            gone.map(drop).map_err(io::Error::other)
        }
        .boxed()
    }

    fn marked(&self, _variable: &'static str) -> BoxFuture<'static, Vec<Marked>> {
        futures::future::ready(Vec::new()).boxed()
    }

    fn variable(&self, process: &ProcessId, name: &str) -> Option<String> {
        let launched = self.launched();
        let (_, spec) = launched.iter().find(|(own, _)| own == process)?;
        (spec.confine.is_some() && name == CONFINED).then(|| "{}".to_owned())
    }

    /// Each has started one whose number is larger by a thousand.
    fn descendants(&self, process: &ProcessId) -> Vec<ProcessId> {
        let pid = process.pid + 1_000;
        let child = ProcessId { pid, start: 1 };
        self.is_alive(&child).then_some(child).into_iter().collect()
    }

    fn end(&self, process: &ProcessId, _how: End) -> io::Result<()> {
        self.alive.send_modify(|alive| {
            alive.remove(process);
        });
        Ok(())
    }
}

struct Opens(ProcessId);

impl Gate for Opens {
    fn process(&self) -> ProcessId {
        self.0
    }

    fn open(self: Box<Self>) -> BoxFuture<'static, io::Result<Leash>> {
        futures::future::ready(Ok(Leash::none())).boxed()
    }
}

/// The way to a server. Asked to open a directory, its bridge comes in.
struct Line {
    world: World,
    port: u16,
}

impl Transport for Line {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
        if request.path == "/session/status" {
            let launched = self.world.launched();
            let process = launched.iter().find(|(_, spec)| spec.port == self.port);
            let process = process.unwrap().0;
            let hub = lock(&self.world.hub).clone().unwrap();
            let bridge = bridge(process, &request.directory);
            hub.register(&process.to_string(), process, bridge);
        }
        let body = json!({});
        futures::future::ready(Ok(Reply { status: 200, body })).boxed()
    }
}

impl Launcher for World {
    fn confines(&self) -> Result<u32, NotAvailable> {
        self.kernel.clone()
    }

    fn launch(&self, spec: &ServerSpec) -> io::Result<Box<dyn Gate>> {
        let mut launched = lock(&self.launched);
        let process = self.begin(1_000 + u32::try_from(launched.len()).unwrap());
        launched.push((process, spec.clone()));
        Ok(Box::new(Opens(process)))
    }

    fn reach(&self, port: u16, _password: &str) -> Result<Arc<dyn Transport>, TransportError> {
        let world = self.clone();
        Ok(Arc::new(Line { world, port }))
    }
}

fn host(process: ProcessId, mode: &str) -> Host {
    Host {
        name: "opencode".into(),
        version: "1".into(),
        pid: process.pid,
        executable: "/bin/opencode".into(),
        mode: mode.into(),
        home: "/home/me".into(),
        env: BTreeMap::from([("HOME".to_owned(), "/home/me".to_owned())]),
    }
}

fn bridge(process: ProcessId, directory: &str) -> Register {
    Register {
        protocol: brigade_protocol::PROTOCOL,
        bridge_version: "1".into(),
        instance: process.to_string(),
        data_dir: None,
        host: host(process, "worker"),
        directories: vec![Directory {
            directory: directory.into(),
            worktree: directory.into(),
            opened_ms: 0,
        }],
        sessions: Vec::new(),
        leases: Vec::new(),
    }
}

/// A pool, and the host whose environment its servers get.
struct Rig {
    servers: Servers,
    world: World,
    hub: Hub,
    host_key: String,
    store: Store,
    _signals: mpsc::UnboundedReceiver<Signal>,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new(config: config::Server, kernel: Result<u32, NotAvailable>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(FakeClock::at(0));
        let paths = StorePaths {
            db: folder.path().join("brigade.db"),
            artifacts: folder.path().join("artifacts"),
            predecessor: folder.path().join("artifacts"),
        };
        let store = Store::simulated(&Disk::new().unwrap(), &paths, clock).unwrap();
        let world = World::new(kernel);
        let (hub, signals) = Hub::new(Arc::new(world.clone()));
        *lock(&world.hub) = Some(hub.clone());
        let origin = world.begin(1);
        let host_key = hub.note_environment(origin, &host(origin, "tui"));
        Self {
            servers: pool(&store, &world, &hub, &folder, config),
            world,
            hub,
            host_key,
            store,
            _signals: signals,
            folder,
        }
    }

    /// Work in a worktree, or in the project.
    fn spec(&self, id: &str, in_worktree: bool) -> Spec {
        let id: DelegationId = id.parse().unwrap();
        let worktree = in_worktree.then(|| Worktree {
            id: id.clone(),
            top: "/p".into(),
            directory: format!("/w/{id}/tree/sub"),
            base: "b".into(),
            from: None,
            confine: true,
            left_out: Vec::new(),
        });
        Spec {
            id,
            project: ProjectId::from_path("/p"),
            directory: "/p".into(),
            parent: "ses_1".parse().unwrap(),
            root: "ses_1".parse().unwrap(),
            host: self.host_key.clone(),
            origin: None,
            credentials: Vec::new(),
            caller: None,
            agent: "general".into(),
            model: None,
            prompt: "work".into(),
            ask_title: true,
            access: Access::default(),
            registered_at: Timestamp::UNIX_EPOCH,
            max_run_ms: None,
            stall_ms: None,
            max_attempts: 3,
            continues: None,
            retries: None,
            worktree,
        }
    }

    /// Waits until the pool says something else than that a server comes.
    async fn place(&self, spec: &Spec) -> Place {
        let mut changes = self.hub.changes();
        loop {
            match self.servers.demand(spec) {
                Place::Coming => changes.changed().await.unwrap(),
                place => return place,
            }
        }
    }

    async fn ready(&self, spec: &Spec) -> ProcessId {
        match self.place(spec).await {
            Place::Ready(process) => process,
            other => panic!("{other:?}"),
        }
    }

    fn launched(&self, process: ProcessId) -> ServerSpec {
        let launched = self.world.launched();
        let of = launched.iter().find(|(own, _)| *own == process);
        of.unwrap().1.clone()
    }
}

fn pool(
    store: &Store,
    world: &World,
    hub: &Hub,
    folder: &tempfile::TempDir,
    config: config::Server,
) -> Servers {
    Servers::new(ServerParts {
        store: store.clone(),
        hub: hub.clone(),
        clock: Arc::new(FakeClock::at(0)),
        launcher: Arc::new(world.clone()),
        troubles: Troubles::default(),
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
        logs: folder.path().join("logs"),
        variables: BTreeMap::new(),
        config,
        writable: vec![PathBuf::from("/cache")],
    })
}

const IDS: [&str; 4] = [
    "brave-amber-otter",
    "calm-blue-heron",
    "deft-coral-lynx",
    "eager-dusty-mole",
];

fn config() -> config::Server {
    config::Config::default().server
}

#[tokio::test(start_paused = true)]
async fn each_worktree_has_a_server_that_can_write_there_alone() {
    let rig = Rig::new(config(), Ok(7));
    let (one, other) = (rig.spec(IDS[0], true), rig.spec(IDS[1], true));
    let reader = rig.spec(IDS[2], false);
    let first = rig.ready(&one).await;
    let second = rig.ready(&other).await;
    let open = rig.ready(&reader).await;
    assert!(first != second && first != open && second != open);
    assert_eq!(rig.ready(&one).await, first, "asked again it is the same");
    // What one of them can read must not give it power over another.
    let password = rig.launched(open).password;
    assert_eq!(password.len(), 32);
    for row in rig.store.servers().await.unwrap() {
        assert_eq!(row.password.is_empty(), ProcessId::SHOWS_ENVIRONMENT);
    }
    let confine = rig.launched(first).confine.unwrap();
    let root = format!("/w/{}", one.id);
    assert_eq!(confine.folders, [PathBuf::from(&root).join("tree")]);
    assert_eq!(confine.temporary, PathBuf::from(&root).join("tmp"));
    assert_eq!(confine.also, [PathBuf::from("/cache")]);
    assert_eq!(rig.launched(open).confine, None);
    let kernel = Some(Confinement::Kernel { abi: 7 });
    assert_eq!(rig.servers.confinement(&one), kernel);
    assert_eq!(rig.servers.confinement(&reader), None);
    let profiles: Vec<String> = rig.servers.list().into_iter().map(|s| s.profile).collect();
    assert!(
        profiles.contains(&format!("worktree {root}")),
        "{profiles:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_of_them_than_the_limit_run_at_once() {
    let rig = Rig::new(
        config::Server {
            confined: 2,
            ..config()
        },
        Ok(7),
    );
    let specs = IDS.map(|id| rig.spec(id, true));
    rig.ready(&specs[0]).await;
    rig.ready(&specs[1]).await;
    assert_eq!(rig.place(&specs[2]).await, Place::Full);
    assert_eq!(rig.servers.place(&specs[2]), Place::Full);
    assert_eq!(rig.world.launched().len(), 2);
    // What only reads is none of them.
    rig.ready(&rig.spec(IDS[3], false)).await;
    let mut changes = rig.hub.changes();
    let began = Instant::now();
    rig.servers.release(&specs[0].id);
    // It is said that asking again is worth while, and soon: nobody else can use the one that is free.
    while rig.servers.demand(&specs[2]) == Place::Full {
        changes.changed().await.unwrap();
    }
    assert!(began.elapsed() <= Duration::from_secs(11), "{began:?}");
    rig.ready(&specs[2]).await;
    let there = rig.world.launched();
    let alive = there
        .iter()
        .filter(|(process, _)| rig.world.is_alive(process));
    assert_eq!(alive.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_next_daemon_knows_which_server_is_whose() {
    let rig = Rig::new(config(), Ok(7));
    let (one, other) = (rig.spec(IDS[0], true), rig.spec(IDS[1], true));
    let first = rig.ready(&one).await;
    let next = pool(&rig.store, &rig.world, &rig.hub, &rig.folder, config());
    next.recover().await.unwrap();
    let rig = Rig {
        servers: next,
        ..rig
    };
    assert_eq!(rig.ready(&one).await, first);
    assert_ne!(rig.ready(&other).await, first);
}

#[tokio::test(start_paused = true)]
async fn where_the_kernel_can_not_all_share_one_and_the_record_says_why() {
    let rig = Rig::new(config(), Err(NotAvailable::TooOld(2)));
    let (one, reader) = (rig.spec(IDS[0], true), rig.spec(IDS[1], false));
    let process = rig.ready(&one).await;
    assert_eq!(rig.launched(process).confine, None);
    assert_eq!(rig.ready(&reader).await, process);
    let why = NotAvailable::TooOld(2).to_string();
    assert_eq!(
        rig.servers.confinement(&one),
        Some(Confinement::Rules { why })
    );
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_can_be_kept_from_writing_at_all() {
    let rig = Rig::new(
        config::Server {
            confine_read_only: true,
            ..config()
        },
        Ok(7),
    );
    let readers = [rig.spec(IDS[0], false), rig.spec(IDS[1], false)];
    let process = rig.ready(&readers[0]).await;
    assert_eq!(rig.ready(&readers[1]).await, process, "they share one");
    let confine = rig.launched(process).confine.unwrap();
    assert!(confine.folders.is_empty() && confine.also.is_empty());
    // Its folder goes with it.
    std::fs::create_dir_all(&confine.temporary).unwrap();
    for reader in &readers {
        rig.servers.release(&reader.id);
    }
    let mut changes = rig.hub.changes();
    while !rig.servers.list().is_empty() {
        changes.changed().await.unwrap();
    }
    assert!(!confine.temporary.exists());
}

#[tokio::test(start_paused = true)]
async fn what_a_confined_server_has_started_goes_with_it() {
    let rig = Rig::new(config(), Ok(7));
    let specs = [rig.spec(IDS[0], true), rig.spec(IDS[1], false)];
    let mut started = Vec::new();
    for spec in &specs {
        let server = rig.ready(spec).await;
        started.push(rig.world.begin(server.pid + 1_000));
        rig.servers.release(&spec.id);
    }
    let mut changes = rig.hub.changes();
    while !rig.servers.list().is_empty() {
        changes.changed().await.unwrap();
    }
    assert!(!rig.world.is_alive(&started[0]));
    // What the open one has left is told, never ended.
    assert!(rig.world.is_alive(&started[1]));
}
