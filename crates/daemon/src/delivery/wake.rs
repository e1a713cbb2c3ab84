//! Waking a parent whose batch has ended: one model request, however many wakings are due.

use std::collections::HashSet;
use std::time::Duration;

use brigade_agents::opencode::{PromptBody, fixed_part_id};
use brigade_core::id::{DelegationId, SessionId};
use brigade_core::text::notice;
use brigade_os::process::ProcessId;
use brigade_store::{NoticeRow, WakeRow};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::Instant;

use super::step::Voice;
use super::{Delivery, StepError, compose};
use crate::failpoint;
use crate::hosts::lock;
use crate::processes::Processes;

/// How long a waking that the host has accepted may go without any sign before the session is read for
/// it; measured: the session is busy 60 to 100 ms after.
const PROOF: Duration = Duration::from_secs(10);
/// How long after it has accepted a message the host may take to store it; measured: 60 to 100 ms.
pub(super) const STORED: Duration = Duration::from_millis(500);
/// How often a parent is asked in vain before it is left asleep: its own model or agent is broken then,
/// and the person will see it.
const TRIES: u32 = 3;

/// A waking that was sent.
#[derive(Debug, Clone)]
pub(super) struct Woken {
    /// The message that asks for the reply.
    message: String,
    /// On which connection; empty where the host did not say that it has accepted it.
    connection: String,
    /// The host's process.
    process: ProcessId,
    /// When.
    at: Instant,
    /// How often by now.
    tries: u32,
    /// The session that is woken.
    parent: SessionId,
    /// The parts of the message that the host was heard to have stored.
    stored: HashSet<String>,
    /// Whether the session may have done something since: then only the session itself tells what has become of the message.
    acted: bool,
}

impl Woken {
    /// Whether it is this session that is woken.
    pub(super) fn is_for(&self, parent: &str) -> bool {
        self.parent.as_str() == parent
    }

    /// Whether a proof may still come: the process lives.
    pub(super) fn may_be_proven(&self, processes: &dyn Processes) -> bool {
        processes.is_alive(&self.process)
    }
}

/// A waking for a batch whose notices stand in the session.
struct Told<'a> {
    wake: &'a WakeRow,
    /// The last of them.
    last: NoticeRow,
}

impl Told<'_> {
    /// What is to be answered: a waking's own message, where there is one, comes after the notices.
    fn messages(&self) -> impl Iterator<Item = &str> {
        let messages = [&self.last.message, &self.wake.message];
        messages.into_iter().flatten().map(String::as_str)
    }
}

impl Delivery {
    /// Asks for a reply to this message, on behalf of all these wakings. The intent is stored already.
    pub(super) async fn ask(
        &self,
        parent: &SessionId,
        voice: &Voice,
        wakes: &[&WakeRow],
        message: &str,
        body: &PromptBody,
    ) -> Result<(), StepError> {
        for wake in wakes {
            let mut state = lock(&self.0.state);
            let tries = state
                .woken
                .get(&wake.delegation)
                .map_or(0, |woken| woken.tries);
            let woken = Woken {
                message: message.to_owned(),
                connection: voice.connection.id.clone(),
                process: voice.connection.process,
                at: Instant::now(),
                tries: tries + 1,
                parent: parent.clone(),
                stored: HashSet::new(),
                acted: false,
            };
            state.woken.insert(wake.delegation.clone(), woken);
        }
        failpoint::pass("waking-planned");
        if let Err(error) = voice.api.prompt_async(parent, body).await {
            // In doubt: the session will be read for it, and it counts as no try.
            let mut state = lock(&self.0.state);
            for wake in wakes {
                if let Some(woken) = state.woken.get_mut(&wake.delegation) {
                    woken.connection.clear();
                    woken.tries -= 1;
                    woken.at = Instant::now();
                }
            }
            drop(state);
            self.poke_after(parent, STORED);
            return Err(error.into());
        }
        failpoint::pass("waking-sent");
        self.poke_after(parent, PROOF);
        tracing::info!(%parent, wakings = wakes.len(), message, "the parent was woken");
        Ok(())
    }

    /// Takes over the wakings that an earlier daemon had planned: the host may have accepted one a moment before that
    /// daemon died, and not stored it yet.
    pub(super) fn adopt(&self, parent: &SessionId, voice: &Voice, wakes: &[WakeRow]) {
        let planned = wakes
            .iter()
            .filter_map(|wake| Some((&wake.delegation, wake.message.as_ref()?)));
        let mut adopted = false;
        let mut state = lock(&self.0.state);
        for (delegation, message) in planned {
            if !state.woken.contains_key(delegation) {
                let woken = Woken {
                    message: message.clone(),
                    connection: String::new(),
                    process: voice.connection.process,
                    at: Instant::now(),
                    tries: 0,
                    parent: parent.clone(),
                    stored: HashSet::new(),
                    acted: true,
                };
                state.woken.insert(delegation.clone(), woken);
                adopted = true;
            }
        }
        drop(state);
        if adopted {
            self.poke_after(parent, STORED);
        }
    }

    /// Whether the waking that this delegation's end made due is on its way.
    fn is_waking(&self, id: &DelegationId) -> bool {
        let woken = lock(&self.0.state).woken.get(id).cloned();
        woken.is_some_and(|woken| self.is_on_its_way(&woken))
    }

    /// Whether this message is one that wakes, and is on its way. Which delegation's end has made that waking due says
    /// nothing: the last notice of a batch, which asks for the reply, may be another's.
    pub(super) fn is_asking(&self, message: &str) -> bool {
        let state = lock(&self.0.state);
        let asking = state.woken.values().find(|woken| woken.message == message);
        let asking = asking.cloned();
        drop(state);
        asking.is_some_and(|woken| self.is_on_its_way(&woken))
    }

    /// A part of a session's message was stored: the proof that a message which wakes stands there.
    pub(crate) fn stored(&self, message: &str, part: &str) {
        let mut state = lock(&self.0.state);
        let woken = state
            .woken
            .values_mut()
            .filter(|one| one.message == message);
        for woken in woken {
            woken.stored.insert(part.to_owned());
        }
    }

    /// A session has done something: a message that was to wake it may be answered by now.
    pub(crate) fn acted(&self, session: &str) {
        let mut state = lock(&self.0.state);
        let woken = state.woken.values_mut();
        for woken in woken.filter(|one| one.is_for(session)) {
            woken.acted = true;
        }
    }

    /// Whether the host was heard to have stored this part of a message that wakes.
    pub(super) fn is_stored(&self, message: &str, part: &str) -> bool {
        let state = lock(&self.0.state);
        let mut woken = state.woken.values();
        woken.any(|one| one.message == message && one.stored.contains(part))
    }

    /// Whether this message, which wakes, is on its way and its session has done nothing since: nothing can be seen there yet,
    /// and the host, which prepares the answer just now, is not asked.
    pub(super) fn is_awaited(&self, message: &str) -> bool {
        let state = lock(&self.0.state);
        let mut woken = state.woken.values();
        let awaited = woken.find(|one| one.message == message && !one.acted);
        let awaited = awaited.cloned();
        drop(state);
        awaited.is_some_and(|woken| self.is_on_its_way(&woken))
    }

    /// In whichever host has accepted it and may store it in a moment, or in one that lives, is out of reach, and may
    /// still carry it out. That another process owns the session by now changes nothing about it.
    fn is_on_its_way(&self, woken: &Woken) -> bool {
        match self.0.hub.of_process(&woken.process) {
            Some(now) if now.id == woken.connection => woken.at.elapsed() < PROOF,
            Some(_) => woken.at.elapsed() < STORED,
            None => self.0.hub.processes().is_alive(&woken.process),
        }
    }

    /// Wakes the parent for notices that stand in its session already, with no model request since.
    pub(super) async fn wake(
        &self,
        parent: &SessionId,
        voice: &Voice,
        wakes: &[WakeRow],
        open: &[NoticeRow],
    ) -> Result<(), StepError> {
        let mut planned = wakes.iter().map(|wake| wake.message.as_deref());
        if planned.all(|message| message.is_some_and(|message| self.is_awaited(message))) {
            return Ok(());
        }
        let mut told = Vec::new();
        for wake in wakes {
            if open.iter().any(|notice| notice.batch == wake.batch) {
                continue;
            }
            match self.0.store.last_delivered(parent, wake.batch).await? {
                Some(last) => told.push(Told { wake, last }),
                // A batch whose every result was read by tool calls needs no waking.
                None => self.woke(wake).await?,
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        let sought: Vec<&str> = told.iter().flat_map(Told::messages).collect();
        let Some(tail) = self.tail(parent, &voice.api, &sought).await? else {
            return Ok(());
        };
        let mut due = Vec::new();
        for one in &told {
            let wake = one.wake;
            if one.messages().any(|message| tail.answered(message)) {
                self.woke(wake).await?;
            } else if self.is_waking(&wake.delegation) {
                // That request will see everything that is stored by now.
                return Ok(());
            } else if self.is_hopeless(&wake.delegation) {
                tracing::warn!(%parent, "the parent was asked {TRIES} times and made no model request; it is left asleep");
                self.woke(wake).await?;
            } else {
                due.push(one);
            }
        }
        let Some(first) = due.first() else {
            return Ok(());
        };
        let wakes: Vec<&WakeRow> = due.iter().map(|one| one.wake).collect();
        // What was planned before and is stored is asked for again; else a message of its own is made.
        let planned = wakes.iter().filter_map(|wake| wake.message.as_deref());
        let planned = planned.filter(|message| tail.holds(message)).max();
        let notices = match planned {
            Some(message) => self.0.store.told_by(parent, message).await?,
            None => Vec::new(),
        };
        let parts = if notices.is_empty() {
            self.waking_parts(parent, &wakes, first.last.batch_size)
                .await?
        } else {
            let composed = notices.iter().map(|notice| self.composed(notice));
            let composed = try_join_all(composed).await?;
            compose::message(parent, composed.iter().flatten())
        };
        let message = planned.map_or_else(|| self.message_id(tail.last_id()), str::to_owned);
        let body = tail.body(&message, parts, false);
        let ids = wakes.iter().map(|wake| wake.delegation.clone()).collect();
        self.0.store.wakes_sending(ids, message.clone()).await?;
        self.ask(parent, voice, &wakes, &message, &body).await
    }

    /// The message that only wakes, for a batch of so many. Its parts are fixed by the delegation whose end made the first
    /// of these wakings due.
    async fn waking_parts(
        &self,
        parent: &SessionId,
        wakes: &[&WakeRow],
        batch: usize,
    ) -> Result<Vec<Value>, StepError> {
        let Some(first) = wakes.first() else {
            return Ok(Vec::new());
        };
        let row = self.0.store.get(&first.delegation).await?;
        let decided = row.and_then(|row| row.delegation.decided_at);
        let at = decided.map_or(0, |at| u64::try_from(at.as_millisecond()).unwrap_or(0));
        let id = |kind| fixed_part_id(&first.delegation, kind, at);
        let rendered = notice::render_waking(batch);
        let model = (id("wake/model"), rendered.model);
        let person = (id("wake/person"), rendered.person);
        Ok(vec![
            compose::part(parent, &model, compose::SYNTHETIC),
            compose::part(parent, &person, compose::IGNORED),
        ])
    }

    /// Ends what would wake for a batch of which nothing stands in the session or is to come: a parent that has
    /// read every result itself may never be spoken to again.
    pub(super) async fn drop_needless_wakes(
        &self,
        parent: &SessionId,
        wakes: &[WakeRow],
        open: &[NoticeRow],
    ) -> Result<(), StepError> {
        for wake in wakes {
            let awaited = open.iter().any(|notice| notice.batch == wake.batch);
            if !awaited
                && self
                    .0
                    .store
                    .last_delivered(parent, wake.batch)
                    .await?
                    .is_none()
            {
                self.woke(wake).await?;
            }
        }
        Ok(())
    }

    /// A waking needs nothing more.
    async fn woke(&self, wake: &WakeRow) -> Result<(), StepError> {
        lock(&self.0.state).woken.remove(&wake.delegation);
        self.0.store.wake_done(&wake.delegation).await?;
        Ok(())
    }

    fn is_hopeless(&self, id: &DelegationId) -> bool {
        lock(&self.0.state)
            .woken
            .get(id)
            .is_some_and(|woken| woken.tries >= TRIES)
    }
}
