//! What goes in and comes out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use brigade_core::delegation::{Delegation, Event, State};
use brigade_core::id::{Attempt, DelegationId, ProjectId, SessionId};
use jiff::Timestamp;
use rusqlite::types::Type;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// What a run has done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Tool calls made.
    pub tool_calls: u64,
    /// The last tool's name.
    pub last_tool: Option<String>,
    /// Tokens read by the model, cached ones included.
    pub tokens_in: u64,
    /// Tokens written by the model, reasoning included.
    pub tokens_out: u64,
    /// Cost in US dollars as the host counts it.
    pub cost: f64,
    /// The last sign of life.
    pub heard_at: Option<Timestamp>,
    /// Permission asks that were refused.
    pub refused: u64,
    /// The model that the run was given, as `provider/model` with its variant.
    #[serde(default)]
    pub model: Option<String>,
    /// How often each tool was called.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, u64>,
    /// What was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refused>,
}

/// Something that was asked for and refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The permission and what it was asked for.
    pub what: String,
    /// How often.
    pub times: u64,
    /// When for the first time.
    pub at: Timestamp,
}

impl Progress {
    /// How many different refusals are kept.
    const REFUSALS: usize = 50;

    /// Counts something that was refused.
    pub fn refuse(&mut self, what: String, at: Timestamp) {
        self.refused += 1;
        if let Some(known) = self.refusals.iter_mut().find(|known| known.what == what) {
            known.times += 1;
        } else if self.refusals.len() < Self::REFUSALS {
            self.refusals.push(Refused { what, times: 1, at });
        }
    }
}

/// A registered delegation's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The record's version.
    pub version: i64,
    /// Its place in the order of registration.
    pub order: i64,
    /// How many are active in its root session, itself included.
    pub active: usize,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq)]
pub enum Registration {
    /// It is on file.
    New(Registered),
    /// The same agent has the same prompt in this root session already.
    Existing {
        /// The one under way.
        row: Box<Row>,
        /// How many are active in the root session.
        active: usize,
    },
    /// The ID is taken: draw another.
    IdTaken,
    /// Nothing is kept of the worktree that it was to go on in.
    WorktreeGone,
}

/// When a parent is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// When the last of a batch has ended.
    All,
    /// After each.
    Each,
    /// Never.
    Never,
}

/// What comes with a terminal state.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The result's title.
    pub title: String,
    /// Its summary.
    pub summary: String,
    /// The artifact's file.
    pub artifact: PathBuf,
    /// Whether the parent is to hear of it.
    pub notify: bool,
    /// When the parent is woken.
    pub wake: Wake,
    /// The ID of the notice's part for the model.
    pub model_part: String,
    /// The ID of the notice's part for the person.
    pub person_part: String,
}

/// A transition to be stored.
#[derive(Debug)]
pub struct Change {
    /// Whose.
    pub id: DelegationId,
    /// The version it was decided on.
    pub expect_version: i64,
    /// The record after it.
    pub delegation: Delegation,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// When.
    pub at: Timestamp,
    /// What goes with it.
    pub along: Along,
}

/// What is stored along with a transition.
#[derive(Debug, Clone, Default)]
pub struct Along {
    /// The answer, with the decision.
    pub text: Option<Arc<String>>,
    /// What the run has done, with its end.
    pub progress: Option<Progress>,
    /// What comes with a terminal state.
    pub ended: Option<Ended>,
}

/// A stored transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The record's version now.
    pub version: i64,
}

/// An active delegation, as recovery needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveRow {
    /// The record.
    pub delegation: Delegation,
    /// Its version.
    pub version: i64,
    /// Its place in the order of registration.
    pub order: i64,
    /// What its run has done.
    pub progress: Progress,
    /// Running time of the current attempt in milliseconds, as of the last report.
    pub ran_ms: u64,
}

/// A delegation on file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The record.
    pub delegation: Delegation,
    /// The result's title, or the head of the prompt until there is one.
    pub title: String,
    /// The result's summary.
    pub summary: String,
    /// The artifact's file.
    pub artifact: Option<PathBuf>,
    /// When its result first reached its parent; until then its parent's ledger names it.
    pub read_at: Option<Timestamp>,
    /// Whether anybody has read its result: its parent, another session, a person.
    pub seen: bool,
    /// What its run has done.
    pub progress: Progress,
    /// Running time of the current attempt in milliseconds, as of the last report.
    pub ran_ms: u64,
    /// How its notice fares: `none`, or a [`NoticeState`]'s name.
    pub notice: String,
}

/// A file that the predecessor left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The file.
    pub path: PathBuf,
    /// Its ID.
    pub id: DelegationId,
    /// Its project.
    pub project: ProjectId,
    /// Its root session.
    pub root: SessionId,
    /// The agent.
    pub agent: String,
    /// The title.
    pub title: String,
    /// The summary.
    pub summary: String,
    /// How it ended.
    pub state: State,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Listed {
    /// One of Brigade's.
    Ours(Box<Row>),
    /// One of the predecessor's.
    Predecessor(Box<Foreign>),
}

impl Listed {
    /// The ID.
    pub fn id(&self) -> &DelegationId {
        match self {
            Listed::Ours(row) => &row.delegation.spec.id,
            Listed::Predecessor(file) => &file.id,
        }
    }
}

/// What an ID or a prefix of one has found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Nothing.
    None,
    /// Exactly one.
    One(Listed),
    /// Several.
    Many(Vec<DelegationId>),
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Only this project's.
    pub project: Option<ProjectId>,
    /// Only this root session's.
    pub root: Option<SessionId>,
    /// Only those in one of these states; all where there is none.
    pub states: Vec<State>,
    /// Only this agent's.
    pub agent: Option<String>,
    /// Only those that have ended and nobody has read.
    pub unread: bool,
    /// Only those registered at this time or later.
    pub since: Option<Timestamp>,
    /// By what they are sorted.
    pub sort: Sort,
    /// Whether the order is turned round.
    pub reverse: bool,
    /// So many are passed over.
    pub offset: u32,
    /// At most so many.
    pub limit: u32,
}

/// By what a list is sorted: the most, the latest first; states in the order of a delegation's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// When it was registered.
    #[default]
    Registered,
    /// When it ended; what has not comes last.
    Ended,
    /// What it has cost.
    Cost,
    /// Tokens read and written.
    Tokens,
    /// How long it has run.
    Duration,
    /// Its state.
    State,
}

/// An entry of the event log.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Its place in the log.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub delegation: DelegationId,
    /// What.
    pub event: Event,
}

/// A search's hit.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// What was found.
    pub row: Listed,
    /// Where, with `[` and `]` around what matched.
    pub snippet: String,
}

/// How many of what there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// The schema's version.
    pub schema: u32,
    /// Running, waiting ones left out.
    pub running: u64,
    /// Waiting for a slot.
    pub queued: u64,
    /// Interrupted, waiting for a host.
    pub waiting: u64,
    /// Ended and read by nobody.
    pub unread: u64,
    /// Notices that have not reached their parent.
    pub notices_waiting: u64,
    /// On file.
    pub total: u64,
}

/// How a notice fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// To be sent.
    Pending,
    /// Leased to a bridge for the person's next message.
    Leased,
    /// Sent, and not seen in the session yet.
    Sending,
    /// Seen in the session.
    Delivered,
    /// Not needed any more.
    Needless,
}

impl NoticeState {
    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            NoticeState::Pending => "pending",
            NoticeState::Leased => "leased",
            NoticeState::Sending => "sending",
            NoticeState::Delivered => "delivered",
            NoticeState::Needless => "needless",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, StoreError> {
        [
            NoticeState::Pending,
            NoticeState::Leased,
            NoticeState::Sending,
            NoticeState::Delivered,
            NoticeState::Needless,
        ]
        .into_iter()
        .find(|state| state.name() == name)
        .ok_or_else(|| StoreError::Data(format!("{name:?} is no state of a notice")))
    }
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// Whose end it tells.
    pub delegation: DelegationId,
    /// The parent session.
    pub parent: SessionId,
    /// The batch.
    pub batch: i64,
    /// How many of the batch were still active when it ended.
    pub remaining: usize,
    /// How many the batch has.
    pub batch_size: usize,
    /// The ID of the part for the model.
    pub model_part: String,
    /// The ID of the part for the person.
    pub person_part: String,
    /// How it fares.
    pub state: NoticeState,
    /// Which way it goes.
    pub channel: Option<String>,
    /// The host process it goes through.
    pub connection: Option<String>,
    /// The message it is in, or is to be in.
    pub message: Option<String>,
}

/// A waking that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeRow {
    /// The delegation whose end made it due.
    pub delegation: DelegationId,
    /// The batch.
    pub batch: i64,
    /// The message by which it was, or was to be, woken.
    pub message: Option<String>,
}

/// Milliseconds since 1970, as times are stored.
pub(crate) fn ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A stored time.
pub(crate) fn at(ms: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(error))
    })
}

/// A stored text that is to be something.
pub(crate) fn parsed<T: std::str::FromStr>(text: &str) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// A count that fits.
pub(crate) fn count(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// The number as it is stored.
pub(crate) fn attempt(attempt: Attempt) -> i64 {
    i64::from(attempt.0)
}
