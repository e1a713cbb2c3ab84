//! The report: what was measured, as JSON to compare with and as markdown to read.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::machine;
use super::measure::Section;
use crate::error::Result;

/// Everything that one run has measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    part: String,
    begun: Timestamp,
    command: String,
    machine: Vec<(String, String)>,
    sections: Vec<Section>,
}

impl Report {
    pub(crate) fn new(
        part: &str,
        begun: Timestamp,
        program: &Path,
        sections: Vec<Section>,
    ) -> Result<Self> {
        Ok(Self {
            part: part.to_owned(),
            begun,
            command: String::new(),
            machine: machine::facts(program)?,
            sections,
        })
    }

    pub(crate) fn write(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }
}
