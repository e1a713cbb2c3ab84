//! `cargo xtask bench host`: in the real OpenCode, with the scripted model.
//!
//! Each contestant has a host and a home of its own. A round has every contestant do the same work once, in an
//! order that is drawn anew each time, so that whatever else the machine does meets all of them alike.

mod batch;
mod contestant;
mod own_server;
mod run;
mod seen;
mod start;
mod tables;

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::measure::Measured as Part;
use crate::error::{Result, io};
use crate::say;
use batch::{Batch, Pace, Setting};
use contestant::{Contestant, Way};
use run::Measured;
use tables::{Results, Run};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many delegations at once
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1,5,20",
        value_parser = clap::value_parser!(u32).range(1..100)
    )]
    at_once: Vec<u32>,
    /// A further plugin that offers `delegate(prompt, agent)`, its file
    #[arg(long, value_name = "PATH")]
    plugin: Option<PathBuf>,
    /// What the order of the contestants is drawn from; any, if nothing is said
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How the model answers
    #[arg(long, value_enum, default_value_t = Model::Both)]
    model: Model,
}

/// How the model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Model {
    /// At once
    Instant,
    /// Word by word, for about a second
    Stream,
    /// First the one, then the other
    Both,
}

impl Model {
    fn paces(self) -> &'static [Pace] {
        match self {
            Self::Instant => &[Pace::Instant],
            Self::Stream => &[Pace::Stream],
            Self::Both => &[Pace::Instant, Pace::Stream],
        }
    }
}

impl Args {
    /// All that is measured in a round, the smallest first.
    fn settings(&self) -> Vec<Setting> {
        let mut sizes = self.at_once.clone();
        sizes.sort_unstable();
        sizes.dedup();
        let of_pace = |pace: &Pace| {
            let pace = *pace;
            let setting = move |at_once: &u32| Setting {
                pace,
                at_once: *at_once,
            };
            sizes.iter().map(setting).collect::<Vec<_>>()
        };
        self.model.paces().iter().flat_map(of_pace).collect()
    }

    /// Whether less is measured than the report is to have.
    pub(crate) fn is_partial(&self) -> bool {
        let lacks = |at_once: &u32| !self.at_once.contains(at_once);
        self.model != Model::Both || tables::PROMISED.iter().any(lacks)
    }

    fn most(&self) -> u32 {
        self.at_once.iter().copied().max().unwrap_or(1)
    }
}

/// Measures everything in the host.
///
/// # Errors
/// When a host does not come up, or does not do what is measured.
pub(crate) async fn measure(args: &Args, program: &Path) -> Result<Part> {
    let program = program
        .canonicalize()
        .map_err(io(format!("find {}", program.display())))?;
    let mut results = Results {
        settings: args.settings(),
        ..Results::default()
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut order = Order(StdRng::seed_from_u64(seed));
    work(args, &program, &mut order, &mut results).await?;
    // The hosts are gone by now: they would only take memory from what is started.
    let starts = start::measure(args.rounds, &program, &mut order).await?;
    let mut sections = results.sections()?;
    sections.extend(start::section(&starts));
    Ok(Part {
        about: about(args.most(), seed),
        sections,
    })
}

/// Has every contestant do the work, as many rounds as are asked for.
async fn work(args: &Args, program: &Path, order: &mut Order, results: &mut Results) -> Result<()> {
    let contestants = line_up(args, program).await?;
    results.contestants = contestants.iter().map(Contestant::label).collect();
    let mut numbers = 0..;
    let mut next = |setting: &Setting| Batch {
        number: numbers.next().unwrap_or_default(),
        setting: *setting,
    };
    let mut takes = Vec::new();
    say("warming up");
    for (contestant, of) in contestants.iter().zip(0..) {
        for at_once in [1, args.most()] {
            let setting = Setting {
                pace: Pace::Instant,
                at_once,
            };
            let measured = run::run(contestant, &next(&setting), false).await?;
            takes.push((of, None, measured));
        }
    }
    for round in 0..args.rounds {
        for setting in &results.settings {
            let with_memory = setting.at_once == args.most();
            for of in order.of(contestants.len()) {
                let contestant = &contestants[of];
                let measured = run::run(contestant, &next(setting), with_memory).await?;
                say(&format!(
                    "round {} of {}, {setting}, {}: {measured}",
                    round + 1,
                    args.rounds,
                    contestant.name
                ));
                takes.push((of, Some(round), measured));
            }
        }
    }
    results.runs = accounted(&contestants, takes);
    let mut brigade = contestants.iter();
    let brigade = brigade.find(|contestant| contestant.way == Way::Brigade);
    for (contestant, round) in brigade.into_iter().cycle().zip(1..=args.rounds) {
        say(&format!("round {round} of {}, own server", args.rounds));
        let batch = next(&Setting {
            pace: Pace::Instant,
            at_once: args.most(),
        });
        let used = own_server::measure(contestant, &batch).await?;
        results.own_server.extend(used);
    }
    Ok(())
}

/// Whose turn it is.
struct Order(StdRng);

impl Order {
    /// All of so many, in an order that is drawn anew.
    fn of(&mut self, contestants: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..contestants).collect();
        order.shuffle(&mut self.0);
        order
    }
}

/// Where everything is measured: the sandboxes' place.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from("/tmp")
}

/// What is to be known of all sections.
fn about(most: u32, seed: u64) -> String {
    format!(
        "In the real OpenCode, with a scripted model. The hosts, the model, Brigade's daemon and what measures share the \
         machine's cores. In each round the contestants have their turns in an order that is drawn (`--seed {seed}`). \
         Brigade is configured to have {most} at work at once (`[limits] concurrent = {most}`): the product's default is \
         8, by which more than that wait for their turn."
    )
}

/// Starts everybody's host.
async fn line_up(args: &Args, program: &Path) -> Result<Vec<Contestant>> {
    let mut ways = vec![Way::Floor, Way::Wait, Way::Native, Way::Brigade];
    if let Some(plugin) = &args.plugin {
        let plugin = plugin
            .canonicalize()
            .map_err(io(format!("find {}", plugin.display())))?;
        ways.push(Way::Plugin(plugin));
    }
    let mut contestants = Vec::new();
    for way in ways {
        let contestant = Contestant::start(way, program, args.most()).await?;
        say(&format!("{} is there", contestant.name));
        contestants.push(contestant);
    }
    Ok(contestants)
}

/// Counts the requests of each run, late ones included: all up to the contestant's next run.
fn accounted(contestants: &[Contestant], takes: Vec<(usize, Option<u32>, Measured)>) -> Vec<Run> {
    let mut until: Vec<usize> = contestants
        .iter()
        .map(|contestant| contestant.sandbox.model().count())
        .collect();
    let mut runs: Vec<Run> = takes
        .into_iter()
        .rev()
        .filter_map(|(of, round, measured)| {
            let requests = until[of].saturating_sub(measured.first_request);
            until[of] = measured.first_request;
            Some(Run {
                contestant: of,
                round: round?,
                requests,
                measured,
            })
        })
        .collect();
    runs.reverse();
    runs
}
