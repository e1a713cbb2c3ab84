//! A long past: how everything grows with what is on file.

use std::fs::{self, File};
use std::path::Path;

use super::home::{Home, Place};
use super::life::{AT_ONCE, ROOMY, lives};
use super::requests::{Answers, LIST, SEARCH_COMMON, SEARCH_RARE, TIMES, answers, figures};
use super::swarm::{Pieces, Swarm};
use crate::bench::measure::{Axis, Bound, Figure, Line, Plot, Section, Spread, Unit, grouped};
use crate::error::{Result, io};
use crate::{fill, say};

/// How many lives are measured beside the past.
const LIVES: u32 = 500;
/// How many where the least is compared with the most on file: few beside the least.
const COMPARED: u32 = 200;
/// How often the rate of lives is measured.
const ROUNDS: usize = 3;
/// How many were under way as the daemon before was killed.
const UNDER_WAY: u32 = 1_000;
/// With so many the product promises something.
const PROMISED: usize = 100_000;

/// What was measured so far.
struct Past<'a> {
    place: &'a Place,
    /// How often starts are measured, and lives compared.
    repeats: usize,
    section: Section,
    lines: Vec<Line>,
}

/// Measures with each of these numbers on file.
pub(super) async fn measure(counts: &[usize], repeats: usize, place: &Place) -> Result<Section> {
    let section = Section::new(
        "A long past",
        format!(
            "With so many delegations on file, of all states and in ten projects, with results of 160 words, made by \
             `cargo xtask fill`: the start of the daemon until it says that it is ready, the same where some were \
             running and others waiting as the one before was killed ({repeats} times each, from the same store), \
             answers over all projects ({TIMES} of each), and the rate of whole lives ({LIVES}, {ROUNDS} times, which \
             are on file then, too). The cost of a life with the most on file by that with the least: {COMPARED} lives \
             with each, {repeats} times in turns, each time by a daemon that was started anew, after {AT_ONCE} that do \
             not count; the store with the least is a new one each time. Of what holds the common word the daemon looks \
             at the newest 1,000."
        ),
    );
    let mut past = Past {
        place,
        repeats,
        section,
        lines: Vec::new(),
    };
    let mut homes = Vec::new();
    for &count in counts {
        homes.push((count, past.beside(count).await?));
    }
    past.compare(&homes).await?;
    let mut section = past.section;
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
        lines: past.lines,
    });
    Ok(section)
}

impl Past<'_> {
    /// Everything with so many on file; gives their home.
    async fn beside(&mut self, count: usize) -> Result<Home> {
        let column = column(count);
        say(&column);
        let home = self.place.home(ROOMY)?;
        fill::fill(&on_file(&home, count, 0)).await?;
        let mut starts = Vec::new();
        for _ in 0..self.repeats {
            let daemon = home.daemon().await?;
            starts.push(daemon.took);
            daemon.kill().await?;
        }
        let start = Figure::times("start", &column, starts);
        self.add(start, count, Some(300.0));
        self.recovery(count).await?;
        let daemon = home.daemon().await?;
        let asked = answers(&home.client().await?).await?;
        self.answers(&asked, count);
        let swarm = Swarm::connect(&home.dirs()?, &home.project()?, Pieces::Joined).await?;
        lives(&swarm, AT_ONCE).await?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(lives(&swarm, LIVES).await?);
        }
        self.add(
            Figure::new("lives a second", &column, Unit::PerSecond, rates),
            count,
            None,
        );
        daemon.kill().await?;
        Ok(home)
    }

    /// A figure of those that have a promise, perhaps.
    fn add(&mut self, figure: Option<Figure>, count: usize, most: Option<f64>) {
        let most = most.filter(|_| count == PROMISED);
        self.section.figures.extend(figure.map(|figure| match most {
            Some(most) => figure.bound(Bound::AtMost(most)),
            None => figure,
        }));
    }

    fn answers(&mut self, asked: &Answers, count: usize) {
        let column = column(count);
        self.section.figures.extend(asked.counts(&column));
        for (what, times) in &asked.times {
            if *what == "`daemon status`" {
                continue;
            }
            if let Some(spread) = Spread::of_times(times.iter().copied()) {
                #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
                let point = (count as f64, spread);
                match self.lines.iter_mut().find(|line| line.name == *what) {
                    Some(line) => line.points.push(point),
                    None => self.lines.push(Line {
                        name: (*what).to_owned(),
                        points: vec![point],
                    }),
                }
            }
            let most = match *what {
                LIST => Some(10.0),
                SEARCH_COMMON | SEARCH_RARE => Some(50.0),
                _ => None,
            };
            for figure in figures(what, &column, times) {
                // What is promised is the median.
                let most = most.filter(|_| figure.row == *what);
                self.add(Some(figure), count, most);
            }
        }
    }

    /// The start of a daemon that takes up what the one before was running.
    async fn recovery(&mut self, count: usize) -> Result<()> {
        let home = self.place.home(ROOMY)?;
        let args = on_file(&home, count, UNDER_WAY);
        fill::fill(&args).await?;
        let (store, kept) = (home.path("brigade"), home.path("kept"));
        copy(&store, &kept)?;
        let mut starts = Vec::new();
        for round in 0..self.repeats {
            if round > 0 {
                // Once taken up they are something else, so that each start gets them as they were. Few disks have room
                // for all the copies of a large store, and removing its few files is done before it is copied anew.
                fs::remove_dir_all(&store).map_err(io("remove a used store"))?;
                copy(&kept, &store)?;
            }
            let daemon = home.daemon().await?;
            starts.push(daemon.took);
            daemon.kill().await?;
        }
        let running = args.running();
        let row = format!(
            "start, {running} running and {} waiting to take up",
            UNDER_WAY - running
        );
        self.add(Figure::times(row, column(count), starts), count, None);
        Ok(())
    }

    /// The cost of a life with the most on file, up to what is promised, by that with the least.
    async fn compare(&mut self, homes: &[(usize, Home)]) -> Result<()> {
        let known = || homes.iter().filter(|(count, _)| *count <= PROMISED);
        let least = known().map(|(count, _)| *count).min();
        let (Some(least), Some((most, home))) = (least, known().max_by_key(|(count, _)| *count))
        else {
            return Ok(());
        };
        if least == *most {
            return Ok(());
        }
        let mut ratios = Vec::new();
        for round in 1..=self.repeats {
            let small = self.place.home(ROOMY)?;
            fill::fill(&on_file(&small, least, 0)).await?;
            let (few, many) = match round.is_multiple_of(2) {
                true => {
                    let many = rate(home).await?;
                    (rate(&small).await?, many)
                }
                false => (rate(&small).await?, rate(home).await?),
            };
            say(&format!(
                "round {round}: {few:.0} lives a second with {least} on file, {many:.0} with {most}"
            ));
            ratios.push(few / many);
        }
        let row = format!(
            "cost of a life, by that with {} on file",
            grouped(&least.to_string())
        );
        let figure = Figure::new(row, column(*most), Unit::Ratio, ratios);
        self.add(figure, *most, Some(1.5));
        Ok(())
    }
}

fn column(count: usize) -> String {
    format!("{} on file", grouped(&count.to_string()))
}

/// Lives a second in this home, by a daemon of its own.
async fn rate(home: &Home) -> Result<f64> {
    let daemon = home.daemon().await?;
    let swarm = Swarm::connect(&home.dirs()?, &home.project()?, Pieces::Joined).await?;
    lives(&swarm, AT_ONCE).await?;
    let rate = lives(&swarm, COMPARED).await?;
    daemon.kill().await?;
    Ok(rate)
}

fn on_file(home: &Home, count: usize, under_way: u32) -> fill::Args {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    fill::Args::for_a_bench(home.path(""), count, under_way)
}

/// Copies the files of a folder, and has them on disk, so that writing them does not go on while something is measured.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let copy = to.join(entry.file_name());
                fs::copy(entry.path(), &copy)?;
                File::open(&copy)?.sync_all()?;
            }
        }
        File::open(to)?.sync_all()
    };
    copied().map_err(io(format!("copy {}", from.display())))
}
