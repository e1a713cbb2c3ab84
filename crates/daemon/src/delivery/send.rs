//! Sending: notices into the parent's session, the last of a batch with a reply asked for.

use std::collections::BTreeMap;

use brigade_agents::opencode::{ApiError, TransportError};
use brigade_core::id::SessionId;
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, StoreError, WakeRow};
use futures::future::try_join_all;

use super::compose::{self, Composed};
use super::step::Voice;
use super::tail::Tail;
use super::{Delivery, StepError, Unseen};
use crate::failpoint;
use crate::hosts::lock;

/// The channel's name in the store for what is sent through the session's owner.
const CHANNEL: &str = "prompt";

impl Delivery {
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
        let earlier = pending
            .iter()
            .filter_map(|notice| notice.message.as_deref());
        let new = self.message_id(earlier.chain(tail.last_id()).max());
        let letters = letters(pending, &voice.connection.process.to_string(), &tail);
        let mut letters = letters.iter().peekable();
        while let Some(letter) = letters.next() {
            let message = letter.message.earlier().unwrap_or(&new);
            let may_ask = letters.peek().is_none() && !matches!(letter.message, To::Stored(_));
            let asking: &[&WakeRow] = if may_ask { &wakings } else { &[] };
            let asked = self
                .send_letter(parent, voice, &tail, letter, message, asking)
                .await?;
            if asked {
                // The host answers before it has stored the message; its next sign settles the rest.
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends one message, which asks for a reply where there are wakings. True where it has.
    async fn send_letter(
        &self,
        parent: &SessionId,
        voice: &Voice,
        tail: &Tail,
        letter: &Letter<'_>,
        message: &str,
        wakings: &[&WakeRow],
    ) -> Result<bool, StepError> {
        let sent = self.plan(letter, voice, message, wakings).await?;
        // Nobody needs it any more.
        if sent.is_empty() {
            return Ok(false);
        }
        failpoint::pass("notice-planned");
        let parts = compose::message(parent, sent.iter().map(|(_, one)| one));
        let body = tail.body(message, parts, wakings.is_empty());
        if !wakings.is_empty() {
            let asked = self.ask(parent, voice, wakings, message, &body).await;
            self.note_refusal(&sent, asked)?;
            return Ok(true);
        }
        if !matches!(letter.message, To::Stored(_)) {
            let stored = voice.api.store_message(parent, &body).await;
            self.note_refusal(&sent, stored.map_err(StepError::from))?;
        }
        failpoint::pass("notice-sent");
        let delivered = sent
            .iter()
            .map(|(notice, one)| self.delivered_with(notice, message, one.whole));
        try_join_all(delivered).await?;
        failpoint::pass("notice-recorded");
        Ok(false)
    }

    /// Stores that this message is about to go out, and what it is to wake for. Gives the notices that still need it.
    async fn plan<'a>(
        &self,
        letter: &Letter<'a>,
        voice: &Voice,
        message: &str,
        wakings: &[&WakeRow],
    ) -> Result<Vec<(&'a NoticeRow, Composed)>, StoreError> {
        let composed = letter.notices.iter().map(|notice| self.composed(notice));
        let composed = try_join_all(composed).await?;
        let notices = letter.notices.iter().copied().zip(composed);
        let mut notices: Vec<_> = notices
            .filter_map(|(notice, composed)| Some((notice, composed?)))
            .collect();
        let planned = self
            .0
            .store
            .sending_notices(
                notices
                    .iter()
                    .map(|(notice, _)| notice.delegation.clone())
                    .collect(),
                message.to_owned(),
                CHANNEL.to_owned(),
                voice.connection.process.to_string(),
                wakings.iter().map(|wake| wake.delegation.clone()).collect(),
            )
            .await?;
        notices.retain(|(notice, _)| planned.contains(&notice.delegation));
        Ok(notices)
    }

    /// Keeps that a message with these was surely not taken, where it was not. Only what is in doubt may come later.
    fn note_refusal<T>(
        &self,
        notices: &[(&NoticeRow, Composed)],
        sent: Result<T, StepError>,
    ) -> Result<T, StepError> {
        if let Err(StepError::Host(
            ApiError::Host { .. } | ApiError::Transport(TransportError::NotSent { .. }),
        )) = &sent
        {
            let ids = notices.iter().map(|(notice, _)| notice.delegation.clone());
            let refused = ids.map(|id| (id, Unseen::Refused));
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

impl<'a> To<'a> {
    /// The message that these were in before.
    fn earlier(&self) -> Option<&'a str> {
        match self {
            Self::Stored(earlier) | Self::Repeated(earlier) => Some(earlier),
            Self::New => None,
        }
    }
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

#[cfg(test)]
mod tests {
    use brigade_store::NoticeState;
    use serde_json::json;

    use super::*;

    /// A notice that was sent in this message, by this process.
    fn notice(id: &str, message: Option<&str>, process: &str) -> NoticeRow {
        NoticeRow {
            delegation: format!("quick-brown-{id}").parse().unwrap(),
            parent: "ses_1".parse().unwrap(),
            batch: 1,
            remaining: 0,
            batch_size: 6,
            model_part: format!("prt_{id}"),
            person_part: format!("prt_{id}_person"),
            state: NoticeState::Pending,
            channel: Some(CHANNEL.to_owned()),
            connection: message.map(|_| process.to_owned()),
            message: message.map(str::to_owned),
        }
    }

    #[test]
    fn what_went_out_together_goes_out_together_again_where_it_may_come_yet() {
        let pending = [
            notice("fox", Some("msg_1"), "here"),
            notice("cat", Some("msg_1"), "here"),
            notice("dog", Some("msg_2"), "here"),
            notice("cow", Some("msg_2"), "here"),
            notice("bee", Some("msg_2"), "elsewhere"),
            notice("ant", None, "here"),
        ];
        let stored = json!({"info": {"id": "msg_1", "role": "user", "time": {}},
            "parts": [{"id": "prt_fox", "type": "text"}]});
        let tail = Tail::of(vec![serde_json::from_value(stored).unwrap()]);
        let pending: Vec<&NoticeRow> = pending.iter().collect();
        let letters = letters(&pending, "here", &tail);
        let letters: Vec<(To<'_>, Vec<&str>)> = letters
            .into_iter()
            .map(|letter| {
                let parts = letter.notices.iter().map(|one| one.model_part.as_str());
                (letter.message, parts.collect())
            })
            .collect();
        assert_eq!(
            letters,
            [
                (To::Stored("msg_1"), vec!["prt_fox"]),
                (To::Repeated("msg_2"), vec!["prt_dog", "prt_cow"]),
                (To::New, vec!["prt_cat", "prt_bee", "prt_ant"]),
            ]
        );
    }
}
