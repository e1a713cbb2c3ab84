//! A process of the host, as a test uses it.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use brigade_os::paths::Dirs;
use brigade_protocol::bridge::{Down, Up};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fault::Faults;
use super::filter::BridgeState;
use super::helper::Helper;
use super::world::{LIMIT, State, World};
use crate::{Error, Result, Watched};

/// How a process is started.
#[derive(Debug, Clone)]
pub struct HostOptions<'a> {
    /// Its name in what is recorded; one for each process.
    pub name: &'a str,
    /// `tui`, `run`, `serve`.
    pub mode: &'a str,
    /// The test that is the helper's; see [`Helper::start`].
    pub test: &'a str,
    /// The daemon's places.
    pub dirs: &'a Dirs,
    /// A folder for the process's own socket, shorter than a socket's name may be.
    pub folder: &'a Path,
    /// What goes wrong.
    pub faults: Faults,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) world: Arc<World>,
    pub(super) name: String,
    pub(super) mode: String,
    pub(super) pid: u32,
    pub(super) faults: Faults,
    pub(super) bridge: Watched<BridgeState>,
    dead: CancellationToken,
    /// What goes on in it, where a test lets it go on step by step.
    steps: Option<Mutex<Vec<Going>>>,
}

/// Something that goes on.
#[derive(Default)]
pub(super) struct Going(Option<BoxFuture<'static, ()>>);

impl fmt::Debug for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Going")
    }
}

impl Inner {
    /// A process whose steps and whose connection are the test's own affair.
    pub(super) fn by_hand(world: &Arc<World>, name: &str, mode: &str, pid: u32) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            name: name.to_owned(),
            mode: mode.to_owned(),
            pid,
            faults: Faults::default(),
            bridge: Watched::new(BridgeState {
                directory: world.directory().display().to_string(),
                ..BridgeState::default()
            }),
            dead: CancellationToken::new(),
            steps: Some(Mutex::default()),
        })
    }

    /// How many things go on in it.
    pub(super) fn going_on(&self) -> usize {
        self.list_steps().map_or(0, |steps| steps.len())
    }

    fn list_steps(&self) -> Option<MutexGuard<'_, Vec<Going>>> {
        let steps = self.steps.as_ref()?;
        Some(steps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of them goes on, as far as it gets.
    pub(super) fn go_on(&self, at: usize) {
        // Taken out, since it may begin something else.
        let work = self
            .list_steps()
            .and_then(|mut steps| steps.get_mut(at).and_then(|step| step.0.take()));
        let Some(mut work) = work else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        let ended = work.as_mut().poll(&mut context).is_ready();
        if let Some(mut steps) = self.list_steps() {
            if ended {
                steps.remove(at);
            } else if let Some(step) = steps.get_mut(at) {
                step.0 = Some(work);
            }
        }
    }

    /// Runs something as long as the process lives.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(steps) = &self.steps {
            steps
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Going(Some(work.boxed())));
            return;
        }
        let dead = self.dead.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = dead.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// An event of this process.
    pub(super) fn emit(&self, kind: &str, session: &str, properties: &Value) {
        self.world
            .read(|state| self.emit_in(state, kind, session, properties));
    }

    /// The same while the state is being changed, so that events come in the order of what they tell.
    pub(super) fn emit_in(&self, state: &State, kind: &str, session: &str, properties: &Value) {
        if self.dead.is_cancelled() {
            return;
        }
        let mut properties = properties.clone();
        properties["sessionID"] = json!(session);
        let is_root = state
            .session(session)
            .is_some_and(|found| found.parent.is_none());
        let twice = self.faults.strikes(5);
        self.bridge.update(|bridge| {
            bridge.on_event(session, is_root, state.now, kind, &properties);
            if twice {
                bridge.on_event(session, is_root, state.now, kind, &properties);
            }
        });
    }

    /// The hook has seen the message and put offered notices into it.
    pub(super) fn types(&self, session: &str) -> Typed {
        let (message, now) = self
            .world
            .state
            .update(|state| (state.new_id("msg"), state.now));
        let parts = self.bridge.update(|bridge| {
            bridge.touch(session, now, true, |root| root.busy = true);
            let mut parts = Vec::new();
            let mut taken = Vec::new();
            for (lease, held) in &mut bridge.leases {
                if held.session == session
                    && let Some(offered) = held.parts.take()
                {
                    parts.extend(offered);
                    held.message = Some(message.clone());
                    taken.push(*lease);
                }
            }
            for lease in taken {
                bridge.send(Up::Taken {
                    session: session.to_owned(),
                    lease,
                    message: message.clone(),
                });
            }
            parts
        });
        Typed {
            session: session.to_owned(),
            message,
            parts,
        }
    }

    /// The message is stored and answered.
    pub(super) fn stores(self: &Arc<Self>, typed: Typed, words: &str) -> String {
        let mut parts = vec![json!({"type": "text", "text": words})];
        parts.extend(typed.parts);
        let body = json!({"messageID": typed.message, "agent": "build", "parts": parts});
        self.prompt(&typed.session, &body);
        typed.message
    }

    /// A person deletes a session, and with it its children.
    pub(super) fn deletes(&self, session: &str) {
        self.world.state.update(|state| {
            let mut gone: Vec<String> = state
                .children(session)
                .iter()
                .map(|child| child.id.clone())
                .collect();
            gone.push(session.to_owned());
            for id in gone {
                let info = state
                    .session(&id)
                    .map(|found| found.info.clone())
                    .unwrap_or_default();
                self.emit_in(state, "session.deleted", &id, &json!({"info": info}));
                state.sessions.retain(|known| known.id != id);
            }
        });
    }

    /// The process ends where it stands, and everything that it did with it.
    pub(super) fn dies(&self) {
        self.dead.cancel();
        let gone = self
            .list_steps()
            .map(|mut steps| std::mem::take(&mut *steps));
        drop(gone);
        self.world
            .state
            .update(|state| state.runs.retain(|run| run.process != self.name));
    }
}

/// A process of the host with its bridge. When dropped, it is killed.
#[derive(Debug)]
pub struct SimulatedHost {
    pub(super) inner: Arc<Inner>,
    process: Helper,
}

/// A person's message that has left the hook and is not stored yet.
#[derive(Debug)]
#[must_use = "it is stored by `SimulatedHost::stores`"]
pub struct Typed {
    session: String,
    message: String,
    parts: Vec<Value>,
}

impl SimulatedHost {
    /// Starts a process and waits until its bridge is connected.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(world: &Arc<World>, options: HostOptions<'_>) -> Result<Self> {
        let runtime = options.folder.join(options.name);
        std::fs::create_dir_all(&runtime).map_err(Error::io("make a folder for a process"))?;
        let places = [
            ("HOME", options.dirs.home.clone()),
            ("BRIGADE_DATA_DIR", options.dirs.data.clone()),
            ("BRIGADE_CONFIG_DIR", options.dirs.config.clone()),
            ("BRIGADE_RUNTIME_DIR", runtime),
        ];
        let lookup = |name: &str| {
            let place = places.iter().find(|(known, _)| *known == name);
            place.map(|(_, path)| OsString::from(path))
        };
        let dirs = Dirs::from_lookup(lookup, None, brigade_os::user_id())
            .map_err(|error| Error::io("find a process's places")(std::io::Error::other(error)))?;
        let process = Helper::relay(options.test, &dirs.socket(), &options.dirs.socket()).await?;
        let directory = world.directory().display().to_string();
        let inner = Arc::new(Inner {
            world: Arc::clone(world),
            name: options.name.to_owned(),
            mode: options.mode.to_owned(),
            pid: process.pid().unwrap_or(0),
            faults: options.faults,
            bridge: Watched::new(BridgeState {
                directory,
                ..BridgeState::default()
            }),
            dead: CancellationToken::new(),
            steps: None,
        });
        inner.spawn(Arc::clone(&inner).maintain(dirs));
        let host = Self { inner, process };
        host.connected(1).await?;
        Ok(host)
    }

    /// Its name in what is recorded.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its process, which only passes on what bridge and daemon say.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    async fn until<T>(&self, what: &str, look: impl FnMut(&BridgeState) -> Option<T>) -> Result<T> {
        let seen =
            |bridge: &BridgeState| format!("{bridge:?}\n{}", self.inner.world.read(State::dump));
        self.inner
            .bridge
            .until_within(LIMIT, what, seen, look)
            .await
    }

    /// Waits until the bridge is connected, for the n-th time or later.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn connected(&self, times: u32) -> Result<()> {
        self.until("a connection", |bridge| {
            (bridge.link.is_some() && bridge.connections >= times).then_some(())
        })
        .await
    }

    /// How often the bridge has been connected.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.inner.bridge.read(|bridge| bridge.connections)
    }

    /// Breaks the connection; the bridge comes back by itself. Returns once it has.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn reconnect(&self) -> Result<()> {
        let before = self.connections();
        self.cut();
        self.connected(before + 1).await
    }

    fn cut(&self) {
        if let Some(link) = self.inner.bridge.read(|bridge| bridge.link.clone()) {
            link.cut.cancel();
        }
    }

    /// Breaks the connection and keeps it broken. Returns once it is.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn offline(&self) -> Result<()> {
        self.inner.bridge.update(|bridge| bridge.offline = true);
        self.cut();
        self.disconnected().await
    }

    /// Waits until the bridge has given its connection up.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn disconnected(&self) -> Result<()> {
        self.until("the end of the connection", |bridge| {
            bridge.link.is_none().then_some(())
        })
        .await
    }

    /// The bridge forgets which offers it has used, as if it had been answered for them.
    pub fn forgets_offers(&self) {
        self.inner.bridge.update(|bridge| {
            bridge.leases.clear();
            bridge
                .queue
                .retain(|message| !matches!(message, Up::Taken { .. }));
        });
    }

    /// Lets the bridge connect again.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn online(&self) -> Result<()> {
        let before = self.connections();
        self.inner.bridge.update(|bridge| bridge.offline = false);
        self.connected(before + 1).await
    }

    /// Whether the bridge holds back what it has to say.
    pub fn mute(&self, mute: bool) {
        self.inner.bridge.update(|bridge| bridge.mute = mute);
    }

    /// Waits until everything that the bridge has to say was heard: what is in its queue and on its way.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn heard(&self) -> Result<()> {
        self.until("an empty queue", |bridge| {
            (bridge.queue.is_empty() && !bridge.posting).then_some(())
        })
        .await
    }

    /// Waits for something that came down the stream.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn came<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&[Down]) -> Option<T>,
    ) -> Result<T> {
        self.until(what, |bridge| look(&bridge.heard)).await
    }

    /// How many offers the bridge holds for a session.
    #[must_use]
    pub fn offers(&self, session: &str) -> usize {
        self.inner.bridge.read(|bridge| {
            let held = bridge.leases.values();
            held.filter(|lease| lease.session == session && lease.parts.is_some())
                .count()
        })
    }

    /// Waits until the bridge holds this many offered notices for a session.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn offered(&self, session: &str, notices: usize) -> Result<()> {
        self.until("an offer", |bridge| {
            let held = bridge
                .leases
                .values()
                .filter(|lease| lease.session == session);
            let parts = held.filter_map(|lease| lease.parts.as_ref()).flatten();
            (parts.filter(|part| part["synthetic"] == true).count() == notices).then_some(())
        })
        .await
    }

    /// Kills the process: whatever it did stops where it stands.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.inner.dies();
        self.process.kill().await
    }

    /// A person types a message and sends it; returns its ID.
    pub fn person(&self, session: &str, words: &str) -> String {
        let typed = self.types(session);
        self.stores(typed, words)
    }

    /// The first half of [`Self::person`]: the hook has seen the message and put offered notices into it.
    pub fn types(&self, session: &str) -> Typed {
        self.inner.types(session)
    }

    /// The second half of [`Self::person`]: the message is stored and answered.
    pub fn stores(&self, typed: Typed, words: &str) -> String {
        self.inner.stores(typed, words)
    }

    /// A person presses escape in a session.
    pub fn aborts(&self, session: &str) {
        self.inner.abort(session);
    }

    /// A person deletes a session, and with it its children.
    pub fn deletes(&self, session: &str) {
        self.inner.deletes(session);
    }
}

impl Drop for SimulatedHost {
    fn drop(&mut self) {
        self.inner.dead.cancel();
    }
}
