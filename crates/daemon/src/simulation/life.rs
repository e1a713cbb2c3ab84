//! One daemon: from its start on what an earlier one has left to wherever it is cut off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_core::clock::Clock;
use brigade_store::simulation::{Access, Disk};
use brigade_store::{Store, StoreError, StorePaths};
use brigade_testkit::FakeClock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::processes::Population;
use super::servers::Yard;
use crate::clock::Chance;
use crate::config::Configs;
use crate::engine::Engine;
use crate::hosts::{Hub, Signal, lock};
use crate::http::{About, Api};
use crate::parts::Parts;
use crate::troubles::Troubles;

/// What of the disk fails at the moment, of a hundred accesses each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ills {
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) files: u64,
    pub(super) files_done: u64,
}

/// What survives a daemon.
pub(super) struct Ground {
    pub(super) disk: Disk,
    pub(super) paths: StorePaths,
    pub(super) clock: FakeClock,
    pub(super) population: Population,
    pub(super) configs: Configs,
    pub(super) ills: Arc<Mutex<Ills>>,
    pub(super) yard: Yard,
}

impl Ground {
    pub(super) fn new(
        disk: &Disk,
        folder: &Path,
        configs: &Configs,
        clock: FakeClock,
        seed: u64,
    ) -> Self {
        let ills: Arc<Mutex<Ills>> = Arc::default();
        let (now, mut rng) = (Arc::clone(&ills), StdRng::seed_from_u64(seed));
        disk.fail(move |access| {
            let ills = *lock(&now);
            let (percent, error) = match access {
                Access::Write => (ills.writes, StoreError::Full("simulated".to_owned())),
                Access::Read => (ills.reads, StoreError::Io("simulated".to_owned())),
                Access::Files => (ills.files, StoreError::Full("simulated".to_owned())),
                Access::FilesDone => (ills.files_done, StoreError::Io("simulated".to_owned())),
            };
            (percent > 0 && rng.next_u64() % 100 < percent).then_some(error)
        });
        let population = Population::default();
        Self {
            disk: disk.clone(),
            paths: StorePaths {
                db: folder.join("brigade.db"),
                artifacts: folder.join("artifacts"),
                predecessor: folder.join("artifacts"),
            },
            clock,
            yard: Yard::new(&population),
            population,
            configs: configs.clone(),
            ills,
        }
    }
}

/// A daemon in a runtime of its own. Dropped, it stops where it stands, whatever it was at.
pub(super) struct Life {
    // First, so that all its tasks are gone before anything that they use.
    runtime: Runtime,
    pub(super) api: Api,
    recovering: Option<JoinHandle<Result<(), StoreError>>>,
    signals: Option<mpsc::UnboundedReceiver<Signal>>,
    tasks: TaskTracker,
}

impl Life {
    pub(super) fn start(ground: &Ground, seed: u64) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // Whoever lets it run decides after each task whether it goes on.
            .event_interval(1)
            .build()
            .expect("a runtime without IO needs nothing of the system");
        let clock: Arc<dyn Clock> = Arc::new(ground.clock.clone());
        let store = Store::simulated(&ground.disk, &ground.paths, Arc::clone(&clock))?;
        let (hub, signals) = Hub::new(Arc::new(ground.population.clone()));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let engine = Engine::new(Parts {
            store,
            clock,
            chance: Chance::seeded(seed),
            configs: ground.configs.clone(),
            hub,
            tasks: tasks.clone(),
            stopping: stop.clone(),
            activity: Arc::new(Notify::new()),
            launcher: Arc::new(ground.yard.clone()),
            logs: PathBuf::new(),
            variables: BTreeMap::new(),
            data: PathBuf::from("/simulated"),
            worktrees: PathBuf::from("/simulated/worktrees"),
            program: PathBuf::from("/simulated/brigade"),
            troubles: Troubles::default(),
            telemetry: crate::telemetry::Telemetry::default(),
            desktop: Arc::new(crate::desktop::NoDesktop),
        });
        let recovered = engine.clone();
        let recovering = runtime.spawn(async move { recovered.recover().await });
        let about = About {
            started_at: ground.clock.now(),
            data_dir: PathBuf::new(),
            socket: PathBuf::new(),
            store: ground.paths.db.clone(),
            config: PathBuf::new(),
        };
        Ok(Self {
            runtime,
            api: Api {
                engine,
                about: Arc::new(about),
                stop,
                log: crate::log_level::LogLevel::new(None, "info"),
                clearing: Arc::default(),
                panels: Arc::default(),
                large: Arc::new(tokio::sync::Semaphore::new(1)),
            },
            recovering: Some(recovering),
            signals: Some(signals),
            tasks,
        })
    }

    /// Whether it serves requests by now; an error where it could not start.
    pub(super) fn serves(&mut self) -> Result<bool, StoreError> {
        match self.recovering.take() {
            None => Ok(true),
            Some(recovering) if !recovering.is_finished() => {
                self.recovering = Some(recovering);
                Ok(false)
            }
            Some(recovering) => {
                let recovered = self.runtime.block_on(recovering);
                recovered.unwrap_or_else(|error| Err(StoreError::internal(error.to_string())))?;
                if let Some(signals) = self.signals.take() {
                    let listening = self.api.engine.clone().listen(signals);
                    let _in_it = self.runtime.enter();
                    self.tasks.spawn(listening);
                }
                Ok(true)
            }
        }
    }

    /// Lets this many of its tasks go on, each as far as it gets.
    pub(super) fn run(&self, tasks: u64) {
        self.runtime.block_on(async {
            for _ in 0..tasks {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Lets time pass: everything that can go on does, before and meanwhile.
    pub(super) fn pass(&self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }

    /// Begins something in it.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// The outcome of something that has ended.
    pub(super) fn outcome<T>(&self, ended: JoinHandle<T>) -> Option<T> {
        self.runtime.block_on(ended).ok()
    }

    /// Does something as if it were one of its own.
    pub(super) fn within<T>(&self, work: impl FnOnce(&Api) -> T) -> T {
        let _in_it = self.runtime.enter();
        work(&self.api)
    }
}
