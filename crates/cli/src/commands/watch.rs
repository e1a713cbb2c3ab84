//! `brigade watch`

use std::io::IsTerminal as _;

use crate::args::Watch;
use crate::context::{Context, directory};
use crate::error::{CliError, Kind};
use crate::watch::{self, Watching};

pub(crate) async fn run(args: Watch, context: &mut Context) -> Result<(), CliError> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if dumb || !context.out.terminal || !std::io::stdin().is_terminal() {
        let message = "brigade watch draws on a terminal, and there is none that it could draw on";
        return Err(CliError::new(Kind::Failed, message)
            .hint("brigade list prints the same rows; brigade read ID --follow follows one"));
    }
    // What is wrong with the daemon is told before the screen is taken.
    let client = context.client().await?;
    let watching = Watching {
        client,
        dirs: context.dirs.clone(),
        directory: directory()?.to_string_lossy().into_owned(),
        session: args.session,
        all_projects: args.all,
        colour: context.out.is_coloured(),
    };
    watch::run(watching).await
}
