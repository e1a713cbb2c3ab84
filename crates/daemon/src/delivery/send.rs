//! Sending: notices into the parent's session, the last of a batch with a reply asked for.

use std::collections::BTreeMap;

use brigade_agents::opencode::{
    Api, ApiError, Message, PromptBody, PromptModel, TransportError, later_than,
};
use brigade_core::id::{DelegationId, SessionId};
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, WakeRow};
use futures::future::try_join_all;

use super::compose::{self, Composed};
use super::step::Voice;
use super::{Delivery, StepError, Unseen};
use crate::failpoint;
use crate::hosts::lock;

/// The channel's name in the store for what is sent through the session's owner.
const CHANNEL: &str = "prompt";

/// The end of the parent's conversation.
pub(super) struct Tail {
    messages: Vec<Message>,
}

impl Tail {
    /// Reads as much as it takes to see a person's message, and these, if they are among the last at all.
    async fn read(api: &Api, parent: &SessionId, sought: &[String]) -> Result<Self, StepError> {
        let says_enough = |messages: &[Message]| {
            let holds = |id: &String| messages.iter().any(|m| m.info.id == *id);
            messages.iter().any(is_persons) && sought.iter().all(holds)
        };
        let mut messages = api.last_messages(parent, says_enough).await?;
        // A long turn may push the person's message out of sight; the agent is the one it names.
        if !messages.iter().any(is_persons) {
            messages = api.messages(parent, 0).await?;
        }
        Ok(Self { messages })
    }

    pub(super) fn last_id(&self) -> Option<&str> {
        self.messages.iter().map(|m| m.info.id.as_str()).max()
    }

    /// Whether this message is stored.
    pub(super) fn holds(&self, message: &str) -> bool {
        self.message(message).is_some()
    }

    fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|m| m.info.id == id)
    }

    /// Whether something later than this message is stored: the host takes that message for answered.
    fn is_past(&self, message: &str) -> bool {
        self.last_id().is_some_and(|last| last > message)
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
    /// The end of the parent's conversation, with these messages where they are near it; none when the parent is gone,
    /// and then nothing waits for it any more.
    pub(super) async fn tail(
        &self,
        parent: &SessionId,
        api: &Api,
        sought: &[String],
    ) -> Result<Option<Tail>, StepError> {
        match Tail::read(api, parent, sought).await {
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

    /// Sends what is pending, in order and in as few messages as may be: each costs the host as much as a prompt. Where
    /// that completes a batch whose waking is due and the parent is idle, the last one asks for the reply: told and
    /// woken by one message. True where it has.
    pub(super) async fn send(
        &self,
        parent: &SessionId,
        voice: &Voice,
        pending: &[&NoticeRow],
        wakes: &[WakeRow],
        open: &[NoticeRow],
    ) -> Result<bool, StepError> {
        let Some(tail) = self.tail(parent, &voice.api, &[]).await? else {
            return Ok(false);
        };
        let wakings = woken_by(voice, pending, wakes, open);
        let process = voice.connection.process.to_string();
        let mut last = tail.last_id().map(str::to_owned);
        let letters = letters(pending, &process, &tail);
        for (index, letter) in letters.iter().enumerate() {
            let composed = letter.notices.iter().map(|one| self.composed(one));
            let composed: Vec<_> = try_join_all(composed).await?;
            let composed: Vec<(&NoticeRow, Composed)> = letter
                .notices
                .iter()
                .zip(composed)
                .filter_map(|(notice, composed)| Some((*notice, composed?)))
                .collect();
            let message = match &letter.message {
                To::Stored(earlier) | To::Repeated(earlier) => (*earlier).to_owned(),
                To::New => self.message_id(last.as_deref()),
            };
            let is_last = index + 1 == letters.len();
            let wakings = if is_last { wakings.as_slice() } else { &[] };
            let waking = match &letter.message {
                To::New => wakings,
                To::Repeated(earlier) if !tail.is_past(earlier) => wakings,
                To::Repeated(_) | To::Stored(_) => &[],
            };
            let ids = composed.iter().map(|(notice, _)| notice.delegation.clone());
            let planned = self
                .0
                .store
                .sending_notices(
                    ids.collect(),
                    message.clone(),
                    CHANNEL.to_owned(),
                    process.clone(),
                    waking.iter().map(|wake| wake.delegation.clone()).collect(),
                )
                .await?;
            let is_planned = |notice: &NoticeRow| planned.contains(&notice.delegation);
            let sent: Vec<_> = composed.iter().filter(|(one, _)| is_planned(one)).collect();
            let Some((newest, _)) = sent.last() else {
                continue;
            };
            failpoint::pass("notice-planned");
            let parts: Vec<&Composed> = sent.iter().map(|(_, one)| one).collect();
            let parts = compose::message(parent, &parts);
            let body = tail.body(&message, parts, waking.is_empty());
            if !waking.is_empty() {
                let asked = self.ask(parent, voice, waking, &message, &body).await;
                self.note_refusal(&planned, asked)?;
                // The host answers before it has stored the message; its next sign settles the rest.
                return Ok(true);
            }
            if !matches!(letter.message, To::Stored(_)) {
                let stored = voice.api.store_message(parent, &body).await;
                self.note_refusal(&planned, stored.map_err(StepError::from))?;
            }
            failpoint::pass("notice-sent");
            let delivered = sent
                .iter()
                .map(|(notice, one)| self.delivered_with(notice, &message, one.whole));
            try_join_all(delivered).await?;
            failpoint::pass("notice-recorded");
            last = last.max(Some(message));
            if matches!(letter.message, To::Repeated(_)) && !wakings.is_empty() {
                let message = self.message_id(last.as_deref());
                self.ask_by_itself(parent, voice, &tail, wakings, newest.batch_size, &message)
                    .await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A notice as it is sent; none where nothing is on record of its delegation.
    pub(super) async fn composed(&self, notice: &NoticeRow) -> Result<Option<Composed>, StepError> {
        match self.0.store.get(&notice.delegation).await? {
            Some(row) => Ok(Some(self.compose(notice, &row).await?)),
            None => Ok(None),
        }
    }

    /// Keeps that a message with these was surely not taken. Only what is in doubt may come later.
    fn note_refusal<T>(
        &self,
        ids: &[DelegationId],
        sent: Result<T, StepError>,
    ) -> Result<T, StepError> {
        if let Err(StepError::Host(
            ApiError::Host { .. } | ApiError::Transport(TransportError::NotSent { .. }),
        )) = &sent
        {
            let refused = ids.iter().map(|id| (id.clone(), Unseen::Refused));
            lock(&self.0.state).unseen.extend(refused);
        }
        sent
    }
}

/// What goes into one message.
struct Letter<'a> {
    message: To<'a>,
    notices: Vec<&'a NoticeRow>,
}

/// Into which message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum To<'a> {
    /// One that came late: these stand in it by now.
    Stored(&'a str),
    /// The one that all of these were in before, since this process may still hold that request.
    Repeated(&'a str),
    /// A later one than all that are stored.
    New,
}

/// These notices as messages, the new one last. What went out in one message before goes out in the same again where
/// that process may still hold the request. A message that is stored without a notice gets it no more: it may be answered.
fn letters<'a>(pending: &[&'a NoticeRow], process: &str, tail: &Tail) -> Vec<Letter<'a>> {
    let mut letters: BTreeMap<To<'a>, Vec<&NoticeRow>> = BTreeMap::new();
    for &notice in pending {
        let of_process = notice.connection.as_deref() == Some(process);
        let earlier = notice.message.as_deref().filter(|_| of_process);
        let to = match earlier.map(|earlier| (earlier, tail.message(earlier))) {
            None => To::New,
            Some((earlier, None)) => To::Repeated(earlier),
            Some((earlier, Some(stored))) => {
                let stands = stored.parts.iter().any(|part| part.id == notice.model_part);
                if stands { To::Stored(earlier) } else { To::New }
            }
        };
        letters.entry(to).or_default().push(notice);
    }
    let letters = letters.into_iter();
    letters
        .map(|(message, notices)| Letter { message, notices })
        .collect()
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
