//! `cargo xtask bench engine`: the daemon as a real process, on a simulated runner.

mod commands;
mod disk;
mod flood;
mod home;
mod idle;
mod life;
mod many;
mod past;
mod requests;
mod swarm;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use super::measure::Measured;
use crate::error::{Error, Result};
use home::Place;
use many::Quiet;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many whole lives
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    lives: u32,
    /// How many at work at once
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1000,10000,50000"
    )]
    active: Vec<usize>,
    /// How many on file
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "100,1000,10000,100000"
    )]
    on_file: Vec<usize>,
    /// A million on file, too; filling takes long
    #[arg(long)]
    million: bool,
    /// For how many seconds a daemon without work is watched
    #[arg(long, value_name = "S", default_value_t = 60)]
    idle: u64,
    /// Everything small, to see that it works; the report is not the one in docs
    #[arg(long)]
    quick: bool,
    /// Only these; the report has no others, and is not the one in docs
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    only: Vec<Subject>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// Whole lives a second, beside the disk's own rate
    Life,
    /// Very many at work at once
    Many,
    /// Events without end
    Flood,
    /// A long past
    Past,
    /// A daemon without work
    Idle,
    /// Commands as processes
    Commands,
}

impl Args {
    /// Whether less is measured than the report is to have.
    pub(crate) fn is_partial(&self) -> bool {
        self.quick || !self.only.is_empty()
    }
}

/// How much of everything.
struct Extent {
    lives: u32,
    active: Vec<usize>,
    on_file: Vec<usize>,
    idle: Duration,
    quiet: Quiet,
    flood: Duration,
    repeats: usize,
}

impl Extent {
    fn of(args: &Args) -> Self {
        let s = Duration::from_secs;
        let mut extent = match args.quick {
            true => Self {
                lives: 500,
                active: vec![100, 1_000],
                on_file: vec![100, 1_000],
                idle: s(5),
                quiet: Quiet {
                    after: s(1),
                    window: s(5),
                },
                flood: s(5),
                repeats: 3,
            },
            false => Self {
                lives: args.lives,
                active: args.active.clone(),
                on_file: args.on_file.clone(),
                idle: s(args.idle),
                quiet: Quiet {
                    after: s(35),
                    window: s(60),
                },
                flood: s(60),
                repeats: 7,
            },
        };
        if args.million {
            extent.on_file.push(1_000_000);
        }
        extent
    }
}

/// Where everything is measured.
pub(crate) fn folder() -> PathBuf {
    std::env::temp_dir()
}

/// Measures the daemon by itself.
///
/// # Errors
/// When the daemon does not come up, or does not do what is measured.
pub(crate) async fn measure(args: &Args, program: &Path) -> Result<Measured> {
    let place = Place::new(program)?;
    let extent = Extent::of(args);
    let subjects = match args.only[..] {
        [] => Subject::value_variants(),
        _ => &args.only,
    };
    let mut sections = Vec::new();
    for subject in subjects {
        sections.push(match subject {
            Subject::Life => life::measure(extent.lives, &place).await?,
            Subject::Many => many::measure(&extent.active, extent.quiet, &place).await?,
            Subject::Flood => flood::measure(extent.flood, &place).await?,
            Subject::Past => past::measure(&extent.on_file, extent.repeats, &place).await?,
            Subject::Idle => idle::measure(extent.idle, &place).await?,
            Subject::Commands => commands::measure(&place).await?,
        });
    }
    Ok(Measured {
        about: ABOUT.to_owned(),
        sections,
    })
}

/// What is to be known of all sections.
const ABOUT: &str = "The daemon is a real process. The host behind its bridge is simulated: it answers at once, and shares \
    the machine's cores with the daemon. But for a daemon that has nothing to do, it is configured to have as many at work \
    as are measured (`[limits] concurrent = 100000` and `queue = 200000`, where the product's defaults are 8 and 1,000), \
    without desktop notifications, and with a log of warnings alone.";

/// What another crate says of a failure.
fn failed(error: impl std::fmt::Display) -> Error {
    Error::Wrong(error.to_string())
}
