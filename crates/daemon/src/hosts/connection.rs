//! One bridge's connection: what goes down its stream, and the requests it makes for us.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brigade_agents::opencode::{Reply, Request, Shared, Transport, TransportError};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Directory, Down, Host};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::catalogue::Catalogue;

/// How much longer than the request itself its answer is awaited: the bridge's own timer is to speak
/// first, since it knows whether the host was reached.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// What is known of a directory that a host serves.
#[derive(Debug, Clone)]
pub(crate) struct ServedDirectory {
    /// As the bridge named it.
    pub(crate) directory: String,
    /// When its instance was opened, in milliseconds since 1970; 0 where that is not known.
    pub(crate) opened_ms: i64,
    /// Its agents, once the host has told.
    pub(crate) catalogue: Option<Catalogue>,
}

/// A registered bridge.
pub(crate) struct Connection {
    /// Its name in the API's paths.
    pub(crate) id: String,
    /// The host's process, checked against the socket's peer.
    pub(crate) process: ProcessId,
    /// The host, as the bridge described it.
    pub(crate) host: Host,
    /// Digest of HOME and XDG folders: which installation of the host it is.
    pub(crate) host_key: String,
    /// The bridge's version.
    pub(crate) bridge_version: String,
    /// Cancelled once the stream is gone or replaced.
    pub(crate) closed: CancellationToken,
    directories: Mutex<HashMap<String, ServedDirectory>>,
    down: mpsc::UnboundedSender<Down>,
    stream: Mutex<Option<mpsc::UnboundedReceiver<Down>>>,
    calls: Mutex<HashMap<u64, oneshot::Sender<CallResult>>>,
    pings: Mutex<Vec<oneshot::Sender<()>>>,
    next_call: AtomicU64,
    shared: Arc<Shared>,
    last_batch: AtomicU64,
    /// Held while a batch is heard, so that batches are heard in order, each whole. It holds whether of the last one
    /// is on record what has to be.
    pub(crate) hearing: tokio::sync::Mutex<bool>,
}

/// What became of a call: status and body, or why the bridge could not make it.
type CallResult = Result<Reply, String>;

impl Connection {
    /// A connection whose stream has not been opened yet.
    pub(crate) fn new(
        id: String,
        process: ProcessId,
        host: Host,
        host_key: String,
        bridge_version: String,
        directories: Vec<Directory>,
    ) -> Self {
        // Unbounded: what goes down is bounded by what is asked of the host, a few messages a
        // delegation, and a stalled host must not block the others' delivery.
        let (down, stream) = mpsc::unbounded_channel();
        let directories = directories
            .into_iter()
            .map(|dir| {
                let served = ServedDirectory {
                    directory: dir.directory.clone(),
                    opened_ms: dir.opened_ms,
                    catalogue: None,
                };
                (dir.directory, served)
            })
            .collect();
        Self {
            id,
            process,
            host,
            host_key,
            bridge_version,
            closed: CancellationToken::new(),
            directories: Mutex::new(directories),
            down,
            stream: Mutex::new(Some(stream)),
            calls: Mutex::default(),
            pings: Mutex::default(),
            next_call: AtomicU64::new(1),
            shared: Arc::default(),
            last_batch: AtomicU64::new(0),
            hearing: tokio::sync::Mutex::new(true),
        }
    }

    /// Whether this host ends by itself as soon as the parent idles (`opencode run`).
    pub(crate) fn is_transient(&self) -> bool {
        self.host.mode == "run"
    }

    /// Whether it is a server of Brigade's own: it runs what it is given and owns no session.
    pub(crate) fn is_worker(&self) -> bool {
        self.host.mode == "worker"
    }

    /// Sends one message down. A closed connection swallows it: whoever needs an answer notices by
    /// [`Connection::closed`], everything else is pushed anew at the next registration.
    pub(crate) fn send(&self, message: Down) {
        if self.down.send(message).is_err() {
            tracing::debug!(connection = %self.id, "nobody listens on this connection any more");
        }
    }

    /// Takes the receiving end, for the one stream there may be.
    pub(crate) fn take_stream(&self) -> Option<mpsc::UnboundedReceiver<Down>> {
        lock(&self.stream).take()
    }

    /// Closes the connection: everything that waits for an answer learns that it is in doubt.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        lock(&self.calls).clear();
        lock(&self.pings).clear();
    }

    /// Whether a batch is new; one that was posted twice is heard once.
    pub(crate) fn accept_batch(&self, seq: u64) -> bool {
        self.last_batch.fetch_max(seq, Ordering::SeqCst) < seq
    }

    /// The bridge's answer to a call.
    pub(crate) fn answer(&self, id: u64, result: CallResult) {
        match lock(&self.calls).remove(&id) {
            Some(waiting) => {
                // The caller may have given up meanwhile; then nobody wants the answer.
                let _ = waiting.send(result);
            }
            None => tracing::debug!(call = id, "an answer that nobody waits for"),
        }
    }

    /// The bridge is alive.
    pub(crate) fn pong(&self) {
        for waiting in std::mem::take(&mut *lock(&self.pings)) {
            let _ = waiting.send(());
        }
    }

    /// Asks for a sign of life. False when the connection closed first.
    pub(crate) async fn ping(&self) -> bool {
        let (answered, answer) = oneshot::channel();
        lock(&self.pings).push(answered);
        self.send(Down::Ping {});
        tokio::select! {
            result = answer => result.is_ok(),
            () = self.closed.cancelled() => false,
        }
    }

    /// A directory was initialised in the host.
    pub(crate) fn open_directory(&self, directory: Directory) {
        let opened_ms = directory.opened_ms;
        lock(&self.directories)
            .entry(directory.directory.clone())
            .or_insert(ServedDirectory {
                directory: directory.directory,
                opened_ms,
                catalogue: None,
            })
            .opened_ms = opened_ms;
    }

    /// A directory's instance was disposed.
    pub(crate) fn close_directory(&self, directory: &str) {
        lock(&self.directories).remove(directory);
    }

    /// The directories it serves.
    pub(crate) fn directories(&self) -> Vec<ServedDirectory> {
        lock(&self.directories).values().cloned().collect()
    }

    /// Whether it serves this directory.
    pub(crate) fn serves(&self, directory: &str) -> bool {
        lock(&self.directories).contains_key(directory)
    }

    /// When the directory's instance was opened, in milliseconds since 1970; 0 where that is not known.
    pub(crate) fn opened_ms(&self, directory: &str) -> i64 {
        let directories = lock(&self.directories);
        directories
            .get(directory)
            .map_or(0, |served| served.opened_ms)
    }

    /// The agents of a directory, if the host has told.
    pub(crate) fn catalogue(&self, directory: &str) -> Option<Catalogue> {
        lock(&self.directories)
            .get(directory)
            .and_then(|served| served.catalogue.clone())
    }

    /// Keeps what the host has told of a directory's agents.
    pub(crate) fn set_catalogue(&self, directory: &str, catalogue: Catalogue) {
        if let Some(served) = lock(&self.directories).get_mut(directory) {
            served.catalogue = Some(catalogue);
        }
    }

    async fn request(&self, request: Request) -> Result<Reply, TransportError> {
        if self.closed.is_cancelled() {
            return Err(TransportError::NotSent {
                why: "the bridge is not connected".to_owned(),
            });
        }
        let id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (answered, answer) = oneshot::channel();
        lock(&self.calls).insert(id, answered);
        let timeout = request.timeout;
        self.send(Down::Call {
            id,
            method: request.method.to_string(),
            path: request.path,
            directory: request.directory,
            body: request.body,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            sent_ms: None,
        });
        let doubt = |why: &str| TransportError::Doubt {
            why: why.to_owned(),
        };
        let result = tokio::select! {
            result = answer => match result {
                Ok(Ok(reply)) => Ok(reply),
                Ok(Err(why)) => Err(TransportError::Doubt { why }),
                Err(_closed) => Err(doubt("the bridge's connection closed before it answered")),
            },
            () = self.closed.cancelled() => Err(doubt("the bridge's connection closed before it answered")),
            () = tokio::time::sleep(timeout + ANSWER_MARGIN) => Err(doubt("the host did not answer in time")),
        };
        lock(&self.calls).remove(&id);
        result
    }
}

impl Transport for Connection {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
        self.request(request).boxed()
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        Some(Arc::clone(&self.shared))
    }
}

/// Locks; a panic elsewhere leaves the maps whole, so a poisoned lock is taken all the same.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
