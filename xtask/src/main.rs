//! Development tasks: `cargo xtask test`, `ci`, `demo` and others.

mod bench;
mod ci;
mod demo;
mod error;
mod fill;
mod model;
mod screenshot;
mod steps;
mod svg;
mod tests;
mod texts;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Result;

/// Development tasks for Brigade.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// The tasks.
#[derive(Debug, Subcommand)]
enum Task {
    /// Delegate for real: the whole loop in the real OpenCode, in a throwaway project
    Demo(demo::Args),
    /// Run all tests, the bridge's and those in the real OpenCode included
    Test,
    /// Run everything that must hold before a change lands
    Ci,
    /// Measure what Brigade costs, beside what the host and the disk cost by themselves
    Bench(bench::Args),
    /// Take the pictures in the docs anew
    Screenshot,
    /// Fill a store with many delegations, to see how everything does with a long past
    Fill(fill::Args),
    /// Serve the scripted model until stopped, to try things by hand
    Model(model::Args),
    /// Write the bridge's copy of the rules and the tools' schemas anew
    Texts(texts::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.task {
        Task::Demo(args) => demo::run(&args),
        Task::Test => tests::run(),
        Task::Ci => ci::run(),
        Task::Bench(args) => bench::run(&args),
        Task::Screenshot => screenshot::run(),
        Task::Fill(args) => fill::run(&args),
        Task::Model(args) => model::run(&args),
        Task::Texts(args) => texts::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Prints a line.
#[expect(
    clippy::print_stdout,
    reason = "what a task prints is what it is run for"
)]
fn say(line: &str) {
    println!("{line}");
}

/// Prints a line to standard error.
#[expect(
    clippy::print_stderr,
    reason = "what a task prints is what it is run for"
)]
fn complain(line: &str) {
    eprintln!("{line}");
}

/// Runs async work to its end.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Runtime::new()
        .map_err(error::io("start the async runtime"))?
        .block_on(work)
}
