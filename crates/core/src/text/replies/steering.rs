//! What is said of messages, further rounds, retries and cancelling.

use std::fmt;

use crate::delegation::State;
use crate::id::DelegationId;
use crate::text::line::one_line;

/// Why a delegation can't be steered as was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsteerable {
    /// There is nothing in the message.
    EmptyMessage,
    /// The message is too long.
    TooLong {
        /// Its characters.
        chars: usize,
        /// How many it may have.
        limit: usize,
    },
    /// It is being stopped, or its last attempt only collects what there is.
    TakesNothing {
        /// Which.
        id: DelegationId,
    },
    /// It is ending right now.
    Ending {
        /// Which.
        id: DelegationId,
    },
    /// It ended before it had a session.
    NoSession {
        /// Which.
        id: DelegationId,
        /// As what.
        state: State,
    },
    /// The predecessor's: its session is not known.
    Predecessor {
        /// Which.
        id: DelegationId,
    },
    /// Only what has ended can be done anew.
    StillActive {
        /// Which.
        id: DelegationId,
        /// Where it stands.
        state: State,
    },
    /// Its record was taken back from its artifact, which tells neither prompt nor directory.
    TakenBack {
        /// Which.
        id: DelegationId,
    },
    /// The agent's rights are others than those its session has.
    OtherRights {
        /// The agent.
        agent: String,
    },
    /// The worktree that its session works in is gone.
    WorktreeGone {
        /// Which.
        id: DelegationId,
    },
    /// It belongs to another root session.
    Elsewhere {
        /// Which.
        id: DelegationId,
    },
    /// The caller is a child.
    InChild,
}

impl fmt::Display for Unsteerable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsteerable::EmptyMessage => {
                f.write_str("the message is empty, so nothing was sent. Say what it is to do.")
            }
            Unsteerable::TooLong { chars, limit } => write!(
                f,
                "the message has {chars} characters and may have {limit}, so it was not sent. Name files instead of \
                 quoting them."
            ),
            Unsteerable::TakesNothing { id } => write!(
                f,
                "{id} is being stopped or collected and takes nothing more, so nothing was sent. Send again once it \
                 has ended: it then goes on in its session."
            ),
            Unsteerable::Ending { id } => write!(
                f,
                "{id} is ending right now and its result is not written yet, so nothing was sent. Send again in a \
                 moment: it then goes on in its session."
            ),
            Unsteerable::NoSession { id, state } => write!(
                f,
                "{id} ended as {state} before it had a session, so there is nothing to go on with. Have the work done \
                 anew instead."
            ),
            Unsteerable::Predecessor { id } => write!(
                f,
                "{id} is an older result of background-agents: its session is not known, so it can only be read."
            ),
            Unsteerable::StillActive { id, state } => write!(
                f,
                "{id} is {state}; only what has ended can be done anew. Cancel it first, or send it a message."
            ),
            Unsteerable::TakenBack { id } => write!(
                f,
                "the record of {id} was lost and taken back from its artifact, which tells neither prompt nor \
                 directory, so it can only be read. Delegate the work anew."
            ),
            Unsteerable::OtherRights { agent } => write!(
                f,
                "the rights of agent {agent} have changed since, and the session still has the earlier ones, so it does \
                 not go on. Delegate the work anew."
            ),
            Unsteerable::WorktreeGone { id } => write!(
                f,
                "the worktree of {id} was discarded, and its session works nowhere else. Delegate the work anew."
            ),
            Unsteerable::Elsewhere { id } => write!(
                f,
                "{id} belongs to another session, and only that or the person (`brigade cancel`, `brigade send`) may \
                 steer it. It can be read here."
            ),
            Unsteerable::InChild => {
                f.write_str("a delegated agent can't steer others. Say in your answer what you would have done.")
            }
        }
    }
}

/// A message is on record for a run that goes on.
pub fn sent(id: &DelegationId, state: State) -> String {
    if state == State::Registered {
        format!("{id} has not started yet; it gets the message right after its prompt.")
    } else {
        format!("{id} gets the message at its next step.")
    }
}

/// An ended delegation goes on in its session, as a further round.
pub fn continued(earlier: &DelegationId, round: &DelegationId) -> String {
    format!(
        "{earlier} had ended; it goes on in its session as {round}, which has a notification and a result of its own. \
         The earlier result stays as it is."
    )
}

/// The same work begins anew.
pub fn retried(earlier: &DelegationId, anew: &DelegationId, existing: bool) -> String {
    if existing {
        format!("The same work is under way already, as {anew}; nothing new was started.")
    } else {
        format!("The work of {earlier} is done anew as {anew}. The earlier result stays as it is.")
    }
}

/// Where a delegation stood when it was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stood {
    /// It had not started.
    Queued,
    /// It had been cut off and waited to go on.
    CutOff {
        /// By what; what that has left running is named there.
        why: String,
    },
    /// It ran.
    Running,
}

/// A stop was ordered; `ended` says whether the delegation has ended by now.
pub fn cancelled(stood: &Stood, ended: bool) -> String {
    match (stood, ended) {
        (Stood::Queued, true) => "cancelled: it had not started".to_owned(),
        (Stood::CutOff { why }, true) => format!(
            "cancelled; its run had been cut off before ({}); what it had written is kept",
            one_line(why, 300)
        ),
        (Stood::Running, true) => {
            "cancelled: its run has ended; what it had written is kept".to_owned()
        }
        (_, false) => {
            "being stopped: it has not been proven yet that its run has ended; what it has written is kept".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_possible_says_so_in_one_line_and_what_to_do() {
        let id: DelegationId = "brave-amber-otter".parse().unwrap();
        for refusal in [
            Unsteerable::EmptyMessage,
            Unsteerable::TooLong { chars: 9, limit: 8 },
            Unsteerable::TakesNothing { id: id.clone() },
            Unsteerable::Ending { id: id.clone() },
            Unsteerable::NoSession {
                id: id.clone(),
                state: State::Cancelled,
            },
            Unsteerable::Predecessor { id: id.clone() },
            Unsteerable::StillActive {
                id: id.clone(),
                state: State::Running,
            },
            Unsteerable::TakenBack { id: id.clone() },
            Unsteerable::OtherRights {
                agent: "explore".into(),
            },
            Unsteerable::Elsewhere { id },
            Unsteerable::InChild,
        ] {
            let text = refusal.to_string();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        }
    }
}
