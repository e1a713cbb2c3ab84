//! Servers of Brigade's own, as the daemon starts and reaches them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use brigade_agents::opencode::{
    Gate, Launcher, Reply, Request, ServerSpec, Transport, TransportError,
};
use brigade_os::confine::NotAvailable;
use brigade_os::process::ProcessId;
use brigade_os::spawn::Leash;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::processes::Population;
use crate::hosts::lock;

/// A request that waits for a server's answer.
struct Asked {
    port: u16,
    path: String,
    answer: oneshot::Sender<Result<Reply, TransportError>>,
}

#[derive(Default)]
struct State {
    started: u32,
    ports: BTreeMap<u16, ProcessId>,
    /// Let to work, and not taken over by the history yet.
    opened: VecDeque<ProcessId>,
    asked: VecDeque<Asked>,
    /// The next launch fails.
    refuses: bool,
}

/// Where they come from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Yard {
    state: Arc<Mutex<State>>,
    population: Population,
}

impl Yard {
    pub(super) fn new(population: &Population) -> Self {
        Self {
            state: Arc::default(),
            population: population.clone(),
        }
    }

    /// The next launch fails.
    pub(super) fn refuse(&self) {
        lock(&self.state).refuses = true;
    }

    /// A server whose gate was opened.
    pub(super) fn opened(&self) -> Option<ProcessId> {
        lock(&self.state).opened.pop_front()
    }

    pub(super) fn is_asked(&self) -> bool {
        !lock(&self.state).asked.is_empty()
    }

    /// Answers the request that has waited longest. `serves` says whether a process does by now. Returns the
    /// process that is to open the directory, if that was what was asked for.
    pub(super) fn answer(
        &self,
        serves: impl FnOnce(&ProcessId) -> bool,
        well: bool,
    ) -> Option<ProcessId> {
        let (asked, process) = {
            let mut state = lock(&self.state);
            let asked = state.asked.pop_front()?;
            let process = state.ports.get(&asked.port).copied();
            (asked, process)
        };
        let process = process.filter(serves);
        let (answer, opens) = match process {
            None => {
                let why = "connection refused".to_owned();
                (Err(TransportError::NotSent { why }), None)
            }
            Some(_) if !well => {
                let why = "connection reset".to_owned();
                (Err(TransportError::Doubt { why }), None)
            }
            Some(process) => {
                let body = if asked.path == "/global/health" {
                    json!({"healthy": true})
                } else {
                    Value::Object(Default::default())
                };
                let opens = asked.path.starts_with("/session/status").then_some(process);
                (Ok(Reply { status: 200, body }), opens)
            }
        };
        // Who asked may have given up.
        let _unheard = asked.answer.send(answer);
        opens
    }
}

/// A server before its work.
struct AtGate {
    yard: Yard,
    process: ProcessId,
    opened: bool,
}

impl Drop for AtGate {
    fn drop(&mut self) {
        if !self.opened {
            self.yard.population.finish(&self.process);
        }
    }
}

impl Gate for AtGate {
    fn process(&self) -> ProcessId {
        self.process
    }

    fn open(mut self: Box<Self>) -> BoxFuture<'static, io::Result<Leash>> {
        async move {
            tokio::task::yield_now().await;
            self.opened = true;
            lock(&self.yard.state).opened.push_back(self.process);
            Ok(Leash::none())
        }
        .boxed()
    }
}

impl Launcher for Yard {
    fn confines(&self) -> Result<u32, NotAvailable> {
        Ok(7)
    }

    fn launch(&self, spec: &ServerSpec) -> io::Result<Box<dyn Gate>> {
        let process = {
            let mut state = lock(&self.state);
            if std::mem::take(&mut state.refuses) {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            state.started += 1;
            let pid = 1_000 + state.started;
            let process = ProcessId {
                pid,
                start: u64::from(pid) * 10,
            };
            state.ports.insert(spec.port, process);
            process
        };
        self.population.begin(process);
        Ok(Box::new(AtGate {
            yard: self.clone(),
            process,
            opened: false,
        }))
    }

    fn reach(&self, port: u16, _password: &str) -> Result<Arc<dyn Transport>, TransportError> {
        Ok(Arc::new(Line {
            yard: self.clone(),
            port,
        }))
    }
}

/// The way to a server's API.
struct Line {
    yard: Yard,
    port: u16,
}

impl Transport for Line {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
        let (answer, answered) = oneshot::channel();
        lock(&self.yard.state).asked.push_back(Asked {
            port: self.port,
            path: request.path,
            answer,
        });
        let late = || TransportError::Doubt {
            why: "no answer in time".to_owned(),
        };
        async move {
            match tokio::time::timeout(request.timeout, answered).await {
                Ok(Ok(answer)) => answer,
                _ => Err(late()),
            }
        }
        .boxed()
    }
}
