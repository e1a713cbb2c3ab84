//! One look at a parent's notices: settle doubts and leases, then send what can go, then wake.

use std::sync::Arc;

use brigade_agents::opencode::{Api, Message, PromptBody, PromptModel, later_than};
use brigade_core::id::{DelegationId, SessionId};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, NoticeState, WakeRow};

use super::{Delivery, StepError};
use crate::hosts::{Connection, lock};

/// How many of the parent's last messages are read before anything is sent.
const TAIL: usize = 20;
/// The channel's name in the store for what is sent through the session's owner.
const CHANNEL: &str = "prompt";

/// Through whom the parent can be spoken to now.
struct Voice {
    connection: Arc<Connection>,
    api: Api,
    activity: Activity,
    contended: bool,
}

/// The end of the parent's conversation.
struct Tail {
    messages: Vec<Message>,
}

impl Tail {
    async fn read(api: &Api, parent: &SessionId) -> Result<Self, StepError> {
        let mut messages = api.messages(parent, TAIL).await?;
        // A long turn may push the person's message out of sight; the agent is the one it names.
        if !messages.iter().any(is_persons) && messages.len() >= TAIL {
            messages = api.messages(parent, 0).await?;
        }
        Ok(Self { messages })
    }

    fn last_id(&self) -> Option<&str> {
        self.messages.iter().map(|m| m.info.id.as_str()).max()
    }

    /// Whether a model request was made after this message was stored.
    fn answered(&self, message: &str) -> bool {
        self.messages
            .iter()
            .any(|m| m.info.is_assistant() && m.info.id.as_str() > message)
    }

    fn body(&self, message: &str, parts: Vec<serde_json::Value>, no_reply: bool) -> PromptBody {
        let latest = self.messages.iter().rev().find(|m| is_persons(m));
        let model = latest.and_then(|m| m.info.model.clone());
        PromptBody {
            message_id: Some(message.to_owned()),
            agent: latest.and_then(|m| m.info.agent.clone()),
            variant: model.as_ref().and_then(|model| model.variant.clone()),
            model: model.map(|model| PromptModel {
                provider: model.provider,
                model: model.model,
            }),
            no_reply,
            system: None,
            parts,
        }
    }
}

fn is_persons(message: &Message) -> bool {
    message.info.role == "user" && message.info.agent.is_some()
}

impl Delivery {
    /// Does what is possible now for this parent.
    pub(super) async fn step(&self, parent: &SessionId) -> Result<(), StepError> {
        let notices = self.0.store.open_notices(parent).await?;
        let wakes = self.0.store.open_wakes(parent).await?;
        if notices.is_empty() && wakes.is_empty() {
            return Ok(());
        }
        let voice = self.voice(parent);
        if !self.settle_doubts(parent, &notices, voice.as_ref()).await? {
            return Ok(());
        }
        let notices = self.0.store.open_notices(parent).await?;
        let pending: Vec<&NoticeRow> = notices
            .iter()
            .filter(|notice| notice.state == NoticeState::Pending)
            .filter(|notice| !self.is_held(&notice.delegation, parent))
            .collect();
        // An offer is asked back as soon as there is an owner to speak through, or more to offer.
        let wanted_back = voice.is_some() || !pending.is_empty();
        if !self.settle_leases(parent, &notices, wanted_back).await? {
            return Ok(());
        }
        let Some(voice) = voice else {
            return self.offer_to_candidate(parent, &pending).await;
        };
        if voice.contended || voice.activity == Activity::Streaming {
            return Ok(());
        }
        if !pending.is_empty() {
            self.send_all(parent, &voice, &pending).await?;
        }
        if !wakes.is_empty() && voice.activity == Activity::Idle {
            self.wake(parent, &voice, &wakes).await?;
        }
        Ok(())
    }

    fn voice(&self, parent: &SessionId) -> Option<Voice> {
        let owner = self.0.hub.owner(parent.as_str())?;
        let connection = self.0.hub.of_process(&owner.process)?;
        Some(Voice {
            api: Api::new(Arc::clone(&connection) as _, owner.directory),
            connection,
            activity: owner.activity,
            contended: owner.contended,
        })
    }

    /// Any host that can read the parent's session: a session is the same for all processes of an
    /// installation, only its events are not.
    pub(super) async fn reader(
        &self,
        parent: &SessionId,
        delegation: &DelegationId,
    ) -> Result<Option<Api>, StepError> {
        if let Some(voice) = self.voice(parent) {
            return Ok(Some(voice.api));
        }
        let Some(row) = self.0.store.get(delegation).await? else {
            return Ok(None);
        };
        let spec = row.delegation.spec;
        Ok(self
            .0
            .hub
            .candidate(&spec.host, &spec.project, parent)
            .map(|connection| Api::new(connection as _, spec.directory)))
    }

    /// Reads the session for what was sent and not yet seen there. True when no doubt is left.
    async fn settle_doubts(
        &self,
        parent: &SessionId,
        notices: &[NoticeRow],
        voice: Option<&Voice>,
    ) -> Result<bool, StepError> {
        let doubtful = notices.iter().filter(|n| n.state == NoticeState::Sending);
        let mut settled = true;
        for notice in doubtful {
            // What was asked of a process that lives may still be carried out there: nobody else may
            // repeat it before that process is back, or gone.
            let sender = notice
                .connection
                .as_ref()
                .and_then(|process| process.parse::<ProcessId>().ok());
            if sender.is_some_and(|process| {
                self.0.hub.of_process(&process).is_none() && process.is_alive()
            }) {
                settled = false;
                continue;
            }
            let Some(api) = self.reader(parent, &notice.delegation).await? else {
                return Ok(false);
            };
            let message = notice.message.as_deref().unwrap_or_default();
            let stored = api
                .message(parent, message)
                .await?
                .is_some_and(|found| found.parts.iter().any(|part| part.id == notice.model_part));
            if stored {
                self.delivered(notice, message).await?;
                continue;
            }
            // A person's message with an offer in it is stored a moment after the bridge says so.
            let process = lock(&self.0.state).taken.get(&notice.delegation).copied();
            let on_its_way = process
                .is_some_and(|process| self.0.hub.of_process(&process).is_some())
                && voice.is_none_or(|voice| voice.activity != Activity::Idle);
            if on_its_way {
                settled = false;
            } else {
                lock(&self.0.state).taken.remove(&notice.delegation);
                self.0.store.notice_back(&notice.delegation).await?;
            }
        }
        Ok(settled)
    }

    async fn offer_to_candidate(
        &self,
        parent: &SessionId,
        pending: &[&NoticeRow],
    ) -> Result<(), StepError> {
        let Some(first) = pending.first() else {
            return Ok(());
        };
        let Some(row) = self.0.store.get(&first.delegation).await? else {
            return Ok(());
        };
        let spec = row.delegation.spec;
        match self.0.hub.candidate(&spec.host, &spec.project, parent) {
            Some(connection) => {
                // One that was deleted while nobody listened would be offered to for ever.
                let api = Api::new(Arc::clone(&connection) as _, spec.directory);
                if api.session(parent).await?.is_none() {
                    self.parent_gone(parent.as_str()).await;
                    return Ok(());
                }
                self.offer(parent, &connection, pending).await
            }
            None => Ok(()),
        }
    }

    /// The end of the parent's conversation; none when the parent is gone, and then nothing waits for it
    /// any more.
    async fn tail(&self, parent: &SessionId, api: &Api) -> Result<Option<Tail>, StepError> {
        match Tail::read(api, parent).await {
            Err(StepError::Host(error)) if error.is_not_found() => {
                self.parent_gone(parent.as_str()).await;
                Ok(None)
            }
            tail => tail.map(Some),
        }
    }

    async fn send_all(
        &self,
        parent: &SessionId,
        voice: &Voice,
        pending: &[&NoticeRow],
    ) -> Result<(), StepError> {
        let Some(tail) = self.tail(parent, &voice.api).await? else {
            return Ok(());
        };
        let process = voice.connection.process.to_string();
        let mut last = tail.last_id().map(str::to_owned);
        for notice in pending {
            let Some(row) = self.0.store.get(&notice.delegation).await? else {
                continue;
            };
            let composed = self.compose(parent, notice, &row).await?;
            // The same message again where this process may still hold an earlier request; a later
            // one where that is excluded, since the host takes an old message for answered.
            let message = match &notice.message {
                Some(earlier) if notice.connection.as_ref() == Some(&process) => earlier.clone(),
                _ => {
                    let now = u64::try_from(self.0.clock.now().as_millisecond()).unwrap_or(0);
                    later_than(last.as_deref(), now, self.0.chance.bits())
                }
            };
            let planned = self
                .0
                .store
                .sending_notice(
                    &notice.delegation,
                    message.clone(),
                    CHANNEL.to_owned(),
                    process.clone(),
                )
                .await?;
            if !planned {
                continue;
            }
            let body = tail.body(&message, composed.parts, true);
            voice.api.store_message(parent, &body).await?;
            self.delivered_with(notice, &message, composed.whole)
                .await?;
            last = last.max(Some(message));
        }
        Ok(())
    }

    /// A notice was seen in the session.
    pub(super) async fn delivered(
        &self,
        notice: &NoticeRow,
        message: &str,
    ) -> Result<(), StepError> {
        let whole = match self.0.store.get(&notice.delegation).await? {
            Some(row) => self.compose(&notice.parent, notice, &row).await?.whole,
            None => false,
        };
        self.delivered_with(notice, message, whole).await
    }

    async fn delivered_with(
        &self,
        notice: &NoticeRow,
        message: &str,
        whole: bool,
    ) -> Result<(), StepError> {
        lock(&self.0.state).taken.remove(&notice.delegation);
        self.0
            .store
            .notice_delivered(&notice.delegation, message.to_owned())
            .await?;
        if whole {
            self.0
                .store
                .mark_read(&notice.delegation, notice.parent.as_str())
                .await?;
        }
        tracing::info!(id = %notice.delegation, parent = %notice.parent, message, "the notice was delivered");
        Ok(())
    }

    async fn wake(
        &self,
        parent: &SessionId,
        voice: &Voice,
        wakes: &[WakeRow],
    ) -> Result<(), StepError> {
        let open = self.0.store.open_notices(parent).await?;
        let Some(tail) = self.tail(parent, &voice.api).await? else {
            return Ok(());
        };
        let mut due: Vec<(&WakeRow, NoticeRow)> = Vec::new();
        for wake in wakes {
            if open.iter().any(|notice| notice.batch == wake.batch) {
                continue;
            }
            // A batch whose every result was read by tool calls needs no waking.
            let Some(last) = self.0.store.last_delivered(parent, wake.batch).await? else {
                self.0.store.wake_done(&wake.delegation).await?;
                continue;
            };
            if tail.answered(last.message.as_deref().unwrap_or_default()) {
                lock(&self.0.state).woken.remove(&wake.delegation);
                self.0.store.wake_done(&wake.delegation).await?;
                continue;
            }
            let on_its_way = lock(&self.0.state)
                .woken
                .get(&wake.delegation)
                .is_some_and(|connection| *connection == voice.connection.id);
            if on_its_way {
                // That request will see everything that is stored by now.
                return Ok(());
            }
            due.push((wake, last));
        }
        // One request wakes the parent for all of them: it is the latest message that is repeated.
        let latest = due
            .iter()
            .map(|(_, last)| last)
            .max_by(|a, b| a.message.cmp(&b.message));
        let Some(latest) = latest else {
            return Ok(());
        };
        let Some(row) = self.0.store.get(&latest.delegation).await? else {
            return Ok(());
        };
        let message = latest.message.clone().unwrap_or_default();
        let composed = self.compose(parent, latest, &row).await?;
        for (wake, _) in &due {
            self.0
                .store
                .wake_sending(&wake.delegation, message.clone())
                .await?;
            lock(&self.0.state)
                .woken
                .insert(wake.delegation.clone(), voice.connection.id.clone());
        }
        // The same message once more, now with a reply asked for: stored once, answered once.
        let body = tail.body(&message, composed.parts, false);
        if let Err(error) = voice.api.prompt_async(parent, &body).await {
            let mut state = lock(&self.0.state);
            for (wake, _) in &due {
                state.woken.remove(&wake.delegation);
            }
            return Err(error.into());
        }
        tracing::info!(%parent, batches = due.len(), "the parent was woken");
        Ok(())
    }
}
