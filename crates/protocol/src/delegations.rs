//! Delegations as people see them: lists, details, texts, search, steering.

use std::str::FromStr;

use brigade_core::delegation::{State, UnknownState};
use brigade_core::id::DelegationId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ErrorBody;

/// Which delegations are meant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Only those of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// How to follow a text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FollowQuery {
    /// Only one of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only while it grows: the result is not sent at its end, and does not count as read.
    #[serde(default)]
    pub peek: bool,
}

/// What to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListQuery {
    /// Only those of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only those of this root session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Only those in one of these states; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<States>,
    /// Only this agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only those that have ended and nobody has read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unread: bool,
    /// Only those registered at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// By what they are sorted; none for the order of registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<Sort>,
    /// Whether the order is turned round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
    /// So many are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// At most so many; none for 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some states, in a query their names with commas between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct States(pub Vec<State>);

impl TryFrom<String> for States {
    type Error = UnknownState;

    fn try_from(names: String) -> Result<Self, UnknownState> {
        names.parse()
    }
}

impl FromStr for States {
    type Err = UnknownState;

    fn from_str(names: &str) -> Result<Self, UnknownState> {
        let states = names.split(',').map(str::parse);
        states.collect::<Result<_, _>>().map(Self)
    }
}

impl From<States> for String {
    fn from(states: States) -> Self {
        let names: Vec<_> = states.0.iter().map(|state| state.name()).collect();
        names.join(",")
    }
}

/// By what a list is sorted: the most, the latest first; states in the order of a delegation's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// When it was registered.
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

/// A list, newest first unless it was to be sorted otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// The rows.
    pub delegations: Vec<Summary>,
    /// How many come after them.
    pub more: u64,
}

/// One row of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The one ID.
    pub id: DelegationId,
    /// The project.
    pub project: String,
    /// The root session; none where a predecessor's file does not tell.
    pub session: Option<String>,
    /// The state.
    pub state: State,
    /// Where it stands inside it, in words: `queued`, `starting`, `working`, `waiting for a host: …`,
    /// `stopping`, `finishing`, `ended`.
    pub phase: String,
    /// The agent.
    pub agent: String,
    /// The title, or the head of the prompt until there is one.
    pub title: String,
    /// The summary.
    pub summary: String,
    /// Whether it ended and its result was not read.
    pub unread: bool,
    /// The current attempt.
    pub attempt: u32,
    /// When it was accepted.
    pub registered_at: Timestamp,
    /// When the first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it is in its terminal state, in words.
    pub reason: Option<String>,
    /// The artifact's file, once it is written.
    pub artifact: Option<String>,
    /// Whether the predecessor wrote it.
    pub predecessor: bool,
    /// What it is doing now, or did last.
    pub progress: Progress,
}

/// What a run has done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Tool calls made.
    pub tool_calls: u64,
    /// The last tool's name.
    pub last_tool: Option<String>,
    /// The last line of the text so far, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_line: Option<String>,
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
    /// Running time over all attempts, in milliseconds.
    #[serde(default)]
    pub ran_ms: u64,
}

/// Everything about one delegation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Details {
    /// Its row.
    #[serde(flatten)]
    pub summary: Summary,
    /// The work, as the caller wrote it.
    pub prompt: String,
    /// The child session.
    pub child: Option<String>,
    /// The directory.
    pub directory: String,
    /// `provider/model` with the variant, if it is known.
    pub model: Option<String>,
    /// `enforced`, or `read-only by rule: …` with what remains open.
    pub access: String,
    /// What the agent has and the child did not get.
    pub withheld: Vec<String>,
    /// Running time over all attempts, in milliseconds.
    pub ran_ms: u64,
    /// The time limit in milliseconds.
    pub max_run_ms: Option<u64>,
    /// How the notice fares: `none`, `pending`, `sent`, `delivered`, `needless`.
    pub notice: String,
    /// The earlier round that it goes on with, in the same child session.
    #[serde(default)]
    pub continues: Option<DelegationId>,
    /// The delegation whose work it does anew.
    #[serde(default)]
    pub retries: Option<DelegationId>,
    /// Its worktree, where it may change files.
    #[serde(default)]
    pub worktree: Option<crate::changes::WorktreeDetails>,
    /// The ID of its trace, where the daemon sends traces.
    #[serde(default)]
    pub trace: Option<String>,
    /// The attempts, in order.
    #[serde(default)]
    pub attempts: Vec<AttemptEntry>,
    /// The tools that were called, the most frequent first. Records of before this was kept have none.
    #[serde(default)]
    pub tools: Vec<ToolUse>,
    /// What it asked for and was refused, in order. Records of before this was kept have none.
    #[serde(default)]
    pub refusals: Vec<Refused>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEntry {
    /// Its number, from 1.
    pub attempt: u32,
    /// Whether it only looks whether the last one has left an answer.
    pub collects: bool,
    /// Whether it ran in a server of Brigade's own.
    pub own_server: bool,
    /// The process it ran in.
    pub pid: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it is under way.
    pub ended_at: Option<Timestamp>,
    /// How it ended, in words; none while it is under way.
    pub end: Option<String>,
    /// How long it has run, in milliseconds.
    pub ran_ms: u64,
}

/// How often a tool was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolUse {
    /// The tool.
    pub name: String,
    /// How often.
    pub calls: u64,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The permission and what it was asked for.
    pub what: String,
    /// How often.
    pub times: u64,
    /// When for the first time.
    pub at: Timestamp,
}

/// One line of a timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What, as the event is named.
    pub event: String,
    /// The particulars in words.
    pub detail: String,
}

/// A delegation's text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Text {
    /// The one ID, whole.
    pub id: DelegationId,
    /// The state.
    pub state: State,
    /// The artifact where it is written, else the text so far.
    pub text: String,
}

/// What a follower hears.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Follow {
    /// The text has been replaced (at first, and when a retry starts it anew).
    Reset {
        /// The whole text so far.
        text: String,
    },
    /// More text.
    More {
        /// What came.
        text: String,
    },
    /// It does something else now.
    Doing {
        /// In words.
        what: String,
    },
    /// It has ended; the stream ends with this.
    Ended {
        /// The state.
        state: State,
        /// Why, in words.
        reason: String,
        /// The artifact.
        artifact: String,
    },
}

/// What to watch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WatchQuery {
    /// Only those of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only those of this root session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// At most so many in a reset, newest first; none for 1,000, and never more than 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Watched {
    /// All there is to see, newest first: at first, and when more has changed than can be told one by one.
    Reset {
        /// The rows.
        delegations: Vec<Summary>,
        /// How many there are beyond the limit.
        more: u64,
    },
    /// What is new or has changed since, each as it stands now.
    Changed {
        /// The rows.
        delegations: Vec<Summary>,
    },
}

/// What to search.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SearchQuery {
    /// The words.
    pub q: String,
    /// Only in this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// At most so many, best first; none for 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What was found, best first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SearchResults {
    /// The hits.
    pub hits: Vec<Hit>,
}

/// One hit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hit {
    /// Its row.
    #[serde(flatten)]
    pub summary: Summary,
    /// Where it was found, with `[` and `]` around what matched.
    pub snippet: String,
}

/// What to cancel: the IDs, or all active ones of a session, or all active ones.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cancel {
    /// IDs or unique prefixes.
    #[serde(default)]
    pub ids: Vec<String>,
    /// A root session.
    #[serde(default)]
    pub session: Option<String>,
    /// All that are active.
    #[serde(default)]
    pub all: bool,
    /// Only those of this directory's project; none for all projects.
    #[serde(default)]
    pub directory: Option<String>,
    /// Answer only once the runs have provably stopped, half a minute later at most.
    #[serde(default)]
    pub wait: bool,
}

/// What came of it, one entry per delegation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cancelled {
    /// The entries.
    pub results: Vec<CancelResult>,
    /// Of several IDs those that name no delegation; the others were dealt with all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<ErrorBody>,
}

/// What came of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CancelResult {
    /// The one ID, whole.
    pub id: DelegationId,
    /// Whether the stop was ordered.
    pub ordered: bool,
    /// The state after it.
    pub state: State,
    /// What happened, in words.
    pub message: String,
}

/// A message to a delegation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Message {
    /// What it is told.
    pub message: String,
    /// Only one of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// What came of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sent {
    /// Where it went: the running delegation, or the further round in the session of the one that had ended.
    pub id: DelegationId,
    /// Whether that is a further round: a new delegation, with a notice and a result of its own.
    pub continued: bool,
    /// The state of the one where it went.
    pub state: State,
    /// What happened, in words.
    pub message: String,
}

/// What came of a retry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Retried {
    /// The delegation that does the work now.
    pub id: DelegationId,
    /// Whether it was under way already.
    pub existing: bool,
    /// Its state.
    pub state: State,
    /// What happened, in words.
    pub message: String,
}
