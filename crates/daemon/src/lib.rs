//! The daemon: one per user, single by a lock, gone when idle for long. It owns all state; bridges
//! and commands talk to it over a Unix socket.

mod clock;
pub mod config;
mod delivery;
mod desktop;
mod engine;
pub mod failpoint;
mod gc;
mod hosts;
mod http;
mod last_words;
mod log_level;
mod logging;
mod parts;
mod processes;
mod project;
mod servers;
#[cfg(test)]
mod simulation;
mod telemetry;
mod troubles;
mod worktrees;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use brigade_agents::opencode::{Launcher, ServeLauncher};
use brigade_core::clock::Clock;
use brigade_os::lock::Lock;
use brigade_os::paths::{Dirs, PathError, ensure_private_dir};
use brigade_store::{OpenError, Store, StoreError};
use tokio::net::UnixListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A look through a store that no daemon serves, and what may be wrong with it.
pub use brigade_store::{OpenError as StoreFault, inspect as inspect_store};
use clock::Chance;
pub use clock::SystemClock;
use config::{ConfigError, Configs};
use engine::Engine;
pub use gc::look;
use hosts::Hub;
use http::{About, Api};
use log_level::LogLevel;
use parts::Parts;
use processes::SystemProcesses;
pub use telemetry::BUILT_IN as TRACES_BUILT_IN;
use telemetry::Telemetry;
use troubles::Troubles;

/// How long open requests may take to end once the daemon is to go.
const DRAIN: Duration = Duration::from_secs(5);

/// What a daemon needs to run.
pub struct Options {
    /// Where everything lies.
    pub dirs: Dirs,
    /// Called with the socket's path once requests are served.
    pub ready: Box<dyn FnOnce(&Path) + Send>,
    /// Where the wall-clock time comes from.
    pub clock: Arc<dyn Clock>,
    /// What IDs are drawn from.
    pub seed: u64,
    /// What starts servers of Brigade's own.
    pub launcher: Arc<dyn Launcher>,
    /// The `brigade` program, for the bridges in these servers.
    pub program: PathBuf,
}

impl Options {
    /// The system's clock, and a seed of its own. `program` is the `brigade` binary, which behind the
    /// arguments `gate` also becomes the host's program for servers of Brigade's own, or holds one on a leash.
    pub fn new(
        dirs: Dirs,
        program: PathBuf,
        gate: impl IntoIterator<Item = OsString>,
        ready: impl FnOnce(&Path) + Send + 'static,
    ) -> Self {
        let launcher = ServeLauncher {
            program: program.clone(),
            args: gate.into_iter().collect(),
        };
        Self {
            dirs,
            ready: Box::new(ready),
            clock: Arc::new(SystemClock),
            seed: rand::random(),
            launcher: Arc::new(launcher),
            program,
        }
    }
}

/// Why the daemon did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon holds the lock.
    #[error("another daemon is already running: it holds the lock {}", .0.display())]
    AlreadyRunning(PathBuf),
    /// A folder is not usable.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The configuration has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store could not be opened; nothing was changed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What an earlier daemon left could not be read.
    #[error("what an earlier daemon left could not be read: {0}")]
    Recovery(#[from] StoreError),
    /// The system refused something.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Runs the daemon until it is stopped by a request or a signal, or has been idle for long.
///
/// # Errors
/// [`Error`], each saying what happened; whatever was stored stays as it is.
pub async fn run(options: Options) -> Result<(), Error> {
    let Options {
        dirs,
        ready,
        clock,
        seed,
        launcher,
        program,
    } = options;
    dirs.prepare_runtime()?;
    let lock_path = dirs.lock();
    let lock = Lock::acquire(&lock_path)
        .map_err(|source| Error::Io {
            what: "could not lock",
            path: lock_path.clone(),
            source,
        })?
        .ok_or(Error::AlreadyRunning(lock_path))?;
    ensure_private_dir(&dirs.data)?;
    let configs = Configs::load(dirs.config_file())?;
    let troubles = Troubles::default();
    let (_log, log) = logging::start(&dirs.logs(), &configs.user().daemon.log, troubles.clone());
    if let Err(error) = brigade_os::outlive_file_size_limit() {
        tracing::warn!(%error, "a limit on the size of files would end the daemon");
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), data = %dirs.data.display(), "the daemon starts");
    let store = Store::open(&gc::store_paths(&dirs), Arc::clone(&clock))?;
    let parts = Given {
        configs,
        store: store.clone(),
        clock,
        chance: Chance::seeded(seed),
        troubles,
        launcher,
        program,
        log,
    };
    let result = serve(&dirs, parts, ready).await;
    store.close().await;
    if let Err(error) = &result {
        tracing::error!(%error, "the daemon ends with an error");
    } else {
        tracing::info!("the daemon ends");
    }
    drop(lock);
    result
}

/// What serving needs besides the places.
struct Given {
    configs: Configs,
    store: Store,
    clock: Arc<dyn Clock>,
    chance: Chance,
    troubles: Troubles,
    launcher: Arc<dyn Launcher>,
    program: PathBuf,
    log: LogLevel,
}

async fn serve(
    dirs: &Dirs,
    given: Given,
    ready: Box<dyn FnOnce(&Path) + Send>,
) -> Result<(), Error> {
    let Given {
        configs,
        store,
        clock,
        chance,
        troubles,
        launcher,
        program,
        log,
    } = given;
    let telemetry = Telemetry::start(configs.user().telemetry.endpoint.as_deref(), &troubles);
    let (hub, signals) = Hub::new(SystemProcesses::shared());
    let stopping = CancellationToken::new();
    let tasks = TaskTracker::new();
    let activity = Arc::new(Notify::new());
    let engine = Engine::new(Parts {
        store,
        clock: Arc::clone(&clock),
        chance,
        configs: configs.clone(),
        hub,
        launcher,
        logs: dirs.logs(),
        variables: servers::variables(dirs, &program),
        data: dirs.data.clone(),
        worktrees: dirs.worktrees(),
        program,
        tasks: tasks.clone(),
        stopping: stopping.clone(),
        activity: Arc::clone(&activity),
        troubles,
        telemetry: telemetry.clone(),
        desktop: Arc::new(desktop::SystemDesktop::default()),
    });
    // The socket comes last: nobody can ask before everything that was left is taken up.
    engine.recover().await?;
    tasks.spawn({
        let (engine, stopping) = (engine.clone(), stopping.clone());
        async move {
            tokio::select! {
                () = engine.listen(signals) => {}
                () = stopping.cancelled() => {}
            }
        }
    });
    let socket = dirs.socket();
    let listener = bind(&socket)?;
    let api = Api {
        engine: engine.clone(),
        about: Arc::new(About {
            started_at: clock.now(),
            data_dir: dirs.data.clone(),
            socket: socket.clone(),
            store: dirs.store(),
            config: dirs.config_file(),
        }),
        stop: stopping.clone(),
        log,
        clearing: Arc::default(),
        panels: Arc::default(),
        large: Arc::new(Semaphore::new(1)),
    };
    let app = http::router(api).into_make_service_with_connect_info::<http::Peer>();
    let server = axum::serve(listener, app).with_graceful_shutdown({
        let stopping = stopping.clone();
        async move { stopping.cancelled().await }
    });
    let server = tokio::spawn(server.into_future());
    tracing::info!(socket = %socket.display(), "ready");
    ready(&socket);
    tokio::select! {
        () = stopping.cancelled() => {}
        () = terminated() => stopping.cancel(),
        () = idle(&engine, &activity, configs.user().daemon.idle_exit) => {
            tracing::info!("idle for long; going");
            stopping.cancel();
        }
    }
    // From here on a client that finds no socket starts the next daemon, again and again until our lock is free.
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    if tokio::time::timeout(DRAIN, server).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    if engine.active() == 0 {
        engine.servers().leave().await;
    }
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some work did not end in time; the next daemon takes it up");
    }
    telemetry.close().await;
    Ok(())
}

/// Binds the socket under a name of its own and moves it into place, so that whoever sees it can
/// connect. A stale one of a crashed daemon is replaced: the lock proves that nobody serves it.
fn bind(socket: &Path) -> Result<UnixListener, Error> {
    let fail = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    };
    let fresh = socket.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(fail("could not remove the stale socket", &fresh)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(fail("could not listen on", &fresh))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&fresh, private).map_err(fail("could not protect", &fresh))?;
    std::fs::rename(&fresh, socket).map_err(fail("could not put into place", socket))?;
    Ok(listener)
}

/// Waits for SIGTERM or SIGINT.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "signals can't be awaited; stop the daemon with `brigade daemon stop`");
            std::future::pending::<()>().await;
        }
    }
}

/// Returns once nothing has happened, nothing is active and nobody is connected for this long.
async fn idle(engine: &Engine, activity: &Notify, limit: Option<Duration>) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    loop {
        let quiet = tokio::time::timeout(limit, activity.notified())
            .await
            .is_err();
        let hosts = engine.hub().connections();
        if quiet && engine.is_idle() && hosts.iter().all(|host| host.is_worker()) {
            return;
        }
    }
}
