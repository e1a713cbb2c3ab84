//! Plots as SVG.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use super::measure::{Axis, Plot};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (760, 420);
/// Told apart by those who don't see all colours, too (after Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(60, 60, 60),
];

/// Draws a plot: a line through the medians, with a bar from quartile to quartile at each.
///
/// # Errors
/// When it can't be drawn, or there is nothing in it.
pub(crate) fn draw(plot: &Plot) -> Result<String> {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let x = range(&plot.x, points().map(|(x, _)| *x));
    let y = range(
        &plot.y,
        points().flat_map(|(_, spread)| [spread.q1, spread.q3]),
    );
    let (Some(x), Some(y)) = (x, y) else {
        return Err(Error::Wrong(format!(
            "nothing is in the plot {}",
            plot.name
        )));
    };
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let drawn = match (plot.x.log, plot.y.log) {
        (true, true) => lines(&area, plot, x.log_scale(), y.log_scale()),
        (true, false) => lines(&area, plot, x.log_scale(), y),
        (false, true) => lines(&area, plot, x, y.log_scale()),
        (false, false) => lines(&area, plot, x, y),
    };
    drawn
        .and_then(|()| area.present().map_err(|error| error.to_string()))
        .map_err(|error| Error::Wrong(format!("the plot {} can't be drawn: {error}", plot.name)))?;
    drop(area);
    Ok(svg)
}

/// From the least to the most; from zero, where equal steps are equal sums.
fn range(axis: &Axis, values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (least, most) = values
        // On an axis of factors there is no zero.
        .filter(|value| !axis.log || *value > 0.0)
        .fold(None, |seen: Option<(f64, f64)>, value| {
            Some(seen.map_or((value, value), |(least, most)| {
                (least.min(value), most.max(value))
            }))
        })?;
    Some(match axis.log {
        true => least / 1.3..most * 1.3,
        false => 0.0..(most * 1.1).max(f64::MIN_POSITIVE),
    })
}

/// Draws axes, lines and legend; the error is what the library says.
fn lines<X, Y>(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    plot: &Plot,
    x: X,
    y: Y,
) -> std::result::Result<(), String>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let said = |error: DrawingAreaErrorKind<std::io::Error>| error.to_string();
    area.fill(&WHITE).map_err(said)?;
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x, y)
        .map_err(said)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(&plot.x.label)
        .y_desc(&plot.y.label)
        .x_label_formatter(&short)
        .y_label_formatter(&short)
        .draw()
        .map_err(said)?;
    for (line, colour) in plot.lines.iter().zip(COLOURS.into_iter().cycle()) {
        let medians = line.points.iter().map(|(x, spread)| (*x, spread.median));
        chart
            .draw_series(LineSeries::new(medians, colour.stroke_width(2)).point_size(3))
            .map_err(said)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        let bars = line.points.iter().map(|(x, spread)| {
            PathElement::new([(*x, spread.q1), (*x, spread.q3)], colour.stroke_width(1))
        });
        chart.draw_series(bars).map_err(said)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(said)
}

/// A number as short as it can be on an axis.
fn short(value: &f64) -> String {
    match value.abs() {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        // What adding steps up leaves behind the point is none of the number's.
        _ => format!("{}", (value * 1e4).round() / 1e4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::{Line, Spread};

    fn plot(log: bool, points: Vec<(f64, Spread)>) -> Plot {
        let axis = |label: &str| Axis {
            label: label.to_owned(),
            log,
        };
        Plot {
            name: "list".to_owned(),
            title: "Time of list".to_owned(),
            x: axis("on file"),
            y: axis("ms"),
            lines: vec![Line {
                name: "median".to_owned(),
                points,
            }],
        }
    }

    #[test]
    fn a_plot_has_its_words_and_its_line() {
        for log in [false, true] {
            let spread = |values: [f64; 3]| Spread::of(values).unwrap();
            let points = vec![
                (1e3, spread([1.0, 2.0, 3.0])),
                (1e6, spread([0.0, 40.0, 50.0])),
            ];
            let svg = draw(&plot(log, points)).unwrap();
            for words in ["Time of list", "on file", "median", "<polyline"] {
                assert!(svg.contains(words), "{words} is not in {svg}");
            }
        }
    }

    #[test]
    fn an_empty_plot_is_an_error() {
        assert!(draw(&plot(false, Vec::new())).is_err());
    }
}
