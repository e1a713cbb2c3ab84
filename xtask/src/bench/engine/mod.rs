//! `cargo xtask bench engine`: the daemon as a real process, on a simulated runner.

use std::path::Path;

use super::measure::Section;
use crate::error::Result;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Measures the daemon by itself.
///
/// # Errors
/// When the daemon does not come up, or does not do what is measured.
pub(crate) async fn measure(_args: &Args, _program: &Path) -> Result<Vec<Section>> {
    Ok(Vec::new())
}
