//! Notices without an owner to speak through: leased to one bridge, which puts them into the
//! person's next message in that session.

use std::sync::Arc;

use brigade_core::id::{DelegationId, SessionId};
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Down;
use brigade_store::{NoticeRow, NoticeState, StoreError};
use futures::future::try_join_all;

use super::{Delivery, StepError, compose};
use crate::failpoint;
use crate::hosts::{Connection, lock};

/// The channel's name in the store, before the lease's number.
const CHANNEL: &str = "message:";

/// What a bridge holds for a session.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// The lease's number.
    pub(super) lease: u64,
    /// The host's process.
    pub(super) process: ProcessId,
    /// Whether it has been asked back.
    pub(super) withdrawn: bool,
    /// Whether this daemon has made it: what became of an earlier one's is not known.
    pub(super) ours: bool,
}

/// The lease that a row names, if it went over this channel.
pub(super) fn lease_of(notice: &NoticeRow) -> Option<u64> {
    notice
        .channel
        .as_deref()?
        .strip_prefix(CHANNEL)?
        .parse()
        .ok()
}

impl Delivery {
    /// Leases these notices to a bridge. The lease is in the store before the bridge hears of it.
    pub(super) async fn offer(
        &self,
        parent: &SessionId,
        connection: &Arc<Connection>,
        notices: &[&NoticeRow],
    ) -> Result<(), StepError> {
        // Unique over restarts, so that a lease of an earlier daemon is never taken for a new one, and
        // among parents that are served in the same moment.
        let now = u64::try_from(self.0.clock.now().as_microsecond()).unwrap_or(0);
        let lease = {
            let mut state = lock(&self.0.state);
            state.last_lease = now.max(state.last_lease + 1);
            state.last_lease
        };
        let ids: Vec<DelegationId> = notices.iter().map(|n| n.delegation.clone()).collect();
        let composed = notices.iter().map(|notice| self.composed(notice));
        let composed = try_join_all(composed).await?;
        let parts = compose::message(parent, composed.iter().flatten());
        let leased = self
            .0
            .store
            .lease_notices(
                ids,
                format!("{CHANNEL}{lease}"),
                connection.process.to_string(),
            )
            .await?;
        if !leased {
            return Ok(());
        }
        failpoint::pass("offer-leased");
        lock(&self.0.state).offers.insert(
            parent.to_string(),
            Offer {
                lease,
                process: connection.process,
                withdrawn: false,
                ours: true,
            },
        );
        connection.send(Down::Offer {
            session: parent.to_string(),
            lease,
            parts,
        });
        Ok(())
    }

    /// Settles leases as far as that is possible now. True when none is left.
    pub(super) async fn settle_leases(
        &self,
        parent: &SessionId,
        notices: &[NoticeRow],
        wanted_back: bool,
    ) -> Result<bool, StepError> {
        let leased: Vec<&NoticeRow> = notices
            .iter()
            .filter(|notice| notice.state == NoticeState::Leased)
            .collect();
        let Some(first) = leased.first() else {
            self.forget_offer(parent);
            return Ok(true);
        };
        let (ours, returned) = {
            let state = lock(&self.0.state);
            let ours = |offer: &Offer| offer.ours;
            (
                state.offers.get(parent.as_str()).is_some_and(ours),
                state.returned.get(parent.as_str()).copied(),
            )
        };
        if returned.is_some() && returned == lease_of(first) {
            // What another daemon has offered may have been used, and told to it while it could record nothing.
            let settled = if ours {
                self.return_all(&leased).await?
            } else {
                self.read_for(parent, &leased).await?
            };
            if settled {
                self.forget_offer(parent);
                self.poke(parent.as_str());
            }
            return Ok(false);
        }
        let Some(process) = first
            .connection
            .as_ref()
            .and_then(|process| process.parse::<ProcessId>().ok())
        else {
            return self.return_all(&leased).await;
        };
        if let Some(connection) = self.0.hub.of_process(&process) {
            let (ask, lease) = {
                let mut state = lock(&self.0.state);
                match state.offers.get_mut(parent.as_str()) {
                    Some(offer) => {
                        let ask = wanted_back && !offer.withdrawn;
                        offer.withdrawn |= wanted_back;
                        (ask, offer.lease)
                    }
                    // An earlier daemon's lease: whatever came of it, ask it back.
                    None => {
                        let lease = lease_of(first).unwrap_or(0);
                        state.offers.insert(
                            parent.to_string(),
                            Offer {
                                lease,
                                process,
                                withdrawn: true,
                                ours: false,
                            },
                        );
                        (true, lease)
                    }
                }
            };
            if ask {
                connection.send(Down::Withdraw {
                    session: parent.to_string(),
                    lease,
                });
            }
            return Ok(false);
        }
        if self.0.hub.processes().is_alive(&process) {
            // It may come back and say that it has used the offer; or it ends, and the session tells.
            lock(&self.0.state).offers.remove(parent.as_str());
            self.await_exit(process);
            return Ok(false);
        }
        // The process is proven gone: the session tells whether the offer went into a message.
        lock(&self.0.state).offers.remove(parent.as_str());
        self.read_for(parent, &leased).await
    }

    pub(super) fn forget_offer(&self, parent: &SessionId) {
        let mut state = lock(&self.0.state);
        state.offers.remove(parent.as_str());
        state.returned.remove(parent.as_str());
    }

    /// Reads the session for leased notices: each has reached it, or is nobody's any more. False where nobody can
    /// read it now.
    async fn read_for(&self, parent: &SessionId, leased: &[&NoticeRow]) -> Result<bool, StepError> {
        let Some(api) = self.reader(parent, &leased[0].delegation).await? else {
            return Ok(false);
        };
        for notice in leased {
            let found = api
                .messages_since(parent, std::slice::from_ref(&notice.model_part))
                .await;
            let found = match found {
                // Deleted while nobody listened.
                Err(error) if error.is_not_found() => {
                    self.parent_gone(parent.as_str()).await;
                    return Ok(true);
                }
                found => found?,
            };
            match found.first() {
                Some(message) => {
                    self.delivered(notice, &message.info.id).await?;
                }
                None => {
                    self.0.store.notice_back(&notice.delegation, false).await?;
                }
            }
        }
        Ok(true)
    }

    async fn return_all(&self, leased: &[&NoticeRow]) -> Result<bool, StepError> {
        for notice in leased {
            self.0.store.notice_back(&notice.delegation, false).await?;
        }
        Ok(true)
    }

    /// The bridge has put an offer into a person's message. Whether the host stored it is seen in the
    /// session. Told twice, it is recorded once.
    ///
    /// # Errors
    /// When it could not be recorded; the lease stands, and the bridge tells it again.
    pub(crate) async fn taken(
        &self,
        process: ProcessId,
        session: &str,
        lease: u64,
        message: &str,
    ) -> Result<(), StoreError> {
        let Ok(parent) = session.parse::<SessionId>() else {
            return Ok(());
        };
        let notices = self.0.store.open_notices(&parent).await?;
        failpoint::pass("offer-taken");
        let of_lease = || notices.iter().filter(|n| lease_of(n) == Some(lease));
        if let Some(first) = of_lease().next() {
            let ids: Vec<_> = of_lease().map(|n| n.delegation.clone()).collect();
            let channel = format!("{CHANNEL}{lease}");
            let holder = first.connection.clone().unwrap_or_default();
            let store = &self.0.store;
            store
                .sending_notices(ids.clone(), message.to_owned(), channel, holder, Vec::new())
                .await?;
            let mut state = lock(&self.0.state);
            state.taken.extend(ids.into_iter().map(|id| (id, process)));
        }
        lock(&self.0.state).offers.remove(session);
        self.poke(session);
        Ok(())
    }

    /// The bridge has given an offer back unused. The next look at the parent records it, as often as it takes.
    pub(crate) fn released(&self, session: &str, lease: u64) {
        lock(&self.0.state)
            .returned
            .insert(session.to_owned(), lease);
        self.poke(session);
    }
}
