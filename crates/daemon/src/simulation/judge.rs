//! What must hold after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use brigade_core::delegation::{Actor, Event, Outcome, Reason, State as Standstate};
use brigade_core::id::Attempt;
use brigade_os::process::ProcessId;
use brigade_store::simulation::Standing;
use brigade_testkit::simulated::{State, World};

use super::SLOTS;
use super::history::{Deeds, Script};
use super::life::Ground;
use crate::processes::Processes;

/// One delegation, as its events tell it.
#[derive(Debug, Clone, Default)]
struct Told {
    attempt: Attempt,
    runner: String,
    runs: bool,
    interruptions: u32,
    own: u64,
    decided: Option<Outcome>,
    ended: bool,
    /// What was sent to it.
    messages: Vec<String>,
}

/// What has happened, to see that enough does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) interruptions: u64,
    /// Attempts on a server of Brigade's own.
    pub(super) own: u64,
    pub(super) offered: u64,
    pub(super) woken: u64,
    pub(super) cancelled: u64,
    /// Messages that were sent to delegations.
    pub(super) messages: u64,
    /// Further rounds of ended ones.
    pub(super) rounds: u64,
}

/// Watches a history.
#[derive(Default)]
pub(super) struct Judge {
    changes: Option<u64>,
    moment: u64,
    seq: i64,
    told: BTreeMap<i64, Told>,
    last: BTreeMap<i64, Standing>,
    drawn: u64,
    offered: BTreeSet<i64>,
}

impl Judge {
    pub(super) fn figures(&self) -> Figures {
        let told = self.told.values();
        let count =
            |holds: &dyn Fn(&&Standing) -> bool| self.last.values().filter(holds).count() as u64;
        Figures {
            interruptions: told.clone().map(|one| u64::from(one.interruptions)).sum(),
            own: told.clone().map(|one| one.own).sum(),
            messages: told.map(|one| one.messages.len() as u64).sum(),
            rounds: count(&|one| one.delegation.spec.continues.is_some()),
            offered: self.offered.len() as u64,
            woken: count(&|one| one.wake.is_some()),
            cancelled: count(&|one| one.delegation.state == Standstate::Cancelled),
        }
    }

    /// A number that no other piece of work has.
    pub(super) fn drawn(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    /// Looks at everything that has changed since the last time.
    pub(super) fn look(
        &mut self,
        ground: &Ground,
        world: &World,
        deeds: &Deeds,
        wrong: &mut Vec<String>,
    ) {
        let changes = Some(ground.disk.changes());
        if changes != self.changes {
            self.changes = changes;
            if let Err(error) = self.look_at_disk(ground, deeds, wrong) {
                wrong.push(error.to_string());
            }
        }
        let moment = world.read(State::moment);
        if moment != self.moment {
            self.moment = moment;
            world.read(|state| self.look_at_world(state, deeds, wrong));
        }
    }

    fn look_at_disk(
        &mut self,
        ground: &Ground,
        deeds: &Deeds,
        wrong: &mut Vec<String>,
    ) -> Result<(), brigade_store::StoreError> {
        for (seq, order, event) in ground.disk.events_after(self.seq)? {
            self.seq = seq;
            self.told
                .entry(order)
                .or_default()
                .hear(order, &event, ground, wrong);
        }
        let standings = ground.disk.standings()?;
        let running = standings
            .iter()
            .filter(|one| one.delegation.holds_slot())
            .count();
        if running > SLOTS {
            wrong.push(format!("{running} run in {SLOTS} slots"));
        }
        for id in deeds.known.keys() {
            if !standings
                .iter()
                .any(|one| one.delegation.spec.id.as_str() == id)
            {
                wrong.push(format!("{id} is lost"));
            }
        }
        for one in standings {
            let record = &one.delegation;
            let id = &record.spec.id;
            if let Some(last) = self.last.get(&one.order) {
                let before = &last.delegation;
                if before.state.is_terminal() && *record != *before {
                    wrong.push(format!("{id} had ended and is now {:?}", record.phase));
                }
                if before.outcome().is_some() && before.outcome() != record.outcome() {
                    wrong.push(format!("{id} was decided anew: {:?}", record.outcome()));
                }
                if record.attempt < before.attempt {
                    wrong.push(format!("{id} went back to attempt {}", record.attempt));
                }
                let told = matches!(last.notice.as_deref(), Some("delivered" | "needless"));
                if told && one.notice != last.notice {
                    wrong.push(format!(
                        "{id}: its notice was {:?} and is {:?}",
                        last.notice, one.notice
                    ));
                }
            }
            if one.notice.as_deref() == Some("leased") {
                self.offered.insert(one.order);
            }
            let newly = record.state.is_terminal()
                && !self
                    .last
                    .get(&one.order)
                    .is_some_and(|last| last.delegation.state.is_terminal());
            if newly {
                judge_end(&one, deeds, wrong);
            }
            self.last.insert(one.order, one);
        }
        Ok(())
    }

    fn look_at_world(&self, state: &State, deeds: &Deeds, wrong: &mut Vec<String>) {
        let parents: BTreeSet<&str> = self
            .last
            .values()
            .map(|one| one.delegation.spec.parent.as_str())
            .collect();
        for parent in parents {
            let mut seen = BTreeSet::new();
            for id in noticed(state, parent) {
                let ended = self.last.values().any(|one| {
                    one.delegation.spec.id.as_str() == id && one.delegation.state.is_terminal()
                });
                if !ended {
                    wrong.push(format!("{parent} was told of {id}, which has not ended"));
                }
                if !seen.insert(id.clone()) {
                    wrong.push(format!("{parent} was told twice of {id}"));
                }
            }
            let mut prompts: BTreeMap<String, usize> = BTreeMap::new();
            for child in state.children(parent) {
                let at_work: BTreeSet<&str> = state.processes_in(&child.id).into_iter().collect();
                if at_work.len() > 1 {
                    wrong.push(format!("{} runs in {at_work:?}", child.id));
                }
                let mut answered = BTreeSet::new();
                for message in child.messages.iter().filter(|m| m.info["finish"] == "stop") {
                    let prompt = message.info["parentID"].as_str().unwrap_or_default();
                    if !answered.insert(prompt) && !deeds.late {
                        wrong.push(format!("{prompt} in {} was answered twice", child.id));
                    }
                }
                let users = child.messages.iter().filter(|m| !m.is_assistant()).count();
                // Each round of a session has its prompts and messages.
                let rounds = self.last.values().filter(|one| {
                    let known = one.delegation.child.as_ref();
                    known.is_some_and(|known| known.as_str() == child.id)
                });
                let may: u32 = rounds
                    .map(|one| one.delegation.attempt.0 + one.delegation.messages)
                    .sum();
                if may > 0 && users > may as usize {
                    wrong.push(format!("{} was prompted {users} times for {may}", child.id));
                }
                let id = child.info["metadata"]["brigade"]["delegation"].as_str();
                let before = prompts
                    .entry(id.unwrap_or_default().to_owned())
                    .or_default();
                if *before > 0 && users > 0 {
                    wrong.push(format!("{id:?} was prompted in two children"));
                }
                *before += users;
            }
        }
    }

    /// Parents that have an owner were woken without anybody's doing.
    pub(super) fn woken<'a>(
        &self,
        world: &World,
        deeds: &Deeds,
        roots: impl IntoIterator<Item = &'a String>,
        wrong: &mut Vec<String>,
    ) {
        for root in roots {
            world.read(|state| judge_wakings(state, root, deeds, wrong));
        }
    }

    /// At the end, when nothing goes on any more.
    pub(super) fn conclude(
        &self,
        world: &World,
        deeds: &Deeds,
        roots: &[String],
        wrong: &mut Vec<String>,
    ) {
        for one in self.last.values() {
            let record = &one.delegation;
            let id = record.spec.id.as_str();
            if !record.state.is_terminal() {
                wrong.push(format!("{id} has not ended"));
                continue;
            }
            let parent = record.spec.parent.as_str();
            if deeds.deleted.contains(parent) {
                continue;
            }
            if let (Some(child), Standstate::Complete) = (&record.child, record.state) {
                let sent = self.told.get(&one.order).map(|told| &told.messages);
                let last = sent.and_then(|sent| sent.last());
                let text = one.artifact.as_ref().map(std::fs::read_to_string);
                // A later attempt is asked to go on after it, and answers that.
                if record.attempt.0 <= 1
                    && let (Some(last), Some(Ok(text))) = (last, text)
                    && !text.contains(last.trim_start_matches("@say "))
                {
                    wrong.push(format!("{id} ended without an answer to {last:?}: {text}"));
                }
                for message in sent.into_iter().flatten() {
                    let times = world.read(|state| {
                        let all = state.messages(child.as_str()).iter();
                        all.filter(|known| known.text() == *message).count()
                    });
                    if times != 1 && !record.only_collects() {
                        wrong.push(format!("{id} got {message:?} {times} times"));
                    }
                }
            }
            let notices = world.read(|state| state.notices(parent, id));
            match one.notice.as_deref() {
                Some("delivered") if notices == 1 => {}
                Some("needless") if notices == 0 && deeds.handed.contains(id) => {}
                notice => wrong.push(format!(
                    "{id}: the notice is {notice:?}, and {notices} stand in {parent}"
                )),
            }
        }
        for root in roots {
            world.read(|state| judge_wakings(state, root, deeds, wrong));
        }
    }
}

impl Told {
    fn hear(&mut self, order: i64, event: &Event, ground: &Ground, wrong: &mut Vec<String>) {
        let mut odd = |what: &str| wrong.push(format!("delegation {order}: {what}: {event:?}"));
        if self.ended {
            odd("something happened after its end");
        }
        match event {
            Event::Registered => {}
            Event::MessageSent { number, text, .. } => {
                self.messages.push(text.clone());
                if self.decided.is_some() || *number as usize != self.messages.len() {
                    odd("it takes no message");
                }
            }
            Event::Started {
                attempt,
                runner,
                own,
                ..
            } => {
                self.own += u64::from(*own);
                if self.runs || self.decided.is_some() || attempt.0 != self.attempt.0 + 1 {
                    odd("it can't start");
                }
                self.attempt = *attempt;
                self.runner.clone_from(runner);
                self.runs = true;
            }
            Event::ChildReady { attempt, .. }
            | Event::Prompted { attempt }
            | Event::StopOrdered { attempt, .. } => {
                if !self.runs || *attempt != self.attempt {
                    odd("an attempt that is over was heard");
                }
            }
            Event::Interrupted { attempt, why, .. } => {
                if !self.runs || *attempt != self.attempt {
                    odd("an attempt that is over was interrupted");
                }
                let lives = self
                    .runner
                    .parse::<ProcessId>()
                    .is_ok_and(|process| ground.population.is_alive(&process));
                // Without the proof of the process's end only its own word counts.
                let own_word = [
                    "closed the directory",
                    "never began",
                    "stopped without an end",
                ];
                if lives && !own_word.iter().any(|word| why.contains(word)) {
                    odd("its host lives");
                }
                self.runs = false;
                self.interruptions += 1;
            }
            Event::Decided {
                attempt, outcome, ..
            } => {
                if self.decided.is_some() || (self.runs && *attempt != self.attempt) {
                    odd("it was decided already, or by an attempt that is over");
                }
                self.runs = false;
                self.decided = Some(outcome.clone());
            }
            Event::Collected { .. } | Event::ArtifactFailed { .. } => {
                if self.decided.is_none() {
                    odd("it was not decided yet");
                }
            }
            Event::TakenBack { .. } => odd("its record was lost"),
            Event::Ended { outcome } => {
                if self.decided.as_ref() != Some(outcome) {
                    odd("it ends otherwise than it was decided");
                }
                self.ended = true;
            }
        }
    }
}

/// The delegations that a session was told of, in the order of its messages.
fn noticed(state: &State, session: &str) -> Vec<String> {
    let parts = state.messages(session).iter().flat_map(|m| &m.parts);
    let texts = parts.filter_map(|part| part["text"].as_str());
    let notices = texts.filter(|text| text.starts_with("<task-notification>"));
    notices
        .filter_map(|text| {
            let (_, rest) = text.split_once("<task-id>")?;
            let (id, _) = rest.split_once("</task-id>")?;
            Some(id.to_owned())
        })
        .collect()
}

/// A terminal state has its artifact, and it is the one that what was done leads to.
fn judge_end(one: &Standing, deeds: &Deeds, wrong: &mut Vec<String>) {
    let record = &one.delegation;
    let id = record.spec.id.as_str();
    let text = one.artifact.as_ref().map(std::fs::read_to_string);
    let Some(Ok(text)) = text else {
        wrong.push(format!("{id} is {} and has no artifact", record.state));
        return;
    };
    if !text.contains(&format!("**ID:** {id}")) {
        wrong.push(format!("{id} has somebody else's artifact: {text}"));
    }
    let Some(known) = deeds.known.get(id) else {
        return;
    };
    let Some(outcome) = record.outcome() else {
        return;
    };
    let first = record.attempt.0 <= 1;
    let child = record
        .child
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let wanted = deeds.cancelled.contains(id)
        || deeds.deleted.contains(known.root.as_str())
        || deeds.stopped.contains(&child);
    let fits = match (record.state, &outcome.reason) {
        (Standstate::Complete, _) => {
            let says = known.script == Script::Says || record.messages > 0;
            let own = says && text.contains(&known.word);
            // What was cut off is told to go on, and its model then says this.
            own || (!first && text.contains("\nok"))
        }
        // Whether a directory was opened before or after is told by the clock alone where a daemon has died.
        (Standstate::Cancelled, _) => wanted || deeds.back,
        (Standstate::Timeout, _) => deeds.passed >= Duration::from_secs(15 * 60),
        (_, Reason::Stalled { .. }) => deeds.passed >= Duration::from_secs(6 * 60),
        (_, Reason::Lost { attempts, .. }) => *attempts == record.spec.max_attempts,
        // The parent may be gone before anybody tells.
        (_, Reason::HostError { message }) => {
            deeds.deleted.contains(known.root.as_str()) && message.contains("404")
        }
        (_, Reason::ProviderError { .. }) => known.script == Script::Fails,
        (_, Reason::EmptyAnswer) => known.script == Script::Empty,
        _ => false,
    };
    if !fits {
        wrong.push(format!(
            "{id} in {child} ({known:?}) ended as {outcome:?} in attempt {}: {text}",
            record.attempt
        ));
    }
    let by_child = matches!(
        outcome.reason,
        Reason::Cancelled {
            by: Actor::PersonInHost
        }
    );
    if by_child && !deeds.stopped.contains(&child) && !deeds.back {
        wrong.push(format!("{id}: nobody has stopped its child"));
    }
}

/// Each notice was seen by a model, and no message that is not a person's was answered twice by one process.
fn judge_wakings(state: &State, root: &str, deeds: &Deeds, wrong: &mut Vec<String>) {
    let messages = state.messages(root);
    for (at, message) in messages.iter().enumerate() {
        let mut parts = message.parts.iter();
        let automatic = !message.is_assistant()
            && parts.all(|part| part["synthetic"] == true || part["ignored"] == true);
        if !automatic {
            continue;
        }
        let mut answered_by = BTreeSet::new();
        for request in state.requests_of(root) {
            let again = request.answers == message.id() && !answered_by.insert(&request.process);
            if again && !deeds.late {
                wrong.push(format!(
                    "{} in {root} was answered again by {}",
                    message.id(),
                    request.process
                ));
            }
        }
        let seen = messages[at..]
            .iter()
            .any(brigade_testkit::simulated::Message::is_assistant);
        if !seen {
            wrong.push(format!("{} in {root} was seen by no model", message.id()));
        }
    }
}
