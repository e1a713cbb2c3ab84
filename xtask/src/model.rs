//! `cargo xtask model`: the scripted model, to try things by hand.

use brigade_testkit::model;

use crate::error::Result;
use crate::{block_on, complain, say};

/// How to serve the model.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The port on loopback; 0 for a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Serves the scripted model until it is stopped.
///
/// # Errors
/// When the port can't be bound.
pub(crate) fn run(args: &Args) -> Result<()> {
    block_on(async {
        Ok(model::run(args.port, |model| {
            say(&model.base_url());
            complain("Its directives are described in crates/testkit/src/model/script.rs. Stop it with Ctrl-C.");
        })
        .await?)
    })
}
