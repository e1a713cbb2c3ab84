//! Accepting work: everything that is checked before a delegation has its ID.

use std::sync::Arc;

use brigade_agents::opencode::{ApiError, credentials};
use brigade_core::delegation::{Access, Delegation, Model, Spec};
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_core::permission::Plan;
use brigade_core::text::replies::Refusal;
use brigade_store::{Registration, StoreError};

use super::{Engine, Entry, Live};
use crate::config::Config;
use crate::failpoint;
use crate::hosts::{Catalogue, Connection, lock};
use crate::project;

/// A call of `delegate`, its arguments already taken apart.
#[derive(Debug)]
pub(crate) struct Request {
    /// The session that delegates.
    pub(crate) session: SessionId,
    /// Whether that session has a parent itself.
    pub(crate) is_child: bool,
    /// The directory of the host's instance.
    pub(crate) directory: String,
    /// The calling agent.
    pub(crate) caller: Option<String>,
    /// Who is to do it.
    pub(crate) agent: String,
    /// The work.
    pub(crate) prompt: String,
    /// The time limit that the call asks for, in minutes; 0 for none.
    pub(crate) timeout_minutes: Option<f64>,
    /// The delegation with whose changes it is to begin.
    pub(crate) from: Option<String>,
}

/// An accepted call.
#[derive(Debug)]
pub(crate) struct Started {
    /// The record, just registered or found under way.
    pub(crate) delegation: Delegation,
    /// Whether it was under way already.
    pub(crate) existing: bool,
    /// How many are active in this root session.
    pub(crate) active: usize,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// It is refused, with words for the model.
    Refused(Refusal),
    /// The caller's connection closed while its host was asked: the same call on the next one is right.
    Disconnected,
}

impl From<Refusal> for NotStarted {
    fn from(refusal: Refusal) -> Self {
        NotStarted::Refused(refusal)
    }
}

/// The longest time limit a call may ask for, in minutes: a week.
const MAX_TIMEOUT_MINUTES: f64 = 7.0 * 24.0 * 60.0;

impl Engine {
    /// Checks a call and registers it durably. Nothing of the host is awaited but, in the first
    /// moments of its life, the list of its agents.
    ///
    /// # Errors
    /// The refusal, for the model to read, or that the call has to be repeated.
    pub(crate) async fn delegate(
        &self,
        connection: &Arc<Connection>,
        request: Request,
    ) -> Result<Started, NotStarted> {
        if request.is_child {
            return Err(Refusal::InChild.into());
        }
        let config = self.acceptable(&request.prompt, &request.directory)?;
        let catalogue = self.catalogue(connection, &request.directory).await?;
        let caller = request.caller.as_deref();
        let permitted = permitted(&catalogue, &request.agent, caller, &config)?;
        let max_run_ms = max_run_ms(request.timeout_minutes, &request.agent, &config)?;
        let project = self.project_of(&request.directory).await;
        let mut spec = Spec {
            id: self.draw_id(),
            project,
            directory: request.directory,
            parent: request.session.clone(),
            root: request.session,
            host: connection.host_key.clone(),
            origin: Some(connection.process.to_string()),
            credentials: credentials(&connection.host.env),
            caller: request.caller.clone(),
            agent: request.agent.clone(),
            model: permitted.model,
            prompt: request.prompt,
            ask_title: config.asks_title(&request.agent),
            access: permitted.access,
            registered_at: self.0.clock.now(),
            max_run_ms,
            stall_ms: config.stall_ms(),
            max_attempts: config.limits.attempts,
            continues: None,
            retries: None,
            worktree: None,
        };
        if permitted.writes {
            self.give_worktree(&mut spec, request.from.as_deref(), &config)
                .await?;
        } else if let Some(from) = request.from {
            return Err(no_beginning(&from, &spec.agent).into());
        }
        self.admit_with_worktree(spec, &config).await
    }

    /// The configuration for this directory, where this prompt may be delegated there.
    pub(super) fn acceptable(&self, prompt: &str, directory: &str) -> Result<Arc<Config>, Refusal> {
        if prompt.trim().is_empty() {
            return Err(Refusal::EmptyPrompt);
        }
        let config = self
            .configs()
            .checked(directory)
            .map_err(|error| Refusal::Unavailable {
                why: error.to_string(),
                mend: "The person has to mend the configuration file.".to_owned(),
            })?;
        let chars = prompt.chars().count();
        let limit = config.limits.prompt;
        if chars > limit {
            return Err(Refusal::PromptTooLong { chars, limit });
        }
        Ok(config)
    }

    pub(super) async fn project_of(&self, directory: &str) -> ProjectId {
        match self.hub().project(directory) {
            Some(project) => project,
            None => project::of(directory).await,
        }
    }

    /// Registers what may be registered: every new delegation comes through here.
    ///
    /// # Errors
    /// The refusal, for the model to read.
    pub(super) async fn admit(
        &self,
        mut spec: Spec,
        config: &Config,
    ) -> Result<Started, NotStarted> {
        if let Err(refusal) = self.has_room(&spec.root, config).await {
            // What is under way already needs no room.
            let under_way = self.store().under_way(&spec).await;
            return match under_way.map_err(|error| unavailable(&error))? {
                Some((row, active)) => Ok(Started {
                    delegation: row.delegation,
                    existing: true,
                    active,
                }),
                None => Err(refusal.into()),
            };
        }
        let engine = self.clone();
        // A task of its own: the caller may hang up at any moment, and what the store has taken in must
        // be known here too, or nobody would ever start it.
        let stored = self.0.tasks.spawn(async move {
            loop {
                let at = spec.registered_at;
                let stored = engine.0.store.register(spec.clone(), at).await;
                match stored.map_err(|error| unavailable(&error))? {
                    Registration::New(row) => return Ok(engine.registered(spec, &row)),
                    Registration::Existing { row, active } => {
                        return Ok(Started {
                            delegation: row.delegation,
                            existing: true,
                            active,
                        });
                    }
                    Registration::IdTaken => spec.id = engine.draw_id(),
                    Registration::WorktreeGone => {
                        return Err(Refusal::NoWorktree {
                            agent: spec.agent,
                            why: "the one that it was to go on in has just been discarded"
                                .to_owned(),
                        });
                    }
                }
            }
        });
        match stored.await {
            Ok(started) => started.map_err(NotStarted::Refused),
            Err(error) => Err(unavailable(&StoreError::internal(format!(
                "a registration broke off: {error}"
            )))
            .into()),
        }
    }

    /// Whether another one may be registered for this root session.
    async fn has_room(&self, root: &SessionId, config: &Config) -> Result<(), Refusal> {
        let active = self.active();
        if active >= config.limits.queue {
            return Err(Refusal::Unavailable {
                why: format!(
                    "{active} delegations are queued or running, and no more than {} may be",
                    config.limits.queue
                ),
                mend: "Wait for some of them to end.".to_owned(),
            });
        }
        self.within_budget(root, &config.budget).await
    }

    fn registered(&self, spec: Spec, row: &brigade_store::Registered) -> Started {
        failpoint::pass("registered");
        let mut delegation = Delegation::new(spec);
        self.0.rules.share(&mut delegation.spec.access.rules);
        let id = delegation.spec.id.clone();
        let entry = Entry::new(delegation.clone(), row.version, Live::default());
        lock(&self.0.entries).insert(id.clone(), entry);
        self.enqueue(&id, row.order);
        self.schedule();
        self.0.ledgers.touch(self, delegation.spec.root.as_str());
        self.0.activity.notify_one();
        tracing::info!(%id, agent = %delegation.spec.agent, parent = %delegation.spec.parent, "registered");
        Started {
            delegation,
            existing: false,
            active: row.active,
        }
    }

    pub(super) fn draw_id(&self) -> DelegationId {
        self.0.chance.draw(DelegationId::generate)
    }

    async fn catalogue(
        &self,
        connection: &Arc<Connection>,
        directory: &str,
    ) -> Result<Catalogue, NotStarted> {
        if let Some(catalogue) = connection.catalogue(directory) {
            return Ok(catalogue);
        }
        self.introduce(connection, directory)
            .await
            .map_err(|error| match error {
                ApiError::Transport(_) if connection.closed.is_cancelled() => {
                    NotStarted::Disconnected
                }
                error => Refusal::Unavailable {
                    why: format!("OpenCode did not tell its agents: {error}"),
                    mend: "Call again.".to_owned(),
                }
                .into(),
            })
    }
}

/// How long a delegation to this agent may run, where the call asks for this many minutes.
pub(super) fn max_run_ms(
    minutes: Option<f64>,
    agent: &str,
    config: &Config,
) -> Result<Option<u64>, Refusal> {
    match minutes {
        Some(minutes) if !(0.0..=MAX_TIMEOUT_MINUTES).contains(&minutes) => {
            Err(Refusal::BadArgument {
                what: format!(
                    "timeout_minutes is {minutes}; it may be from 0 (no limit) to {MAX_TIMEOUT_MINUTES}"
                ),
            })
        }
        Some(0.0) => Ok(None),
        // In range and positive, so the conversion is exact to the millisecond.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(minutes) => Ok(Some((minutes * 60_000.0) as u64)),
        None => Ok(config.max_run_ms(agent)),
    }
}

/// What a child of an agent may do.
#[derive(Debug)]
pub(super) struct Permitted {
    /// Its rights.
    pub(super) access: Access,
    /// The agent's own model.
    pub(super) model: Option<Model>,
    /// Whether it changes files, and needs a worktree for that.
    pub(super) writes: bool,
}

/// What a child of this agent may do, where it may be delegated to.
pub(super) fn permitted(
    catalogue: &Catalogue,
    name: &str,
    caller: Option<&str>,
    config: &Config,
) -> Result<Permitted, Refusal> {
    let agent = catalogue.agent(name).ok_or_else(|| Refusal::UnknownAgent {
        agent: name.to_owned(),
        known: catalogue
            .agents()
            .filter(|agent| {
                let plan = catalogue.plan(agent, caller, config);
                matches!(plan, Plan::ReadOnly(_) | Plan::Writing(_))
            })
            .map(|agent| agent.name.clone())
            .collect(),
    })?;
    let (access, writes) = match catalogue.plan(agent, caller, config) {
        Plan::ReadOnly(child) => (child.into(), false),
        Plan::Writing(child) => (child.into(), true),
        Plan::BeyondCaller { why } => {
            return Err(Refusal::BeyondCaller {
                agent: name.to_owned(),
                why,
                caller: caller.unwrap_or("the caller").to_owned(),
            });
        }
        Plan::Refused { why } => {
            return Err(Refusal::Forbidden {
                agent: name.to_owned(),
                why,
            });
        }
    };
    Ok(Permitted {
        access,
        model: agent.model.clone(),
        writes,
    })
}

/// Who only reads begins with no other's changes.
pub(super) fn no_beginning(from: &str, agent: &str) -> Refusal {
    Refusal::BadArgument {
        what: format!(
            "from is {from:?}, and {agent} changes no files: its prompt may name that delegation instead"
        ),
    }
}

pub(super) fn unavailable(error: &StoreError) -> Refusal {
    tracing::error!(%error, "a delegation could not be registered");
    Refusal::Unavailable {
        why: format!("it could not be stored, so it was not started: {error}"),
        mend: "`brigade doctor` tells the person what to mend.".to_owned(),
    }
}
