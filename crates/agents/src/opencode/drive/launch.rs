//! From nothing, or from wherever it stood, to a child that is prompted exactly once.

use std::time::Duration;

use brigade_core::delegation::RunEnd;
use brigade_core::id::SessionId;
use serde_json::json;
use tokio::time::Instant;

use super::link::{Backoff, MAX_FAILURES, in_doubt, not_sent};
use super::look::Found;
use super::{Driver, Exit, prompt_part};
use crate::opencode::id::fixed_message_id;
use crate::opencode::message::Message;
use crate::opencode::types::{ApiError, Child, PromptBody, PromptModel, Status};

/// How long after it has accepted a prompt the host may take to store it; measured: 60 to 100 ms.
const STORED: Duration = Duration::from_millis(500);

impl Driver {
    /// The child, prompted. An exit may also be the end of a run that ended while nobody listened.
    pub(super) async fn launch(&mut self) -> Result<SessionId, Exit> {
        let existing = if self.spec.fresh {
            None
        } else {
            self.find().await?
        };
        let (child, found) = match existing {
            Some(child) => {
                self.adopt(&child.id).await?;
                let found = self.look(&child.id).await?;
                (child, found)
            }
            None if self.spec.collect => return Err(Exit::ended(RunEnd::CutOff)),
            None => {
                self.leave_if_stopped()?;
                let child = self.create().await?;
                self.adopt(&child.id).await?;
                (child, Found::Nothing)
            }
        };
        let text = match found {
            Found::Followed => {
                self.log.prompted().await?;
                self.missed = true;
                return Ok(child.id);
            }
            Found::Nothing if self.spec.collect => return Err(Exit::ended(RunEnd::CutOff)),
            Found::CutOff { partial, usage } if self.spec.collect => {
                return Err(Exit::Ended {
                    end: RunEnd::CutOff,
                    answer: partial,
                    usage: Some(usage.into()),
                });
            }
            Found::Nothing => self.spec.prompt.clone(),
            Found::CutOff { usage, .. } => {
                self.earlier.merge(&usage);
                self.spec.continuation.clone()
            }
        };
        self.leave_if_stopped()?;
        let created_before = !self.spec.fresh
            && child
                .brigade()
                .is_some_and(|of| of != (self.spec.delegation.clone(), self.spec.attempt));
        if created_before {
            // The record of the attempt goes first, so that whoever looks next knows whose prompt follows.
            self.touch(&child.id).await?;
        }
        self.prompt(&child, text).await?;
        self.log.prompted().await?;
        if !created_before {
            // Only to show it in the TUI's child navigation: the prompt did not have to wait for that.
            self.touch(&child.id).await?;
        }
        Ok(child.id)
    }

    /// The child of this delegation, if there is one. Others of it that are busy are aborted.
    async fn find(&mut self) -> Result<Option<Child>, Exit> {
        let children = self.children().await?;
        let known = self.spec.child.clone();
        let chosen = match &known {
            Some(known) => {
                let known = known.clone();
                let answer = self
                    .ask(|api| {
                        let known = known.clone();
                        async move { api.session(&known).await }
                    })
                    .await?;
                match answer {
                    Ok(Some(child)) => child,
                    Ok(None) => return Err(Exit::ended(RunEnd::SessionDeleted)),
                    Err(error) => return Err(refused(&error)),
                }
            }
            // Of several the one of the latest attempt, and of these the first that was made.
            None => match children
                .iter()
                .rev()
                .max_by_key(|child| child.brigade().map(|(_, attempt)| attempt))
            {
                Some(child) => child.clone(),
                None => return Ok(None),
            },
        };
        for stray in children.iter().filter(|child| child.id != chosen.id) {
            let id = stray.id.clone();
            if self.status_of(&id).await? != Status::Idle {
                self.abort(&id).await?;
                self.log.stray(&id).await;
            }
        }
        Ok(Some(chosen))
    }

    async fn children(&mut self) -> Result<Vec<Child>, Exit> {
        let (parent, delegation) = (self.spec.parent.clone(), self.spec.delegation.clone());
        let since = self.spec.registered_ms;
        let answer = self
            .ask(|api| {
                let (parent, delegation) = (parent.clone(), delegation.clone());
                async move { api.find_children(&parent, &delegation, since).await }
            })
            .await?;
        match answer {
            // The parent is gone; what became of a child that is known is seen at the child.
            Err(error) if error.is_not_found() && self.spec.child.is_some() => Ok(Vec::new()),
            answer => answer.map_err(|error| refused(&error)),
        }
    }

    async fn create(&mut self) -> Result<Child, Exit> {
        let mut backoff = Backoff::new();
        let mut failures = 0;
        loop {
            let api = self.api.clone();
            let spec = self.spec.clone();
            let made = self
                .hearing(async move {
                    api.create_child(
                        &spec.parent,
                        &spec.title,
                        &spec.delegation,
                        spec.attempt,
                        &spec.rules,
                    )
                    .await
                })
                .await?;
            let error = match made {
                Ok(child) => return Ok(child),
                Err(error) => error,
            };
            failures += u32::from(!matches!(error, ApiError::Transport(_)));
            if failures > MAX_FAILURES || !(not_sent(&error) || in_doubt(&error)) {
                return Err(refused(&error));
            }
            tracing::warn!(delegation = %self.spec.delegation, %error, "making the child failed, looking for it");
            self.pause(&mut backoff).await?;
            self.leave_if_stopped()?;
            if in_doubt(&error) {
                // What was in doubt may be there by now. A second one that comes later is never prompted.
                let found = self.children().await?.into_iter().next_back();
                if let Some(child) = found {
                    return Ok(child);
                }
            }
        }
    }

    /// From here on this session is the run's: its events are heard, the record knows it.
    async fn adopt(&mut self, child: &SessionId) -> Result<(), Exit> {
        self.child = Some(child.clone());
        let log = self.log.clone();
        let (recorded, ()) = self
            .hearing(async { futures::join!(log.child_ready(child), log.watch(child)) })
            .await?;
        Ok(recorded?)
    }

    /// Posts the prompt until it surely stands in the child, and never twice.
    async fn prompt(&mut self, child: &Child, text: String) -> Result<(), Exit> {
        let id = child.id.clone();
        let last = if self.spec.fresh {
            None
        } else {
            self.last_message(&id).await?
        };
        let part = prompt_part(&self.spec, self.spec.attempt.0);
        let message = fixed_message_id(
            &self.spec.delegation,
            self.spec.attempt,
            last.as_deref(),
            child.time.created,
        );
        let body = self.body(message, &part, &text);
        if self.post(&id, &body, &part, true).await? {
            return Ok(());
        }
        self.leave_if_stopped()
    }

    pub(super) async fn last_message(&mut self, id: &SessionId) -> Result<Option<String>, Exit> {
        let answer = self
            .ask(|api| {
                let id = id.clone();
                async move { api.messages(&id, 1).await }
            })
            .await?;
        let last = answer.map_err(|error| refused_child(&error))?.pop();
        Ok(last.map(|message| message.info.id))
    }

    /// A message of ours for the child's model.
    pub(super) fn body(&self, message: String, part: &str, text: &str) -> PromptBody {
        PromptBody {
            message_id: Some(message),
            agent: Some(self.spec.agent.clone()),
            variant: self
                .spec
                .model
                .as_ref()
                .and_then(|model| model.variant.clone()),
            model: self.spec.model.as_ref().map(|model| PromptModel {
                provider: model.provider.clone(),
                model: model.model.clone(),
            }),
            no_reply: false,
            system: self.spec.system.clone(),
            parts: vec![json!({"id": part, "type": "text", "text": text})],
        }
    }

    /// Posts a message until it surely stands in the child; false where the run was to be stopped before it was
    /// sent. `begins`: running time begins with it.
    pub(super) async fn post(
        &mut self,
        id: &SessionId,
        body: &PromptBody,
        part: &String,
        begins: bool,
    ) -> Result<bool, Exit> {
        let mut backoff = Backoff::new();
        let mut failures = 0;
        loop {
            let api = self.api.clone();
            self.heard = Instant::now();
            if begins {
                self.prompted_at = self.heard;
                self.started = self.heard;
            }
            let posted = self.hearing(api.prompt_async(id, body)).await?;
            let error = match posted {
                Ok(()) => return Ok(true),
                Err(error) => error,
            };
            failures += u32::from(!matches!(error, ApiError::Transport(_)));
            if failures > MAX_FAILURES || !(not_sent(&error) || in_doubt(&error)) {
                return Err(refused_child(&error));
            }
            tracing::warn!(delegation = %self.spec.delegation, %error, "prompting failed, looking for the prompt");
            self.pause(&mut backoff).await?;
            if in_doubt(&error) {
                if self.stands(id, part).await? {
                    return Ok(true);
                }
                // One that was suspended has perhaps only now accepted it, and stores it in a moment.
                self.hearing(tokio::time::sleep(STORED)).await?;
                if self.stands(id, part).await? {
                    return Ok(true);
                }
            }
            if not_sent(&error) && self.stop.borrow().is_some() {
                return Ok(false);
            }
        }
    }

    /// Whether the prompt is stored.
    pub(super) async fn stands(&mut self, child: &SessionId, part: &String) -> Result<bool, Exit> {
        let found = self.messages(child, std::slice::from_ref(part)).await?;
        Ok(!found.is_empty())
    }

    async fn touch(&mut self, child: &SessionId) -> Result<(), Exit> {
        let (api, spec) = (self.api.clone(), self.spec.clone());
        let touched = self
            .hearing(async move { api.touch(child, &spec.delegation, spec.attempt).await })
            .await?;
        if let Err(error) = touched {
            // The run does not depend on it: prompts are found by their part IDs.
            tracing::warn!(delegation = %self.spec.delegation, %error, "the child's metadata was not updated");
        }
        Ok(())
    }

    /// The run's messages from its prompt on; empty if the prompt is absent.
    pub(super) async fn messages(
        &mut self,
        child: &SessionId,
        parts: &[String],
    ) -> Result<Vec<Message>, Exit> {
        let answer = self
            .ask(|api| async move { api.messages_since(child, parts).await })
            .await?;
        let messages = answer.map_err(|error| refused_child(&error))?;
        self.calls.take_in(&messages);
        Ok(messages)
    }

    pub(super) async fn status_of(&mut self, session: &SessionId) -> Result<Status, Exit> {
        self.status_as_of(session, Duration::ZERO).await
    }

    /// The same where an answer will do that is no older than this, and newer than what was heard last.
    pub(super) async fn status_as_of(
        &mut self,
        session: &SessionId,
        age: Duration,
    ) -> Result<Status, Exit> {
        loop {
            let (told, since) = (self.observer.idles(), self.since(age));
            let answer = self
                .ask(|api| async move { api.as_of(since).status(session).await })
                .await?;
            let status = answer.map_err(|error| refused_child(&error))?;
            // An end that was told meanwhile may be newer than the answer, and is not told again.
            if status == Status::Idle || self.observer.idles() == told {
                return Ok(status);
            }
        }
    }

    pub(super) async fn abort(&mut self, session: &SessionId) -> Result<(), Exit> {
        let answer = self
            .ask(|api| async move { api.abort(session).await })
            .await?;
        match answer {
            Err(error) if !error.is_not_found() => Err(refused_child(&error)),
            _ => Ok(()),
        }
    }

    /// A run that is to be stopped before its prompt was sent has nothing to await.
    fn leave_if_stopped(&self) -> Result<(), Exit> {
        if self.stop.borrow().is_some() {
            return Err(Exit::Ended {
                end: RunEnd::Aborted,
                answer: String::new(),
                usage: None,
            });
        }
        Ok(())
    }
}

/// The host refused what the run cannot do without.
fn refused(error: &ApiError) -> Exit {
    Exit::ended(RunEnd::HostError {
        message: error.to_string(),
    })
}

/// The same for a call about the child, which may be gone.
pub(super) fn refused_child(error: &ApiError) -> Exit {
    if error.is_not_found() {
        Exit::ended(RunEnd::SessionDeleted)
    } else {
        refused(error)
    }
}
