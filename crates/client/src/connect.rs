//! The way to a daemon that can serve us.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_os::paths::Dirs;
use brigade_os::process::ProcessId;
use brigade_protocol::daemon::{Hello, Stop, Welcome};
use brigade_protocol::{ErrorBody, ErrorCode, PROTOCOL};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use crate::launch::launch;
use crate::{Client, ClientError, Handshake};

/// How long another daemon that is coming up or going down is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long an old daemon may take to drain.
const DRAIN: Duration = Duration::from_secs(60);
/// How long a daemon may take to be gone that has broken off a greeting.
const ENDING: Duration = Duration::from_secs(2);
/// The longest pause between two looks for a daemon that somebody else is starting.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Whether a daemon that is not there is to be started, and an old one replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPolicy {
    /// Yes.
    IfNeeded,
    /// No.
    Never,
}

/// How to get a [`Client`].
#[derive(Debug, Clone)]
pub struct Connector {
    dirs: Dirs,
    policy: StartPolicy,
    program: Option<PathBuf>,
    any_version: bool,
}

/// Who listens on the socket.
struct Peer {
    process: Option<ProcessId>,
}

/// What came of greeting the daemon.
enum Greeting {
    Welcome(Client),
    Older {
        client: Client,
        process: ProcessId,
    },
    Going(Peer),
    /// It went as it was greeted, and another listens by now.
    Replaced {
        why: String,
    },
    Nobody,
}

impl Connector {
    /// Connects to the daemon of these places.
    pub fn new(dirs: Dirs, policy: StartPolicy) -> Self {
        Self {
            dirs,
            policy,
            program: None,
            any_version: false,
        }
    }

    /// Starts this program as the daemon, instead of the one that runs now.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Takes a daemon of whatever protocol, for what no version changes: its status and stopping it.
    #[must_use]
    pub fn any_version(mut self) -> Self {
        self.any_version = true;
        self
    }

    /// Connects, starting the daemon if there is none and that is allowed. Any number of clients may
    /// do so at once: one daemon comes of it.
    ///
    /// # Errors
    /// When there is no daemon in the end, or it can't serve this client.
    pub async fn connect(self) -> Result<Client, ClientError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(5);
        // While another process holds the lock, its daemon is looked for; every few looks ours is
        // started again, since the holder may have been one on its way out.
        let mut looks = 0_u32;
        let mut replaced = false;
        loop {
            match self.greet().await? {
                Greeting::Welcome(client) => return Ok(client),
                // What was started in its place is no newer: starting it again would not help.
                Greeting::Older { client, .. } if replaced => return Err(too_old(&client)),
                Greeting::Older { client, process } => {
                    self.replace(&client, process).await?;
                    replaced = true;
                }
                Greeting::Going(peer) if self.policy == StartPolicy::IfNeeded => {
                    self.see_off(peer).await?;
                }
                Greeting::Going(_) => {
                    let message = "the daemon is about to go and takes nothing new";
                    return Err(ErrorBody::new(ErrorCode::Draining, message).into());
                }
                Greeting::Replaced { why } => {
                    if Instant::now() > deadline {
                        return Err(self.unreachable(why));
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Greeting::Nobody if self.policy == StartPolicy::Never => {
                    let socket = self.dirs.socket();
                    return Err(ClientError::NotRunning { socket });
                }
                Greeting::Nobody if looks.is_multiple_of(8) => {
                    if let Handshake::Failed { message, hint } = self.start().await? {
                        return Err(ClientError::NotStarted { why: message, hint });
                    }
                    looks += 1;
                }
                Greeting::Nobody => {
                    if Instant::now() > deadline {
                        return Err(self.stuck());
                    }
                    looks += 1;
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Greets whoever listens.
    async fn greet(&self) -> Result<Greeting, ClientError> {
        let socket = self.dirs.socket();
        let Some(peer) = probe(&socket).await? else {
            return Ok(Greeting::Nobody);
        };
        let hello = Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: self.dirs.data.to_string_lossy().into_owned(),
        };
        let mut client =
            Client::new(&socket).map_err(|error| self.unreachable(error.to_string()))?;
        let welcome: Welcome = match client.hello(&hello).await {
            Ok(welcome) => welcome,
            Err(ClientError::Api(body)) if body.code == ErrorCode::Draining => {
                return Ok(Greeting::Going(peer));
            }
            Err(ClientError::Lost { why, .. }) => {
                // It went between our looking and our greeting; one that is killed closes its connections
                // before it is gone, and one that a host starts in its place may listen already.
                let Some(now) = probe(&socket).await? else {
                    return Ok(Greeting::Nobody);
                };
                if now.process != peer.process || peer.process.is_none() {
                    return Ok(Greeting::Replaced { why });
                }
                if has_ended(peer.process).await {
                    return Ok(Greeting::Nobody);
                }
                return Err(self.unreachable(why));
            }
            Err(error) => return Err(error),
        };
        let Welcome {
            protocol,
            version,
            pid,
        } = welcome.clone();
        client.welcome = Some(welcome);
        client.connector = Some(self.clone());
        if self.any_version || protocol == PROTOCOL {
            Ok(Greeting::Welcome(client))
        } else if protocol > PROTOCOL {
            Err(ClientError::TooOld { protocol, version })
        } else if self.policy == StartPolicy::Never {
            Err(too_old(&client))
        } else {
            // Should it have gone by itself already, the next greeting finds out.
            Ok(match ProcessId::of(pid).or(peer.process) {
                Some(process) => Greeting::Older { client, process },
                None => Greeting::Nobody,
            })
        }
    }

    /// Asks an older daemon to go and waits until it has.
    async fn replace(&self, client: &Client, process: ProcessId) -> Result<(), ClientError> {
        let reason = "upgrade".to_owned();
        match client.stop(&Stop { reason }).await {
            Ok(()) | Err(ClientError::Lost { .. }) => {}
            Err(ClientError::Api(body)) if body.code == ErrorCode::Draining => {}
            Err(error) => return Err(error),
        }
        wait_gone(process, &self.dirs.socket()).await
    }

    /// Waits for a daemon that is going down of its own.
    async fn see_off(&self, peer: Peer) -> Result<(), ClientError> {
        match peer.process {
            Some(process) => wait_gone(process, &self.dirs.socket()).await,
            None => Ok(()),
        }
    }

    async fn start(&self) -> Result<Handshake, ClientError> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => this_program()?,
        };
        launch(&program, &self.dirs).await
    }

    fn unreachable(&self, why: String) -> ClientError {
        ClientError::Unreachable {
            socket: self.dirs.socket(),
            why,
        }
    }

    fn stuck(&self) -> ClientError {
        let lock = self.dirs.lock();
        let holder = std::fs::read_to_string(&lock).unwrap_or_default();
        let holder = holder.trim();
        ClientError::Stuck {
            socket: self.dirs.socket(),
            holder: if holder.is_empty() { "unknown" } else { holder }.to_owned(),
            lock,
        }
    }
}

/// The complaint about a daemon that is older than we are.
fn too_old(client: &Client) -> ClientError {
    let welcome = client.welcome.as_ref();
    ClientError::DaemonTooOld {
        protocol: welcome.map_or(0, |welcome| welcome.protocol),
        version: welcome.map_or_else(String::new, |welcome| welcome.version.clone()),
    }
}

/// Sees whether somebody listens, and that it is our user's process.
async fn probe(socket: &Path) -> Result<Option<Peer>, ClientError> {
    let unreachable = |why: String| ClientError::Unreachable {
        socket: socket.to_owned(),
        why,
    };
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(unreachable(error.to_string())),
    };
    let peer = stream
        .peer_cred()
        .map_err(|error| unreachable(error.to_string()))?;
    if !brigade_os::peer_is_me(peer.uid()) {
        return Err(unreachable(format!(
            "user {} listens there, not you",
            peer.uid()
        )));
    }
    let process = peer
        .pid()
        .and_then(|pid| u32::try_from(pid).ok())
        .and_then(ProcessId::of);
    Ok(Some(Peer { process }))
}

/// Whether a daemon that has broken off a greeting is ending.
async fn has_ended(process: Option<ProcessId>) -> bool {
    match process {
        Some(process) => matches!(timeout(ENDING, process.wait_exit()).await, Ok(Ok(()))),
        None => false,
    }
}

/// Waits until a daemon that was asked to go has gone.
pub(crate) async fn wait_gone(process: ProcessId, socket: &Path) -> Result<(), ClientError> {
    match timeout(DRAIN, process.wait_exit()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(ClientError::Unreachable {
            socket: socket.to_owned(),
            why: format!("its end can't be waited for: {error}"),
        }),
        Err(_) => Err(ClientError::StillRunning {
            pid: process.pid,
            waited_s: DRAIN.as_secs(),
        }),
    }
}

/// The program that runs now. Linux names one that was replaced while running by its old path and
/// a remark: the new one at that path is meant then.
fn this_program() -> Result<PathBuf, ClientError> {
    let path = std::env::current_exe().map_err(|error| ClientError::NotStarted {
        why: format!("the path of this program is unknown: {error}"),
        hint: None,
    })?;
    let replaced = path
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"))
        .map(PathBuf::from);
    Ok(replaced
        .filter(|new| !path.exists() && new.exists())
        .unwrap_or(path))
}
