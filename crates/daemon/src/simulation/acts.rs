//! What people, programs and the machine do.

use std::time::Duration;

use brigade_protocol::delegations::{Cancel, Message};
use brigade_testkit::simulated::Confirm;

use super::history::{History, Kind, Known, Script};
use super::host::Leaving;
use super::life::Ills;
use crate::hosts::lock;
use crate::http::direct;

impl History {
    pub(super) fn root(&mut self) -> String {
        let at = self.pick(self.roots.len());
        self.roots[at].clone()
    }

    fn some_id(&mut self) -> Option<String> {
        if self.deeds.known.is_empty() {
            return None;
        }
        let at = self.pick(self.deeds.known.len());
        self.deeds.known.keys().nth(at).cloned()
    }

    fn gate(&mut self) -> String {
        self.gates += 1;
        format!("g{}", self.gates)
    }

    pub(super) fn act(&mut self) {
        self.recover();
        let Some(at) = self.living() else {
            self.start_host("tui");
            return;
        };
        match self.below(41) {
            0..=11 => self.delegate(at),
            12..=15 => {
                if self.gates > 0 {
                    let gate = self.below(self.gates) + 1;
                    self.world.open(&format!("g{gate}"));
                }
            }
            16..=18 => self.person(at),
            19..=20 => self.read(at),
            21 => self.cancel(),
            22 => self.cut(at),
            23 => self.crash(),
            24..=25 => {
                let all: Vec<usize> = (0..self.hosts.len())
                    .filter(|at| self.hosts[*at].alive)
                    .collect();
                let which = all[self.pick(all.len())];
                self.kill(which);
            }
            26..=27 => self.leaves(at),
            28 => {
                let host = &mut self.hosts[at];
                host.suspended = host.leaving.is_none();
                self.note(format!("{} is suspended", self.hosts[at].direct.name()));
            }
            29 => {
                self.hosts[at].offline = true;
                self.note(format!("{} is offline", self.hosts[at].direct.name()));
                self.cut(at);
            }
            30..=31 => self.ail(),
            32 => {
                let minutes = i64::try_from(self.below(480)).unwrap() - 240;
                self.ground.clock.advance(minutes * 60_000);
                self.deeds.back |= minutes < 0;
                self.note(format!("the clock jumps by {minutes} minutes"));
            }
            33 => self.abort(at),
            34 => {
                if self.chance(20) {
                    self.ground.yard.refuse();
                }
                let mode = ["tui", "run", "serve"][self.pick(3)];
                self.start_host(mode);
            }
            35 => {
                if self.chance(20) {
                    self.delete(at);
                }
            }
            36..=38 => self.send(),
            _ => {
                let ms = [5_000, 40_000, 130_000, 400_000, 1_000_000][self.pick(5)];
                self.pass(Duration::from_millis(ms));
            }
        }
    }

    /// Nothing stays bad for ever.
    fn recover(&mut self) {
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            if host.suspended && self.chance(25) {
                self.hosts[at].suspended = false;
                self.note(format!("{} goes on", self.hosts[at].direct.name()));
            }
            let host = &self.hosts[at];
            if host.offline && !host.worker && self.chance(25) {
                self.hosts[at].offline = false;
                self.note(format!("{} is online", self.hosts[at].direct.name()));
            }
        }
        if self.chance(20) && std::mem::take(&mut self.ill) {
            *lock(&self.ground.ills) = Ills::default();
            self.note("the disk is well".to_owned());
        }
    }

    /// A host quits, or disposes of its directory: what runs there is aborted first.
    fn leaves(&mut self, at: usize) {
        let quits = self.chance(60);
        let host = &mut self.hosts[at];
        if host.suspended || host.leaving.is_some() {
            return;
        }
        host.leaving = Some(Leaving::Aborting { quits });
        host.direct.aborts_all();
        let how = if quits { "quits" } else { "reloads" };
        self.note(format!("{} {how}", self.hosts[at].direct.name()));
    }

    fn delegate(&mut self, at: usize) {
        if self.hosts[at].suspended {
            return;
        }
        let root = self.root();
        let word = format!("word{}x", self.judge.drawn());
        let (kind, body) = match self.below(9) {
            0 | 1 => (
                Script::Says,
                format!("@stream {}\n@say {word}", self.gate()),
            ),
            2 | 3 => (Script::Says, format!("@tool {}\n@say {word}", self.gate())),
            4 => (Script::Says, format!("@ask read\n@say {word}")),
            5 => (Script::Fails, format!("@fail no {word}")),
            6 => (Script::Empty, "@empty".to_owned()),
            _ => (Script::Says, format!("@say {word}")),
        };
        let prompt = format!("Piece of work: {word}\n{body}");
        let known = Known {
            root: root.clone(),
            word,
            script: kind,
        };
        self.begin_tool(at, &root, Kind::Delegate { prompt, known });
    }

    fn person(&mut self, at: usize) {
        if self.hosts[at].suspended {
            return;
        }
        let root = self.root();
        let words = match self.below(3) {
            0 => "go on".to_owned(),
            1 => format!("@stream {}\n@say all right", self.gate()),
            _ => format!("@tool {}\n@say all right", self.gate()),
        };
        self.note(format!(
            "{}: the person writes in {root}: {words:?}",
            self.hosts[at].direct.name()
        ));
        self.hosts[at].direct.person(&root, &words);
    }

    fn read(&mut self, at: usize) {
        if self.hosts[at].suspended {
            return;
        }
        if self.chance(30) && !self.tools.is_empty() {
            // The person loses patience.
            let which = self.pick(self.tools.len());
            let tool = self.tools.swap_remove(which);
            if let Some(call) = &tool.call {
                call.abort();
            }
            self.hosts[tool.host].direct.ends_tool(&tool.session);
            return;
        }
        let Some(id) = self.some_id() else {
            return;
        };
        let session = if self.chance(80) {
            self.deeds.known[&id].root.clone()
        } else {
            self.root()
        };
        if self.deeds.deleted.contains(&session) {
            return;
        }
        let confirm = [
            Confirm::Handed,
            Confirm::Handed,
            Confirm::Aborted,
            Confirm::Nothing,
        ][self.pick(4)];
        self.begin_tool(at, &session, Kind::Read { id, confirm });
    }

    pub(super) fn cancel(&mut self) {
        if !self.serves() {
            return;
        }
        let Some(id) = self.some_id() else {
            return;
        };
        let request = Cancel {
            ids: vec![id.clone()],
            ..Cancel::default()
        };
        if let Some(life) = &self.life {
            drop(life.spawn(direct::cancel(life.api.clone(), request)));
        }
        self.note(format!("{id} is to be cancelled"));
        self.deeds.cancelled.insert(id);
    }

    /// A message, which has a delegation's word in it: whatever it is answered with, the result holds that.
    fn send(&mut self) {
        if !self.serves() {
            return;
        }
        let Some(id) = self.some_id() else {
            return;
        };
        let number = self.judge.drawn();
        let word = &self.deeds.known[&id].word;
        let message = Message {
            message: format!("@say {word} message{number}x"),
            directory: None,
        };
        if let Some(life) = &self.life {
            drop(life.spawn(direct::send(life.api.clone(), id.clone(), message)));
        }
        self.note(format!("message{number}x is sent to {id}"));
    }

    fn abort(&mut self, at: usize) {
        let root = self.root();
        let children: Vec<String> = self.world.read(|state| {
            let children = state.children(&root);
            children.iter().map(|child| child.id.clone()).collect()
        });
        if self.chance(50) || children.is_empty() {
            self.note(format!("escape in {root}"));
            self.hosts[at].direct.aborts(&root);
            return;
        }
        let child = children[self.pick(children.len())].clone();
        self.note(format!("escape in {child}"));
        self.hosts[at].direct.aborts(&child);
        self.deeds.stopped.insert(child);
    }

    fn delete(&mut self, at: usize) {
        if self.hosts[at].suspended {
            return;
        }
        let which = self.pick(self.roots.len());
        let root = self.world.root();
        let gone = std::mem::replace(&mut self.roots[which], root);
        self.note(format!("{gone} is deleted"));
        self.hosts[at].direct.deletes(&gone);
        self.deeds.deleted.insert(gone);
    }

    /// The disk falls ill, or recovers.
    fn ail(&mut self) {
        let percent = [30, 100][self.pick(2)];
        self.ill = true;
        let ills = match self.below(5) {
            0 => Ills {
                writes: percent,
                ..Ills::default()
            },
            1 => Ills {
                files: percent,
                ..Ills::default()
            },
            2 => Ills {
                files_done: percent,
                ..Ills::default()
            },
            3 => Ills {
                reads: 30,
                ..Ills::default()
            },
            _ => Ills {
                writes: percent,
                files: percent,
                ..Ills::default()
            },
        };
        self.note(format!("the disk: {ills:?}"));
        *lock(&self.ground.ills) = ills;
    }
}
