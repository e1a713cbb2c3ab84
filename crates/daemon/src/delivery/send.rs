//! Sending: notices into the parent's session, the last of a batch with a reply asked for.

use brigade_agents::opencode::{
    Api, ApiError, Message, PromptBody, PromptModel, TransportError, later_than,
};
use brigade_core::id::{DelegationId, SessionId};
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, WakeRow};

use super::step::Voice;
use super::{Delivery, StepError, Unseen};
use crate::failpoint;
use crate::hosts::lock;

/// How many of the parent's last messages are read before anything is sent.
const TAIL: usize = 20;
/// The channel's name in the store for what is sent through the session's owner.
const CHANNEL: &str = "prompt";

/// The end of the parent's conversation.
pub(super) struct Tail {
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

    pub(super) fn last_id(&self) -> Option<&str> {
        self.messages.iter().map(|m| m.info.id.as_str()).max()
    }

    /// Whether this message is stored.
    pub(super) fn holds(&self, message: &str) -> bool {
        self.messages.iter().any(|m| m.info.id == message)
    }

    /// Whether a model request was made after this message was stored: an answer stands behind it, in the
    /// host's own order. IDs alone don't tell: one may be older than a request that has not seen its
    /// message, or, after the clock was set back, later than the answer's.
    pub(super) fn answered(&self, message: &str) -> bool {
        let answers = |m: &Message| m.info.is_assistant();
        match self.messages.iter().position(|m| m.info.id == message) {
            Some(at) => self.messages.iter().enumerate().any(|(index, m)| {
                answers(m) && (index > at || m.info.parent.as_deref() == Some(message))
            }),
            // Out of sight, or not stored.
            None => self
                .messages
                .iter()
                .any(|m| answers(m) && m.info.id.as_str() > message),
        }
    }

    pub(super) fn body(
        &self,
        message: &str,
        parts: Vec<serde_json::Value>,
        no_reply: bool,
    ) -> PromptBody {
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
    /// The end of the parent's conversation; none when the parent is gone, and then nothing waits for it
    /// any more.
    pub(super) async fn tail(
        &self,
        parent: &SessionId,
        api: &Api,
    ) -> Result<Option<Tail>, StepError> {
        match Tail::read(api, parent).await {
            Err(StepError::Host(error)) if error.is_not_found() => {
                self.parent_gone(parent.as_str()).await;
                Ok(None)
            }
            tail => tail.map(Some),
        }
    }

    /// An ID for a message that is to stand last in the session.
    pub(super) fn message_id(&self, last: Option<&str>) -> String {
        let now = u64::try_from(self.0.clock.now().as_millisecond()).unwrap_or(0);
        later_than(last, now, self.0.chance.bits())
    }

    /// Sends what is pending, in order. Where that completes a batch whose waking is due and the parent
    /// is idle, the last one asks for the reply: told and woken by one message. True where it has.
    pub(super) async fn send(
        &self,
        parent: &SessionId,
        voice: &Voice,
        pending: &[&NoticeRow],
        wakes: &[WakeRow],
        open: &[NoticeRow],
    ) -> Result<bool, StepError> {
        let Some(tail) = self.tail(parent, &voice.api).await? else {
            return Ok(false);
        };
        let wakings = woken_by(voice, pending, wakes, open);
        let process = voice.connection.process.to_string();
        let mut last = tail.last_id().map(str::to_owned);
        for (index, notice) in pending.iter().enumerate() {
            let Some(row) = self.0.store.get(&notice.delegation).await? else {
                continue;
            };
            let composed = self.compose(parent, notice, &row).await?;
            // The same message again where this process may still hold an earlier request; a later
            // one where that is excluded, since the host takes an old message for answered.
            let message = match &notice.message {
                Some(earlier) if notice.connection.as_ref() == Some(&process) => earlier.clone(),
                _ => self.message_id(last.as_deref()),
            };
            let is_last = index + 1 == pending.len();
            let waking = if is_last { wakings.as_slice() } else { &[] };
            let planned = self
                .0
                .store
                .sending_notice(
                    &notice.delegation,
                    message.clone(),
                    CHANNEL.to_owned(),
                    process.clone(),
                    waking.iter().map(|wake| wake.delegation.clone()).collect(),
                )
                .await?;
            if !planned {
                continue;
            }
            failpoint::pass("notice-planned");
            if !waking.is_empty() {
                let body = tail.body(&message, composed.parts, false);
                let asked = self.ask(parent, voice, waking, &message, &body).await;
                self.note_refusal(&notice.delegation, asked)?;
                // The host answers before it has stored the message; its next sign settles the rest.
                return Ok(true);
            }
            let body = tail.body(&message, composed.parts, true);
            let stored = voice.api.store_message(parent, &body).await;
            self.note_refusal(&notice.delegation, stored.map_err(StepError::from))?;
            failpoint::pass("notice-sent");
            self.delivered_with(notice, &message, composed.whole)
                .await?;
            failpoint::pass("notice-recorded");
            last = last.max(Some(message));
        }
        Ok(false)
    }

    /// Keeps that a message was surely not taken. Only what is in doubt may come later.
    fn note_refusal<T>(
        &self,
        id: &DelegationId,
        sent: Result<T, StepError>,
    ) -> Result<T, StepError> {
        if let Err(StepError::Host(
            ApiError::Host { .. } | ApiError::Transport(TransportError::NotSent { .. }),
        )) = &sent
        {
            let mut state = lock(&self.0.state);
            state.unseen.insert(id.clone(), Unseen::Refused);
        }
        sent
    }
}

/// The wakings that the last of these notices can stand for: the parent is idle, and nothing else of their batches is
/// still open.
fn woken_by<'a>(
    voice: &Voice,
    pending: &[&NoticeRow],
    wakes: &'a [WakeRow],
    open: &[NoticeRow],
) -> Vec<&'a WakeRow> {
    if voice.activity != Activity::Idle {
        return Vec::new();
    }
    let left = |batch: i64| {
        open.iter().any(|notice| {
            notice.batch == batch
                && !pending
                    .iter()
                    .any(|sent| sent.delegation == notice.delegation)
        })
    };
    wakes.iter().filter(|wake| !left(wake.batch)).collect()
}
