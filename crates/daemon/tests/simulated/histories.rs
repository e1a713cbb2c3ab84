//! Histories by chance: delegations, persons, faults and crashes in whatever order a seed gives; at the end
//! everything heals, and then everything has to be in its place.
//!
//! `BRIGADE_HISTORIES=200` runs more of them, `BRIGADE_HISTORY=17` the one of this seed.

use std::collections::BTreeSet;
use std::time::Duration;

use brigade_protocol::delegations::{Cancel, Details};
use brigade_testkit::simulated::{Confirm, SimulatedHost, State};
use futures::{FutureExt, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::rig::Rig;

/// How many run unless the environment says otherwise, and how many of them at once.
const HISTORIES: u64 = 40;
const AT_ONCE: usize = 6;
/// How many things happen in each.
const ACTIONS: u32 = 30;
/// How many may run at once.
const SLOTS: usize = 3;

struct History {
    rig: Rig,
    rng: StdRng,
    hosts: Vec<SimulatedHost>,
    started: u32,
    roots: Vec<String>,
    /// Each with its root and the word that its answers hold.
    delegations: Vec<(String, String, String)>,
    gates: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_everything_is_in_its_place_at_the_end() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds: Vec<u64> = match number("BRIGADE_HISTORY") {
        Some(seed) => vec![seed],
        None => (1..=number("BRIGADE_HISTORIES").unwrap_or(HISTORIES)).collect(),
    };
    let runs = futures::stream::iter(seeds).map(|seed| async move {
        let ended = tokio::spawn(History::run(seed)).map(|ended| ended.is_ok());
        (seed, ended.await)
    });
    let ended: Vec<(u64, bool)> = runs.buffer_unordered(AT_ONCE).collect().await;
    let failed: Vec<u64> = ended
        .iter()
        .filter(|(_, ok)| !ok)
        .map(|(seed, _)| *seed)
        .collect();
    assert!(
        failed.is_empty(),
        "repeat one by BRIGADE_HISTORY={}: {failed:?}",
        failed[0]
    );
}

impl History {
    async fn run(seed: u64) {
        let rig = Rig::seeded(&format!("[limits]\nconcurrent = {SLOTS}\n"), seed).await;
        let mut history = Self {
            rig,
            rng: StdRng::seed_from_u64(seed),
            hosts: Vec::new(),
            started: 0,
            roots: Vec::new(),
            delegations: Vec::new(),
            gates: 0,
        };
        for _ in 0..2 {
            history.start_host().await;
        }
        for at in 0..3 {
            let root = history.rig.world.root();
            history.hosts[at % 2].person(&root, "hello");
            history.roots.push(root);
        }
        history.rig.faults.by_chance(seed, 8, 15, 2);
        for _ in 0..ACTIONS {
            history.act().await;
            // Time passes between what people do; how long is chance, too.
            let pause = Duration::from_millis(history.below(25));
            tokio::time::sleep(pause).await;
        }
        history.heal().await;
        history.judge(seed).await;
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.below(of as u64)).unwrap()
    }

    fn root(&mut self) -> String {
        let at = self.pick(self.roots.len());
        self.roots[at].clone()
    }

    async fn start_host(&mut self) {
        self.started += 1;
        let name = format!("h{}", self.started);
        let host = self.rig.host(&name).await;
        self.hosts.push(host);
    }

    async fn act(&mut self) {
        let at = self.pick(self.hosts.len());
        match self.below(20) {
            0..=6 => self.delegate(at).await,
            7..=10 => self.open_one(),
            11..=13 => {
                let (root, words) = (self.root(), self.words());
                self.hosts[at].person(&root, &words);
            }
            14 => self.read(at).await,
            15 => self.cancel().await,
            16 => self.hosts[at].reconnect().await.unwrap(),
            17 => self.rig.crash().await,
            18 => {
                let mut host = self.hosts.swap_remove(at);
                self.start_host().await;
                host.kill().await.unwrap();
            }
            _ => {
                let hours = i64::try_from(self.below(9)).unwrap() - 4;
                let now = self.rig.clock.millis();
                self.rig.set_clock(now + hours * 3_600_000).await;
            }
        }
    }

    fn gate(&mut self) -> String {
        self.gates += 1;
        format!("g{}", self.gates)
    }

    fn open_one(&mut self) {
        if self.gates > 0 {
            let gate = self.below(u64::from(self.gates)) + 1;
            self.rig.world.open(&format!("g{gate}"));
        }
    }

    fn words(&mut self) -> String {
        match self.below(3) {
            0 => "go on".to_owned(),
            1 => format!("@stream {}\n@say all right", self.gate()),
            _ => format!("@tool {}\n@say all right", self.gate()),
        }
    }

    async fn delegate(&mut self, at: usize) {
        let root = self.root();
        let word = format!("word{}x", self.delegations.len());
        let script = match self.below(6) {
            0 => format!("@stream {}\n@say {word}", self.gate()),
            1 => format!("@tool {}\n@say {word}", self.gate()),
            2 => format!("@ask read\n@say {word}"),
            3 => format!("@fail no {word}"),
            4 => "@empty".to_owned(),
            _ => format!("@say {word}"),
        };
        let prompt = format!("Piece of work: {word}\n{script}");
        // Refused where the host fails to tell its agents; the model is told to call again.
        let Ok(id) = self.hosts[at].delegate(&root, &prompt).await else {
            return;
        };
        self.delegations.push((id, root, word));
    }

    async fn read(&mut self, at: usize) {
        if self.delegations.is_empty() {
            return;
        }
        let which = self.pick(self.delegations.len());
        let (id, root, _) = self.delegations[which].clone();
        let confirm = match self.below(3) {
            0 => Confirm::Handed,
            1 => Confirm::Aborted,
            _ => Confirm::Nothing,
        };
        let patience = Duration::from_millis(self.below(60));
        // The person may lose patience, which aborts the call.
        let _answer =
            tokio::time::timeout(patience, self.hosts[at].read(&root, &id, confirm)).await;
    }

    async fn cancel(&mut self) {
        if self.delegations.is_empty() {
            return;
        }
        let which = self.pick(self.delegations.len());
        let cancel = Cancel {
            ids: vec![self.delegations[which].0.clone()],
            ..Cancel::default()
        };
        // It may have ended already, or the daemon be crashing just now.
        let _refused = self.rig.client().await.cancel(&cancel).await;
    }

    /// Nothing goes wrong any more, every model may go on, and every session has an owner.
    async fn heal(&mut self) {
        self.rig.faults.heal();
        let last = self.hosts.len() - 1;
        for gate in 0..self.gates {
            self.rig.world.open(&format!("g{}", gate + 1));
        }
        let ids: Vec<String> = self.delegations.iter().map(|(id, ..)| id.clone()).collect();
        self.rig.ended(&ids).await;
        for root in self.roots.clone() {
            self.hosts[last].person(&root, "go on");
        }
        for host in &self.hosts {
            // A read that nobody confirmed is let go with its connection.
            host.reconnect().await.unwrap();
        }
        self.rig.settled().await;
    }

    async fn judge(&mut self, seed: u64) {
        let mut wrong = Vec::new();
        for (id, root, word) in &self.delegations {
            let shown = self.rig.show(id).await;
            self.rig
                .world
                .read(|state| self.judge_one(state, &shown, root, word, &mut wrong));
        }
        for root in &self.roots {
            self.rig
                .world
                .read(|state| judge_wakings(state, root, &mut wrong));
        }
        let status = self.rig.client().await.status().await.unwrap();
        let left = (
            status.running,
            status.queued,
            status.waiting,
            status.notices_waiting,
        );
        if left != (0, 0, 0, 0) {
            wrong.push(format!("left over: {left:?}"));
        }
        assert!(
            wrong.is_empty(),
            "history {seed}: {wrong:#?}\n{}",
            self.rig.dump()
        );
        self.use_all_slots().await;
    }

    fn judge_one(
        &self,
        state: &State,
        shown: &Details,
        root: &str,
        word: &str,
        wrong: &mut Vec<String>,
    ) {
        let (id, summary) = (shown.summary.id.as_str(), &shown.summary);
        let file = summary.artifact.as_ref().map(std::fs::read_to_string);
        let Some(Ok(artifact)) = file else {
            wrong.push(format!("{id} is {} and has no artifact", summary.state));
            return;
        };
        let complete = summary.state.to_string() == "complete";
        if complete && !artifact.contains(word) && !artifact.contains("\nok") {
            wrong.push(format!("{id} has somebody else's answer: {artifact}"));
        }
        let expected = usize::from(shown.notice != "needless");
        if state.notices(root, id) != expected {
            let found = state.notices(root, id);
            wrong.push(format!("{id}: {found} notices, and it is {}", shown.notice));
        }
        let children = state.children(root);
        let ours = children
            .iter()
            .filter(|child| child.info["metadata"]["brigade"]["delegation"] == id);
        let prompted: Vec<_> = ours.filter(|child| !child.messages.is_empty()).collect();
        if prompted.len() > 1 {
            wrong.push(format!("{id} was prompted in {} children", prompted.len()));
        }
        let users = prompted
            .iter()
            .flat_map(|child| &child.messages)
            .filter(|m| !m.is_assistant());
        let prompts = users.count();
        if prompts > summary.attempt as usize {
            wrong.push(format!(
                "{id}: {prompts} prompts in {} attempts",
                summary.attempt
            ));
        }
        let decided = shown
            .timeline
            .iter()
            .filter(|entry| entry.event == "decided")
            .count();
        let ended = shown
            .timeline
            .iter()
            .filter(|entry| entry.event == "ended")
            .count();
        let last = shown.timeline.last().map(|entry| entry.event.as_str());
        if (decided, ended, last) != (1, 1, Some("ended")) {
            wrong.push(format!("{id}: {:?}", shown.timeline));
        }
    }

    /// No slot was lost: as many as there are can be at work at once.
    async fn use_all_slots(&mut self) {
        let last = self.hosts.len() - 1;
        let root = self.roots[0].clone();
        let before = self.rig.world.read(|state| state.children(&root).len());
        let mut ids = Vec::new();
        for at in 0..SLOTS {
            let prompt = format!("Last piece {at}\n@stream end");
            ids.push(self.hosts[last].delegate(&root, &prompt).await.unwrap());
        }
        let all = |state: &State| {
            let busy = state
                .children(&root)
                .into_iter()
                .skip(before)
                .filter(|child| state.is_busy(&child.id));
            (busy.count() == SLOTS).then_some(())
        };
        self.rig.until("all slots at work", all).await;
        self.rig.world.open("end");
        self.rig.ended(&ids).await;
    }
}

/// No message that is not a person's was answered twice by one process. Two that are in one session at once may
/// both answer it, and again while the other is still at it, as they do in the real host: while one is out of reach,
/// nobody can know that it is busy.
fn judge_wakings(state: &State, root: &str, wrong: &mut Vec<String>) {
    let messages = state.messages(root);
    let automatic = messages.iter().filter(|message| {
        let mut parts = message.parts.iter();
        let only = parts.all(|part| part["synthetic"] == true || part["ignored"] == true);
        !message.is_assistant() && only
    });
    for message in automatic {
        let mut answered_by = BTreeSet::new();
        for request in state.requests_of(root) {
            let first = request.answers != message.id() || answered_by.insert(&request.process);
            if !first && !request.beside_another {
                let (id, process) = (message.id(), &request.process);
                wrong.push(format!("{id} in {root} was answered again by {process}"));
            }
        }
    }
}
