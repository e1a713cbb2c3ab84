//! What a run is given, what it reports while it goes on, and how it is left.

use brigade_core::delegation::{Model, RunEnd, StopCause};
use brigade_core::id::{Attempt, DelegationId, SessionId};
use brigade_core::permission::Rule;
use futures::future::BoxFuture;

use super::calls::Calls;
use super::event::HostEvent;
use super::message::Usage;
use super::observe::Progress;

/// One attempt to be driven to its end.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// The delegation.
    pub delegation: DelegationId,
    /// The attempt, from 1.
    pub attempt: Attempt,
    /// When the delegation was registered, in milliseconds since 1970; the IDs of its prompts derive from it.
    pub registered_ms: u64,
    /// The parent session.
    pub parent: SessionId,
    /// The directory in which the child lives.
    pub directory: String,
    /// The child session's title.
    pub title: String,
    /// The child session's own permission rules.
    pub rules: Vec<Rule>,
    /// The agent.
    pub agent: String,
    /// The model, where one is to be named.
    pub model: Option<Model>,
    /// Text for the system prompt, beyond the agent's own.
    pub system: Option<String>,
    /// The work.
    pub prompt: String,
    /// What to say instead of the work where an earlier attempt's prompt already stands in the child: what
    /// happened, and to go on.
    pub continuation: String,
    /// The child session, where one is known.
    pub child: Option<SessionId>,
    /// Whether the intent to start the delegation's first attempt was recorded only just now, so that nothing
    /// can have been asked of the host yet and nothing has to be looked for.
    pub fresh: bool,
    /// Whether only to collect what earlier attempts have left, and to ask nothing of a model.
    pub collect: bool,
    /// Running time of earlier attempts and of this one before the daemon was restarted, in milliseconds.
    pub spent_ms: u64,
    /// Running time allowed over all attempts, in milliseconds; none for no limit.
    pub max_run_ms: Option<u64>,
    /// How long nothing may be heard, in milliseconds; none for no limit.
    pub stall_ms: Option<u64>,
}

/// What the driver hears of the host. Only events of the run's own child matter; others may come along.
#[derive(Debug, Clone)]
pub enum Signal {
    /// An event.
    Event(Box<HostEvent>),
    /// The connection to the host is lost. By itself no proof of anything.
    Disconnected,
    /// The connection is back, and events may have been missed.
    Reconnected,
    /// The host is provably gone.
    HostGone {
        /// What proves it, in words that end up in the record.
        why: String,
    },
}

/// This attempt is over for the record: whatever the run would still say is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this attempt is over: nothing more is heard of it")]
pub struct Fenced;

/// Who is behind an abort that Brigade did not order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbortVerdict {
    /// A person: the host is alive and not disposing.
    ByPerson,
    /// Nobody wanted it: the host was quitting, or is gone.
    Interrupted {
        /// In words that end up in the record.
        why: String,
    },
}

/// A permission or question that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The permission, or `question`.
    pub permission: String,
    /// On what.
    pub patterns: Vec<String>,
}

impl Refusal {
    /// In words: `bash (git push)`.
    pub fn words(&self) -> String {
        if self.patterns.is_empty() {
            self.permission.clone()
        } else {
            format!("{} ({})", self.permission, self.patterns.join(", "))
        }
    }
}

/// Where a run's reports go. What returns [`Fenced`] ends the driver at once.
pub trait RunLog: Send + Sync {
    /// Has the events of this session forwarded, and returns once that is in force.
    fn watch<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()>;

    /// The text of a message that was sent to the run, by its number from 1.
    fn message(&self, number: u32) -> BoxFuture<'_, Result<String, Fenced>>;

    /// The child exists: to be recorded before it is prompted.
    fn child_ready<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<(), Fenced>>;

    /// The host has accepted the prompt, or already held it.
    fn prompted(&self) -> BoxFuture<'_, Result<(), Fenced>>;

    /// How far it is; coalesced. `partial` is the answer's text so far, given only when it has changed, and
    /// `ran_ms` this drive's running time.
    fn progress<'a>(
        &'a self,
        progress: &'a Progress,
        partial: Option<&'a str>,
        ran_ms: u64,
    ) -> BoxFuture<'a, Result<(), Fenced>>;

    /// A permission or question was refused.
    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), Fenced>>;

    /// A limit is reached: the stop is to be recorded before the driver aborts. A later value of the stop
    /// channel is not needed, but does no harm.
    fn stop(&self, cause: StopCause) -> BoxFuture<'_, Result<(), Fenced>>;

    /// A child of the same delegation, but of another session than this run's, was found busy and aborted.
    fn stray<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()>;

    /// The run was aborted and Brigade did not order it. Answers once it is known who is behind it.
    fn unordered_abort(&self) -> BoxFuture<'_, AbortVerdict>;
}

/// A run that has provably ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub end: RunEnd,
    /// The answer, or what there was of it.
    pub answer: String,
    /// What it and the attempts before it have used in the child, as far as the host has it on record; none where
    /// that could not be read, and what was reported last holds.
    pub usage: Option<Usage>,
    /// How many of the messages that were sent to it the child has been given.
    pub messages: u32,
    /// The calls of models and tools that were read in the child, those of earlier attempts included.
    pub calls: Calls,
    /// Running time of this drive in milliseconds.
    pub ran_ms: u64,
}

/// How the driver leaves a run.
#[derive(Debug, Clone, PartialEq)]
pub enum DriveOutcome {
    /// It has provably ended.
    Ended(Ended),
    /// It was cut off and nothing runs any more.
    Interrupted {
        /// By what.
        why: String,
        /// What there was of an answer.
        partial: String,
        /// The calls of models and tools that were read in the child.
        calls: Calls,
        /// Running time of this drive in milliseconds.
        ran_ms: u64,
    },
    /// The attempt is over for the record.
    Fenced,
    /// The signals' sender was dropped: the caller is leaving. Nothing is said about the run, which may go on.
    Detached {
        /// Running time of this drive in milliseconds.
        ran_ms: u64,
    },
}
