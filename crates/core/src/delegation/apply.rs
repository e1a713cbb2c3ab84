//! The state machine: which commands are accepted where, and what follows from them.

use serde::{Deserialize, Serialize};

use super::record::{Delegation, Event, Phase, Sender};
use super::state::{Outcome, RunEnd, StopCause};
use super::worktree::{Changes, Confinement};
use crate::id::{Attempt, SessionId};

/// What is asked of a delegation. Commands that come from a run carry its attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// A slot is free and a host is there: begin the first attempt, or the one after an interruption.
    Start {
        /// The process that is to run it.
        runner: String,
        /// Whether that is a server of Brigade's own.
        own: bool,
        /// How far it is kept from writing elsewhere, where that was looked at.
        confinement: Option<Confinement>,
    },
    /// The child session was made, or found by its metadata.
    ChildReady {
        /// The attempt.
        attempt: Attempt,
        /// The session.
        session: SessionId,
    },
    /// The host has accepted the prompt, or already held the message.
    Prompted {
        /// The attempt.
        attempt: Attempt,
    },
    /// Have a message reach it at its next step.
    Send {
        /// Who sends it.
        from: Sender,
        /// What it says.
        text: String,
        /// The tool call that sends it.
        call: Option<String>,
    },
    /// Stop it, whatever it is doing.
    Stop {
        /// The attempt that is meant; none for any (a person's wish).
        attempt: Option<Attempt>,
        /// Why.
        cause: StopCause,
    },
    /// The run has provably ended.
    RunEnded {
        /// The attempt.
        attempt: Attempt,
        /// How.
        end: RunEnd,
        /// How many messages the run has put to the child.
        messages: u32,
        /// Running time of this attempt in milliseconds.
        ran_ms: u64,
    },
    /// The run was cut off: its host is provably gone.
    Interrupt {
        /// The attempt.
        attempt: Attempt,
        /// By what.
        why: String,
        /// Running time of this attempt in milliseconds.
        ran_ms: u64,
    },
    /// What it has changed in its worktree is durably in a patch.
    Collected {
        /// The changes.
        changes: Changes,
    },
    /// The artifact is durably on disk.
    ArtifactWritten,
    /// The artifact could not be written.
    ArtifactFailed {
        /// Why.
        error: String,
    },
}

/// What the outside world has to do. Each is idempotent per delegation and attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum Effect {
    /// Find or create the child session of this attempt, and prompt it.
    Launch {
        /// The attempt.
        attempt: Attempt,
    },
    /// Abort the child session and await the proof of its end.
    Abort {
        /// The attempt.
        attempt: Attempt,
    },
    /// A slot was freed.
    FreeSlot,
    /// Render the artifact from the stored outcome and text, and write it durably.
    WriteArtifact,
    /// It is terminal: wake who waits, let the notice go out.
    Announce,
}

/// What follows from an accepted command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transition {
    /// To be stored, in this order, in one transaction. Empty: nothing changes.
    pub events: Vec<Event>,
    /// To be carried out after that.
    pub effects: Vec<Effect>,
}

/// Why a command was not accepted. Nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The delegation is terminal, or its outcome is decided.
    #[error("it has already ended as {}", .0.state)]
    Decided(Outcome),
    /// It comes from an attempt that is over.
    #[error("attempt {given} is over, the current one is {current}")]
    StaleAttempt {
        /// The attempt the command speaks of.
        given: Attempt,
        /// The current one.
        current: Attempt,
    },
    /// The run has ended by itself, and a message that was sent to it meanwhile is not in it: it goes on with that.
    #[error("message {first} has not reached it yet")]
    Unheard {
        /// The first of those that are missing.
        first: u32,
    },
    /// It makes no sense in this phase.
    #[error("{command} is not possible now")]
    NotNow {
        /// The command's name.
        command: &'static str,
    },
}

impl Delegation {
    /// Decides what a command leads to. Pure; the record is unchanged until the events are folded in.
    ///
    /// # Errors
    /// [`Rejected`] when the command comes too late, from an earlier attempt, or out of place.
    pub fn apply(&self, command: &Command) -> Result<Transition, Rejected> {
        match command {
            Command::Collected { changes } => return self.collected(changes),
            Command::ArtifactWritten => return self.artifact_written(),
            Command::ArtifactFailed { error } => return self.artifact_failed(error),
            _ => {}
        }
        if let Some(outcome) = self.outcome() {
            return Err(Rejected::Decided(outcome.clone()));
        }
        match command {
            Command::Start {
                runner,
                own,
                confinement,
            } => self.start(runner, *own, confinement.clone()),
            Command::ChildReady { attempt, session } => {
                self.fence(*attempt)?;
                self.child_ready(session)
            }
            Command::Prompted { attempt } => {
                self.fence(*attempt)?;
                self.prompted()
            }
            Command::Send { from, text, call } => self.send(*from, text, call.clone()),
            Command::Stop { attempt, cause } => {
                if let Some(attempt) = attempt {
                    self.fence(*attempt)?;
                }
                self.stop(*cause)
            }
            Command::RunEnded {
                attempt,
                end,
                messages,
                ran_ms,
            } => {
                self.fence(*attempt)?;
                self.run_ended(end, *messages, *ran_ms)
            }
            Command::Interrupt {
                attempt,
                why,
                ran_ms,
            } => {
                self.fence(*attempt)?;
                self.interrupt(why, *ran_ms)
            }
            Command::Collected { .. }
            | Command::ArtifactWritten
            | Command::ArtifactFailed { .. } => Err(Rejected::NotNow {
                command: "artifact",
            }),
        }
    }

    /// What has to be done again for this record after the daemon was gone: the effects that its
    /// phase stands for. What needs the host comes back as a question to the host, not as an effect.
    pub fn pending_effects(&self) -> Vec<Effect> {
        match &self.phase {
            Phase::Finishing { .. } => vec![Effect::WriteArtifact],
            Phase::Starting | Phase::Working => vec![Effect::Launch {
                attempt: self.attempt,
            }],
            Phase::Stopping { .. } => vec![Effect::Abort {
                attempt: self.attempt,
            }],
            Phase::Queued | Phase::Waiting { .. } | Phase::Ended { .. } => Vec::new(),
        }
    }

    fn fence(&self, given: Attempt) -> Result<(), Rejected> {
        if given == self.attempt {
            Ok(())
        } else {
            Err(Rejected::StaleAttempt {
                given,
                current: self.attempt,
            })
        }
    }

    fn start(
        &self,
        runner: &str,
        own: bool,
        confinement: Option<Confinement>,
    ) -> Result<Transition, Rejected> {
        let attempt = match self.phase {
            Phase::Queued => self.attempt.next(),
            // The interruption has already counted up.
            Phase::Waiting { .. } => self.attempt,
            _ => return Err(Rejected::NotNow { command: "start" }),
        };
        Ok(Transition {
            events: vec![Event::Started {
                attempt,
                runner: runner.to_owned(),
                own,
                confinement,
            }],
            effects: vec![Effect::Launch { attempt }],
        })
    }

    fn child_ready(&self, session: &SessionId) -> Result<Transition, Rejected> {
        if !self.holds_slot() {
            return Err(Rejected::NotNow {
                command: "child ready",
            });
        }
        if self.child.as_ref() == Some(session) {
            return Ok(Transition::default());
        }
        Ok(Transition {
            events: vec![Event::ChildReady {
                attempt: self.attempt,
                session: session.clone(),
            }],
            effects: Vec::new(),
        })
    }

    fn prompted(&self) -> Result<Transition, Rejected> {
        match self.phase {
            Phase::Starting => Ok(Transition {
                events: vec![Event::Prompted {
                    attempt: self.attempt,
                }],
                effects: Vec::new(),
            }),
            // A stop was ordered meanwhile, or it was known already.
            Phase::Stopping { .. } | Phase::Working => Ok(Transition::default()),
            _ => Err(Rejected::NotNow {
                command: "prompted",
            }),
        }
    }

    fn stop(&self, cause: StopCause) -> Result<Transition, Rejected> {
        match self.phase {
            // Nothing runs, so nothing needs to be awaited.
            Phase::Queued | Phase::Waiting { .. } => {
                Ok(self.decide(Outcome::of_stop(cause, None), 0))
            }
            Phase::Starting | Phase::Working => Ok(Transition {
                events: vec![Event::StopOrdered {
                    attempt: self.attempt,
                    cause,
                }],
                effects: vec![Effect::Abort {
                    attempt: self.attempt,
                }],
            }),
            // Somebody's wish to cancel outranks a stop for time; otherwise the first order stands.
            Phase::Stopping { cause: earlier } => {
                let outranks = matches!(cause, StopCause::Cancel { .. })
                    && !matches!(earlier, StopCause::Cancel { .. });
                let events = if outranks {
                    vec![Event::StopOrdered {
                        attempt: self.attempt,
                        cause,
                    }]
                } else {
                    Vec::new()
                };
                Ok(Transition {
                    events,
                    effects: Vec::new(),
                })
            }
            Phase::Finishing { .. } | Phase::Ended { .. } => {
                Err(Rejected::NotNow { command: "stop" })
            }
        }
    }

    fn send(&self, from: Sender, text: &str, call: Option<String>) -> Result<Transition, Rejected> {
        let hears = match self.phase {
            Phase::Queued | Phase::Waiting { .. } | Phase::Starting | Phase::Working => {
                !self.only_collects()
            }
            _ => false,
        };
        if !hears {
            return Err(Rejected::NotNow { command: "send" });
        }
        Ok(Transition {
            events: vec![Event::MessageSent {
                number: self.messages + 1,
                from,
                text: text.to_owned(),
                call,
            }],
            effects: Vec::new(),
        })
    }

    fn run_ended(&self, end: &RunEnd, messages: u32, ran_ms: u64) -> Result<Transition, Rejected> {
        let unheard = self.messages.saturating_sub(messages);
        if end.is_by_itself()
            && unheard > 0
            && matches!(self.phase, Phase::Starting | Phase::Working)
            && !self.only_collects()
        {
            return Err(Rejected::Unheard {
                first: messages + 1,
            });
        }
        let outcome = match self.phase {
            Phase::Starting | Phase::Working if *end == RunEnd::CutOff => {
                let last = self.interrupted.as_deref().unwrap_or("its run was cut off");
                Outcome::lost(self.spec.max_attempts, last)
            }
            Phase::Starting | Phase::Working => Outcome::of_end(end),
            // An answer from before what was sent is not the one that was asked for.
            Phase::Stopping { cause } => Outcome::of_stop(cause, (unheard == 0).then_some(end)),
            _ => {
                return Err(Rejected::NotNow {
                    command: "run ended",
                });
            }
        };
        Ok(self.decide_unheard(outcome, ran_ms, unheard))
    }

    fn interrupt(&self, why: &str, ran_ms: u64) -> Result<Transition, Rejected> {
        match self.phase {
            Phase::Stopping { cause } => Ok(self.decide(Outcome::of_stop(cause, None), ran_ms)),
            // The last attempt may have ended unheard: one more only collects.
            Phase::Starting | Phase::Working if self.only_collects() => {
                let outcome = Outcome::lost(self.spec.max_attempts, why);
                Ok(self.decide(outcome, ran_ms))
            }
            Phase::Starting | Phase::Working => Ok(Transition {
                events: vec![Event::Interrupted {
                    attempt: self.attempt,
                    why: why.to_owned(),
                    ran_ms,
                }],
                effects: vec![Effect::FreeSlot],
            }),
            _ => Err(Rejected::NotNow {
                command: "interrupt",
            }),
        }
    }

    fn decide(&self, outcome: Outcome, ran_ms: u64) -> Transition {
        self.decide_unheard(outcome, ran_ms, 0)
    }

    fn decide_unheard(&self, outcome: Outcome, ran_ms: u64, unheard: u32) -> Transition {
        let mut effects = vec![Effect::WriteArtifact];
        if self.holds_slot() {
            effects.push(Effect::FreeSlot);
        }
        Transition {
            events: vec![Event::Decided {
                attempt: self.attempt,
                outcome,
                ran_ms,
                unheard,
            }],
            effects,
        }
    }

    /// Only between decision and end: an end without its changes on record would tell of none.
    fn collected(&self, changes: &Changes) -> Result<Transition, Rejected> {
        match &self.phase {
            Phase::Finishing { .. } if self.spec.worktree.is_some() => {
                if self.changes.as_ref() == Some(changes) {
                    return Ok(Transition::default());
                }
                Ok(Transition {
                    events: vec![Event::Collected {
                        changes: changes.clone(),
                    }],
                    effects: Vec::new(),
                })
            }
            Phase::Ended { outcome } => Err(Rejected::Decided(outcome.clone())),
            _ => Err(Rejected::NotNow {
                command: "collected",
            }),
        }
    }

    fn artifact_written(&self) -> Result<Transition, Rejected> {
        match &self.phase {
            Phase::Finishing { .. } if self.lacks_changes() => Err(Rejected::NotNow {
                command: "artifact written",
            }),
            Phase::Finishing { outcome, .. } => Ok(Transition {
                events: vec![Event::Ended {
                    outcome: outcome.clone(),
                }],
                effects: vec![Effect::Announce],
            }),
            Phase::Ended { outcome } => Err(Rejected::Decided(outcome.clone())),
            _ => Err(Rejected::NotNow {
                command: "artifact written",
            }),
        }
    }

    fn artifact_failed(&self, error: &str) -> Result<Transition, Rejected> {
        match &self.phase {
            Phase::Finishing { write_error, .. } => {
                // The same failure over and over is one event.
                let events = if write_error.as_deref() == Some(error) {
                    Vec::new()
                } else {
                    vec![Event::ArtifactFailed {
                        error: error.to_owned(),
                    }]
                };
                Ok(Transition {
                    events,
                    effects: vec![Effect::WriteArtifact],
                })
            }
            Phase::Ended { outcome } => Err(Rejected::Decided(outcome.clone())),
            _ => Err(Rejected::NotNow {
                command: "artifact failed",
            }),
        }
    }
}
