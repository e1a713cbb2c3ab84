//! What histories have found, each by itself.

use std::path::Path;
use std::time::Duration;

use brigade_core::delegation::{Phase, State};
use brigade_store::simulation::{Disk, Standing};
use brigade_testkit::simulated::Fault;

use super::history::{History, Kind, Known, Script};
use super::host::Micro;
use super::life::Ills;
use crate::config::Configs;
use crate::hosts::lock;

/// A history that goes as the test says, with two hosts in one session each.
fn staged(test: impl FnOnce(&mut History)) {
    let folder = super::folder();
    let disk = Disk::new().unwrap();
    let configs = Configs::load(Path::new("/nonexistent/config.toml")).unwrap();
    let mut history = History::new(1, &disk, folder.path(), &configs);
    history.begin();
    test(&mut history);
    assert!(
        history.wrong.is_empty(),
        "{:?}\n{:#?}",
        history.wrong,
        history.trace
    );
}

impl History {
    /// Has the first host's session delegate this, and waits until everything that follows is done.
    fn delegated(&mut self, body: &str) -> Standing {
        self.delegates(body);
        self.quiet();
        self.standing()
    }

    /// Has the first host's session, which is returned, delegate this.
    fn delegates(&mut self, body: &str) -> String {
        let root = self.roots[0].clone();
        let known = Known {
            root: root.clone(),
            word: "done".to_owned(),
            script: Script::Says,
        };
        let prompt = format!("Piece of work\n{body}");
        self.begin_tool(0, &root, Kind::Delegate { prompt, known });
        root
    }

    /// Lets the first host go on until the next that it is to do is a prompt.
    fn step_to_a_prompt(&mut self) {
        for _ in 0..1_000 {
            if self.hosts[0].direct.is_prompt(0) {
                return;
            }
            self.step(0);
            for which in (0..self.hosts[0].direct.going_on()).rev() {
                self.hosts[0].direct.go_on(which);
            }
        }
        self.wrong.push("no prompt came".to_owned());
    }

    fn standing(&self) -> Standing {
        self.ground.disk.standings().unwrap().remove(0)
    }

    fn owner_lives(&self) -> bool {
        let hub = self.life.as_ref().unwrap().api.engine.hub();
        hub.owner(&self.roots[0])
            .is_none_or(|owner| hub.processes().is_alive(&owner.process))
    }
}

#[test]
fn a_batch_heard_after_its_connections_end_makes_nobody_an_owner() {
    staged(|history| {
        let root = history.roots[0].clone();
        history.hosts[0]
            .direct
            .person(&root, "@stream g\n@say done");
        history.host_does(0, Micro::Post);
        history.life.as_ref().unwrap().run(1);
        // On its way when the process ends, and heard only after that was noticed.
        history.kill(0);
        history.notice_cut();
        history.quiet();
        assert!(history.owner_lives());
    });
}

#[test]
fn a_wish_that_could_not_be_stored_takes_no_place_in_the_order() {
    staged(|history| {
        let running = history.delegated("@stream g\n@say done");
        assert_eq!(running.delegation.phase, Phase::Working);
        let full = Ills {
            writes: 100,
            ..Ills::default()
        };
        *lock(&history.ground.ills) = full;
        history.cancel();
        history.quiet();
        *lock(&history.ground.ills) = Ills::default();
        history.kill(0);
        history.world.open("g");
        let ended = history.settled(|_, one| one.delegation.state.is_terminal());
        assert!(ended, "{:?}", history.standing().delegation.phase);
        assert_eq!(history.standing().delegation.state, State::Complete);
    });
}

#[test]
fn what_a_reload_aborts_is_no_persons_wish_even_if_no_daemon_has_heard_of_it() {
    staged(|history| {
        let running = history.delegated("@stream g\n@say done");
        let child = running.delegation.child.unwrap().to_string();
        history.pass(Duration::from_millis(50));
        history.crash();
        history.hosts[0].direct.aborts_all();
        history.hosts[0].direct.disposes();
        history.hosts[0].direct.opens(history.ground.clock.millis());
        history.world.open("g");
        let ended = history.settled(|_, one| one.delegation.state.is_terminal());
        assert!(ended, "{:?}", history.standing().delegation.phase);
        let record = history.standing().delegation;
        assert_eq!((record.state, record.attempt.0), (State::Complete, 2));
        assert_eq!(record.child.unwrap().as_str(), child);
    });
}

#[test]
fn a_prompt_that_a_host_takes_in_as_it_wakes_is_not_posted_again() {
    staged(|history| {
        let root = history.delegates("@say done");
        // Suspended with the prompt in its queue, until the daemon has given it up and looks for it.
        history.step_to_a_prompt();
        history.hosts[0].suspended = true;
        history.pass(Duration::from_secs(50));
        history.hosts[0].suspended = false;
        while history.hosts[0].direct.waiting() < 2 {
            history.host_does(0, Micro::Take);
        }
        let moment = Fault::Accepted("moment".to_owned());
        history.hosts[0].direct.carry_out(0, Some(&moment));
        while history.hosts[0].direct.waiting() > 0 {
            history.host_does(0, Micro::Carry);
        }
        let ended = history.settled(|_, one| one.delegation.state.is_terminal());
        assert!(ended, "{:?}", history.standing().delegation.phase);
        let posts = history.world.read(|state| {
            let calls = state.calls.iter();
            calls
                .filter(|call| call.line.contains("prompt_async") && !call.line.contains(&root))
                .count()
        });
        assert_eq!(posts, 1);
    });
}

#[test]
fn a_waking_that_was_accepted_as_the_daemon_died_is_not_repeated_by_the_next() {
    staged(|history| {
        let root = history.roots[0].clone();
        history.delegated("@stream g\n@say done");
        history.world.open("g");
        history.step_to_a_prompt();
        let later = Fault::Accepted("later".to_owned());
        history.hosts[0].direct.carry_out(0, Some(&later));
        history.crash();
        history.start_daemon();
        // The next one has long looked for it when it is stored.
        for _ in 0..50 {
            history.step(0);
        }
        history.world.open("later");
        let told = history.settled(|_, one| one.delegation.state.is_terminal());
        assert!(told, "{:?}", history.standing().delegation.phase);
        let prompts = format!("POST /session/{root}/prompt_async");
        assert_eq!(history.world.read(|state| state.done(&prompts)), 1);
        assert_eq!(
            history.world.read(|state| state.requests_of(&root).len()),
            2
        );
    });
}
