//! `brigade completions`

use clap::CommandFactory;

use crate::args::{Cli, Completions};
use crate::context::Context;
use crate::error::CliError;

pub(crate) fn run(args: &Completions, context: &mut Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "brigade", &mut script);
    context.out.raw(&script)
}
