//! The bridge's connection: registers, takes what comes down, posts what goes up, and comes back.

use std::sync::Arc;
use std::time::Duration;

use brigade_client::{Client, ClientError, StartPolicy};
use brigade_os::paths::Dirs;
use brigade_protocol::bridge::{Batch, Down, HeldLease, Host, Register, Up};
use brigade_protocol::{ErrorCode, PROTOCOL};
use futures::StreamExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fault::Fault;
use super::filter::{Link, outlives};
use super::host::Inner;
use super::world::Call;

/// How long the bridge waits before it connects again, as the real one does at first.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the host may take to store a prompt that it has accepted.
const MOMENT: Duration = Duration::from_millis(15);

impl Inner {
    /// Keeps the process connected.
    pub(super) async fn maintain(self: Arc<Self>, dirs: Dirs) {
        loop {
            self.bridge
                .until(|bridge| (!bridge.offline).then_some(()))
                .await;
            // Why there is no connection shows in the next attempt; a test waits for the one that succeeds.
            let _failed = self.connect_once(&dirs).await;
            self.bridge.update(|bridge| bridge.link = None);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn connect_once(self: &Arc<Self>, dirs: &Dirs) -> Result<(), ClientError> {
        let client = Client::connect(dirs, StartPolicy::Never).await?;
        let request = self.registration();
        let registered = client.register(&request).await?;
        let link = Link {
            id: registered.connection,
            cut: CancellationToken::new(),
        };
        let mut stream = client.bridge_stream(&link.id).await?;
        self.bridge.update(|bridge| {
            bridge.client = Some(client.clone());
            bridge.linked(link.clone());
        });
        let poster = tokio::spawn(Arc::clone(self).post(link.clone(), client));
        loop {
            tokio::select! {
                () = link.cut.cancelled() => break,
                next = stream.next() => match next {
                    Some(Ok(message)) => self.take(&link, message),
                    _ => break,
                }
            }
        }
        drop(stream);
        self.bridge.update(|bridge| bridge.link = None);
        link.cut.cancel();
        // A panic there has been reported by itself.
        let _ended = poster.await;
        Ok(())
    }

    pub(super) fn registration(&self) -> Register {
        self.bridge.update(|bridge| {
            // What is queued from here on is newer than what the registration tells.
            bridge.queue.retain(outlives);
            // What is told as held and unused is given back by that.
            for lease in bridge.leases.values_mut() {
                lease.parts = None;
            }
            let leases = bridge.leases.iter().map(|(lease, held)| HeldLease {
                session: held.session.clone(),
                lease: *lease,
                message: held.message.clone(),
            });
            let roots = bridge.roots.iter();
            Register {
                protocol: PROTOCOL,
                bridge_version: "0.1.0".to_owned(),
                instance: self.name.clone(),
                data_dir: None,
                host: Host {
                    name: "opencode".to_owned(),
                    version: "1.18.33".to_owned(),
                    pid: self.pid,
                    executable: "opencode".to_owned(),
                    mode: self.mode.clone(),
                    home: "/home/simulated".to_owned(),
                    env: std::collections::BTreeMap::new(),
                },
                directories: bridge.opened().into_iter().collect(),
                sessions: roots
                    .map(|(session, root)| bridge.owned(session, root))
                    .collect(),
                leases: leases.collect(),
            }
        })
    }

    /// Posts batch after batch, each until it is answered or the connection is lost.
    async fn post(self: Arc<Self>, link: Link, client: Client) {
        let mut seq = 0;
        loop {
            let messages: Vec<Up> = tokio::select! {
                biased;
                () = link.cut.cancelled() => return,
                () = self.bridge.until(|bridge| (!bridge.queue.is_empty() && !bridge.mute).then_some(())) => {
                    self.bridge.update(|bridge| {
                        bridge.posting = true;
                        bridge.queue.drain(..).collect()
                    })
                }
            };
            seq += 1;
            let batch = Batch { seq, messages };
            if self.faults.strikes(1) {
                // Posted, and the answer lost: it is posted again.
                let _lost = client.bridge_up(&link.id, &batch).await;
            }
            let mut heard = client.bridge_up(&link.id, &batch).await;
            for _ in 0..2 {
                if heard.is_ok() || link.cut.is_cancelled() {
                    break;
                }
                heard = client.bridge_up(&link.id, &batch).await;
            }
            self.bridge
                .update(|bridge| bridge.posted(batch.messages, heard.is_ok()));
            if heard.is_err() {
                link.cut.cancel();
                return;
            }
        }
    }

    fn take(self: &Arc<Self>, link: &Link, message: Down) {
        self.bridge.update(|bridge| bridge.down(&message));
        if let Down::Call {
            id,
            method,
            path,
            body,
            ..
        } = message
        {
            let (host, link) = (Arc::clone(self), link.clone());
            self.spawn(async move {
                let body = body.unwrap_or(Value::Null);
                host.call(&link, id, &method, &path, &body).await;
            });
        }
    }

    /// One request of the daemon, with what goes wrong with it.
    async fn call(self: &Arc<Self>, link: &Link, id: u64, method: &str, path: &str, body: &Value) {
        let line = format!("{method} {path}");
        let fault = self.faults.draw(&line);
        match &fault {
            Some(Fault::Late(pause)) => tokio::time::sleep(*pause).await,
            Some(Fault::Held(gate)) => {
                let open = |state: &super::State| state.gates.contains(gate).then_some(());
                self.world.state.until(open).await;
            }
            _ => {}
        }
        let answer = self.carry_out(fault.as_ref(), id, method, path, body);
        match fault {
            Some(Fault::BreakBefore | Fault::BreakAfter) => link.cut.cancel(),
            Some(Fault::CrashBefore | Fault::CrashAfter) => self.faults.crash(),
            _ => self.answer(link, answer),
        }
    }

    /// Carries a request out, as far as the fault lets it, and says what the bridge answers.
    pub(super) fn carry_out(
        self: &Arc<Self>,
        fault: Option<&Fault>,
        id: u64,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Up {
        let done = !matches!(
            fault,
            Some(Fault::LostRequest | Fault::BreakBefore | Fault::CrashBefore | Fault::Status(_))
        );
        let (status, answer) = match fault {
            Some(Fault::Status(status)) => (*status, serde_json::json!({"message": "it failed"})),
            Some(Fault::Accepted(gate)) => {
                let (host, gate) = (Arc::clone(self), gate.clone());
                let (method, path) = (method.to_owned(), path.to_owned());
                let body = body.clone();
                self.spawn(async move {
                    let open = |state: &super::State| state.gates.contains(&gate).then_some(());
                    host.world.state.until(open).await;
                    host.serve(&method, &path, &body);
                });
                (204, Value::Null)
            }
            // Within a moment after the answer, as often as not.
            _ if done && path.ends_with("/prompt_async") && self.faults.strikes(50) => {
                let (host, body) = (Arc::clone(self), body.clone());
                let (method, path) = (method.to_owned(), path.to_owned());
                self.spawn(async move {
                    tokio::time::sleep(MOMENT).await;
                    host.serve(&method, &path, &body);
                });
                (204, Value::Null)
            }
            _ if done => self.serve(method, path, body),
            _ => (0, Value::Null),
        };
        self.world.state.update(|state| {
            state.calls.push(Call {
                process: self.name.clone(),
                line: format!("{method} {path}"),
                body: body.clone(),
                done,
            });
        });
        match fault {
            Some(Fault::LostRequest | Fault::LostReply) => Up::Failed {
                id,
                error: "no answer within 30000 ms".to_owned(),
            },
            _ => Up::Reply {
                id,
                status,
                body: answer,
            },
        }
    }

    /// An answer goes up on the connection that it was asked on, or nowhere.
    fn answer(&self, link: &Link, answer: Up) {
        self.bridge.update(|bridge| {
            if bridge.link.as_ref().is_some_and(|now| now.id == link.id) {
                bridge.send(answer);
            }
        });
    }

    /// The connection, as soon as there is one.
    pub(super) async fn linked(&self) -> (Link, Client) {
        self.bridge
            .until(|bridge| bridge.link.clone().zip(bridge.client.clone()))
            .await
    }

    /// Whether a tool call is worth repeating on the next connection.
    pub(super) fn passes(error: &ClientError) -> bool {
        match error {
            ClientError::Api(body) => {
                matches!(
                    body.code,
                    ErrorCode::UnknownConnection | ErrorCode::Draining
                )
            }
            ClientError::Protocol { .. } | ClientError::TooOld { .. } => false,
            _ => true,
        }
    }
}
