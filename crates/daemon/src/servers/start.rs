//! Starting a server: on record before it is let to its work, so that no crash leaves one nobody knows.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brigade_agents::opencode::{ServerSpec, Transport, listens, open_directory};
use brigade_os::process::{End, ProcessId};
use brigade_os::spawn::Leash;
use brigade_store::ServerRow;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::{BACKOFF, Failure, Opening, PoolKey, Profile, Server, Servers, Stage, State};
use crate::failpoint;
use crate::hosts::{Environment, lock};
use crate::last_words::last_words;

/// How long a server may take to listen. With the registry of packages out of reach the host tries for
/// 70 s before it goes on.
const LISTENS: Duration = Duration::from_secs(150);
/// How long the bridge may take to come in after its directory was opened.
const BRIDGE: Duration = Duration::from_secs(30);
/// How long a server without a daemon stays where no limit is set for those without work.
const ALONE: Duration = Duration::from_secs(120);
/// How long a directory that could not be opened is left alone.
const REOPEN: Duration = Duration::from_secs(30);
/// What troubles with servers are about.
const TROUBLE: &str = "own server";

impl Servers {
    /// Begins a server for this environment.
    pub(super) fn start(&self, state: &mut State, environment: Arc<Environment>, profile: Profile) {
        let id = Uuid::now_v7().simple().to_string();
        state.servers.insert(
            id.clone(),
            Server {
                key: Some(environment.key),
                host: environment.host.clone(),
                profile: profile.clone(),
                stage: Stage::Starting,
                process: None,
                leash: None,
                holds: Default::default(),
                needed: Instant::now(),
                directories: Default::default(),
                released: Arc::new(Notify::new()),
            },
        );
        self.spawn({
            let servers = self.clone();
            async move { servers.bring_up(id, environment, profile).await }
        });
    }

    /// A task that ends with the daemon; what it leaves is on record.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.0.parts.stopping.clone();
        self.0.parts.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    async fn bring_up(&self, id: String, environment: Arc<Environment>, profile: Profile) {
        match self.try_start(&id, &environment, &profile).await {
            Ok((process, transport)) => {
                tracing::info!(server = %id, %process, "a server of our own is up");
                failpoint::pass("server-up");
                if let Some(server) = lock(&self.0.state).servers.get_mut(&id) {
                    server.stage = Stage::Up(transport);
                    server.needed = Instant::now();
                }
                self.0.parts.troubles.clear(TROUBLE);
                self.0.parts.hub.servers_changed();
                self.supervise(&id, process).await;
            }
            Err(why) => {
                tracing::error!(server = %id, why, "a server of our own could not be started");
                lock(&self.0.state).servers.remove(&id);
                self.failed((environment.key, profile), &why);
            }
        }
    }

    /// Notes a failure; the next try waits the longer the more there were in a row.
    pub(super) fn failed(&self, key: PoolKey, why: &str) {
        let pause = {
            let mut state = lock(&self.0.state);
            // Worktrees come and go; what failed long ago in one that nobody asks for any more is past.
            state.failures.retain(|(_, profile), failure| {
                !profile.is_limited() || failure.until + BACKOFF.1 > Instant::now()
            });
            let count = state.failures.get(&key).map_or(0, |failure| failure.count) + 1;
            let pause = BACKOFF.0 * 2u32.saturating_pow((count - 1).min(16));
            let pause = pause.min(BACKOFF.1);
            let until = Instant::now() + pause;
            let failure = Failure {
                why: why.to_owned(),
                count,
                until,
            };
            state.failures.insert(key, failure);
            pause
        };
        self.0.parts.troubles.note(format!(
            "{TROUBLE}: it could not be started or has crashed: {why}; it is tried again"
        ));
        self.0.parts.hub.servers_changed();
        self.look_again_at(Instant::now() + pause);
    }

    async fn try_start(
        &self,
        id: &str,
        environment: &Environment,
        profile: &Profile,
    ) -> Result<(ProcessId, Arc<dyn Transport>), String> {
        let parts = &self.0.parts;
        let password = format!("{:032x}", rand::random::<u128>());
        let mut row = ServerRow {
            id: id.to_owned(),
            process: None,
            port: free_port().map_err(|error| format!("no free port: {error}"))?,
            // What is confined can read the store, and must not come by the orders of a server that is not. It can't
            // read another process's environment.
            password: if ProcessId::SHOWS_ENVIRONMENT {
                String::new()
            } else {
                password.clone()
            },
            host: environment.host.clone(),
            executable: environment.executable.display().to_string(),
            profile: profile.to_string(),
            started_at: parts.clock.now(),
        };
        let stored = |error: brigade_store::StoreError| error.to_string();
        parts.store.put_server(row.clone()).await.map_err(stored)?;
        failpoint::pass("server-planned");
        let mut variables = environment.variables.clone();
        variables.extend(parts.variables.clone());
        let spec = ServerSpec {
            id: id.to_owned(),
            executable: environment.executable.clone(),
            variables,
            port: row.port,
            password: password.clone(),
            linger: parts.config.linger.unwrap_or(ALONE),
            log: self.log(id),
            confine: profile.confine(&self.own_folder(id), &parts.writable),
        };
        let launched = match parts.launcher.launch(&spec) {
            Ok(gate) => gate,
            Err(error) => {
                self.forget(id).await;
                return Err(format!("{}: {error}", row.executable));
            }
        };
        let process = launched.process();
        failpoint::pass("server-launched");
        row.process = Some(process.to_string());
        // Not recorded, it must not go to work: dropped, its gate stays closed and it ends.
        if let Err(error) = parts.store.put_server(row.clone()).await {
            drop(launched);
            self.forget(id).await;
            return Err(stored(error));
        }
        if let Some(server) = lock(&self.0.state).servers.get_mut(id) {
            server.process = Some(process);
        }
        failpoint::pass("server-recorded");
        let up = async {
            let leash = launched.open().await.map_err(|error| error.to_string())?;
            if let Some(server) = lock(&self.0.state).servers.get_mut(id) {
                server.leash = Some(leash);
            }
            failpoint::pass("server-begun");
            let transport = parts
                .launcher
                .reach(row.port, &password)
                .map_err(|error| error.to_string())?;
            self.listens(process, &*transport, &spec.log).await?;
            Ok(transport)
        };
        match up.await {
            Ok(transport) => Ok((process, transport)),
            Err(why) => {
                self.end(id, process, End::Kill).await;
                Err(why)
            }
        }
    }

    /// Waits until a server that was let to its work listens.
    pub(super) async fn listens(
        &self,
        process: ProcessId,
        transport: &dyn Transport,
        log: &Path,
    ) -> Result<(), String> {
        tokio::select! {
            () = listens(transport) => Ok(()),
            exit = self.0.parts.hub.processes().wait_exit(process) => Err(match exit {
                Ok(()) => format!("it ended while it started{}", last_words(log)),
                Err(error) => format!("its end can't be watched: {error}"),
            }),
            () = tokio::time::sleep(LISTENS) => {
                Err(format!("it did not listen within {} s", LISTENS.as_secs()))
            }
        }
    }

    /// Has a server open a directory; its bridge comes in with that.
    pub(super) fn open(
        &self,
        id: String,
        process: ProcessId,
        transport: Arc<dyn Transport>,
        directory: String,
    ) {
        let servers = self.clone();
        self.spawn(async move {
            let opened = open_directory(&*transport, &directory).await;
            let opened = match opened {
                Ok(()) => servers.bridge_is_in(&process, &directory).await,
                Err(why) => Err(why),
            };
            if let Err(why) = &opened {
                tracing::error!(server = %id, directory, why, "a server of our own can't be used");
            }
            let useless = {
                let mut state = lock(&servers.0.state);
                let Some(server) = state.servers.get_mut(&id) else {
                    return;
                };
                // Whoever waited for this is about to ask again.
                server.needed = Instant::now();
                server.released.notify_one();
                match opened {
                    // Asked again should the host dispose of it.
                    Ok(()) => {
                        server.directories.remove(&directory);
                        None
                    }
                    // Others work in it.
                    Err(why) if !server.holds.is_empty() => {
                        let until = Instant::now() + REOPEN;
                        let failed = Opening::Failed { why, until };
                        server.directories.insert(directory, failed);
                        servers.look_again_at(until);
                        None
                    }
                    // What it has loaded it does not load again: another one may do better.
                    Err(why) => {
                        server.stage = Stage::Leaving;
                        Some((server.key, server.profile.clone(), why))
                    }
                }
            };
            if let Some((key, profile, why)) = useless {
                servers.end(&id, process, End::Ask).await;
                lock(&servers.0.state).servers.remove(&id);
                if let Some(key) = key {
                    servers.failed((key, profile), &why);
                }
            }
            servers.0.parts.hub.servers_changed();
        });
    }

    /// Says at that time that asking again is worth while.
    fn look_again_at(&self, until: Instant) {
        let servers = self.clone();
        self.spawn(async move {
            tokio::time::sleep_until(until).await;
            // Whoever still needs a server asks again now, and a failure is noted anew.
            servers.0.parts.troubles.clear(TROUBLE);
            servers.0.parts.hub.servers_changed();
        });
    }

    pub(super) fn release_leash(&self, id: String, leash: Leash) {
        // Not cut off by the daemon's end: dropped, the leash would end a server that works.
        self.0.parts.tasks.spawn(async move {
            if let Err(error) = leash.release().await {
                tracing::warn!(server = %id, %error, "who watches over a server of our own is gone");
            }
        });
    }

    async fn bridge_is_in(&self, process: &ProcessId, directory: &str) -> Result<(), String> {
        let mut changes = self.0.parts.hub.changes();
        let came = async {
            while !self.serves(process, directory) {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(BRIDGE, came).await.map_err(|_| {
            format!(
                "Brigade's bridge is not loaded for {directory} in it: is it installed there? `brigade doctor` tells"
            )
        })
    }
}

/// A port that is free at this moment; should somebody take it, the start fails and is tried with another.
fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
