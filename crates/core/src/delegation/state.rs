//! The states, their reasons, and the phases inside `running`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a delegation stands. A terminal state never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Accepted and durable, waiting for a free slot.
    Registered,
    /// A run is under way, interrupted and waiting for a host, or being finished.
    Running,
    /// Ended with an answer.
    Complete,
    /// Ended without one, or lost.
    Error,
    /// Stopped by somebody.
    Cancelled,
    /// Stopped at its time limit.
    Timeout,
}

impl State {
    /// All states, in the order of a delegation's life.
    pub const ALL: [State; 6] = [
        State::Registered,
        State::Running,
        State::Complete,
        State::Error,
        State::Cancelled,
        State::Timeout,
    ];

    /// Whether this state never changes.
    pub fn is_terminal(self) -> bool {
        !matches!(self, State::Registered | State::Running)
    }

    /// The state's name as it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            State::Registered => "registered",
            State::Running => "running",
            State::Complete => "complete",
            State::Error => "error",
            State::Cancelled => "cancelled",
            State::Timeout => "timeout",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is the name of no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no state: use registered, running, complete, error, cancelled or timeout")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        State::ALL
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// Who stopped a delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person, by Brigade's command line.
    Person,
    /// The agent that delegated it, by its tool.
    Parent,
    /// A person, by aborting the child session in the host.
    PersonInHost,
    /// The parent session was deleted.
    ParentDeleted,
    /// The child session was deleted.
    ChildDeleted,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Actor::Person => "cancelled by the person",
            Actor::Parent => "cancelled by the agent that had delegated it",
            Actor::PersonInHost => "cancelled by the person, who stopped the child session",
            Actor::ParentDeleted => "cancelled because the parent session was deleted",
            Actor::ChildDeleted => "cancelled because the child session was deleted",
        })
    }
}

/// Why Brigade stops a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum StopCause {
    /// Somebody wants it stopped.
    Cancel {
        /// Who.
        by: Actor,
    },
    /// Its running time is used up.
    TimeLimit {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// Nothing was heard from it for too long.
    Stall {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
}

/// How a run ended, as its runner has proven it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum RunEnd {
    /// With an answer that holds text.
    Answered,
    /// Regularly, but without any text.
    Empty,
    /// By an error of the model's provider.
    ProviderError {
        /// The provider's words.
        message: String,
    },
    /// By an error of the host, such as an unknown agent or model.
    HostError {
        /// The host's words.
        message: String,
    },
    /// A refused permission ended the turn before there was an answer.
    PermissionRefused {
        /// What was asked for.
        what: String,
    },
    /// It was aborted: by Brigade where that had been ordered, else by a person.
    Aborted,
    /// The child session no longer exists.
    SessionDeleted,
    /// Nothing runs any more and nothing proves an end; found by who may only collect what is there.
    CutOff,
}

impl RunEnd {
    /// Whether the model has come to its end: it would go on with what it is told next.
    pub fn is_by_itself(&self) -> bool {
        matches!(
            self,
            RunEnd::Answered | RunEnd::Empty | RunEnd::PermissionRefused { .. }
        )
    }
}

/// Why a delegation is in its terminal state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// It answered.
    Answered,
    /// The model's provider failed.
    ProviderError {
        /// The provider's words.
        message: String,
    },
    /// The host refused or failed.
    HostError {
        /// The host's words.
        message: String,
    },
    /// Nothing was heard from it for too long.
    Stalled {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// Its running time was used up.
    OverTime {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// Somebody stopped it.
    Cancelled {
        /// Who.
        by: Actor,
    },
    /// It was interrupted in each of its attempts.
    Lost {
        /// How many attempts there were.
        attempts: u32,
        /// What interrupted the last one.
        last: String,
    },
    /// A refused permission ended its turn.
    PermissionRefused {
        /// What was asked for.
        what: String,
    },
    /// It ended without any text.
    EmptyAnswer,
    /// What its artifact says; the record was lost, and taken back from there.
    Recorded {
        /// The artifact's words.
        words: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Answered => f.write_str("answered"),
            Reason::ProviderError { message } => write!(f, "the provider failed: {message}"),
            Reason::HostError { message } => write!(f, "the host refused or failed: {message}"),
            Reason::Stalled { limit_ms } => {
                write!(
                    f,
                    "stalled: nothing was heard from it for {}",
                    span(*limit_ms)
                )
            }
            Reason::OverTime { limit_ms } => {
                write!(f, "over its time limit of {}", span(*limit_ms))
            }
            Reason::Cancelled { by } => by.fmt(f),
            Reason::Lost { attempts, last } => write!(
                f,
                "lost: interrupted in each of its {attempts} attempts, the last time because {last}"
            ),
            Reason::PermissionRefused { what } => {
                write!(f, "a refused permission ended its turn: {what}")
            }
            Reason::EmptyAnswer => f.write_str("it ended without an answer: the text was empty"),
            Reason::Recorded { words } => f.write_str(words),
        }
    }
}

/// A duration as people write it: `90s`, `15m`, `1h 30m`.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match (seconds / 3_600, seconds % 3_600 / 60, seconds % 60) {
        (0, 0, 0) if ms > 0 => format!("{ms}ms"),
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m {s}s"),
        (h, 0, _) => format!("{h}h"),
        (h, m, _) => format!("{h}h {m}m"),
    }
}

/// The duration that [`span`] has written, as far as it is told: seconds for minutes, minutes for hours.
pub fn unspan(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split(' ').collect();
    if words.is_empty() {
        return None;
    }
    words.iter().try_fold(0_u64, |sum, word| {
        let units = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let (number, unit) = units
            .iter()
            .find_map(|(name, unit)| word.strip_suffix(name).map(|number| (number, *unit)))?;
        sum.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)
    })
}

/// A terminal state with its reason, decided once and for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The terminal state.
    pub state: State,
    /// Why it is that one.
    pub reason: Reason,
}

impl Outcome {
    /// The outcome of work that was interrupted in each of its attempts.
    pub fn lost(attempts: u32, last: &str) -> Self {
        Self {
            state: State::Error,
            reason: Reason::Lost {
                attempts,
                last: last.to_owned(),
            },
        }
    }

    /// The outcome of a run that ended by itself.
    pub fn of_end(end: &RunEnd) -> Self {
        let (state, reason) = match end {
            RunEnd::CutOff => return Self::lost(1, "its run was cut off"),
            RunEnd::Answered => (State::Complete, Reason::Answered),
            RunEnd::Empty => (State::Error, Reason::EmptyAnswer),
            RunEnd::ProviderError { message } => (
                State::Error,
                Reason::ProviderError {
                    message: message.clone(),
                },
            ),
            RunEnd::HostError { message } => (
                State::Error,
                Reason::HostError {
                    message: message.clone(),
                },
            ),
            RunEnd::PermissionRefused { what } => (
                State::Error,
                Reason::PermissionRefused { what: what.clone() },
            ),
            RunEnd::Aborted => (
                State::Cancelled,
                Reason::Cancelled {
                    by: Actor::PersonInHost,
                },
            ),
            RunEnd::SessionDeleted => (
                State::Cancelled,
                Reason::Cancelled {
                    by: Actor::ChildDeleted,
                },
            ),
        };
        Self { state, reason }
    }

    /// The outcome of a run that Brigade stopped. A run that had answered before the stop for time
    /// reached it is complete all the same: its work is there, whole. A cancelled one stays cancelled.
    pub fn of_stop(cause: StopCause, end: Option<&RunEnd>) -> Self {
        match (cause, end) {
            (StopCause::Cancel { by }, _) => Self {
                state: State::Cancelled,
                reason: Reason::Cancelled { by },
            },
            (_, Some(RunEnd::Answered)) => Self::of_end(&RunEnd::Answered),
            (StopCause::TimeLimit { limit_ms }, _) => Self {
                state: State::Timeout,
                reason: Reason::OverTime { limit_ms },
            },
            (StopCause::Stall { limit_ms }, _) => Self {
                state: State::Error,
                reason: Reason::Stalled { limit_ms },
            },
        }
    }
}
