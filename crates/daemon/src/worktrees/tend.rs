//! Removing worktrees: once nothing in them can be lost, or because somebody says so.

use std::time::Duration;

use brigade_core::delegation::{Changes, Delegation, Worktree};
use brigade_core::id::DelegationId;
use brigade_protocol::changes::Discarded;
use brigade_store::{ApplyRow, ApplyState, StoreError, WorktreeRow, WorktreeState};
use brigade_worktree::{held, remove_all, remove_tree};

use super::{NotApplied, Worktrees, begun};
use crate::failpoint;
use crate::hosts::lock;

/// Why the files of a worktree stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// They are gone.
    Gone,
    /// They hold what is in no patch, in words.
    Holds(Vec<String>),
    /// It could not be told, or they could not be removed.
    Failed(String),
}

impl Worktrees {
    /// Removes the files of an ended delegation's worktree where everything in them is in its patch. What is needed
    /// to apply that stays.
    pub(crate) async fn let_go(&self, record: &Delegation) -> Kept {
        let Some(worktree) = &record.spec.worktree else {
            return Kept::Gone;
        };
        let _turn = self.0.changing.lock().await;
        match self.try_let_go(record, worktree).await {
            Ok(kept) => kept,
            Err(why) => {
                tracing::warn!(id = %record.spec.id, why, "a worktree could not be removed");
                Kept::Failed(why)
            }
        }
    }

    async fn try_let_go(&self, record: &Delegation, worktree: &Worktree) -> Result<Kept, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let store = &self.0.parts.store;
        let row = store.worktree(&worktree.id).await;
        let Some(row) = row.map_err(|error| words(&error))? else {
            return Ok(Kept::Gone);
        };
        // A further round works in it, or has.
        if row.delegation != record.spec.id || row.ended_at.is_none() {
            return Ok(Kept::Holds(vec![format!(
                "{} goes on in it",
                row.delegation
            )]));
        }
        if !matches!(row.state, WorktreeState::Taken | WorktreeState::Ready) {
            return Ok(Kept::Gone);
        }
        let holds = self.holds(record, worktree).await?;
        if !holds.is_empty() {
            return Ok(Kept::Holds(holds));
        }
        failpoint::pass("worktree-unneeded");
        // On record first: a further round that is registered from here on lays them out anew.
        let claimed = store.claim_worktree(&worktree.id, &record.spec.id, WorktreeState::Removed);
        if !claimed.await.map_err(|error| words(&error))? {
            return Ok(Kept::Holds(vec![
                "a further round goes on in it".to_owned(),
            ]));
        }
        lock(&self.0.stands).remove(&worktree.id);
        failpoint::pass("worktree-claimed");
        self.part_with_server(&worktree.id).await;
        if let Err(error) = remove_tree(&self.place(&worktree.id), &self.0.steps).await {
            self.still_there(&row)
                .await
                .map_err(|error| words(&error))?;
            return Err(words(&error));
        }
        failpoint::pass("worktree-removed");
        let bytes = brigade_worktree::usage(&self.folder(&worktree.id)).await;
        store
            .set_worktree(&worktree.id, WorktreeState::Removed, bytes, None)
            .await
            .map_err(|error| words(&error))?;
        tracing::info!(id = %worktree.id, "the files of a worktree are removed");
        Ok(Kept::Gone)
    }

    async fn part_with_server(&self, id: &DelegationId) {
        let servers = &self.0.parts.servers;
        servers.part_with(&self.folder(id)).await;
    }

    /// Takes back that the files of a worktree were to be removed, where they have not been. Says whether it did.
    pub(super) async fn still_there(&self, row: &WorktreeRow) -> Result<bool, StoreError> {
        if !self.place(&row.id).tree().exists() {
            return Ok(false);
        }
        let store = &self.0.parts.store;
        store
            .set_worktree(&row.id, WorktreeState::Ready, row.bytes, None)
            .await?;
        Ok(true)
    }

    /// What a worktree holds that is in no patch, in words.
    async fn holds(&self, record: &Delegation, worktree: &Worktree) -> Result<Vec<String>, String> {
        let place = self.place(&worktree.id);
        // Before it has a child, nobody but us has worked there.
        if !place.tree().exists() || record.child.is_none() {
            return Ok(Vec::new());
        }
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let begun = begun(&place)?;
        let tree = match &record.changes {
            Some(changes) => changes.tree.clone(),
            None => {
                let beginning = self.beginning(&record.spec, worktree).await;
                beginning.map_err(|error| words(&error))?
            }
        };
        let holds = held(&place, &begun, &tree).await;
        let holds = holds.map_err(|error| words(&error))?;
        Ok(holds.iter().map(ToString::to_string).collect())
    }

    /// Throws an ended delegation's worktree away, and with it what is needed to apply it. The patch stays.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub(crate) async fn discard(
        &self,
        record: &Delegation,
        force: bool,
    ) -> Result<Discarded, NotApplied> {
        let id = &record.spec.id;
        let Some(worktree) = &record.spec.worktree else {
            let why = format!("{id} only reads: there is nothing to discard");
            return Err(NotApplied::Refused(why));
        };
        if !record.state.is_terminal() {
            return Err(NotApplied::Refused(format!(
                "{id} is {}: cancel it before its worktree is discarded",
                record.state
            )));
        }
        let patch = record
            .changes
            .as_ref()
            .and_then(|changes| changes.patch.clone());
        let mut discarded = Discarded {
            id: id.clone(),
            gone: false,
            held: Vec::new(),
            freed: 0,
            patch,
        };
        let _turn = self.0.changing.lock().await;
        let store = &self.0.parts.store;
        let row = store.worktree(&worktree.id).await?;
        let Some(row) = row.filter(|row| row.state != WorktreeState::Discarded) else {
            discarded.gone = true;
            return Ok(discarded);
        };
        if row.delegation != *id || row.ended_at.is_none() {
            return Err(NotApplied::Refused(format!(
                "{} goes on in its worktree: discard that one",
                row.delegation
            )));
        }
        if !force {
            let holds = self.holds(record, worktree).await;
            discarded.held = holds.map_err(NotApplied::Failed)?;
            discarded.held.extend(self.holds_of_others(&worktree.id));
            if !discarded.held.is_empty() {
                return Ok(discarded);
            }
        }
        discarded.freed = brigade_worktree::usage(&self.folder(&worktree.id)).await;
        failpoint::pass("worktree-unneeded");
        // On record first: what a crash leaves is then known to be nobody's.
        let claimed = store.claim_worktree(&worktree.id, id, WorktreeState::Discarded);
        if !claimed.await? {
            let why = format!("a further round of {id} has just begun in its worktree");
            return Err(NotApplied::Refused(why));
        }
        lock(&self.0.stands).remove(&worktree.id);
        self.part_with_server(&worktree.id).await;
        remove_all(&self.place(&worktree.id), &self.0.steps)
            .await
            .map_err(|error| NotApplied::Failed(error.to_string()))?;
        failpoint::pass("worktree-removed");
        discarded.gone = true;
        tracing::info!(id = %worktree.id, force, "a worktree is discarded");
        Ok(discarded)
    }

    /// Removes the files of those whose time is up, whenever that is; does not return.
    pub(crate) async fn expire(&self) {
        loop {
            let next = match self.expire_now().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "worktrees could not be looked through");
                    Some(LOOK_AGAIN)
                }
            };
            tokio::select! {
                () = self.0.ended.notified() => {}
                () = tokio::time::sleep(next.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)) => {}
            }
        }
    }

    /// The same for those whose time is up now, and says when the next one's is.
    async fn expire_now(&self) -> Result<Option<Duration>, StoreError> {
        let store = &self.0.parts.store;
        let now = self.0.parts.clock.now();
        let mut next: Option<Duration> = None;
        for row in store.worktrees().await? {
            let Some(ended) = row.ended_at else {
                continue;
            };
            let Some(record) = store.get(&row.delegation).await?.map(|row| row.delegation) else {
                continue;
            };
            // What there is to apply stays, an earlier round's too; where nothing was changed, a further round would be
            // all that needs it.
            let unchanged = record.spec.continues.is_none()
                && record.changes.as_ref().is_none_or(Changes::is_empty);
            let has_files = matches!(row.state, WorktreeState::Taken | WorktreeState::Ready);
            if !has_files && !unchanged {
                continue;
            }
            let Some(keep) = self
                .0
                .parts
                .configs
                .for_directory(&record.spec.directory)
                .worktree
                .keep
            else {
                continue;
            };
            let age = now.duration_since(ended).unsigned_abs();
            // A clock that was set back makes nothing older.
            let age = if now < ended { Duration::ZERO } else { age };
            match keep.checked_sub(age) {
                Some(left) if !left.is_zero() => {
                    next = Some(next.map_or(left, |next| next.min(left)));
                }
                _ if has_files => {
                    self.let_go(&record).await;
                }
                _ => {
                    if let Err(error) = self.discard(&record, false).await {
                        tracing::warn!(id = %record.spec.id, %error, "a worktree in which nothing was changed stays");
                    }
                }
            }
        }
        Ok(next)
    }

    /// What an unrecorded worktree holds that it did not begin with, in words.
    pub(crate) async fn unrecorded(&self, id: &DelegationId) -> Vec<String> {
        let place = self.place(id);
        let mut holds = self.holds_of_others(id);
        if !place.tree().exists() {
            // What has been changed there is in no patch that a record names.
            if place.has_result() {
                holds.push(format!(
                    "{} (what was changed there)",
                    place.vault().display()
                ));
            }
            return holds;
        }
        match begun(&place) {
            Ok(begun) => match held(&place, &begun, &begun.base).await {
                Ok(held) => holds.extend(held.iter().map(ToString::to_string)),
                Err(error) => holds.push(error.to_string()),
            },
            Err(why) => holds.push(why),
        }
        holds
    }

    /// Whether all that a delegation has changed is in a tree.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn is_applied(&self, id: &DelegationId) -> Result<bool, StoreError> {
        let applies = self.0.parts.store.applies(id).await?;
        let whole = |row: &ApplyRow| row.apply.whole && row.state == ApplyState::Applied;
        Ok(applies.iter().any(whole))
    }

    /// A delegation with a worktree has ended.
    pub(crate) fn has_ended(&self) {
        self.0.ended.notify_one();
    }
}

/// At the latest after this long it is looked whether the time of one is up: the machine may have slept.
const LOOK_AGAIN: Duration = Duration::from_hours(6);
