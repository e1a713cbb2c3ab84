//! Steering: a message to what runs, a further round of what has ended, the same work anew.

use std::sync::Arc;
use std::time::Duration;

use brigade_core::delegation::{
    Command, Delegation, Earlier, Event, Rejected, Sender, Spec, State,
};
use brigade_core::id::{DelegationId, SessionId};
use brigade_core::permission::RunMode;
use brigade_core::text::replies::{Refusal, Unsteerable};
use brigade_os::process::ProcessId;
use brigade_store::{Row, StoreError};

use super::register::{Permitted, Started, permitted};
use super::shell::Held;
use super::{DispatchError, Engine, Entry, NotStarted};
use crate::config::Config;

/// How long the end of what is being written is awaited before a further round begins.
const ENDING: Duration = Duration::from_secs(10);

/// What came of a message.
#[derive(Debug)]
pub(crate) enum Steered {
    /// It is on record for a run that goes on.
    Sent {
        /// The delegation that gets it.
        id: DelegationId,
        /// Where that stands.
        state: State,
    },
    /// The delegation had ended: a further round goes on in its session.
    Continued(Box<Delegation>),
}

/// Why it could not be steered. Nothing has changed.
#[derive(Debug)]
pub(crate) enum NotSteered {
    /// It is not possible with this delegation now.
    Unsteerable(Unsteerable),
    /// A new delegation is refused.
    Refused(Refusal),
    /// The store failed.
    Store(StoreError),
}

impl From<Unsteerable> for NotSteered {
    fn from(why: Unsteerable) -> Self {
        NotSteered::Unsteerable(why)
    }
}

impl From<StoreError> for NotSteered {
    fn from(error: StoreError) -> Self {
        NotSteered::Store(error)
    }
}

impl From<NotStarted> for NotSteered {
    fn from(why: NotStarted) -> Self {
        match why {
            NotStarted::Refused(refusal) => NotSteered::Refused(refusal),
            NotStarted::Disconnected => NotSteered::Refused(Refusal::Unavailable {
                why: "its host is not connected".to_owned(),
                mend: "Try again.".to_owned(),
            }),
        }
    }
}

/// A delegation that is about to be registered.
struct Coming<'a> {
    spec: Spec,
    config: Arc<Config>,
    /// Whether it changes files, by today's rights.
    writes: bool,
    /// The server that is held for it.
    held: Option<Held<'a>>,
}

/// What a message has to wait for.
enum First {
    /// That this delegation's result is written.
    End(DelegationId),
    /// A server for the further round.
    Server,
}

impl Coming<'_> {
    /// A session keeps the rules that it was made with: it is gone on with only where they are still the agent's.
    fn may_go_on(&self, old: &Spec) -> Result<(), Unsteerable> {
        if self.spec.access.rules == old.access.rules {
            return Ok(());
        }
        let agent = old.agent.clone();
        Err(Unsteerable::OtherRights { agent })
    }
}

impl Engine {
    /// Has a message reach a delegation: at the next step of its run, or as a further round in its session where
    /// it has ended. `call` names the tool call that sends it: repeated, it sends nothing anew. `asker` is the shell's
    /// process that asks for it, if it is one.
    ///
    /// # Errors
    /// [`NotSteered`].
    pub(crate) async fn send(
        &self,
        row: &Row,
        from: Sender,
        message: &str,
        call: Option<&str>,
        asker: Option<ProcessId>,
    ) -> Result<Steered, NotSteered> {
        if message.trim().is_empty() {
            return Err(Unsteerable::EmptyMessage.into());
        }
        let limit = self
            .configs()
            .for_directory(&row.delegation.spec.directory)
            .limits
            .prompt;
        let chars = message.chars().count();
        if chars > limit {
            return Err(Unsteerable::TooLong { chars, limit }.into());
        }
        let id = &row.delegation.spec.id;
        let old = &row.delegation.spec;
        let mut coming = None;
        loop {
            // Others are held up neither by a server that comes up nor by what is being written.
            match self.send_now(id, from, message, call, &mut coming).await? {
                Ok(steered) => return Ok(steered),
                Err(First::Server) => coming = Some(self.coming(old, asker).await?),
                Err(First::End(id)) => {
                    if !self.ended(&id, ENDING).await {
                        return Err(Unsteerable::Ending { id }.into());
                    }
                }
            }
        }
    }

    /// The same, at once, or what has to be awaited first.
    async fn send_now(
        &self,
        id: &DelegationId,
        from: Sender,
        message: &str,
        call: Option<&str>,
        coming: &mut Option<Coming<'_>>,
    ) -> Result<Result<Steered, First>, NotSteered> {
        let _turn = self.0.sending.lock().await;
        let mut id = id.clone();
        loop {
            // A tool call whose answer was lost is repeated by its bridge.
            if self.has_sent(&id, message, call).await? {
                let Some(row) = self.store().get(&id).await? else {
                    return Err(StoreError::internal(format!("{id} is on record no more")).into());
                };
                let state = row.delegation.state;
                return Ok(Ok(Steered::Sent { id, state }));
            }
            if let Some(entry) = self.entry(&id) {
                let command = Command::Send {
                    from,
                    text: message.to_owned(),
                    call: call.map(str::to_owned),
                };
                match self.dispatch(&id, command).await {
                    Ok(()) => {
                        let state = entry.record().await.state;
                        return Ok(Ok(Steered::Sent { id, state }));
                    }
                    Err(DispatchError::NotActive(_)) => continue,
                    Err(DispatchError::Store(error)) => return Err(error.into()),
                    Err(DispatchError::Rejected(Rejected::Decided(_))) => {
                        return Ok(Err(First::End(id)));
                    }
                    Err(DispatchError::Rejected(_)) => {
                        return Err(Unsteerable::TakesNothing { id }.into());
                    }
                }
            }
            let Some(row) = self.store().get(&id).await? else {
                return Err(StoreError::internal(format!("{id} is on record no more")).into());
            };
            let Some(child) = row.delegation.child.clone() else {
                let state = row.delegation.state;
                return Err(Unsteerable::NoSession { id, state }.into());
            };
            match self.active_in(&child).await {
                Some(later) => {
                    let record = later.record().await;
                    let earlier = record.spec.continues.as_ref();
                    let asked = earlier.and_then(|earlier| earlier.call.as_deref());
                    if asked.is_some() && asked == call && record.spec.prompt == message {
                        return Ok(Ok(Steered::Continued(Box::new(record))));
                    }
                    id = later.id.clone();
                }
                None => {
                    let coming = match coming.take() {
                        Some(coming) => coming,
                        None if row.delegation.spec.from_shell() => return Ok(Err(First::Server)),
                        None => self.coming(&row.delegation.spec, None).await?,
                    };
                    let round = self.go_on(&row, child, message, call, coming).await?;
                    return Ok(Ok(round));
                }
            }
        }
    }

    /// Whether this tool call has sent this message before.
    async fn has_sent(
        &self,
        id: &DelegationId,
        message: &str,
        call: Option<&str>,
    ) -> Result<bool, StoreError> {
        if call.is_none() {
            return Ok(false);
        }
        let events = self.store().timeline(id).await?;
        Ok(events.iter().any(|row| match &row.event {
            Event::MessageSent { text, call: by, .. } => text == message && by.as_deref() == call,
            _ => false,
        }))
    }

    /// Waits until a delegation has ended; false where that takes longer than this.
    pub(crate) async fn ended(&self, id: &DelegationId, limit: Duration) -> bool {
        let Some(entry) = self.entry(id) else {
            return true;
        };
        let mut changed = entry.changed.subscribe();
        let end = async { while self.entry(id).is_some() && changed.changed().await.is_ok() {} };
        tokio::time::timeout(limit, end).await.is_ok()
    }

    /// The active delegation that has this child session.
    async fn active_in(&self, child: &SessionId) -> Option<Arc<Entry>> {
        for entry in self.entries() {
            if entry.record().await.child.as_ref() == Some(child) {
                return Some(entry);
            }
        }
        None
    }

    async fn go_on(
        &self,
        row: &Row,
        child: SessionId,
        message: &str,
        call: Option<&str>,
        mut coming: Coming<'_>,
    ) -> Result<Steered, NotSteered> {
        let record = &row.delegation;
        let old = &record.spec;
        coming.may_go_on(old)?;
        let spec = &mut coming.spec;
        spec.worktree = self.same_worktree(record).await?;
        // The session's own, whichever is the agent's today.
        spec.model.clone_from(&old.model);
        message.clone_into(&mut spec.prompt);
        spec.continues = Some(Earlier {
            id: old.id.clone(),
            child,
            // One that was cancelled while it waited may still be at work where nobody could look.
            process: match record.runner {
                None => record.interrupted_in.clone(),
                Some(_) => None,
            },
            call: call.map(str::to_owned),
        });
        let started = self.register_coming(coming).await?;
        Ok(Steered::Continued(Box::new(started.delegation)))
    }

    /// Begins an ended delegation's work anew. A further round is repeated in its session. `asker` is the shell's
    /// process that asks for it, if it is one.
    ///
    /// # Errors
    /// [`NotSteered`].
    pub(crate) async fn retry(
        &self,
        row: &Row,
        asker: Option<ProcessId>,
    ) -> Result<Started, NotSteered> {
        let record = &row.delegation;
        let old = &record.spec;
        if !record.state.is_terminal() {
            return Err(Unsteerable::StillActive {
                id: old.id.clone(),
                state: record.state,
            }
            .into());
        }
        if old.prompt.is_empty() {
            return Err(Unsteerable::TakenBack { id: old.id.clone() }.into());
        }
        let mut coming = self.coming(old, asker).await?;
        let _turn = self.0.sending.lock().await;
        if let Some(earlier) = &old.continues {
            if let Some(entry) = self.active_in(&earlier.child).await {
                return Err(Unsteerable::StillActive {
                    id: entry.id.clone(),
                    state: State::Running,
                }
                .into());
            }
            coming.may_go_on(old)?;
            coming.spec.worktree = self.same_worktree(record).await?;
        } else {
            let worktree = coming.spec.worktree.take();
            let from = worktree.and_then(|worktree| worktree.from);
            let Coming {
                spec,
                config,
                writes,
                ..
            } = &mut coming;
            if *writes {
                let from = from.as_ref().map(DelegationId::as_str);
                let given = self.give_worktree(spec, from, config).await;
                given.map_err(NotSteered::Refused)?;
            }
        }
        // What was asked for then, a time limit of its own included.
        coming.spec.max_run_ms = old.max_run_ms;
        coming.spec.retries = Some(old.id.clone());
        Ok(self.register_coming(coming).await?)
    }

    async fn register_coming(&self, coming: Coming<'_>) -> Result<Started, NotStarted> {
        let Coming {
            spec, config, held, ..
        } = coming;
        let started = self.admit_with_worktree(spec, &config).await?;
        if let Some(held) = held {
            held.hand_over(&started);
        }
        Ok(started)
    }

    /// The same work for the same parent with today's limits and rights, and a server for it where it needs one.
    async fn coming(&self, old: &Spec, asker: Option<ProcessId>) -> Result<Coming<'_>, NotSteered> {
        if old.directory.is_empty() {
            return Err(Unsteerable::TakenBack { id: old.id.clone() }.into());
        }
        let config = self.config_of(old)?;
        let mut spec = self.anew(old, &config);
        let mut writes = old.worktree.is_some();
        let mut held = None;
        if old.from_shell() {
            if let Some(asker) = asker {
                self.move_to_shell(&mut spec, asker);
            }
            let server = self.hold_server(&mut spec, &config).await?;
            writes = server.writes;
            held = Some(server);
        } else if let Some(now) = self.rights_now(old, &config)? {
            spec.access = now.access;
            spec.model = now.model;
            writes = now.writes;
        }
        Ok(Coming {
            spec,
            config,
            writes,
            held,
        })
    }

    fn config_of(&self, spec: &Spec) -> Result<Arc<Config>, NotSteered> {
        self.configs().checked(&spec.directory).map_err(|error| {
            NotSteered::Refused(Refusal::Unavailable {
                why: error.to_string(),
                mend: "The person has to mend the configuration file.".to_owned(),
            })
        })
    }

    /// The same work for the same parent, with today's limits.
    fn anew(&self, old: &Spec, config: &Config) -> Spec {
        Spec {
            id: self.draw_id(),
            ask_title: config.asks_title(&old.agent),
            registered_at: self.now(),
            max_run_ms: config.max_run_ms(&old.agent),
            stall_ms: config.stall_ms(),
            max_attempts: config.limits.attempts,
            retries: None,
            ..old.clone()
        }
    }

    /// What the agent may do today and its model, where a connected host tells. Else what it could do then holds, and none is said:
    /// nobody has got more by that.
    fn rights_now(&self, old: &Spec, config: &Config) -> Result<Option<Permitted>, NotSteered> {
        let catalogue = self
            .hub()
            .candidate(&old.host, &old.project, &old.parent)
            .and_then(|connection| connection.catalogue(&old.directory));
        match (catalogue, &old.caller) {
            (Some(catalogue), Some(caller)) => {
                let now = permitted(&catalogue, &old.agent, Some(caller), config);
                now.map(Some).map_err(NotSteered::Refused)
            }
            _ if config.run_mode(&old.agent) == Some(RunMode::Refuse) => {
                Err(NotSteered::Refused(Refusal::Forbidden {
                    agent: old.agent.clone(),
                    why: "the configuration has run = \"refuse\" for it".to_owned(),
                }))
            }
            _ => Ok(None),
        }
    }
}
