//! What is measured, and how it is summed up: medians with their spread.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Milliseconds.
    Ms,
    /// So many a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Characters.
    Characters,
    /// Just a number of things.
    Count,
    /// One figure by another.
    Ratio,
    /// Part of one core's time, in percent.
    Percent,
}

/// What the product promises of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// The median is this at most.
    AtMost(f64),
    /// The median is this at least.
    AtLeast(f64),
}

/// The spread of what was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// How many measurements.
    pub(crate) n: usize,
    /// The least.
    pub(crate) min: f64,
    /// A quarter is below it.
    pub(crate) q1: f64,
    /// Half is below it.
    pub(crate) median: f64,
    /// Three quarters are below it.
    pub(crate) q3: f64,
    /// All but one in a hundred are below it.
    pub(crate) p99: f64,
    /// The most.
    pub(crate) max: f64,
}

impl Spread {
    /// Sums measurements up; none if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self {
            n: values.len(),
            min,
            q1: quantile(&values, 0.25),
            median: quantile(&values, 0.5),
            q3: quantile(&values, 0.75),
            p99: quantile(&values, 0.99),
            max,
        })
    }

    /// Sums times up, in milliseconds.
    pub(crate) fn of_times(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1e3))
    }
}

/// The value below which this part of sorted values lies, between two of them where it must be.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
    let at = part * sorted.len().saturating_sub(1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into the values"
    )]
    let below = at.floor() as usize;
    let low = sorted.get(below).copied().unwrap_or_default();
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    low + (high - low) * at.fract()
}

/// One measured thing: a cell in its section's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What is measured: the row.
    pub(crate) row: String,
    /// Of whom, or with how many: the column.
    pub(crate) column: String,
    /// What it counts.
    pub(crate) unit: Unit,
    /// What came out.
    pub(crate) spread: Spread,
    /// What is promised of it.
    pub(crate) bound: Option<Bound>,
}

impl Figure {
    /// A figure of which nothing is promised. None where nothing was measured.
    pub(crate) fn new(
        row: impl Into<String>,
        column: impl Into<String>,
        unit: Unit,
        values: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        Some(Self {
            row: row.into(),
            column: column.into(),
            unit,
            spread: Spread::of(values)?,
            bound: None,
        })
    }

    /// Times, in milliseconds.
    pub(crate) fn times(
        row: impl Into<String>,
        column: impl Into<String>,
        times: impl IntoIterator<Item = Duration>,
    ) -> Option<Self> {
        Some(Self {
            row: row.into(),
            column: column.into(),
            unit: Unit::Ms,
            spread: Spread::of_times(times)?,
            bound: None,
        })
    }

    /// The same, with what is promised of it.
    pub(crate) fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Whether it is as promised; none where nothing is.
    pub(crate) fn is_met(&self) -> Option<bool> {
        Some(match self.bound? {
            Bound::AtMost(most) => self.spread.median <= most,
            Bound::AtLeast(least) => self.spread.median >= least,
        })
    }
}

/// Figures that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Section {
    /// Its heading; reports are compared by it.
    pub(crate) title: String,
    /// How it was measured, and what it shows where that is not plain; markdown.
    pub(crate) about: String,
    /// What came out.
    pub(crate) figures: Vec<Figure>,
    /// Pictures of it.
    pub(crate) plots: Vec<Plot>,
}

impl Section {
    /// A section without figures yet.
    pub(crate) fn new(title: impl Into<String>, about: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            about: about.into(),
            figures: Vec::new(),
            plots: Vec::new(),
        }
    }
}

/// All of one part's.
#[derive(Debug)]
pub(crate) struct Measured {
    /// What is to be known of all sections; markdown.
    pub(crate) about: String,
    /// What came out.
    pub(crate) sections: Vec<Section>,
}

/// An axis of a plot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Axis {
    /// What is on it, with its unit.
    pub(crate) label: String,
    /// Whether equal steps are equal factors.
    pub(crate) log: bool,
}

/// A line in a plot: medians over something, with their quartiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// What the legend says.
    pub(crate) name: String,
    /// Where, and what was measured there.
    pub(crate) points: Vec<(f64, Spread)>,
}

/// A picture: lines over a common axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plot {
    /// The file's name, without its ending.
    pub(crate) name: String,
    /// The heading in it.
    pub(crate) title: String,
    /// From left to right.
    pub(crate) x: Axis,
    /// From bottom to top.
    pub(crate) y: Axis,
    /// The lines.
    pub(crate) lines: Vec<Line>,
}

/// A number as it is written, its thousands set apart.
pub(crate) fn grouped(number: &str) -> String {
    let (whole, rest) = number
        .find('.')
        .map_or((number, ""), |at| number.split_at(at));
    let mut text = String::new();
    for (at, digit) in whole.char_indices() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_values() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.max, spread.n), (1.0, 4.0, 4));
        assert_eq!((spread.q1, spread.median, spread.q3), (1.75, 2.5, 3.25));
        assert_eq!(Spread::of([7.0]).unwrap().p99, 7.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_bound_is_held_against_the_median() {
        let figure = Figure::new("a", "b", Unit::Ms, [1.0, 2.0, 9.0]).unwrap();
        assert_eq!(figure.is_met(), None);
        assert_eq!(
            figure.clone().bound(Bound::AtMost(2.0)).is_met(),
            Some(true)
        );
        assert_eq!(figure.bound(Bound::AtLeast(2.5)).is_met(), Some(false));
    }
}
