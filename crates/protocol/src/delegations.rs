//! Delegations as people see them: lists, details, texts, search, steering.

use brigade_core::delegation::State;
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

/// What to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ListQuery {
    /// Only those of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only those of this root session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// At most so many, newest first; none for 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A list, newest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// The rows.
    pub delegations: Vec<Summary>,
    /// How many there are beyond the limit.
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
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
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
