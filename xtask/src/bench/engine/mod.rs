//! `cargo xtask bench engine`: the daemon as a real process, on a simulated runner.

mod commands;
mod disk;
mod home;
mod idle;
mod life;
mod many;
mod past;
mod process;
mod requests;
mod swarm;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use super::measure::Section;
use crate::error::{Error, Result};
use home::Place;

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
    /// Everything small, to see that it works
    #[arg(long)]
    quick: bool,
    /// Only these; the report then has no others
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

/// Measures the daemon by itself.
///
/// # Errors
/// When the daemon does not come up, or does not do what is measured.
pub(crate) async fn measure(args: &Args, program: &Path) -> Result<Vec<Section>> {
    let place = Place::new(program)?;
    let (lives, active, mut on_file, idle) = match args.quick {
        true => (500, vec![100, 1_000], vec![100, 1_000], 5),
        false => (
            args.lives,
            args.active.clone(),
            args.on_file.clone(),
            args.idle,
        ),
    };
    if args.million {
        on_file.push(1_000_000);
    }
    let subjects = match args.only[..] {
        [] => Subject::value_variants(),
        _ => &args.only,
    };
    let mut sections = Vec::new();
    for subject in subjects {
        sections.push(match subject {
            Subject::Life => life::measure(lives, &place).await?,
            Subject::Many => many::measure(&active, &place).await?,
            Subject::Flood => many::flood(&place).await?,
            Subject::Past => past::measure(&on_file, &place).await?,
            Subject::Idle => idle::measure(Duration::from_secs(idle), &place).await?,
            Subject::Commands => commands::measure(&place).await?,
        });
    }
    Ok(sections)
}

/// What another crate says of a failure.
fn failed(error: impl std::fmt::Display) -> Error {
    Error::Wrong(error.to_string())
}
