//! The `brigade` binary.

mod args;
mod bridge;
mod changes;
mod commands;
mod context;
mod error;
mod format;
mod host;
mod output;
mod pager;
mod panel;
mod patch;
mod plot;
mod screen;
mod since;
mod table;
mod watch;

use std::process::ExitCode;

use brigade_os::paths::Dirs;
use clap::Parser;

use args::{Cli, Command, Daemon};
use context::Context;
use error::{CliError, Kind};
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.kind != Kind::Enough && !error.message.is_empty() {
                output::failure(&error);
            }
            ExitCode::from(error.kind.code())
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    // In the environment of somebody else's program: nothing of it is read.
    if let Command::Gate(args) = command {
        return commands::gate::run(&args);
    }
    let mut context = Context {
        dirs: Dirs::from_env()?,
        out: Output::stdout(),
    };
    // The daemon has a runtime of its own kind.
    if let Command::Daemon(Daemon::Run(args)) = command {
        return commands::daemon::run(&args, context);
    }
    let failed = |error| {
        CliError::new(
            Kind::Failed,
            format!("the runtime can't be started: {error}"),
        )
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(dispatch(command, &mut context))
}

async fn dispatch(command: Command, context: &mut Context) -> Result<(), CliError> {
    match command {
        Command::Install(args) => commands::install::run(&args, context),
        Command::Uninstall(args) => commands::uninstall::run(&args, context),
        Command::Doctor(args) => commands::doctor::run(args, context).await,
        Command::List(args) => commands::list::run(args, context).await,
        Command::Watch(args) => commands::watch::run(args, context).await,
        Command::Show(args) => commands::show::run(args, context).await,
        Command::Read(args) => commands::read::run(args, context).await,
        Command::Stats(args) => commands::stats::run(args, context).await,
        Command::Search(args) => commands::search::run(args, context).await,
        Command::Cancel(args) => commands::cancel::run(args, context).await,
        Command::Send(args) => commands::send::run(args, context).await,
        Command::Retry(args) => commands::retry::run(args, context).await,
        Command::Run(args) => commands::run::run(args, context).await,
        Command::Diff(args) => commands::diff::run(args, context).await,
        Command::Apply(args) => commands::apply::run(args, context).await,
        Command::Discard(args) => commands::discard::run(args, context).await,
        Command::Gc(args) => commands::gc::run(args, context).await,
        Command::Daemon(command) => commands::daemon::control(&command, context).await,
        Command::Completions(args) => commands::completions::run(&args, context),
        Command::Gate(args) => commands::gate::run(&args),
    }
}
