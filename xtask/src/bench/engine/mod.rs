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

use super::measure::Section;
use crate::error::{Error, Result, io};

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
}

/// Measures the daemon by itself.
///
/// # Errors
/// When the daemon does not come up, or does not do what is measured.
pub(crate) async fn measure(args: &Args, program: &Path) -> Result<Vec<Section>> {
    let program = program
        .canonicalize()
        .map_err(io(format!("find {}", program.display())))?;
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
    Ok(vec![
        life::measure(lives, &program).await?,
        many::measure(&active, &program).await?,
        many::flood(&program).await?,
        past::measure(&on_file, &program).await?,
        idle::measure(Duration::from_secs(idle), &program).await?,
        commands::measure(&program).await?,
    ])
}

/// What another crate says of a failure.
fn failed(error: impl std::fmt::Display) -> Error {
    Error::Wrong(error.to_string())
}
