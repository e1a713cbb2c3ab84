//! A history: what people, models, machine and chance do, one small step after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brigade_os::process::ProcessId;
use brigade_protocol::tools::Answer;
use brigade_store::simulation::Disk;
use brigade_testkit::FakeClock;
use brigade_testkit::simulated::{Confirm, Fault, State, World};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use super::DIRECTORY;
use super::host::{Host, Leaving, Micro};
use super::judge::{Figures, Judge};
use super::life::{Ground, Life};
use crate::config::Configs;
use crate::hosts::Connection;
use crate::http::Failure;
use crate::processes::Processes;

/// How many things happen in each history.
const ACTIONS: u64 = 30;
/// The gate that is always open: what is behind it happens a moment later.
const MOMENT: &str = "moment";

/// A delegation that was answered with an ID.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) root: String,
    /// What its answers hold.
    pub(super) word: String,
    pub(super) script: Script,
}

/// What a child's model does in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Says,
    Fails,
    Empty,
}

/// What was done to delegations, so that their ends can be judged.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    pub(super) known: BTreeMap<String, Known>,
    /// Somebody wanted it cancelled.
    pub(super) cancelled: BTreeSet<String>,
    /// A child that a person has stopped.
    pub(super) stopped: BTreeSet<String>,
    /// Sessions that were deleted.
    pub(super) deleted: BTreeSet<String>,
    /// Results that reached a call of the parent's own.
    pub(super) handed: BTreeSet<String>,
    /// A request may have been carried out long after it was given up.
    pub(super) late: bool,
    /// The clock went back.
    pub(super) back: bool,
    /// How much time has passed.
    pub(super) passed: Duration,
}

pub(super) enum Kind {
    Delegate { prompt: String, known: Known },
    Read { id: String, confirm: Confirm },
}

/// A tool's call.
pub(super) struct Tool {
    pub(super) host: usize,
    pub(super) session: String,
    pub(super) kind: Kind,
    /// None while it waits for the next connection.
    pub(super) call: Option<JoinHandle<Result<Answer, Failure>>>,
    pub(super) connection: String,
}

/// What a history came to.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) delegations: usize,
    pub(super) lives: u64,
    pub(super) kills: u64,
    pub(super) figures: Figures,
    pub(super) wrong: Vec<String>,
    pub(super) trace: Vec<String>,
}

pub(super) struct History {
    pub(super) ground: Ground,
    pub(super) world: Arc<World>,
    pub(super) hosts: Vec<Host>,
    pub(super) deeds: Deeds,
    pub(super) roots: Vec<String>,
    pub(super) trace: Vec<String>,
    pub(super) life: Option<Life>,
    pub(super) judge: Judge,
    rng: StdRng,
    seed: u64,
    lives: u64,
    kills: u64,
    pub(super) tools: Vec<Tool>,
    pub(super) dangling: Vec<Arc<Connection>>,
    connections: u64,
    pub(super) gates: u64,
    pub(super) ill: bool,
    /// How many of a hundred requests go wrong.
    pub(super) faults: u64,
    pub(super) wrong: Vec<String>,
}

impl History {
    /// A history in which nothing has happened yet.
    pub(super) fn new(seed: u64, disk: &Disk, folder: &Path, configs: &Configs) -> Self {
        let world = Arc::new(World::new(DIRECTORY));
        world.open(MOMENT);
        let clock = FakeClock::at(world.epoch());
        Self {
            ground: Ground::new(disk, folder, configs, clock, seed),
            world,
            hosts: Vec::new(),
            deeds: Deeds::default(),
            roots: Vec::new(),
            trace: Vec::new(),
            life: None,
            judge: Judge::default(),
            rng: StdRng::seed_from_u64(seed),
            seed,
            lives: 0,
            kills: 0,
            tools: Vec::new(),
            dangling: Vec::new(),
            connections: 0,
            gates: 0,
            ill: false,
            faults: 0,
            wrong: Vec::new(),
        }
    }

    /// One by chance, from its beginning to its end.
    pub(super) fn run(seed: u64, disk: &Disk, folder: &Path, configs: &Configs) -> Outcome {
        let mut history = Self::new(seed, disk, folder, configs);
        history.play();
        if !history.wrong.is_empty() {
            let world = history.world.read(State::dump);
            history.note(world);
        }
        Outcome {
            delegations: history.deeds.known.len(),
            lives: history.lives,
            kills: history.kills,
            figures: history.judge.figures(),
            wrong: history.wrong,
            trace: history.trace,
        }
    }

    fn play(&mut self) {
        self.begin();
        self.faults = [0, 2, 6, 15][self.pick(4)];
        for _ in 0..ACTIONS {
            self.act();
            let steps = self.below(60);
            for _ in 0..steps {
                self.micro();
            }
            if self.chance(20) {
                let ms = [1, 30, 300, 2_000, 12_000][self.pick(5)];
                self.pass(Duration::from_millis(ms));
            }
            self.check();
            if !self.wrong.is_empty() {
                return;
            }
        }
        self.settle();
    }

    /// Two hosts, each with a session of its own.
    pub(super) fn begin(&mut self) {
        self.start_host("tui");
        self.start_host("serve");
        for at in 0..2 {
            let root = self.world.root();
            self.hosts[at].direct.person(&root, "hello");
            self.roots.push(root);
        }
        self.quiet();
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.rng.next_u64() % limit
    }

    pub(super) fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.below(of as u64)).unwrap()
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    pub(super) fn check(&mut self) {
        let mut wrong = std::mem::take(&mut self.wrong);
        self.judge
            .look(&self.ground, &self.world, &self.deeds, &mut wrong);
        self.wrong = wrong;
    }

    // The daemon.

    pub(super) fn start_daemon(&mut self) {
        self.lives += 1;
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(self.lives);
        match Life::start(&self.ground, seed) {
            Ok(life) => {
                self.note(format!("daemon {} starts", self.lives));
                self.life = Some(life);
            }
            Err(error) => self.note(format!("the daemon can't start: {error}")),
        }
    }

    pub(super) fn serves(&mut self) -> bool {
        match self.life.as_mut().map(Life::serves) {
            None => false,
            Some(Ok(served)) => served,
            Some(Err(error)) => {
                self.note(format!("the daemon gives up: {error}"));
                self.life = None;
                false
            }
        }
    }

    pub(super) fn crash(&mut self) {
        if self.life.is_none() {
            return;
        }
        self.note("the daemon is killed".to_owned());
        for host in &mut self.hosts {
            drop(host.lose());
        }
        self.dangling.clear();
        for tool in &mut self.tools {
            tool.call = None;
        }
        self.life = None;
    }

    /// Lets time pass, for everybody.
    pub(super) fn pass(&mut self, time: Duration) {
        if time > Duration::from_millis(500) {
            // A host that quits is gone within this time.
            for at in 0..self.hosts.len() {
                while self.hosts[at].leaving.is_some() {
                    self.leave(at);
                }
            }
        }
        if time >= Duration::from_millis(100) {
            // What a host has accepted is stored within this time.
            for host in self
                .hosts
                .iter()
                .filter(|host| host.alive && !host.suspended)
            {
                for which in (0..host.direct.going_on()).rev() {
                    host.direct.go_on(which);
                }
            }
        }
        // The daemon gives a request up after 35 s, and the host carries it out all the same.
        let waits = |host: &Host| host.alive && host.is_asked();
        self.deeds.late |= time >= Duration::from_secs(30) && self.hosts.iter().any(waits);
        self.tend_servers();
        self.note(format!("{} ms pass", time.as_millis()));
        self.serves();
        if let Some(life) = &self.life {
            life.pass(time);
        }
        self.deeds.passed += time;
        self.ground
            .clock
            .advance(i64::try_from(time.as_millis()).unwrap());
    }

    // The hosts.

    pub(super) fn start_host(&mut self, mode: &str) {
        let pid = u32::try_from(self.hosts.len()).unwrap() + 101;
        let host = Host::start(&self.world, pid, mode);
        self.ground.population.begin(host.process);
        self.note(format!("{} starts ({mode})", host.direct.name()));
        self.hosts.push(host);
    }

    pub(super) fn living(&mut self) -> Option<usize> {
        let living: Vec<usize> = (0..self.hosts.len())
            .filter(|at| self.hosts[*at].alive && !self.hosts[*at].worker)
            .collect();
        if living.is_empty() {
            return None;
        }
        let at = self.pick(living.len());
        Some(living[at])
    }

    pub(super) fn cut(&mut self, at: usize) {
        let name = self.hosts[at].direct.name().to_owned();
        if let Some(connection) = self.hosts[at].lose() {
            self.note(format!("{name} loses its connection {}", connection.id));
            self.dangling.push(connection);
            if self.chance(60) {
                self.notice_cut();
            }
        }
    }

    /// The daemon notices that connections are gone.
    pub(super) fn notice_cut(&mut self) {
        let gone = std::mem::take(&mut self.dangling);
        if let Some(life) = &self.life {
            for connection in gone {
                life.within(|api| api.engine.hub().disconnect(&connection));
            }
        }
    }

    pub(super) fn kill(&mut self, at: usize) {
        self.kills += 1;
        let host = &mut self.hosts[at];
        let name = host.direct.name().to_owned();
        host.alive = false;
        host.leaving = None;
        let process = host.process;
        let connection = host.lose();
        host.direct.dies();
        self.ground.population.finish(&process);
        self.dangling.extend(connection);
        self.tools.retain(|tool| {
            if tool.host == at
                && let Some(call) = &tool.call
            {
                call.abort();
            }
            tool.host != at
        });
        self.note(format!("{name} is gone"));
        if self.chance(70) {
            self.notice_cut();
        }
    }

    pub(super) fn leave(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let name = host.direct.name().to_owned();
        match host.leaving {
            None => {}
            Some(Leaving::Aborting { quits }) => {
                host.leaving = Some(Leaving::Disposed { quits });
                host.direct.disposes();
                self.note(format!("{name} disposes of its directory"));
            }
            Some(Leaving::Disposed { quits: false }) => {
                host.leaving = None;
                host.direct.opens(self.ground.clock.millis());
                self.note(format!("{name} opens its directory again"));
            }
            Some(Leaving::Disposed { quits: true }) => self.kill(at),
        }
    }

    /// Servers of Brigade's own that were started, or ended by the daemon.
    pub(super) fn tend_servers(&mut self) {
        while let Some(process) = self.ground.yard.opened() {
            let mut host = Host::start(&self.world, process.pid, "worker");
            host.process = process;
            // Its bridge is loaded with its first directory.
            host.offline = true;
            self.note(format!("a server of our own: {process}"));
            self.hosts.push(host);
        }
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            if host.alive && !self.ground.population.is_alive(&host.process) {
                self.kill(at);
            }
        }
    }

    /// Answers what the daemon asks a server of its own directly.
    pub(super) fn serve(&mut self, well: bool) {
        let hosts = &self.hosts;
        let serves = |process: &ProcessId| {
            let host = hosts.iter().find(|host| host.process == *process);
            host.is_some_and(|host| host.alive && !host.suspended && host.listening)
        };
        let opens = self.ground.yard.answer(serves, well);
        if let Some(process) = opens
            && let Some(host) = self.hosts.iter_mut().find(|host| host.process == process)
        {
            host.offline = false;
            if !host.direct.is_open() {
                host.direct.opens(self.ground.clock.millis());
            }
        }
    }

    /// One small step of somebody.
    pub(super) fn micro(&mut self) {
        self.ground.clock.advance(1);
        self.tend_servers();
        if self.chance(10)
            && let Some(host) = self.hosts.iter_mut().find(|host| !host.listening)
        {
            host.listening = true;
        }
        if self.ground.yard.is_asked() && self.chance(20) {
            let well = !self.chance(self.faults);
            self.serve(well);
            return;
        }
        if self.life.is_none() {
            if self.chance(25) {
                self.start_daemon();
            }
        } else if self.chance(40) {
            let tasks = self.below(6) + 1;
            if let Some(life) = &self.life {
                life.run(tasks);
            }
            return;
        }
        if self.chance(4) && !self.dangling.is_empty() {
            self.notice_cut();
            return;
        }
        if self.chance(15) && !self.tools.is_empty() {
            let at = self.pick(self.tools.len());
            self.go_on_with_tool(at);
            return;
        }
        let served = self.serves();
        let at = self.pick(self.hosts.len());
        let micros = self.hosts[at].micros(served);
        if micros.is_empty() {
            return;
        }
        let micro = micros[self.pick(micros.len())];
        self.host_does(at, micro);
    }

    pub(super) fn host_does(&mut self, at: usize, micro: Micro) {
        match micro {
            Micro::Connect => {
                self.connections += 1;
                // As the real ones, later ones sort later.
                let name = format!("c{:05}", self.connections);
                if let Some(life) = &self.life {
                    self.hosts[at].connect(life, &name);
                }
                self.note(format!(
                    "{} connects as {name}",
                    self.hosts[at].direct.name()
                ));
            }
            Micro::NoticeClosed => self.cut(at),
            Micro::Take => self.hosts[at].take(),
            Micro::Carry => self.carry(at),
            Micro::GoOn => {
                let which = self.hosts[at].direct.going_on();
                let which = self.pick(which);
                self.hosts[at].direct.go_on(which);
            }
            Micro::Post => {
                let twice = self.chance(self.faults);
                if let Some(life) = &self.life {
                    self.hosts[at].post(life, twice);
                }
            }
            Micro::Posted => {
                let heard = match &self.life {
                    Some(life) => self.hosts[at].posted(life),
                    None => true,
                };
                if !heard {
                    self.cut(at);
                }
            }
            Micro::Leave => self.leave(at),
        }
    }

    fn carry(&mut self, at: usize) {
        let which = self.hosts[at].direct.waiting();
        // In the order in which they came, as a rule.
        let which = if self.chance(80) { 0 } else { self.pick(which) };
        let fault = if self.chance(self.faults) {
            Some(match self.below(10) {
                0 => Fault::LostRequest,
                1 => Fault::LostReply,
                2 => Fault::BreakBefore,
                3 => Fault::BreakAfter,
                4 => Fault::CrashBefore,
                5 => Fault::CrashAfter,
                _ => Fault::Status(500),
            })
        } else {
            None
        };
        // Prompts are stored a moment after they were accepted, as often as not.
        let later = Fault::Accepted(MOMENT.to_owned());
        let accepted = fault.is_none() && self.chance(50) && self.hosts[at].direct.is_prompt(which);
        let fault = if accepted { Some(later) } else { fault };
        let name = self.hosts[at].direct.name().to_owned();
        let done = self.hosts[at].direct.carry_out(which, fault.as_ref());
        self.note(format!("{name}: {} {fault:?}", done.unwrap_or_default()));
        match fault {
            Some(Fault::BreakBefore | Fault::BreakAfter) => self.cut(at),
            Some(Fault::CrashBefore | Fault::CrashAfter) => self.crash(),
            _ => {}
        }
    }
}
