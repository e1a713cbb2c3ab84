//! The end: everything heals, and then everything has to come to its place.

use std::collections::BTreeSet;
use std::time::Duration;

use brigade_store::simulation::Standing;
use brigade_testkit::simulated::State;

use super::history::History;
use super::host::{Host, Micro};
use super::life::Ills;
use crate::hosts::lock;

impl History {
    /// Everything heals; what can go on by itself does.
    pub(super) fn settle(&mut self) {
        self.note("everything heals".to_owned());
        self.faults = 0;
        *lock(&self.ground.ills) = Ills::default();
        for gate in 1..=self.gates {
            self.world.open(&format!("g{gate}"));
        }
        for at in 0..self.hosts.len() {
            self.hosts[at].suspended = false;
            self.hosts[at].offline &= self.hosts[at].worker;
            while self.hosts[at].leaving.is_some() {
                self.leave(at);
            }
        }
        let lasting = |host: &Host| host.alive && !host.worker && !host.is_transient();
        if !self.hosts.iter().any(lasting) {
            self.start_host("tui");
        }
        if !self.settled(|_, standing| standing.delegation.state.is_terminal()) {
            return self.stuck("did not end");
        }
        // A read that nobody has confirmed is let go with its connection.
        for at in 0..self.hosts.len() {
            self.cut(at);
        }
        self.notice_cut();
        self.quiet();
        // Where there is an owner, its parent needs nobody.
        let owned: BTreeSet<String> = self
            .roots
            .iter()
            .filter(|root| self.is_owned(root))
            .cloned()
            .collect();
        let told = |standing: &Standing| {
            !matches!(
                standing.notice.as_deref(),
                Some("pending" | "leased" | "sending")
            ) && !matches!(standing.wake.as_deref(), Some("due" | "sending"))
        };
        if !self.settled(|_, standing| {
            !owned.contains(standing.delegation.spec.parent.as_str()) || told(standing)
        }) {
            return self.stuck("were not told to a parent with an owner");
        }
        if self.wrong.is_empty() {
            let mut wrong = std::mem::take(&mut self.wrong);
            self.judge
                .woken(&self.world, &self.deeds, &owned, &mut wrong);
            self.wrong = wrong;
        }
        let last = self
            .hosts
            .iter()
            .rposition(|host| host.alive && !host.worker && !host.is_transient());
        if let Some(last) = last {
            for root in self.roots.clone() {
                self.hosts[last].direct.person(&root, "go on");
            }
        }
        if !self.settled(|_, standing| told(standing)) {
            return self.stuck("were not told");
        }
        self.check();
        let mut wrong = std::mem::take(&mut self.wrong);
        self.judge
            .conclude(&self.world, &self.deeds, &self.roots, &mut wrong);
        // What has failed and is needed no more is forgotten with the pause before the next try.
        self.pass(Duration::from_secs(301));
        self.quiet();
        if let Some(life) = &self.life {
            let engine = &life.api.engine;
            let (active, holders, troubles) =
                (engine.active(), engine.holders(), engine.troubles().list());
            if active != 0 || !holders.is_empty() || !troubles.is_empty() {
                wrong.push(format!(
                    "left over: {active} active, slots {holders:?}, troubles {troubles:?}"
                ));
            }
        } else {
            wrong.push("there is no daemon at the end".to_owned());
        }
        self.wrong = wrong;
    }

    fn is_owned(&self, root: &str) -> bool {
        let life = self.life.as_ref();
        life.is_some_and(|life| life.api.engine.hub().owner(root).is_some())
    }

    pub(super) fn stuck(&mut self, how: &str) {
        let standings = self.ground.disk.standings().unwrap_or_default();
        let left: Vec<String> = standings
            .iter()
            .map(|one| {
                let record = &one.delegation;
                format!(
                    "{} {} {:?} attempt {} notice {:?} wake {:?}",
                    record.spec.id,
                    record.state,
                    record.phase,
                    record.attempt,
                    one.notice,
                    one.wake
                )
            })
            .collect();
        let life = self.life.as_ref();
        let troubles = life.map(|life| life.api.engine.troubles().list());
        let owners: Vec<_> = self
            .roots
            .iter()
            .map(|root| life.and_then(|life| life.api.engine.hub().owner(root)))
            .collect();
        let world = self.world.read(State::dump);
        self.wrong.push(format!(
            "some {how}: {left:#?} {troubles:?} {owners:?}\n{world}"
        ));
    }

    /// Lets everything go on, and time pass, until this holds for all delegations.
    pub(super) fn settled(&mut self, mut holds: impl FnMut(&Self, &Standing) -> bool) -> bool {
        for round in 0..90 {
            self.quiet();
            self.check();
            if !self.wrong.is_empty() {
                return true;
            }
            let standings = match self.ground.disk.standings() {
                Ok(standings) => standings,
                Err(error) => {
                    self.wrong.push(error.to_string());
                    return true;
                }
            };
            if self.tools.is_empty() && standings.iter().all(|standing| holds(self, standing)) {
                return true;
            }
            let ms = match round {
                0..20 => 250,
                20..40 => 2_000,
                _ => 31_000,
            };
            self.pass(Duration::from_millis(ms));
        }
        false
    }

    /// Everybody does what there is to do, until there is nothing.
    pub(super) fn quiet(&mut self) {
        for _ in 0..500 {
            if self.life.is_none() {
                self.start_daemon();
            }
            if let Some(life) = &self.life {
                life.pass(Duration::from_millis(1));
            }
            self.tend_servers();
            let served = self.serves();
            let mut busy = !served || !self.dangling.is_empty();
            for host in &mut self.hosts {
                host.listening = true;
            }
            while self.ground.yard.is_asked() {
                self.serve(true);
                busy = true;
            }
            self.notice_cut();
            let before = self.world.read(State::moment);
            for at in 0..self.hosts.len() {
                for which in (0..self.hosts[at].direct.going_on()).rev() {
                    for _ in 0..4 {
                        self.hosts[at].direct.go_on(which);
                    }
                }
                while self.host_goes_on(at, served) {
                    busy = true;
                }
            }
            for at in (0..self.tools.len()).rev() {
                let before = self.tools.len();
                self.go_on_with_tool(at);
                busy |= self.tools.len() != before;
            }
            let after = self.world.read(State::moment);
            if !busy && before == after {
                return;
            }
        }
        self.wrong.push("it never comes to rest".to_owned());
    }

    /// A host does the first thing that there is to do but for its models' turns. False if there is none.
    fn host_goes_on(&mut self, at: usize, served: bool) -> bool {
        let micros = self.hosts[at].micros(served);
        let next = micros.into_iter().find(|micro| *micro != Micro::GoOn);
        if let Some(micro) = next {
            self.host_does(at, micro);
        }
        next.is_some()
    }

    /// The daemon goes on, and then a host by one step.
    pub(super) fn step(&mut self, at: usize) {
        if let Some(life) = &self.life {
            life.pass(Duration::from_millis(1));
        }
        let served = self.serves();
        self.host_goes_on(at, served);
    }
}
