//! A server's life once it is up: watched, let go when nothing needs it, found again by the next daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brigade_agents::opencode::{CONFINED, PASSWORD, Transport};
use brigade_os::process::{End, ProcessId};
use brigade_store::StoreError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Profile, Server, Servers, Stage};
use crate::hosts::lock;

/// How long a server may take to end when it is asked to.
const END: Duration = Duration::from_secs(10);
/// One that crashes sooner than this is started again with back-off.
const YOUNG: Duration = Duration::from_secs(60);
/// How often one that runs something is asked for a sign of life, and how long it may take. A second
/// silence in a row is taken for its end: the machine's own sleep does not count.
const HEARTBEAT: Duration = Duration::from_secs(60);

impl Servers {
    /// Takes up the servers that an earlier daemon has started. To be called before any delegation is
    /// taken up.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub(crate) async fn recover(&self) -> Result<(), StoreError> {
        let parts = &self.0.parts;
        for row in parts.store.servers().await? {
            let process = row
                .process
                .as_ref()
                .and_then(|process| process.parse::<ProcessId>().ok());
            // Without a process it never got past its gate.
            let alive = process.filter(|process| parts.hub.processes().is_alive(process));
            let Some(process) = alive else {
                if self.clear(&row.id).await {
                    parts.store.remove_server(&row.id).await?;
                }
                continue;
            };
            let profile = match row.profile.parse::<Profile>() {
                Ok(profile) => profile,
                Err(error) => {
                    tracing::error!(server = %row.id, %error, "a server of our own can't be used; it is ended");
                    self.end(&row.id, process, End::Ask).await;
                    continue;
                }
            };
            let told = parts.hub.processes().variable(&process, PASSWORD);
            let password = told.unwrap_or(row.password);
            let transport = match parts.launcher.reach(row.port, &password) {
                Ok(transport) => transport,
                Err(error) => {
                    tracing::error!(server = %row.id, %error, "a server of our own can't be reached; it will end by itself");
                    continue;
                }
            };
            tracing::info!(server = %row.id, %process, "a server of an earlier daemon is still there");
            lock(&self.0.state).servers.insert(
                row.id.clone(),
                Server {
                    key: None,
                    host: row.host,
                    profile,
                    // That daemon may have died while it started.
                    stage: Stage::Starting,
                    process: Some(process),
                    leash: None,
                    holds: Default::default(),
                    needed: Instant::now(),
                    directories: Default::default(),
                    released: Arc::new(Notify::new()),
                },
            );
            let (servers, id) = (self.clone(), row.id);
            self.spawn(async move { servers.take_over(&id, process, transport).await });
        }
        Ok(())
    }

    /// Watches a server of an earlier daemon, from the moment that it listens.
    async fn take_over(&self, id: &str, process: ProcessId, transport: Arc<dyn Transport>) {
        if let Err(why) = self.listens(process, &*transport, &self.log(id)).await {
            tracing::error!(server = id, %process, why, "a server of an earlier daemon can't be used");
            lock(&self.0.state).servers.remove(id);
            self.end(id, process, End::Kill).await;
            self.0.parts.hub.servers_changed();
            return;
        }
        if let Some(server) = lock(&self.0.state).servers.get_mut(id) {
            server.stage = Stage::Up(transport);
            server.needed = Instant::now();
        }
        self.0.parts.hub.servers_changed();
        self.supervise(id, process).await;
    }

    /// Watches a server until it is gone.
    pub(super) async fn supervise(&self, id: &str, process: ProcessId) {
        let since = Instant::now();
        let gone = self.0.parts.hub.processes().wait_exit(process);
        tokio::select! {
            exit = gone => {
                if let Err(error) = exit {
                    tracing::error!(server = id, %error, "the end of a server of our own can't be noticed");
                    std::future::pending::<()>().await;
                }
                let key = {
                    let mut state = lock(&self.0.state);
                    let leaving = state
                        .servers
                        .get(id)
                        .is_none_or(|server| matches!(server.stage, Stage::Leaving));
                    if leaving {
                        // Whoever ends it does the rest.
                        return;
                    }
                    state
                        .servers
                        .remove(id)
                        .and_then(|server| Some((server.key?, server.profile)))
                };
                self.forget(id).await;
                tracing::error!(server = id, %process, "a server of our own has ended by itself");
                match key {
                    Some(key) if since.elapsed() < YOUNG => {
                        self.failed(key, "it crashed");
                    }
                    Some(key) => {
                        lock(&self.0.state).failures.remove(&key);
                        self.0.parts.hub.servers_changed();
                    }
                    None => self.0.parts.hub.servers_changed(),
                }
            }
            () = self.silent(id, process) => {
                tracing::error!(server = id, %process, "a server of our own gives no sign of life; it is ended");
                lock(&self.0.state).servers.remove(id);
                self.end(id, process, End::Kill).await;
                self.0.parts.hub.servers_changed();
            }
            () = self.idle(id) => {
                tracing::info!(server = id, %process, "nothing needs this server of our own any more");
                self.end(id, process, End::Ask).await;
                lock(&self.0.state).servers.remove(id);
                self.0.parts.hub.servers_changed();
            }
        }
    }

    /// Returns once nothing has needed the server for long; from then on nobody finds it any more.
    async fn idle(&self, id: &str) {
        while let Some((released, until)) = self.idle_until(id) {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => released.notified().await,
            }
        }
    }

    /// When to look again whether the server is idle, and what ends its work; none once it is to leave.
    fn idle_until(&self, id: &str) -> Option<(Arc<Notify>, Option<Instant>)> {
        let mut state = lock(&self.0.state);
        let server = state.servers.get_mut(id)?;
        let linger = server.profile.linger(&self.0.parts.config);
        let until = linger.map(|linger| server.needed + linger);
        let released = Arc::clone(&server.released);
        if !server.holds.is_empty() || server.is_opening() {
            return Some((released, None));
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            server.stage = Stage::Leaving;
            // Its start worked: what failed before is past.
            if let Some(key) = server.key {
                let key = (key, server.profile.clone());
                state.failures.remove(&key);
            }
            return None;
        }
        Some((released, until))
    }

    /// Returns once a server on which something runs has been silent for too long.
    async fn silent(&self, id: &str, process: ProcessId) {
        let mut silences = 0;
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let busy = lock(&self.0.state)
                .servers
                .get(id)
                .is_some_and(|server| !server.holds.is_empty());
            let alive = async {
                let connection = self.0.parts.hub.connected(&process).await;
                connection.ping().await
            };
            let alive = !busy
                || tokio::time::timeout(HEARTBEAT, alive)
                    .await
                    .unwrap_or(false);
            silences = if alive { 0 } else { silences + 1 };
            if silences >= 2 {
                return;
            }
        }
    }

    /// Ends a server that is on no record: the store that knew it is gone, and with it all that runs there.
    pub(crate) fn dismiss(&self, process: ProcessId) {
        tracing::warn!(%process, "a server of our own that is on no record is ended");
        let servers = self.clone();
        self.spawn(async move { servers.end("unknown", process, End::Ask).await });
    }

    /// The files of a worktree, by the folder that holds it, are about to be removed. Its server goes first: the kernel
    /// holds it to these very files, and it could change none that are laid out in their place.
    pub(crate) async fn part_with(&self, worktree: &Path) {
        let leaving: Vec<(String, ProcessId)> = {
            let mut state = lock(&self.0.state);
            let its = state.servers.iter_mut().filter(|(_, server)| {
                matches!(&server.profile, Profile::Worktree(root) if root == worktree)
                    && !matches!(server.stage, Stage::Leaving)
            });
            its.filter_map(|(id, server)| {
                let process = server.process?;
                server.stage = Stage::Leaving;
                Some((id.clone(), process))
            })
            .collect()
        };
        for (id, process) in leaving {
            tracing::info!(server = id, %process, "the server of a worktree goes with its files");
            self.end(&id, process, End::Ask).await;
            lock(&self.0.state).servers.remove(&id);
            self.0.parts.hub.servers_changed();
        }
    }

    /// Ends a process and forgets it once that is proven.
    pub(super) async fn end(&self, id: &str, process: ProcessId, how: End) {
        let processes = self.0.parts.hub.processes();
        let refused = |error: std::io::Error| {
            tracing::error!(server = id, %process, %error, "a server of our own can't be ended");
        };
        // In a worktree nobody needs what its shells have left, and it may still write there.
        let confined = processes.variable(&process, CONFINED).is_some();
        let below = match confined {
            true => processes.descendants(&process),
            false => Vec::new(),
        };
        if let Err(error) = processes.end(&process, how) {
            refused(error);
        }
        let gone = tokio::time::timeout(END, processes.wait_exit(process)).await;
        if !matches!(gone, Ok(Ok(()))) && how == End::Ask {
            if let Err(error) = processes.end(&process, End::Kill) {
                refused(error);
            }
            let _ = tokio::time::timeout(END, processes.wait_exit(process)).await;
        }
        for left in below {
            for left in processes.descendants(&left).into_iter().chain([left]) {
                if let Err(error) = processes.end(&left, End::Kill) {
                    refused(error);
                }
            }
        }
        if processes.is_alive(&process) {
            // Still on record: the next daemon finds it.
            tracing::error!(server = id, %process, "a server of our own does not end");
        } else {
            self.forget(id).await;
        }
    }

    /// Takes a server off the record. A row that stays names a process that is gone: the next daemon sees that.
    pub(super) async fn forget(&self, id: &str) {
        if !self.clear(id).await {
            return;
        }
        if let Err(error) = self.0.parts.store.remove_server(id).await {
            tracing::warn!(server = id, %error, "a server that is gone stays on record for now");
        }
    }

    /// Removes the folder that was a server's alone. Only then the server may go off the record, by which the folder
    /// is found again.
    async fn clear(&self, id: &str) -> bool {
        let folder = self.own_folder(id);
        if !folder.exists() {
            return true;
        }
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let folder = folder.display();
                tracing::warn!(server = id, %folder, %error, "the folder of a server that is gone stays for now");
                false
            }
            _ => true,
        }
    }

    /// The daemon goes, and nothing is under way: its servers go with it. Otherwise they are what the next
    /// daemon finds, with the environment that the work needs; or they end by themselves.
    pub(crate) async fn leave(&self) {
        let idle: Vec<(String, ProcessId)> = {
            let state = lock(&self.0.state);
            state
                .servers
                .iter()
                .filter(|(_, server)| server.holds.is_empty())
                .filter_map(|(id, server)| Some((id.clone(), server.process?)))
                .collect()
        };
        futures::future::join_all(
            idle.iter()
                .map(|(id, process)| self.end(id, *process, End::Ask)),
        )
        .await;
    }
}
