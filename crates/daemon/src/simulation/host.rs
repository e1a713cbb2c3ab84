//! A host's process: its connection, and the steps in which it goes on.

use std::sync::Arc;

use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Batch, Down, Up};
use brigade_testkit::simulated::{DirectHost, World};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::life::Life;
use crate::hosts::Connection;
use crate::http::{Failure, direct};

/// The line to the daemon.
struct Wire {
    connection: Arc<Connection>,
    stream: mpsc::UnboundedReceiver<Down>,
}

/// A batch on its way.
struct Posting {
    messages: Vec<Up>,
    heard: JoinHandle<Result<(), Failure>>,
}

/// What a directory or process that is about to be gone does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// What ran is being aborted; then the directory is disposed of.
    Aborting {
        /// Whether the process ends after that, or opens the directory again.
        quits: bool,
    },
    /// The directory is disposed of.
    Disposed {
        /// As above.
        quits: bool,
    },
}

/// Something that a host can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Micro {
    Connect,
    NoticeClosed,
    Take,
    Carry,
    GoOn,
    Post,
    Posted,
    Leave,
}

/// A process of the host.
pub(super) struct Host {
    pub(super) direct: DirectHost,
    pub(super) process: ProcessId,
    pub(super) alive: bool,
    /// A server of Brigade's own.
    pub(super) worker: bool,
    /// Such a one answers by now.
    pub(super) listening: bool,
    pub(super) suspended: bool,
    /// Kept from connecting.
    pub(super) offline: bool,
    pub(super) leaving: Option<Leaving>,
    wire: Option<Wire>,
    posting: Option<Posting>,
    seq: u64,
}

impl Host {
    pub(super) fn start(world: &Arc<World>, pid: u32, mode: &str) -> Self {
        Self {
            direct: DirectHost::start(world, &format!("h{pid}"), mode, pid),
            worker: mode == "worker",
            listening: false,
            process: ProcessId {
                pid,
                start: u64::from(pid) * 10,
            },
            alive: true,
            suspended: false,
            offline: false,
            leaving: None,
            wire: None,
            posting: None,
            seq: 0,
        }
    }

    /// What it can do now.
    pub(super) fn micros(&self, served: bool) -> Vec<Micro> {
        let mut all = Vec::new();
        if !self.alive || self.suspended {
            return all;
        }
        match &self.wire {
            None if served && !self.offline => all.push(Micro::Connect),
            None => {}
            Some(wire) if wire.connection.closed.is_cancelled() => all.push(Micro::NoticeClosed),
            Some(wire) => {
                if !wire.stream.is_empty() {
                    all.push(Micro::Take);
                }
                if self.posting.is_none() && self.direct.has_to_say() {
                    all.push(Micro::Post);
                }
            }
        }
        if let Some(posting) = &self.posting
            && posting.heard.is_finished()
        {
            all.push(Micro::Posted);
        }
        if self.direct.waiting() > 0 {
            all.push(Micro::Carry);
        }
        if self.direct.going_on() > 0 {
            all.push(Micro::GoOn);
        }
        if self.leaving.is_some() {
            all.push(Micro::Leave);
        }
        all
    }

    /// Whether a request can reach the daemon from it.
    pub(super) fn is_linked(&self) -> bool {
        self.alive && !self.suspended && self.wire.is_some()
    }

    /// Whether something has been asked of it that it has not done yet.
    pub(super) fn is_asked(&self) -> bool {
        let wire = self.wire.as_ref();
        self.direct.waiting() > 0 || wire.is_some_and(|wire| !wire.stream.is_empty())
    }

    pub(super) fn is_transient(&self) -> bool {
        self.direct.is_transient()
    }

    pub(super) fn connection(&self) -> Option<String> {
        let wire = self.wire.as_ref()?;
        Some(wire.connection.id.clone())
    }

    pub(super) fn connect(&mut self, life: &Life, name: &str) {
        let request = self.direct.registration();
        let taking_in = direct::register(life.api.clone(), name.to_owned(), self.process, request);
        // Refused where what it has to tell could not be recorded: it comes again.
        if let Some(Ok(connection)) = life.outcome(life.spawn(taking_in))
            && let Some(stream) = connection.take_stream()
        {
            self.direct.linked(name);
            self.wire = Some(Wire { connection, stream });
            self.seq = 0;
        }
    }

    pub(super) fn take(&mut self) {
        if let Some(wire) = &mut self.wire
            && let Ok(message) = wire.stream.try_recv()
        {
            self.direct.take(&wire.connection.id, message);
        }
    }

    /// Posts what it has to say; `twice` where the answer to the first time is lost.
    pub(super) fn post(&mut self, life: &Life, twice: bool) {
        let Some(connection) = self.connection() else {
            return;
        };
        let Some(messages) = self.direct.batch() else {
            return;
        };
        self.seq += 1;
        let batch = Batch {
            seq: self.seq,
            messages: messages.clone(),
        };
        if twice {
            let lost = direct::up(life.api.clone(), connection.clone(), batch.clone());
            drop(life.spawn(lost));
        }
        let heard = life.spawn(direct::up(life.api.clone(), connection, batch));
        self.posting = Some(Posting { messages, heard });
    }

    /// Takes the answer to a batch in. False where it was not heard, and the connection is to be given up.
    pub(super) fn posted(&mut self, life: &Life) -> bool {
        let Some(posting) = self.posting.take() else {
            return true;
        };
        let heard = matches!(life.outcome(posting.heard), Some(Ok(())));
        self.direct.posted(posting.messages, heard);
        heard
    }

    /// The connection is lost on this side; the daemon's end is returned, for it to notice sooner or later.
    pub(super) fn lose(&mut self) -> Option<Arc<Connection>> {
        if let Some(posting) = self.posting.take() {
            self.direct.posted(posting.messages, false);
        }
        self.direct.unlinked();
        self.wire.take().map(|wire| wire.connection)
    }
}
