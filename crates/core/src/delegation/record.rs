//! What is known of one delegation, and how an event changes it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{Outcome, State, StopCause};
use super::worktree::{Changes, Confinement, Worktree};
use crate::id::{Attempt, DelegationId, ProjectId, SessionId};
use crate::permission::Rule;

/// A model as the host names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The provider's ID.
    #[serde(rename = "providerID")]
    pub provider: String,
    /// The model's ID at that provider.
    #[serde(rename = "modelID")]
    pub model: String,
    /// The variant (reasoning effort and the like), if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)?;
        match &self.variant {
            Some(variant) => write!(f, " ({variant})"),
            None => Ok(()),
        }
    }
}

/// What the child may do, and how far that is enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Access {
    /// The child session's own permission rules. Shared: those of one agent are the same for very many.
    pub rules: Arc<[Rule]>,
    /// What of the agent's remains open by pattern, MCP or foreign plugin; empty means enforced.
    pub open: Vec<String>,
    /// What the agent has and the child does not get.
    pub withheld: Vec<String>,
}

/// What was asked for; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The one ID.
    pub id: DelegationId,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The host's directory in which was delegated; the child session lives in it, or in the worktree.
    pub directory: String,
    /// The session that delegated.
    pub parent: SessionId,
    /// The top of the parent's tree.
    pub root: SessionId,
    /// Which host installation may run it: a digest of HOME and the XDG folders.
    pub host: String,
    /// The host process that it was asked for in: its environment is the one to run in. None in records of
    /// before this was kept.
    #[serde(default)]
    pub origin: Option<String>,
    /// The names of the credentials in that environment, without which a model may not be reached.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// The agent that delegated it, whose rights it does not exceed; none where that is not known.
    #[serde(default)]
    pub caller: Option<String>,
    /// The persona that does it.
    pub agent: String,
    /// The agent's own model, or the parent's where it has none.
    pub model: Option<Model>,
    /// The work, as the caller wrote it.
    pub prompt: String,
    /// Whether the child is asked to open with a title and a summary.
    pub ask_title: bool,
    /// What the child may do.
    pub access: Access,
    /// When it was accepted.
    pub registered_at: Timestamp,
    /// Running time allowed over all attempts, in milliseconds; none for no limit.
    pub max_run_ms: Option<u64>,
    /// How long nothing may be heard, in milliseconds; none for no limit.
    pub stall_ms: Option<u64>,
    /// How many attempts there may be.
    pub max_attempts: u32,
    /// What it goes on with, in that one's child session; none for work of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Earlier>,
    /// The delegation whose work it does anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<DelegationId>,
    /// What it works in, where it may change files; none for one that only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Worktree>,
}

/// An ended delegation whose session another one goes on in: a further round there, with its own ID, artifact and
/// notice. What the earlier one has left stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// The earlier round.
    pub id: DelegationId,
    /// The child session of both.
    pub child: SessionId,
    /// The process in which that was last: as long as it lives, nobody else may go on there.
    #[serde(default)]
    pub process: Option<String>,
    /// The tool call that asks for it, as its bridge names it: one that is repeated asks for nothing new.
    #[serde(default)]
    pub call: Option<String>,
}

/// Who has sent a message to a delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// A person, by Brigade's command line.
    Person,
    /// The agent that delegated it.
    Parent,
}

/// Where a delegation stands inside its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Waiting for a slot.
    Queued,
    /// Interrupted; waiting for a host and a slot.
    Waiting {
        /// What interrupted the last attempt.
        why: String,
    },
    /// The intent to start the attempt is recorded; the child or its prompt may not be there yet.
    Starting,
    /// The host has accepted the prompt.
    Working,
    /// The intent to stop is recorded; the proof of the end is awaited.
    Stopping {
        /// Why it is stopped.
        #[serde(flatten)]
        cause: StopCause,
    },
    /// Outcome and text are stored, the artifact is being written.
    Finishing {
        /// What was decided.
        outcome: Outcome,
        /// The last failure to write the artifact, if there was one.
        write_error: Option<String>,
    },
    /// Terminal.
    Ended {
        /// What was decided.
        outcome: Outcome,
    },
}

/// One delegation as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// What was asked for.
    pub spec: Spec,
    /// Where it stands.
    pub state: State,
    /// Where it stands inside its state.
    pub phase: Phase,
    /// The current attempt; 0 before the first.
    pub attempt: Attempt,
    /// The child session, once there is one.
    pub child: Option<SessionId>,
    /// The process that runs the current attempt: pid and start time, as `brigade-os` writes them.
    pub runner: Option<String>,
    /// When the first attempt began.
    pub started_at: Option<Timestamp>,
    /// When the outcome was decided.
    pub decided_at: Option<Timestamp>,
    /// When it became terminal.
    pub ended_at: Option<Timestamp>,
    /// Running time of earlier attempts, in milliseconds.
    pub spent_ms: u64,
    /// What cut the last attempt off, if one was cut off.
    #[serde(default)]
    pub interrupted: Option<String>,
    /// In which process that was: as long as it lives, nobody else may go on with it.
    #[serde(default)]
    pub interrupted_in: Option<String>,
    /// How many messages were sent to it beyond its prompt; their texts stand in the events.
    #[serde(default)]
    pub messages: u32,
    /// How many of them had not reached it when its outcome was decided.
    #[serde(default)]
    pub unheard: u32,
    /// How far the last attempt was kept from writing elsewhere; none where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Confinement>,
    /// What it has changed, once that is collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// What happened; the log of these is the delegation's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// It was accepted.
    Registered,
    /// An attempt begins; nothing was asked of the host yet.
    Started {
        /// Its number.
        attempt: Attempt,
        /// The process that is to run it.
        runner: String,
        /// Whether that is a server of Brigade's own.
        #[serde(default)]
        own: bool,
        /// How far it is kept from writing elsewhere, where that was looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confinement: Option<Confinement>,
    },
    /// The child session exists.
    ChildReady {
        /// The attempt for which it was made or found.
        attempt: Attempt,
        /// The session.
        session: SessionId,
    },
    /// The host has accepted the prompt.
    Prompted {
        /// The attempt.
        attempt: Attempt,
    },
    /// A message is to reach the run at its next step.
    MessageSent {
        /// Its number, from 1.
        number: u32,
        /// Who sent it.
        from: Sender,
        /// What it says.
        text: String,
        /// The tool call that sent it, as its bridge names it.
        #[serde(default)]
        call: Option<String>,
    },
    /// A stop was ordered.
    StopOrdered {
        /// The attempt that is stopped.
        attempt: Attempt,
        /// Why.
        #[serde(flatten)]
        cause: StopCause,
    },
    /// An attempt was cut off; the next one waits for a host.
    Interrupted {
        /// The attempt that was cut off.
        attempt: Attempt,
        /// By what.
        why: String,
        /// Its running time in milliseconds.
        ran_ms: u64,
    },
    /// Outcome, reason and text are stored.
    Decided {
        /// The attempt that was decided.
        attempt: Attempt,
        /// The outcome.
        outcome: Outcome,
        /// Running time of this attempt in milliseconds.
        ran_ms: u64,
        /// How many messages had been sent to it that its child was not given.
        #[serde(default)]
        unheard: u32,
    },
    /// What it has changed in its worktree is in a patch.
    Collected {
        /// The changes.
        changes: Changes,
    },
    /// The artifact could not be written; it is tried again.
    ArtifactFailed {
        /// Why.
        error: String,
    },
    /// The artifact is on disk; the state is terminal.
    Ended {
        /// The outcome.
        outcome: Outcome,
    },
    /// The record was lost, and what its artifact says of it was taken back.
    TakenBack {
        /// The outcome.
        outcome: Outcome,
        /// The last attempt.
        attempt: Attempt,
        /// The child session.
        child: Option<SessionId>,
        /// When the first attempt began.
        started_at: Option<Timestamp>,
        /// When it ended.
        ended_at: Timestamp,
        /// Running time over all attempts, in milliseconds.
        ran_ms: u64,
    },
}

impl Event {
    /// The event's name as it stands in the timeline.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Registered => "registered",
            Event::Started { .. } => "started",
            Event::ChildReady { .. } => "child_ready",
            Event::Prompted { .. } => "prompted",
            Event::MessageSent { .. } => "message_sent",
            Event::StopOrdered { .. } => "stop_ordered",
            Event::Interrupted { .. } => "interrupted",
            Event::Decided { .. } => "decided",
            Event::Collected { .. } => "collected",
            Event::ArtifactFailed { .. } => "artifact_failed",
            Event::Ended { .. } => "ended",
            Event::TakenBack { .. } => "taken_back",
        }
    }
}

impl Spec {
    /// Whether a person has asked for it in a shell: no session of a host's is its parent then.
    pub fn from_shell(&self) -> bool {
        self.parent.is_shell()
    }

    /// The directory in which its child session works: its worktree's, else the one in which was delegated.
    pub fn workplace(&self) -> &str {
        match &self.worktree {
            Some(worktree) => &worktree.directory,
            None => &self.directory,
        }
    }

    /// Whether it can only run on a server of Brigade's own: what was asked for in a shell has no window, and
    /// what writes must not run in the program that a person works in.
    pub fn needs_own_server(&self) -> bool {
        self.from_shell() || self.worktree.is_some()
    }
}

impl Delegation {
    /// A delegation as it is when it has just been registered.
    pub fn new(spec: Spec) -> Self {
        let interrupted_in = spec
            .continues
            .as_ref()
            .and_then(|earlier| earlier.process.clone());
        Self {
            child: spec.continues.as_ref().map(|earlier| earlier.child.clone()),
            spec,
            state: State::Registered,
            phase: Phase::Queued,
            attempt: Attempt(0),
            runner: None,
            started_at: None,
            decided_at: None,
            ended_at: None,
            spent_ms: 0,
            interrupted: None,
            interrupted_in,
            messages: 0,
            unheard: 0,
            confinement: None,
            changes: None,
        }
    }

    /// Rebuilds the record from its log.
    pub fn replay<'a>(
        spec: Spec,
        events: impl IntoIterator<Item = &'a (Timestamp, Event)>,
    ) -> Self {
        let mut delegation = Self::new(spec);
        for (at, event) in events {
            delegation.evolve(event, *at);
        }
        delegation
    }

    /// Folds one event in.
    pub fn evolve(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::Registered => {}
            Event::Started {
                attempt,
                runner,
                confinement,
                ..
            } => {
                self.confinement.clone_from(confinement);
                self.state = State::Running;
                self.phase = Phase::Starting;
                self.attempt = *attempt;
                self.runner = Some(runner.clone());
                self.started_at.get_or_insert(at);
            }
            Event::ChildReady { session, .. } => self.child = Some(session.clone()),
            Event::Prompted { .. } => self.phase = Phase::Working,
            Event::MessageSent { number, .. } => self.messages = *number,
            Event::StopOrdered { cause, .. } => self.phase = Phase::Stopping { cause: *cause },
            Event::Interrupted {
                attempt,
                why,
                ran_ms,
            } => {
                self.phase = Phase::Waiting { why: why.clone() };
                self.attempt = attempt.next();
                self.interrupted_in = self.runner.take();
                self.interrupted = Some(why.clone());
                self.spent_ms = self.spent_ms.saturating_add(*ran_ms);
            }
            Event::Decided {
                outcome,
                ran_ms,
                unheard,
                ..
            } => {
                self.unheard = *unheard;
                self.spent_ms = self.spent_ms.saturating_add(*ran_ms);
                self.decided_at = Some(at);
                self.phase = Phase::Finishing {
                    outcome: outcome.clone(),
                    write_error: None,
                };
            }
            Event::Collected { changes } => self.changes = Some(changes.clone()),
            Event::ArtifactFailed { error } => {
                if let Phase::Finishing { write_error, .. } = &mut self.phase {
                    *write_error = Some(error.clone());
                }
            }
            Event::Ended { outcome } => {
                self.state = outcome.state;
                self.ended_at = Some(at);
                self.phase = Phase::Ended {
                    outcome: outcome.clone(),
                };
            }
            Event::TakenBack {
                outcome,
                attempt,
                child,
                started_at,
                ended_at,
                ran_ms,
            } => {
                self.state = outcome.state;
                self.attempt = *attempt;
                self.child.clone_from(child);
                self.started_at = *started_at;
                self.decided_at = Some(*ended_at);
                self.ended_at = Some(*ended_at);
                self.spent_ms = *ran_ms;
                self.phase = Phase::Ended {
                    outcome: outcome.clone(),
                };
            }
        }
    }

    /// Whether it may have changed files and that is not collected yet: a child that was never made has not.
    pub fn lacks_changes(&self) -> bool {
        self.spec.worktree.is_some() && self.child.is_some() && self.changes.is_none()
    }

    /// The outcome, from the moment on at which it is decided.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Finishing { outcome, .. } | Phase::Ended { outcome } => Some(outcome),
            _ => None,
        }
    }

    /// Why it ended as it did, in words, with what it was told in vain.
    pub fn reason_words(&self) -> Option<String> {
        let reason = self.outcome()?.reason.to_string();
        Some(match self.unheard {
            0 => reason,
            1 => format!("{reason}; a message that was sent to it did not reach it any more"),
            n => format!("{reason}; {n} messages that were sent to it did not reach it any more"),
        })
    }

    /// Whether it occupies one of the slots that limit how many run at once.
    pub fn holds_slot(&self) -> bool {
        matches!(
            self.phase,
            Phase::Starting | Phase::Working | Phase::Stopping { .. }
        )
    }

    /// Whether its attempts are used up: the current one asks nothing of a model, it looks whether the last
    /// one has left an answer.
    pub fn only_collects(&self) -> bool {
        self.attempt.0 > self.spec.max_attempts
    }

    /// How many attempts there were, without one that only collects.
    pub fn attempts(&self) -> u32 {
        self.attempt.0.min(self.spec.max_attempts)
    }

    /// Whether it could start or go on as soon as there is a slot and a host.
    pub fn is_startable(&self) -> bool {
        matches!(self.phase, Phase::Queued | Phase::Waiting { .. })
    }

    /// Whether the parent is to hear of its end: one that ended because the parent was deleted has
    /// nobody to tell, and no session waits for one that was asked for in a shell.
    pub fn notifies(&self) -> bool {
        !self.spec.from_shell()
            && !matches!(
                self.outcome().map(|outcome| &outcome.reason),
                Some(super::Reason::Cancelled {
                    by: super::Actor::ParentDeleted
                })
            )
    }
}
