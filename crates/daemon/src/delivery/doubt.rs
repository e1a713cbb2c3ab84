//! Doubts: what was sent and has not been seen in the session yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use brigade_agents::opencode::{Api, Message};
use brigade_core::id::{DelegationId, SessionId};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, NoticeState};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::step::Voice;
use super::wake::STORED;
use super::{Delivery, StepError, Unseen};
use crate::hosts::lock;

/// What has become of a notice that was sent.
enum Doubt {
    /// It stands in the session.
    Seen,
    /// It may come yet, or nobody can tell.
    Open,
    /// It is not there, and does not come.
    Lost,
}

/// What is known of a message. Several notices may have gone out in one: it is looked for once, and decided on once.
struct Looked {
    found: Option<Message>,
    may_come: Option<bool>,
}

impl Looked {
    fn holds(&self, part: &str) -> bool {
        let mut parts = self.found.iter().flat_map(|found| &found.parts);
        parts.any(|known| known.id == part)
    }
}

impl Delivery {
    /// Reads the session for what was sent and not yet seen there. True when no doubt is left.
    pub(super) async fn settle_doubts(
        &self,
        parent: &SessionId,
        notices: &[NoticeRow],
        voice: Option<&Voice>,
    ) -> Result<bool, StepError> {
        let mut seen = Vec::new();
        let mut looked = HashMap::new();
        let look = async {
            let mut settled = true;
            for notice in notices {
                if notice.state != NoticeState::Sending {
                    continue;
                }
                match self.doubt(parent, notice, voice, &mut looked).await? {
                    Doubt::Seen => seen.push(notice),
                    Doubt::Open => settled = false,
                    Doubt::Lost => self.take_back(&notice.delegation).await?,
                }
            }
            Ok(settled)
        };
        let settled = look.await;
        // What was seen is on record even where the rest could not be looked for.
        let seen = seen
            .into_iter()
            .map(|notice| self.delivered(notice, sent_in(notice)));
        try_join_all(seen).await?;
        settled
    }

    async fn doubt<'a>(
        &self,
        parent: &SessionId,
        notice: &'a NoticeRow,
        voice: Option<&Voice>,
        looked: &mut HashMap<&'a str, Looked>,
    ) -> Result<Doubt, StepError> {
        let sender = notice.connection.as_deref();
        let sender: Option<ProcessId> = sender.and_then(|process| process.parse().ok());
        // What was asked of a process that lives may still be carried out there: nobody else may
        // repeat it before that process is back, or gone.
        if sender.is_some_and(|process| {
            self.0.hub.of_process(&process).is_none() && self.0.hub.processes().is_alive(&process)
        }) {
            return Ok(Doubt::Open);
        }
        let message = sent_in(notice);
        if self.is_stored(message, &notice.model_part) {
            return Ok(Doubt::Seen);
        }
        if self.is_awaited(message) {
            return Ok(Doubt::Open);
        }
        // Whoever was asked is asked whether it was done, whoever owns the session by now: one that stood still
        // does it as soon as it goes on.
        let asked = match sender {
            Some(process) => self.through(&process, &notice.delegation).await?,
            None => None,
        };
        let alive = asked.is_some();
        let api = match asked {
            Some(api) => Some(api),
            None => self.reader(parent, &notice.delegation).await?,
        };
        let Some(api) = api else {
            return Ok(Doubt::Open);
        };
        let looked = match looked.entry(message) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(Looked {
                found: api.message(parent, message).await?,
                may_come: None,
            }),
        };
        if looked.holds(&notice.model_part) {
            return Ok(Doubt::Seen);
        }
        let may_come = looked
            .may_come
            .get_or_insert_with(|| self.may_come(parent, notice, message, alive, voice));
        Ok(if *may_come { Doubt::Open } else { Doubt::Lost })
    }

    /// A notice waits anew: to be repeated under the same message, or in a new one where that was surely not taken.
    async fn take_back(&self, id: &DelegationId) -> Result<(), StepError> {
        let known = lock(&self.0.state).unseen.get(id).copied();
        let may_come = !matches!(known, Some(Unseen::Refused));
        self.forget_doubt(id);
        self.0.store.notice_back(id, may_come).await?;
        Ok(())
    }

    /// Whether the message of a notice, which is not there, may come yet. A process that answers again (`alive`) has begun
    /// with what it was asked before, and stores it in a moment: one look is none, a second one after that moment counts.
    fn may_come(
        &self,
        parent: &SessionId,
        notice: &NoticeRow,
        message: &str,
        alive: bool,
        voice: Option<&Voice>,
    ) -> bool {
        // A person's message with an offer in it is stored a moment after the bridge says so.
        let process = lock(&self.0.state).taken.get(&notice.delegation).copied();
        let in_a_message = process.is_some_and(|process| self.0.hub.of_process(&process).is_some())
            && voice.is_none_or(|voice| voice.activity != Activity::Idle);
        // So is the message that wakes.
        if in_a_message || self.is_asking(message) {
            return true;
        }
        if !alive {
            return false;
        }
        let first = {
            let mut state = lock(&self.0.state);
            let unseen = state.unseen.entry(notice.delegation.clone());
            match unseen.or_insert_with(|| Unseen::Since(Instant::now())) {
                Unseen::Refused => return false,
                Unseen::Since(first) => *first,
            }
        };
        let left = STORED.saturating_sub(first.elapsed());
        if left.is_zero() {
            return false;
        }
        self.poke_after(parent, left);
        true
    }

    pub(super) fn forget_doubt(&self, id: &DelegationId) {
        let mut state = lock(&self.0.state);
        state.taken.remove(id);
        state.unseen.remove(id);
    }

    /// The parent's session through this process, where that is connected.
    async fn through(
        &self,
        process: &ProcessId,
        delegation: &DelegationId,
    ) -> Result<Option<Api>, StepError> {
        let Some(connection) = self.0.hub.of_process(process) else {
            return Ok(None);
        };
        let row = self.0.store.get(delegation).await?;
        Ok(row.map(|row| Api::new(connection as _, row.delegation.spec.directory)))
    }

    /// A notice was seen in the session.
    pub(super) async fn delivered(
        &self,
        notice: &NoticeRow,
        message: &str,
    ) -> Result<(), StepError> {
        let whole = self.composed(notice).await?.is_some_and(|one| one.whole);
        self.delivered_with(notice, message, whole).await
    }

    pub(super) async fn delivered_with(
        &self,
        notice: &NoticeRow,
        message: &str,
        whole: bool,
    ) -> Result<(), StepError> {
        self.forget_doubt(&notice.delegation);
        let reader = whole.then_some(&notice.parent);
        self.0
            .store
            .notice_delivered(&notice.delegation, message.to_owned(), reader)
            .await?;
        tracing::info!(id = %notice.delegation, parent = %notice.parent, message, "the notice was delivered");
        Ok(())
    }
}

/// The message that a notice was sent in.
fn sent_in(notice: &NoticeRow) -> &str {
    notice.message.as_deref().unwrap_or_default()
}
