//! One look at a parent's notices: settle doubts and leases, then send what can go, then wake.

use std::sync::Arc;

use brigade_agents::opencode::Api;
use brigade_core::id::{DelegationId, SessionId};
use brigade_protocol::bridge::Activity;
use brigade_store::{NoticeRow, NoticeState, WakeRow};

use super::gather::{GATHER, Gathered};
use super::{Delivery, StepError};
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
}
