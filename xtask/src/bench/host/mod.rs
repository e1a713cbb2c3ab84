//! `cargo xtask bench host`: in the real OpenCode, with the scripted model.

use std::path::Path;

use super::measure::Section;
use crate::error::Result;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Measures everything in the host.
///
/// # Errors
/// When a host does not come up, or does not do what is measured.
pub(crate) async fn measure(_args: &Args, _program: &Path) -> Result<Vec<Section>> {
    Ok(Vec::new())
}
