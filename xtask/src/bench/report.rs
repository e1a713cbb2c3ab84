//! The report: what was measured, as JSON to compare with and as markdown to read.

mod markdown;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::machine;
use super::measure::{Figure, Measured, Section};
use super::plot;
use crate::error::{Error, Result, io};
use crate::say;

/// Everything that one run of one part has measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    part: String,
    begun: Timestamp,
    /// The command line that has made it.
    command: String,
    /// What is to be known of all sections; markdown.
    #[serde(default)]
    about: String,
    machine: Vec<(String, String)>,
    sections: Vec<Section>,
}

impl Report {
    /// A report of what was measured just now, by this process, in a folder.
    ///
    /// # Errors
    /// When the machine can't be described.
    pub(crate) fn new(
        part: &str,
        begun: Timestamp,
        program: &Path,
        folder: &Path,
        measured: Measured,
    ) -> Result<Self> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        Ok(Self {
            part: part.to_owned(),
            begun,
            command: format!("cargo xtask {}", args.join(" ")),
            about: measured.about,
            machine: machine::facts(program, folder)?,
            sections: measured.sections,
        })
    }

    /// Writes it as `PART.md`, `PART.json` and one SVG a plot, compared with the `PART.json` that is there, and tells
    /// what is not as promised.
    ///
    /// # Errors
    /// When the earlier report can't be understood, or this one can't be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let file = |ending: &str| folder.join(format!("{}.{ending}", self.part));
        fs::create_dir_all(folder).map_err(io(format!("make {}", folder.display())))?;
        let earlier = Self::read(&file("json"))?;
        for plot in self.sections.iter().flat_map(|section| &section.plots) {
            write(
                &folder.join(format!("{}.svg", plot.name)),
                &plot::draw(plot)?,
            )?;
        }
        write(&file("md"), &markdown::write(self, earlier.as_ref()))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Wrong(format!("the report is no JSON: {error}")))?;
        write(&file("json"), &format!("{json}\n"))?;
        for (section, figure) in self.figures() {
            if figure.is_met() == Some(false) {
                say(&format!(
                    "not as promised: {}: {}",
                    markdown::named(section, figure),
                    markdown::median(figure)
                ));
            }
        }
        Ok(())
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(format!("read {}", path.display()))(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::Wrong(format!(
                "the earlier report {} is not understood: {error}; move it away to write one anew",
                path.display()
            ))
        })
    }

    /// All figures, with the headings that they stand under.
    fn figures(&self) -> impl Iterator<Item = (&str, &Figure)> {
        self.sections.iter().flat_map(|section| {
            let figures = section.figures.iter();
            figures.map(|figure| (section.title.as_str(), figure))
        })
    }

    /// The same figure in this report.
    fn find(&self, section: &str, like: &Figure) -> Option<&Figure> {
        let same = |figure: &Figure| {
            (&figure.row, &figure.column, figure.unit) == (&like.row, &like.column, like.unit)
        };
        self.figures()
            .find(|(title, figure)| *title == section && same(figure))
            .map(|(_, figure)| figure)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(io(format!("write {}", path.display())))
}
