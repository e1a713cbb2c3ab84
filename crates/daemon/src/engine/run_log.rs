//! What a run reports, put on record; and the questions it has.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_agents::opencode::{
    AbortVerdict, Fenced, Progress as Doing, Refusal, RunLog, Signal, Usage,
};
use brigade_core::delegation::{Command, Event, StopCause};
use brigade_core::id::{Attempt, SessionId};
use brigade_core::permission::Rule;
use brigade_core::text::line::one_line;
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::ShellRule;
use brigade_store::{Along, EventRow};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::child_rules::held_shell;
use super::run::wait_gone;
use super::{Engine, Entry, RETRY};
use crate::failpoint;
use crate::hosts::{Connection, lock};

/// How long a host is watched after an abort that nobody ordered: one that quits aborts its children
/// first, and disposes and exits within this time (measured: well under a second).
const ABORT_GRACE: Duration = Duration::from_secs(3);
/// How often progress is written to the store while there is any.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// How much of what was refused is kept, in characters: a shell command may be long.
const REFUSAL: usize = 300;

/// Takes over what a run has used. The driver's sums are those of all attempts so far, so they replace.
pub(super) fn absorb(progress: &mut brigade_store::Progress, usage: &Usage) {
    let tokens = &usage.tokens;
    progress.tool_calls = usage.tool_calls;
    progress.tools.clone_from(&usage.tools);
    progress.tokens_in = tokens.input + tokens.cache.read + tokens.cache.write;
    progress.tokens_out = tokens.output + tokens.reasoning;
    progress.cost = usage.cost;
}

/// Where the driver's reports go.
pub(super) struct Log {
    pub(super) engine: Engine,
    pub(super) entry: Arc<Entry>,
    pub(super) attempt: Attempt,
    pub(super) process: ProcessId,
    pub(super) directory: String,
    /// How often the host had disposed of the directory when the attempt began.
    pub(super) disposals: u64,
    pub(super) base_ms: u64,
    pub(super) saved: Mutex<Option<Instant>>,
    pub(super) signals: mpsc::Sender<Signal>,
    pub(super) child: Mutex<Option<String>>,
    /// The child's rules, which it shares with all that have the same.
    pub(super) rules: Arc<[Rule]>,
    /// Whether the child writes in a worktree.
    pub(super) writes: bool,
}

impl Log {
    /// Puts a command until the store takes it; an attempt that is over is fenced off.
    async fn put(&self, command: Command) -> Result<(), Fenced> {
        if self
            .engine
            .insist(&self.entry.id, command, Along::default())
            .await
        {
            Ok(())
        } else {
            Err(Fenced)
        }
    }

    /// After a reconnection the bridge has to be told anew what to forward.
    pub(super) fn rewatch(&self, connection: &Connection) {
        if let Some(child) = lock(&self.child).as_deref() {
            self.engine
                .hub()
                .watch(connection, child, self.shell().as_deref());
        }
    }

    /// What the bridge is to hold the child's shell to.
    fn shell(&self) -> Option<Vec<ShellRule>> {
        held_shell(self.writes, &self.rules)
    }

    pub(super) fn unwatch(&self) {
        if let Some(child) = lock(&self.child).take() {
            self.engine.hub().unroute(&child, &self.process);
        }
    }

    /// Whether the host has closed the directory since the attempt began, even if it is open again.
    fn closed(&self, connection: &Connection, began_ms: i64) -> bool {
        let disposals = self.engine.hub().disposals(&self.process, &self.directory);
        disposals > self.disposals
            || !connection.serves(&self.directory)
            // What an earlier daemon has heard, or nobody, shows in when it was opened again.
            || connection.opened_ms(&self.directory) > began_ms
    }

    /// When the attempt began, in milliseconds since 1970.
    async fn began_ms(&self) -> i64 {
        let events = self.events().await;
        let began = events.iter().rev().find(
            |row| matches!(row.event, Event::Started { attempt, .. } if attempt == self.attempt),
        );
        began.map_or(i64::MAX, |row| row.at.as_millisecond())
    }

    /// What has happened so far, as soon as the store can be read.
    async fn events(&self) -> Vec<EventRow> {
        let mut pause = RETRY.0;
        loop {
            match self.engine.store().timeline(&self.entry.id).await {
                Ok(events) => return events,
                Err(error) => {
                    tracing::warn!(id = %self.entry.id, %error, "the store did not tell what has happened; asking again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn fenced(&self) -> Result<(), Fenced> {
        let active = self.entry.active.lock().await;
        if active.delegation.attempt == self.attempt && active.delegation.holds_slot() {
            Ok(())
        } else {
            Err(Fenced)
        }
    }
}

impl RunLog for Log {
    fn watch<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()> {
        async move {
            *lock(&self.child) = Some(session.to_string());
            self.engine
                .hub()
                .route(session.as_str(), self.process, self.signals.clone());
            // In force for every later call: both go down the same stream, in order.
            if let Some(connection) = self.engine.hub().of_process(&self.process) {
                self.engine
                    .hub()
                    .watch(&connection, session.as_str(), self.shell().as_deref());
            }
        }
        .boxed()
    }

    fn message(&self, number: u32) -> BoxFuture<'_, Result<String, Fenced>> {
        async move {
            self.fenced().await?;
            let events = self.events().await;
            let text = events.into_iter().find_map(|row| match row.event {
                Event::MessageSent {
                    number: of, text, ..
                } if of == number => Some(text),
                _ => None,
            });
            // The count and the text are stored together.
            text.ok_or(Fenced)
        }
        .boxed()
    }

    fn child_ready<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<(), Fenced>> {
        failpoint::pass("child-created");
        self.put(Command::ChildReady {
            attempt: self.attempt,
            session: session.clone(),
        })
        .boxed()
    }

    fn prompted(&self) -> BoxFuture<'_, Result<(), Fenced>> {
        failpoint::pass("prompt-posted");
        self.put(Command::Prompted {
            attempt: self.attempt,
        })
        .boxed()
    }

    fn progress<'a>(
        &'a self,
        progress: &'a Doing,
        partial: Option<&'a str>,
        ran_ms: u64,
    ) -> BoxFuture<'a, Result<(), Fenced>> {
        async move {
            self.fenced().await?;
            let ran_ms = self.base_ms + ran_ms;
            {
                let mut live = lock(&self.entry.live);
                absorb(&mut live.progress, &progress.usage);
                if progress.last_tool.is_some() {
                    live.progress.last_tool.clone_from(&progress.last_tool);
                }
                live.progress.heard_at = Some(self.engine.now());
                live.ran_ms = ran_ms;
                if let Some(partial) = partial {
                    live.partial = Arc::from(partial);
                }
            }
            self.engine.went_on(&self.entry);
            let due = {
                let mut saved = lock(&self.saved);
                let due = saved.is_none_or(|at| at.elapsed() >= SAVE_EVERY);
                if due {
                    *saved = Some(Instant::now());
                }
                due
            };
            if due {
                // Nothing seen yet is no reason to forget what an earlier daemon or attempt has seen.
                let partial = lock(&self.entry.live).partial.clone();
                let partial = (!partial.is_empty()).then_some(&*partial);
                self.engine
                    .save(&self.entry, self.attempt, partial, ran_ms)
                    .await;
            }
            Ok(())
        }
        .boxed()
    }

    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), Fenced>> {
        async move {
            self.fenced().await?;
            tracing::info!(id = %self.entry.id, what = %refusal.words(), "a permission was refused");
            let ran_ms = {
                let mut live = lock(&self.entry.live);
                live.progress.refuse(one_line(&refusal.words(), REFUSAL), self.engine.now());
                live.ran_ms
            };
            self.engine.went_on(&self.entry);
            self.engine.save(&self.entry, self.attempt, None, ran_ms).await;
            Ok(())
        }
        .boxed()
    }

    fn stop(&self, cause: StopCause) -> BoxFuture<'_, Result<(), Fenced>> {
        self.put(Command::Stop {
            attempt: Some(self.attempt),
            cause,
        })
        .boxed()
    }

    fn stray<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()> {
        async move {
            tracing::warn!(id = %self.entry.id, %session, "a child of an earlier attempt was still busy and was aborted");
        }
        .boxed()
    }

    fn unordered_abort(&self) -> BoxFuture<'_, AbortVerdict> {
        async move {
            let interrupted = |why: &str| AbortVerdict::Interrupted {
                why: why.to_owned(),
            };
            let gone = wait_gone(self.engine.hub().processes(), self.process);
            tokio::pin!(gone);
            tokio::select! {
                why = &mut gone => return interrupted(&why),
                () = tokio::time::sleep(ABORT_GRACE) => {}
            }
            let began = tokio::select! {
                why = &mut gone => return interrupted(&why),
                began = self.began_ms() => began,
            };
            loop {
                let connection = tokio::select! {
                    why = &mut gone => return interrupted(&why),
                    connection = self.engine.hub().connected(&self.process) => connection,
                };
                if self.closed(&connection, began) {
                    return interrupted("its host closed the directory");
                }
                let alive = tokio::select! {
                    why = &mut gone => return interrupted(&why),
                    alive = connection.ping() => alive,
                };
                if alive {
                    return if self.closed(&connection, began) {
                        interrupted("its host closed the directory")
                    } else {
                        AbortVerdict::ByPerson
                    };
                }
            }
        }
        .boxed()
    }
}
