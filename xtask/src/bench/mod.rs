//! `cargo xtask bench`: what Brigade costs, measured beside what the host and the disk cost by themselves.
//!
//! `host` measures in the real OpenCode, `engine` the daemon by itself. Each writes a [`report`] into
//! `docs/benchmarks/`.

mod engine;
mod host;
mod machine;
mod measure;
mod plot;
mod report;

use std::path::PathBuf;

use clap::{FromArgMatches, Subcommand};

use crate::error::{Error, Result, io};
use crate::steps::cargo;
use crate::{block_on, root, say, steps};
use measure::Section;
use report::Report;

/// What to measure; everything, if nothing is said.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// The folder for the report; what is there is compared with
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<PathBuf>,
    /// The program to be measured, instead of one built now
    #[arg(long, value_name = "FILE", global = true)]
    program: Option<PathBuf>,
}

/// The parts.
#[derive(Debug, Subcommand)]
enum Part {
    /// In the real OpenCode, beside its own floor and its native background tasks
    Host(host::Args),
    /// The daemon by itself, as a real process on a simulated runner
    Engine(engine::Args),
}

/// Measures, and writes what came out.
///
/// # Errors
/// When something can't be measured or written.
pub(crate) fn run(args: &Args) -> Result<()> {
    if cfg!(debug_assertions) {
        return optimised();
    }
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build()?,
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| root().join("docs/benchmarks"));
    let begun = jiff::Timestamp::now();
    let write = |part: &str, sections: Vec<Section>| {
        Report::new(part, begun, &program, sections)?.write(&out)
    };
    let host = |args: &host::Args| write("host", block_on(host::measure(args, &program))?);
    let engine = |args: &engine::Args| write("engine", block_on(engine::measure(args, &program))?);
    match &args.part {
        Some(Part::Host(args)) => host(args)?,
        Some(Part::Engine(args)) => engine(args)?,
        None => {
            engine(&defaults()?)?;
            host(&defaults()?)?;
        }
    }
    say(&format!("the report is in {}", out.display()));
    Ok(())
}

/// Does the same by an optimised build of this program: what takes up the machine while the daemon is measured slows
/// that down.
fn optimised() -> Result<()> {
    let mut again = cargo(&["run", "--quiet", "--release", "--package", "xtask", "--"]);
    let here = std::env::current_dir().map_err(io("find the current folder"))?;
    again.args(std::env::args_os().skip(1)).current_dir(here);
    steps::run(again)
}

/// The arguments of a part that is measured as it is usual.
fn defaults<T: clap::Args + FromArgMatches>() -> Result<T> {
    let command = T::augment_args(clap::Command::new("bench"));
    T::from_arg_matches(&command.get_matches_from(["bench"]))
        .map_err(|error| Error::Wrong(error.to_string()))
}

/// Builds what users get.
fn build() -> Result<PathBuf> {
    steps::run(cargo(&["build", "--release", "--package", "brigade"]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/brigade"))
}
