//! One look at a parent's notices: settle doubts and leases, then send what can go, then wake.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use brigade_agents::opencode::{Api, Message};
use brigade_core::id::{DelegationId, SessionId};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, NoticeState, WakeRow};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::gather::{GATHER, Gathered};
use super::wake::STORED;
use super::{Delivery, StepError, Unseen};
use crate::hosts::{Connection, lock};

/// Through whom the parent can be spoken to now.
pub(super) struct Voice {
    pub(super) connection: Arc<Connection>,
    pub(super) api: Api,
    pub(super) activity: Activity,
    contended: bool,
}

impl Delivery {
    /// Does what is possible now for this parent.
    pub(super) async fn step(&self, parent: &SessionId) -> Result<(), StepError> {
        let (mut notices, wakes) = self.0.store.outbox(parent).await?;
        if notices.is_empty() && wakes.is_empty() {
            lock(&self.0.state).gathering.forget(parent);
            return Ok(());
        }
        let voice = self.voice(parent);
        if let Some(voice) = &voice {
            self.adopt(parent, voice, &wakes);
        }
        if notices.iter().any(|one| one.state == NoticeState::Sending) {
            if !self.settle_doubts(parent, &notices, voice.as_ref()).await? {
                return Ok(());
            }
            notices = self.0.store.open_notices(parent).await?;
        }
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
            self.drop_needless_wakes(parent, &wakes, &notices).await?;
            return self.offer_to_candidate(parent, &pending).await;
        };
        if voice.contended || voice.activity == Activity::Streaming {
            return Ok(());
        }
        if !pending.is_empty() {
            if self.gathers(parent, &voice, &pending, &wakes) {
                return Ok(());
            }
            let asked = self
                .send(parent, &voice, &pending, &wakes, &notices)
                .await?;
            lock(&self.0.state).gathering.forget(parent);
            if asked || wakes.is_empty() {
                return Ok(());
            }
            notices = self.0.store.open_notices(parent).await?;
        }
        if !wakes.is_empty() && voice.activity == Activity::Idle {
            self.wake(parent, &voice, &wakes, &notices).await?;
        }
        Ok(())
    }

    /// Whether these notices wait for others: they wake nobody, and others of their batch are still to come.
    fn gathers(
        &self,
        parent: &SessionId,
        voice: &Voice,
        pending: &[&NoticeRow],
        wakes: &[WakeRow],
    ) -> bool {
        // A tool may end at any time, and the notice is to come with the model's next step.
        let may_wait = voice.activity == Activity::Idle
            && wakes.is_empty()
            && pending.iter().all(|notice| notice.remaining > 0);
        let gathered = lock(&self.0.state).gathering.look(parent, may_wait);
        if gathered == Gathered::Begin {
            self.poke_after(parent, GATHER);
        }
        gathered != Gathered::Go
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
        let mut seen = Vec::new();
        let settled = self
            .look_for_doubtful(parent, notices, voice, &mut seen)
            .await;
        // What was seen is on record even where the rest could not be looked for.
        let seen = seen
            .into_iter()
            .map(|(notice, message)| self.delivered(notice, message));
        try_join_all(seen).await?;
        settled
    }

    /// The same; what stands in the session is added to what was seen, with its message.
    async fn look_for_doubtful<'a>(
        &self,
        parent: &SessionId,
        notices: &'a [NoticeRow],
        voice: Option<&Voice>,
        seen: &mut Vec<(&'a NoticeRow, &'a str)>,
    ) -> Result<bool, StepError> {
        let doubtful = notices.iter().filter(|n| n.state == NoticeState::Sending);
        let mut settled = true;
        // Several may have gone out in one message: it is looked for once, and decided on once.
        let mut looked: HashMap<&str, Option<Message>> = HashMap::new();
        let mut may_come: HashMap<&str, bool> = HashMap::new();
        for notice in doubtful {
            // What was asked of a process that lives may still be carried out there: nobody else may
            // repeat it before that process is back, or gone.
            let sender = notice
                .connection
                .as_ref()
                .and_then(|process| process.parse::<ProcessId>().ok());
            if sender.is_some_and(|process| {
                self.0.hub.of_process(&process).is_none()
                    && self.0.hub.processes().is_alive(&process)
            }) {
                settled = false;
                continue;
            }
            let message = notice.message.as_deref().unwrap_or_default();
            if self.is_stored(message, &notice.model_part) {
                seen.push((notice, message));
                continue;
            }
            if self.is_awaited(message) {
                settled = false;
                continue;
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
                settled = false;
                continue;
            };
            let found = match looked.entry(message) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(api.message(parent, message).await?),
            };
            let parts = found.iter().flat_map(|found| &found.parts);
            if parts.into_iter().any(|part| part.id == notice.model_part) {
                seen.push((notice, message));
                continue;
            }
            let comes = match may_come.entry(message) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => {
                    *unknown.insert(self.may_come(parent, notice, message, alive, voice))
                }
            };
            if comes {
                settled = false;
            } else {
                let refused = lock(&self.0.state).unseen.get(&notice.delegation).copied();
                let refused = matches!(refused, Some(Unseen::Refused));
                self.forget_doubt(&notice.delegation);
                let store = &self.0.store;
                store.notice_back(&notice.delegation, !refused).await?;
            }
        }
        Ok(settled)
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

    /// A notice was seen in the session.
    pub(super) async fn delivered(
        &self,
        notice: &NoticeRow,
        message: &str,
    ) -> Result<(), StepError> {
        let whole = match self.0.store.get(&notice.delegation).await? {
            Some(row) => self.compose(notice, &row).await?.whole,
            None => false,
        };
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
