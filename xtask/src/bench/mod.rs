//! `cargo xtask bench`: what Brigade costs, measured beside what the host and the disk cost by themselves.
//!
//! `host` measures in the real OpenCode, `engine` the daemon by itself. Each writes a [`report`] into
//! `docs/benchmarks/`, or into the target folder if it was asked for less.

mod engine;
mod host;
mod machine;
mod measure;
mod plot;
mod process;
mod report;

use std::path::{Path, PathBuf};

use clap::{FromArgMatches, Subcommand};

use crate::error::{Error, Result, io};
use crate::steps::cargo;
use crate::{block_on, root, say, steps};
use measure::Measured;
use report::Report;

/// What to measure; everything, if nothing is said.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    /// The folder for the report; what is there is compared with. Without it a whole report goes to docs/benchmarks,
    /// one of less to the target folder's bench
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<PathBuf>,
    /// The program to be measured, instead of one built now
    #[arg(long, value_name = "FILE", global = true)]
    program: Option<PathBuf>,
    /// Measure even where files are in memory alone
    #[arg(long, global = true)]
    in_memory: bool,
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
    match &args.part {
        Some(Part::Host(part)) => host(args, part),
        Some(Part::Engine(part)) => engine(args, part),
        None => {
            engine(args, &defaults()?)?;
            host(args, &defaults()?)
        }
    }
}

fn host(args: &Args, part: &host::Args) -> Result<()> {
    let written = Written::new(args, "host", part.is_partial(), host::folder())?;
    let measured = block_on(host::measure(part, &written.program))?;
    written.write(measured)
}

fn engine(args: &Args, part: &engine::Args) -> Result<()> {
    let written = Written::new(args, "engine", part.is_partial(), engine::folder())?;
    let measured = block_on(engine::measure(part, &written.program))?;
    written.write(measured)
}

/// A report that is to be written.
struct Written {
    part: &'static str,
    begun: jiff::Timestamp,
    program: PathBuf,
    /// Where it is measured.
    place: PathBuf,
    /// Where the report goes.
    out: PathBuf,
}

impl Written {
    /// Sees to everything that has to be there before something is measured in a place.
    fn new(args: &Args, part: &'static str, partial: bool, place: PathBuf) -> Result<Self> {
        let kind = machine::file_system(&place)?.unwrap_or_default();
        if ["tmpfs", "ramfs"].contains(&kind.as_str()) && !args.in_memory {
            return Err(Error::Wrong(format!(
                "{} is in memory ({kind}), where nothing is durable and no figure about the disk means anything: \
                 `bench engine` measures in another folder if TMPDIR names one, and --in-memory measures here all the same",
                place.display()
            )));
        }
        let program = match &args.program {
            Some(program) => program.clone(),
            None => build()?,
        };
        Ok(Self {
            part,
            begun: jiff::Timestamp::now(),
            program,
            place,
            out: out(args.out.as_deref(), partial),
        })
    }

    fn write(&self, measured: Measured) -> Result<()> {
        let report = Report::new(self.part, self.begun, &self.program, &self.place, measured)?;
        report.write(&self.out)?;
        say(&format!(
            "the report is {}",
            self.out.join(format!("{}.md", self.part)).display()
        ));
        Ok(())
    }
}

/// Where a report goes. One of a part alone is never to take the place of the whole one.
fn out(wanted: Option<&Path>, partial: bool) -> PathBuf {
    match wanted {
        Some(out) => out.to_owned(),
        None if partial => target().join("bench"),
        None => root().join("docs/benchmarks"),
    }
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
    Ok(target().join("release/brigade"))
}

/// Where Cargo puts what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where `cargo xtask bench engine` or `host` with these arguments writes.
    fn written(args: &[&str]) -> PathBuf {
        let command = <Args as clap::Args>::augment_args(clap::Command::new("bench"));
        let args = command.get_matches_from([&["bench"], args].concat());
        let args = Args::from_arg_matches(&args).unwrap();
        let partial = match &args.part {
            Some(Part::Host(part)) => part.is_partial(),
            Some(Part::Engine(part)) => part.is_partial(),
            None => false,
        };
        out(args.out.as_deref(), partial)
    }

    #[test]
    fn only_a_whole_report_goes_to_the_docs() {
        let docs = root().join("docs/benchmarks");
        for whole in [
            &["engine"][..],
            &["host"],
            &["host", "--plugin", "x.js"],
            &[],
        ] {
            assert_eq!(written(whole), docs, "{whole:?}");
        }
        for partial in [
            &["engine", "--quick"][..],
            &["engine", "--only", "life"],
            &["host", "--at-once", "1,5"],
            &["host", "--model", "instant"],
        ] {
            assert_eq!(written(partial), target().join("bench"), "{partial:?}");
            let named = [partial, &["--out", "here"]].concat();
            assert_eq!(written(&named), Path::new("here"), "{named:?}");
        }
    }
}
