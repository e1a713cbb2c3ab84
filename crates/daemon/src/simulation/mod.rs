//! The engine in a simulation: the real engine, delivery and hub in one thread, on simulated hosts, processes,
//! disk and time. A seed decides what happens and in which order, down to the single task of the daemon; what
//! must hold is looked at after each step.
//!
//! `BRIGADE_SIMULATIONS=20000` plays more histories, `BRIGADE_SIMULATION=17` the one of this seed and prints
//! what happens in it.

mod acts;
mod found;
mod history;
mod host;
mod judge;
mod life;
mod processes;
mod servers;
mod settle;
mod tools;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use brigade_store::simulation::Disk;

use crate::config::Configs;
use history::{History, Outcome};

/// Where the simulated hosts work. It need not exist.
pub(crate) const DIRECTORY: &str = "/simulated";
/// How many delegations may run at once.
const SLOTS: usize = 3;
/// How many histories are played unless the environment says otherwise.
const HISTORIES: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A folder that costs no disk, where the system has one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("brigade-simulation");
    if memory.is_dir() {
        builder.tempdir_in(memory).unwrap()
    } else {
        builder.tempdir().unwrap()
    }
}

/// Plays histories one after the other, as long as there are seeds.
fn play(seeds: &AtomicU64, last: u64) -> Vec<(u64, Outcome)> {
    let folder = folder();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, format!("[limits]\nconcurrent = {SLOTS}\n")).unwrap();
    let configs = Configs::load(&file).unwrap();
    let disk = Disk::new().unwrap();
    let mut outcomes = Vec::new();
    loop {
        let seed = seeds.fetch_add(1, Ordering::Relaxed);
        if seed > last {
            return outcomes;
        }
        disk.clear().unwrap();
        let place: PathBuf = folder.path().join(seed.to_string());
        let played = catch_unwind(AssertUnwindSafe(|| {
            History::run(seed, &disk, &place, &configs)
        }));
        // What was said of the panic stands above.
        let outcome = played.unwrap_or_else(|_| Outcome {
            wrong: vec!["it panicked".to_owned()],
            ..Outcome::default()
        });
        let _nothing_was_written = std::fs::remove_dir_all(&place);
        outcomes.push((seed, outcome));
    }
}

#[test]
fn whatever_happens_what_must_hold_holds() {
    let one = number("BRIGADE_SIMULATION");
    let (first, last) = match one {
        Some(seed) => (seed, seed),
        None => {
            let first = number("BRIGADE_SIMULATION_FROM").unwrap_or(1);
            (
                first,
                first - 1 + number("BRIGADE_SIMULATIONS").unwrap_or(HISTORIES),
            )
        }
    };
    let began = Instant::now();
    let seeds = AtomicU64::new(first);
    let threads = if one.is_some() { 1 } else { 2 };
    let mut outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| play(&seeds, last)))
            .collect();
        players
            .into_iter()
            .flat_map(|player| player.join().unwrap())
            .collect()
    });
    outcomes.sort_by_key(|(seed, _)| *seed);
    let sum = |what: fn(&Outcome) -> u64| outcomes.iter().map(|(_, one)| what(one)).sum::<u64>();
    let failed: Vec<&(u64, Outcome)> = outcomes
        .iter()
        .filter(|(_, outcome)| !outcome.wrong.is_empty())
        .collect();
    let seconds = began.elapsed().as_secs_f64();
    let figures = format!(
        "{} histories from seed {first} in {seconds:.1} s ({:.0} a minute): {} delegations, {} daemons, {} hosts killed, {} attempts interrupted, {} on own servers, {} cancelled, {} messages sent, {} further rounds, {} notices offered, {} wakings; {} failed",
        outcomes.len(),
        outcomes.len() as f64 / seconds * 60.0,
        sum(|one| one.delegations as u64),
        sum(|one| one.lives),
        sum(|one| one.kills),
        sum(|one| one.figures.interruptions),
        sum(|one| one.figures.own),
        sum(|one| one.figures.cancelled),
        sum(|one| one.figures.messages),
        sum(|one| one.figures.rounds),
        sum(|one| one.figures.offered),
        sum(|one| one.figures.woken),
        failed.len(),
    );
    let mut said = figures;
    if let Some((seed, outcome)) = failed.first() {
        let list: Vec<String> = failed
            .iter()
            .map(|(seed, outcome)| {
                let first: String = outcome.wrong[0].chars().take(160).collect();
                format!("  {seed}: {first}")
            })
            .collect();
        said = format!(
            "{}\n{said}\n{}\nrepeat it by BRIGADE_SIMULATION={seed} cargo nextest run -p brigade-daemon simulation\n{}",
            outcome.trace.join("\n"),
            outcome.wrong.join("\n"),
            list.join("\n"),
        );
    }
    assert!(failed.is_empty(), "{said}");
    say(&said);
}

/// To be seen with `--no-capture`.
fn say(what: &str) {
    use std::io::Write as _;
    let _nobody_reads = writeln!(std::io::stderr(), "{what}");
}
