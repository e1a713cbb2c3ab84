//! Drives one attempt over any transport: finds or makes the child, prompts it once, follows it to the proof
//! of its end, stops it at its limits.

mod asks;
mod follow;
mod launch;
mod link;
mod look;
mod send;
mod stop;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use brigade_core::delegation::{RunEnd, StopCause};
use brigade_core::id::SessionId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::api::Api;
use super::calls::Calls;
use super::id;
use super::message::Usage;
use super::observe::Observer;
use super::report::{DriveOutcome, Ended, Fenced, RunLog, RunSpec, Signal};
use super::transport::Transport;
use super::types::PromptBody;

/// Drives an attempt to its end, from wherever it stands: nothing asked of the host yet, child made, prompted,
/// running, or ended meanwhile. Whatever was begun before is found and not begun twice.
///
/// `signals` carries the host's events and the state of the connection; dropping its sender detaches the driver
/// from the run. `stop` is set when the run is to be stopped; the intent is then recorded already. Time is
/// tokio's, which stands still while the machine sleeps. `messages` counts what was sent to the run beyond its
/// prompt; each is put to the child in its order, once.
pub fn drive(
    spec: RunSpec,
    transport: Arc<dyn Transport>,
    signals: mpsc::Receiver<Signal>,
    stop: watch::Receiver<Option<StopCause>>,
    messages: watch::Receiver<u32>,
    log: Arc<dyn RunLog>,
) -> impl Future<Output = DriveOutcome> + Send {
    // Outside the future, which would hold what it is given a second time.
    let mut driver = Driver::new(spec, transport, signals, stop, messages, log);
    async move {
        let mut exit = match driver.run().await {
            Ok(exit) | Err(exit) => exit,
        };
        driver.keep_what_was_said(&mut exit);
        driver.outcome(exit)
    }
}

/// Why the driver leaves.
#[derive(Debug)]
enum Exit {
    Ended {
        end: RunEnd,
        answer: String,
        /// What this attempt's messages tell of it; none where they were not read.
        usage: Option<Box<Usage>>,
    },
    Interrupted {
        why: String,
        partial: String,
    },
    Fenced,
    Detached,
}

impl Exit {
    fn ended(end: RunEnd) -> Self {
        Exit::Ended {
            end,
            answer: String::new(),
            usage: None,
        }
    }
}

impl From<Fenced> for Exit {
    fn from(_: Fenced) -> Self {
        Exit::Fenced
    }
}

/// A permission or question that awaits our refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OpenAsk {
    Permission {
        id: String,
        permission: String,
        patterns: Vec<String>,
    },
    Question {
        id: String,
        count: usize,
    },
}

struct Driver {
    spec: RunSpec,
    api: Api,
    signals: mpsc::Receiver<Signal>,
    stop: watch::Receiver<Option<StopCause>>,
    messages: watch::Receiver<u32>,
    /// How many messages the child has been given.
    put: u32,
    /// The part IDs of those that this attempt's end has to come after.
    asked: Vec<String>,
    /// The last of them as it was posted, and how often it was posted again because nothing began with it.
    nudge: Option<(PromptBody, u32)>,
    log: Arc<dyn RunLog>,
    observer: Observer,
    /// The calls that stand in what was read of the child.
    calls: Calls,
    /// What earlier attempts have used in the same child.
    earlier: Usage,
    child: Option<SessionId>,
    /// The fixed part IDs of the prompts whose run is followed: this attempt's, or the one found running.
    prompts: Vec<String>,
    asks: VecDeque<OpenAsk>,
    /// What was refused last, in words.
    refused: Option<String>,
    /// Something was heard that may be the end.
    hint: bool,
    /// Events were missed: status, asks and messages are to be read.
    missed: bool,
    /// The observer's sums lack what was missed.
    behind: bool,
    connected: bool,
    started: Instant,
    prompted_at: Instant,
    heard: Instant,
    stopping: Option<Stopping>,
}

/// An abort under way.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    /// When to be content with what is there; set once the host has taken the abort.
    until: Option<Instant>,
    /// When to abort again if it still runs.
    again: Instant,
}

impl Driver {
    fn new(
        spec: RunSpec,
        transport: Arc<dyn Transport>,
        signals: mpsc::Receiver<Signal>,
        stop: watch::Receiver<Option<StopCause>>,
        messages: watch::Receiver<u32>,
        log: Arc<dyn RunLog>,
    ) -> Self {
        let now = Instant::now();
        Self {
            api: Api::new(transport, spec.directory.clone()),
            prompts: vec![prompt_part(&spec, spec.attempt.0)],
            child: spec.child.clone(),
            spec,
            signals,
            stop,
            messages,
            put: 0,
            asked: Vec::new(),
            nudge: None,
            log,
            observer: Observer::new(),
            calls: Calls::default(),
            earlier: Usage::default(),
            asks: VecDeque::new(),
            refused: None,
            hint: false,
            missed: false,
            behind: false,
            connected: true,
            started: now,
            prompted_at: now,
            heard: now,
            stopping: None,
        }
    }

    /// Both sides leave: the one says that the run ended regularly, the other that it could not be followed.
    async fn run(&mut self) -> Result<Exit, Exit> {
        let child = Box::pin(self.launch()).await?;
        // Very many may be at work at once: what only a launch needs goes with it.
        self.spec.rules = Vec::new();
        self.spec.prompt = String::new();
        self.spec.continuation = String::new();
        self.follow(&child).await
    }

    fn ran(&self) -> Duration {
        self.started.elapsed()
    }

    fn ran_ms(&self) -> u64 {
        u64::try_from(self.ran().as_millis()).unwrap_or(u64::MAX)
    }

    /// A child that is gone, or that the host refuses to speak of, can't be read any more: what it has said is
    /// in the events, those included that wait to be heard.
    fn keep_what_was_said(&mut self, exit: &mut Exit) {
        if let Exit::Ended {
            end: RunEnd::SessionDeleted | RunEnd::HostError { .. },
            answer,
            ..
        } = exit
            && answer.is_empty()
        {
            while let Ok(signal) = self.signals.try_recv() {
                if let Signal::Event(event) = signal {
                    self.on_event(*event);
                }
            }
            self.observer.partial().clone_into(answer);
        }
    }

    /// What all attempts have used, by what was read or else heard; none where that is not known to be all.
    fn used(&self, read: Option<Usage>) -> Option<Usage> {
        let heard = self.observer.progress().usage.clone();
        let complete = !self.behind && !self.missed && heard != Usage::default();
        let mut usage = read.or_else(|| complete.then_some(heard))?;
        usage.merge(&self.earlier);
        Some(usage)
    }

    fn outcome(&self, exit: Exit) -> DriveOutcome {
        let ran_ms = self.ran_ms();
        match exit {
            Exit::Ended { end, answer, usage } => DriveOutcome::Ended(Ended {
                end,
                answer,
                usage: self.used(usage.map(|usage| *usage)),
                messages: self.put,
                calls: self.calls.clone(),
                ran_ms,
            }),
            Exit::Interrupted { why, partial } => DriveOutcome::Interrupted {
                why,
                partial,
                calls: self.calls.clone(),
                ran_ms,
            },
            Exit::Fenced => DriveOutcome::Fenced,
            Exit::Detached => DriveOutcome::Detached { ran_ms },
        }
    }
}

/// The part ID of an attempt's prompt.
fn prompt_part(spec: &RunSpec, attempt: u32) -> String {
    id::prompt_part(&spec.delegation, attempt, spec.registered_ms)
}
