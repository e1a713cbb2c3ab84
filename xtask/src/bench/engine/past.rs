//! A long past: how everything grows with what is on file.

use super::home::{Home, Place};
use super::life::{ROOMY, lives};
use super::many::grouped;
use super::requests::answers;
use super::swarm::Swarm;
use crate::bench::measure::{Axis, Bound, Figure, Line, Plot, Section, Spread, Unit};
use crate::error::Result;
use crate::{fill, say};

/// How often the daemon is started.
const STARTS: usize = 5;
/// How many lives are measured beside the past.
const LIVES: u32 = 500;
/// How often.
const ROUNDS: usize = 3;
/// How many were running as the daemon before was killed.
const RUNNING: u32 = 1_000;
/// With so many the product promises something.
const PROMISED: usize = 100_000;

/// Measures with each of these numbers on file.
pub(super) async fn measure(counts: &[usize], place: &Place) -> Result<Section> {
    let mut section = Section::new(
        "A long past",
        format!(
            "With so many delegations on file, of all states and in ten projects, with results of 160 words, made by \
             `cargo xtask fill`: the start of the daemon until it says that it is ready, the same where {RUNNING} were \
             running as the one before was killed, answers, and the rate of whole lives ({LIVES}, {ROUNDS} times)."
        ),
    );
    let mut lines: Vec<Line> = Vec::new();
    let mut costs: Vec<(usize, f64)> = Vec::new();
    for &count in counts {
        let column = format!("{} on file", grouped(count));
        say(&column);
        let promised = |figure: Figure, most: f64| match count {
            PROMISED => figure.bound(Bound::AtMost(most)),
            _ => figure,
        };
        let home = place.home(ROOMY)?;
        filled(&home, count, 0).await?;
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let daemon = home.daemon().await?;
            starts.push(daemon.took);
            daemon.kill().await?;
        }
        let start = Figure::times("start", &column, starts);
        section
            .figures
            .extend(start.map(|figure| promised(figure, 300.0)));
        let daemon = home.daemon().await?;
        let client = home.client().await?;
        for (what, times) in answers(&client, &home.project()?).await? {
            if what == "`daemon status`" {
                continue;
            }
            if let Some(spread) = Spread::of_times(times.iter().copied()) {
                #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
                let point = (count as f64, spread);
                match lines.iter_mut().find(|line| line.name == what) {
                    Some(line) => line.points.push(point),
                    None => lines.push(Line {
                        name: what.to_owned(),
                        points: vec![point],
                    }),
                }
            }
            let most = match what {
                "`list`, a page of 50" => Some(10.0),
                _ if what.starts_with("`search`") => Some(50.0),
                _ => None,
            };
            let figure = Figure::times(what, &column, times);
            section.figures.extend(figure.map(|figure| match most {
                Some(most) => promised(figure, most),
                None => figure,
            }));
        }
        let swarm = Swarm::connect(&home.dirs()?, &home.project()?).await?;
        lives(&swarm, LIVES / 5).await?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(lives(&swarm, LIVES).await?);
        }
        if let Some(figure) = Figure::new("lives a second", &column, Unit::PerSecond, rates) {
            costs.push((count, 1.0 / figure.spread.median));
            section.figures.push(figure);
        }
        daemon.kill().await?;
        section
            .figures
            .extend(recovery(count, place, &column).await?);
    }
    if let (Some((_, first)), Some((most, cost))) = (
        costs.first(),
        costs.iter().rfind(|(count, _)| *count <= PROMISED),
    ) {
        let name = format!("{} on file", grouped(*most));
        let ratio = Figure::new(
            "cost of a life, to that with the least on file",
            name,
            Unit::Ratio,
            [cost / first],
        );
        section
            .figures
            .extend(ratio.map(|figure| figure.bound(Bound::AtMost(1.5))));
    }
    section.plots.push(Plot {
        name: "past".to_owned(),
        title: "Answers with a long past".to_owned(),
        x: Axis {
            label: "on file".to_owned(),
            log: true,
        },
        y: Axis {
            label: "ms".to_owned(),
            log: true,
        },
        lines,
    });
    Ok(section)
}

/// The start of a daemon that takes up what the one before was running.
async fn recovery(count: usize, place: &Place, column: &str) -> Result<Option<Figure>> {
    let home = place.home(ROOMY)?;
    filled(&home, count, RUNNING).await?;
    let daemon = home.daemon().await?;
    let took = daemon.took;
    daemon.kill().await?;
    let row = format!("start, {} to take up", grouped(RUNNING as usize));
    Ok(Figure::times(row, column, [took]))
}

async fn filled(home: &Home, count: usize, active: u32) -> Result<()> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    fill::fill(&fill::Args::for_a_bench(home.path(""), count, active)).await
}
