//! A report as markdown.

use std::fmt::Write as _;

use super::Report;
use crate::bench::measure::{Bound, Figure, Section, Unit, grouped};

/// Writes a report, compared with an earlier one.
pub(super) fn write(report: &Report, earlier: Option<&Report>) -> String {
    let mut page = String::new();
    let title = match report.part.as_str() {
        "host" => "Brigade in OpenCode",
        _ => "Brigade's engine",
    };
    line(&mut page, &format!("# {title}"));
    line(
        &mut page,
        &format!(
            "Measured on {} by `{}`. Cells are medians, with the quartiles in brackets where something was measured \
             more than once.{}",
            report.begun.strftime("%Y-%m-%d, %H:%M UTC"),
            report.command,
            earlier.map_or_else(String::new, |earlier| format!(
                " What follows an arrow is how it was in the report of {} ({}).",
                earlier.begun.strftime("%Y-%m-%d, %H:%M UTC"),
                fact(earlier, "Commit")
            ))
        ),
    );
    if !report.about.is_empty() {
        line(&mut page, &report.about);
    }
    table(
        &mut page,
        &["", ""],
        report
            .machine
            .iter()
            .map(|(name, value)| vec![name.clone(), value.clone()]),
    );
    promises(&mut page, report);
    for section in &report.sections {
        line(&mut page, &format!("## {}", section.title));
        line(&mut page, section.about.trim());
        for plot in &section.plots {
            line(&mut page, &format!("![{}]({}.svg)", plot.title, plot.name));
        }
        figures(&mut page, section, earlier);
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn fact<'a>(report: &'a Report, name: &str) -> &'a str {
    let mut facts = report.machine.iter();
    facts
        .find(|(known, _)| known == name)
        .map_or("unknown", |(_, value)| value)
}

/// A paragraph.
fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push_str("\n\n");
}

fn table(page: &mut String, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut row = |cells: &[String]| {
        // Writing to a string can't fail.
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    row(&head);
    row(&vec!["---".to_owned(); head.len()]);
    for cells in rows {
        row(&cells);
    }
    page.push('\n');
}

/// A figure's place in words.
pub(super) fn named(section: &str, figure: &Figure) -> String {
    match figure.column.as_str() {
        "" => format!("{section}: {}", figure.row),
        column => format!("{section}: {}, {column}", figure.row),
    }
}

/// What is promised, and whether it is so.
fn promises(page: &mut String, report: &Report) {
    let rows: Vec<Vec<String>> = report
        .figures()
        .filter_map(|(section, figure)| {
            let wanted = match figure.bound? {
                Bound::AtMost(most) => format!("at most {}", value(most, figure.unit)),
                Bound::AtLeast(least) => format!("at least {}", value(least, figure.unit)),
            };
            let met = match figure.is_met()? {
                true => "yes",
                false => "**no**",
            };
            Some(vec![
                named(section, figure),
                wanted,
                median(figure),
                met.to_owned(),
            ])
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    line(page, "## What is promised");
    table(page, &["", "promised", "measured", "kept"], rows);
}

/// A section's figures: what is measured from top to bottom, of whom from left to right.
fn figures(page: &mut String, section: &Section, earlier: Option<&Report>) {
    let (mut rows, mut columns): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for figure in &section.figures {
        for (known, name) in [(&mut rows, &figure.row), (&mut columns, &figure.column)] {
            if !known.contains(&name.as_str()) {
                known.push(name);
            }
        }
    }
    if rows.is_empty() {
        return;
    }
    let cell = |row: &str, column: &str| {
        let mut figures = section.figures.iter();
        let figure = figures.find(|figure| figure.row == row && figure.column == column)?;
        let before = earlier.and_then(|earlier| earlier.find(&section.title, figure));
        Some(match before {
            Some(before) => format!("{} ← {}", spread(figure), median(before)),
            None => spread(figure),
        })
    };
    let mut head = vec![""];
    head.extend(&columns);
    let lines = rows.iter().map(|row| {
        let cells = columns
            .iter()
            .map(|column| cell(row, column).unwrap_or_default());
        std::iter::once((*row).to_owned()).chain(cells).collect()
    });
    table(page, &head, lines);
}

/// The median, with its unit.
pub(super) fn median(figure: &Figure) -> String {
    value(figure.spread.median, figure.unit)
}

/// The median with the quartiles.
fn spread(figure: &Figure) -> String {
    let spread = &figure.spread;
    if spread.n == 1 || spread.min >= spread.max {
        return median(figure);
    }
    format!(
        "{} ({}–{})",
        median(figure),
        bare(spread.q1, figure.unit),
        bare(spread.q3, figure.unit)
    )
}

fn value(value: f64, unit: Unit) -> String {
    let name = match unit {
        Unit::Ms => " ms",
        Unit::PerSecond => "/s",
        Unit::Bytes => " MB",
        Unit::Percent => " %",
        Unit::Characters | Unit::Count | Unit::Ratio => "",
    };
    format!("{}{name}", bare(value, unit))
}

/// Three digits are more than any spread here bears.
fn bare(value: f64, unit: Unit) -> String {
    let value = match unit {
        Unit::Bytes => value / 1e6,
        _ => value,
    };
    let whole = value.fract() == 0.0 && !matches!(unit, Unit::Ms | Unit::Bytes | Unit::Ratio);
    let digits = match value.abs() {
        _ if whole => 0,
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    grouped(&format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::{Axis, Line, Plot, Spread};

    fn report(list_ms: [f64; 3]) -> Report {
        let mut section = Section::new("A long past", "Over as many as are on file.");
        let list = Figure::new("`list`", "100,000 on file", Unit::Ms, list_ms).unwrap();
        section.figures = vec![
            list.bound(Bound::AtMost(10.0)),
            Figure::new("`list`", "1,000 on file", Unit::Ms, [2.0]).unwrap(),
            Figure::new("memory", "1,000 on file", Unit::Bytes, [19.4e6]).unwrap(),
            Figure::new("lives", "1,000 on file", Unit::PerSecond, [12345.0]).unwrap(),
        ];
        section.plots = vec![Plot {
            name: "list".to_owned(),
            title: "Time of `list`".to_owned(),
            x: Axis {
                label: "on file".to_owned(),
                log: true,
            },
            y: Axis {
                label: "ms".to_owned(),
                log: false,
            },
            lines: vec![Line {
                name: "list".to_owned(),
                points: vec![(1e3, Spread::of([2.0]).unwrap())],
            }],
        }];
        Report {
            part: "engine".to_owned(),
            begun: "2026-01-02T03:04:05Z".parse().unwrap(),
            command: "cargo xtask bench engine".to_owned(),
            about: "The host is simulated.".to_owned(),
            machine: vec![("Commit".to_owned(), "abcdef".to_owned())],
            sections: vec![section],
        }
    }

    #[test]
    fn a_report_says_what_is_kept_and_what_has_changed() {
        let (earlier, now) = (report([20.0, 30.0, 40.0]), report([8.0, 9.0, 11.0]));
        insta::assert_snapshot!(write(&now, Some(&earlier)));
    }

    #[test]
    fn numbers_can_be_read() {
        assert_eq!(value(1234.5, Unit::Ms), "1,234 ms");
        assert_eq!(value(0.123, Unit::Ms), "0.12 ms");
        assert_eq!(value(12_345_678.0, Unit::Bytes), "12.3 MB");
        assert_eq!(value(-1234.0, Unit::Characters), "-1,234");
        assert_eq!(value(0.0, Unit::Count), "0");
    }
}
