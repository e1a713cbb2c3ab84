//! One attempt: from its recorded start to its proven end, in the host's own process.

use std::sync::{Arc, Mutex};

use brigade_agents::opencode::{
    Api, ApiError, DriveOutcome, Message, RunSpec, SESSION_MARK, Signal, drive,
};
use brigade_core::delegation::{Command, Delegation, Model, RunEnd};
use brigade_core::id::Attempt;
use brigade_core::permission::Rule;
use brigade_core::text::line::one_line;
use brigade_core::text::replies::Unsteerable;
use brigade_core::text::{title, worktree};
use brigade_os::process::ProcessId;
use brigade_store::Along;
use tokio::sync::mpsc;

use super::child_rules::{has_more, with_denies};
use super::run_log::{Log, absorb};
use super::{Engine, Entry, RETRY};
use crate::failpoint;
use crate::hosts::{ProcessTransport, lock};
use crate::processes::Processes;

/// How many signals may wait for the run before the bridge has to wait.
const SIGNALS: usize = 1_024;

/// How much of a command is told that a dead host has left running, in characters.
const COMMAND: usize = 120;

/// How often a host may fail to tell of the parent session, which takes some seconds, before the run ends.
const MAX_FAILURES: u32 = 6;

/// What is read of a parent session.
enum Inherited {
    From {
        rules: Vec<Rule>,
        model: Option<Model>,
    },
    ParentGone,
    /// It has been denied something since that the child of an earlier round may do.
    OtherRights,
}

/// What the parent session says to a run.
enum Prepared {
    /// The child's rules and model.
    From {
        rules: Vec<Rule>,
        model: Option<Model>,
    },
    /// It exists no more.
    ParentGone,
    /// The host fails to tell, or what it tells forbids the run.
    Unreadable(String),
}

impl Engine {
    /// Drives one attempt. Returns when it has ended, was interrupted, or is fenced off.
    pub(super) async fn run(&self, entry: Arc<Entry>, attempt: Attempt, fresh: bool) {
        // Boxed, since its place in the future would be kept for as long as the run lasts.
        let record = Box::new(entry.record().await);
        if record.attempt != attempt || !record.holds_slot() {
            return;
        }
        let base_ms = entry.live().ran_ms;
        let Some(process) = record
            .runner
            .as_ref()
            .and_then(|runner| runner.parse::<ProcessId>().ok())
        else {
            let why = "the record names no host process";
            Box::pin(self.interrupt(&entry, attempt, why, base_ms)).await;
            return;
        };
        let gone = wait_gone(self.hub().processes(), process);
        tokio::pin!(gone);
        let prepared = tokio::select! {
            prepared = Box::pin(self.prepare(&record, &process)) => prepared,
            why = &mut gone => {
                Box::pin(self.interrupt(&entry, attempt, &why, base_ms)).await;
                return;
            }
        };
        let (rules, model) = match prepared {
            Prepared::From { rules, model } => (rules, model),
            Prepared::ParentGone => {
                Box::pin(self.parent_deleted(record.spec.parent.as_str())).await;
                self.0
                    .delivery
                    .parent_gone(record.spec.parent.as_str())
                    .await;
                // The stop is ordered, and it is this run that has to see it through: a child that is
                // still there is aborted, one that was never made needs nothing.
                (record.spec.access.rules.to_vec(), record.spec.model.clone())
            }
            Prepared::Unreadable(message) => {
                let end = RunEnd::HostError { message };
                let command = Command::RunEnded {
                    attempt,
                    end,
                    messages: 0,
                    ran_ms: base_ms,
                };
                Box::pin(self.insist(&entry.id, command, Along::default())).await;
                return;
            }
        };
        lock(&entry.live).progress.model = model.as_ref().map(ToString::to_string);
        let mut shared_rules: Arc<[Rule]> = rules.as_slice().into();
        self.0.rules.share(&mut shared_rules);
        let (signals, receiver) = mpsc::channel(SIGNALS);
        let log = Arc::new(Log {
            engine: self.clone(),
            entry: Arc::clone(&entry),
            attempt,
            process,
            base_ms,
            saved: Mutex::new(None),
            directory: record.spec.workplace().to_owned(),
            disposals: self.hub().disposals(&process, record.spec.workplace()),
            signals: signals.clone(),
            child: Mutex::new(None),
            rules: shared_rules,
            writes: record.spec.worktree.is_some(),
        });
        let setup = Box::pin(self.setup_of(&record)).await;
        let spec = run_spec(&record, rules, model, base_ms, fresh, setup.as_deref());
        // It stands in the entry, and very many may be at work at once.
        drop(record);
        let transport = Arc::new(ProcessTransport::new(self.hub().clone(), process));
        let driving = Box::pin(drive(
            spec,
            transport,
            receiver,
            entry.stop.subscribe(),
            entry.messages.subscribe(),
            Arc::clone(&log) as _,
        ));
        let outcome = tokio::select! {
            outcome = driving => outcome,
            () = self.report_connection(&log, &mut gone) => return,
        };
        log.unwatch();
        Box::pin(self.conclude(&entry, attempt, base_ms, outcome)).await;
    }

    /// Tells the driver how its host fares, for as long as it is asked to.
    async fn report_connection(
        &self,
        log: &Log,
        gone: &mut (impl Future<Output = String> + Unpin),
    ) {
        let mut changes = self.hub().changes();
        let mut current = self.hub().of_process(&log.process).map(|c| c.id.clone());
        loop {
            let signal = tokio::select! {
                why = &mut *gone => {
                    if log.signals.send(Signal::HostGone { why }).await.is_err() {
                        tracing::debug!("the driver has already ended");
                    }
                    // The driver ends by itself now.
                    return std::future::pending().await;
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = self.hub().of_process(&log.process);
                    let id = now.as_ref().map(|c| c.id.clone());
                    if id == current {
                        continue;
                    }
                    current = id;
                    match now {
                        Some(connection) => {
                            log.rewatch(&connection);
                            Signal::Reconnected
                        }
                        None => Signal::Disconnected,
                    }
                }
            };
            if log.signals.send(signal).await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Reads what the parent session has a say in: its own denies, and its model.
    async fn prepare(&self, record: &Delegation, process: &ProcessId) -> Prepared {
        let spec = &record.spec;
        if spec.from_shell() {
            // There is none; where the agent has no model either, the host takes its own.
            return Prepared::From {
                rules: spec.access.rules.to_vec(),
                model: spec.model.clone(),
            };
        }
        let mut failures = 0;
        loop {
            let connection = self.hub().connected(process).await;
            let api = Api::new(Arc::clone(&connection) as _, spec.workplace().to_owned());
            let error = match inherit(&api, record).await {
                Ok(Inherited::From { rules, model }) => return Prepared::From { rules, model },
                Ok(Inherited::ParentGone) => return Prepared::ParentGone,
                Ok(Inherited::OtherRights) => {
                    let agent = spec.agent.clone();
                    return Prepared::Unreadable(Unsteerable::OtherRights { agent }.to_string());
                }
                Err(error) => error,
            };
            if !matches!(error, ApiError::Transport(_)) {
                failures += 1;
            }
            if failures > MAX_FAILURES {
                // A child that exists has its rules; none is made that may have more than its parent.
                return match record.child {
                    Some(_) => Prepared::From {
                        rules: spec.access.rules.to_vec(),
                        model: spec.model.clone(),
                    },
                    None => Prepared::Unreadable(format!(
                        "the parent session, whose restrictions the child shares, could not be read: {error}"
                    )),
                };
            }
            tracing::info!(id = %spec.id, %error, "the host did not tell of the parent; asking again");
            tokio::select! {
                () = connection.closed.cancelled() => {}
                () = tokio::time::sleep(RETRY.0 * (failures + 1)) => {}
            }
        }
    }

    /// What the child's shell has started and its host has left running. It is told, not ended: what it does is
    /// not known.
    async fn left_behind(&self, record: &Delegation) -> Option<String> {
        let child = record.child.clone()?;
        let marked = self.hub().processes().marked(SESSION_MARK).await;
        let commands: Vec<String> = marked
            .into_iter()
            .filter(|process| process.value == child.as_str())
            .map(|process| {
                let command = one_line(&process.command, COMMAND);
                format!("process {} ({command})", process.id.pid)
            })
            .collect();
        (!commands.is_empty())
            .then(|| format!("its shell commands still run: {}", commands.join(", ")))
    }

    async fn interrupt(&self, entry: &Arc<Entry>, attempt: Attempt, why: &str, ran_ms: u64) {
        let why = match self.left_behind(&entry.record().await).await {
            Some(left) => format!("{why}; {left}"),
            None => why.to_owned(),
        };
        tracing::warn!(id = %entry.id, %attempt, why, "a run was interrupted");
        lock(&entry.live).ran_ms = 0;
        let command = Command::Interrupt {
            attempt,
            why,
            ran_ms,
        };
        failpoint::pass("interrupted");
        self.insist(&entry.id, command, Along::default()).await;
    }

    async fn conclude(
        &self,
        entry: &Arc<Entry>,
        attempt: Attempt,
        base_ms: u64,
        outcome: DriveOutcome,
    ) {
        match outcome {
            DriveOutcome::Ended(ended) => {
                self.0.telemetry.keep(&entry.id, &ended.calls);
                let progress = {
                    let mut live = lock(&entry.live);
                    if let Some(usage) = &ended.usage {
                        absorb(&mut live.progress, usage);
                    }
                    live.ran_ms = 0;
                    live.progress.clone()
                };
                tracing::info!(id = %entry.id, %attempt, end = ?ended.end, "a run has ended");
                failpoint::pass("run-ended");
                let command = Command::RunEnded {
                    attempt,
                    end: ended.end,
                    messages: ended.messages,
                    ran_ms: base_ms + ended.ran_ms,
                };
                let along = Along {
                    text: Some(Arc::new(ended.answer)),
                    progress: Some(progress),
                    ended: None,
                };
                let taken = self.insist(&entry.id, command, along).await;
                // Something was sent to it in the moment of its end: the same attempt goes on with that.
                if !taken && entry.record().await.messages > ended.messages {
                    lock(&entry.live).ran_ms = base_ms + ended.ran_ms;
                    self.launch(entry, attempt, false);
                }
            }
            DriveOutcome::Interrupted {
                why,
                partial,
                calls,
                ran_ms,
            } => {
                self.0.telemetry.keep(&entry.id, &calls.ended());
                if !partial.is_empty() {
                    self.save(entry, attempt, Some(&partial), base_ms + ran_ms)
                        .await;
                }
                self.interrupt(entry, attempt, &why, base_ms + ran_ms).await;
            }
            DriveOutcome::Fenced => {
                tracing::debug!(id = %entry.id, %attempt, "a run was fenced off");
            }
            DriveOutcome::Detached { .. } => {}
        }
    }

    /// Writes progress down. A failure costs only what was seen since the last time, and is said.
    pub(super) async fn save(
        &self,
        entry: &Entry,
        attempt: Attempt,
        partial: Option<&str>,
        ran_ms: u64,
    ) {
        let progress = lock(&entry.live).progress.clone();
        let saved = self
            .0
            .store
            .save_progress(&entry.id, attempt, progress, partial, ran_ms)
            .await;
        if let Err(error) = saved {
            tracing::warn!(id = %entry.id, %error, "progress could not be written down");
        }
    }
}

/// Waits for the proof that a process is gone, and says it.
pub(super) fn wait_gone(
    processes: &dyn Processes,
    process: ProcessId,
) -> impl Future<Output = String> + use<> {
    let exit = processes.wait_exit(process);
    async move {
        if let Err(error) = exit.await {
            // Without the proof nothing may be concluded.
            tracing::error!(%process, %error, "a host's process can't be watched: its exit will not be noticed");
            std::future::pending::<()>().await;
        }
        format!("its host (process {}) is gone", process.pid)
    }
}

/// The parent's own session denies added to the child's rules, and the model of the parent's latest
/// user message where the agent has none.
async fn inherit(api: &Api, record: &Delegation) -> Result<Inherited, ApiError> {
    let spec = &record.spec;
    let Some(parent) = api.session(&spec.parent).await? else {
        return Ok(Inherited::ParentGone);
    };
    let rules = with_denies(&spec.access.rules, &parent.permission);
    // A session that goes on keeps the rules it was made with.
    if let Some(earlier) = &spec.continues
        && let Some(child) = api.session(&earlier.child).await?
        && has_more(&child.permission, &parent.permission)
    {
        return Ok(Inherited::OtherRights);
    }
    let model = match &spec.model {
        Some(model) => Some(model.clone()),
        None => {
            let latest = |messages: &[Message]| {
                let mut users = messages.iter().rev().filter(|one| one.info.role == "user");
                users.find_map(|one| one.info.model.clone())
            };
            let names_one = |messages: &[Message]| latest(messages).is_some();
            latest(&api.last_messages(&spec.parent, names_one).await?)
        }
    };
    Ok(Inherited::From { rules, model })
}

fn run_spec(
    record: &Delegation,
    rules: Vec<Rule>,
    model: Option<Model>,
    base_ms: u64,
    fresh: bool,
    setup: Option<&str>,
) -> RunSpec {
    let spec = &record.spec;
    let mut prompt = title::opening(spec.ask_title, &spec.access.withheld);
    // A further round has been told.
    if let Some(worktree) = spec.worktree.as_ref().filter(|_| spec.continues.is_none()) {
        if !prompt.is_empty() {
            prompt.push_str("\n\n");
        }
        prompt.push_str(&worktree::opening(worktree, setup));
    }
    if !prompt.is_empty() {
        prompt.push_str("\n\n");
    }
    prompt.push_str(&spec.prompt);
    RunSpec {
        delegation: spec.id.clone(),
        attempt: record.attempt,
        registered_ms: u64::try_from(spec.registered_at.as_millisecond()).unwrap_or(0),
        parent: spec.parent.clone(),
        directory: spec.workplace().to_owned(),
        title: format!("{} (@{})", title::of_prompt(&spec.prompt), spec.agent),
        rules,
        agent: spec.agent.clone(),
        model,
        system: None,
        prompt,
        continuation: title::continuation(
            record
                .interrupted
                .as_deref()
                .unwrap_or("the program it ran in was closed or crashed"),
        ),
        child: record.child.clone(),
        fresh,
        collect: record.only_collects(),
        spent_ms: record.spent_ms + base_ms,
        max_run_ms: spec.max_run_ms,
        stall_ms: spec.stall_ms,
    }
}
