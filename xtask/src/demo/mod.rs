//! `cargo xtask demo`: the main job for real, in a throwaway project.

use crate::error::Result;

/// How to show it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Leave the folder
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(crate) fn run(args: &Args) -> Result<()> {
    let _ = args.keep;
    Ok(())
}
