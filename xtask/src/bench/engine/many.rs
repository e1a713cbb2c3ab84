//! Very many at work at once.

use std::time::{Duration, Instant};

use futures::StreamExt;

use super::home::{Daemon, Home, Place};
use super::life::ROOMY;
use super::process::used;
use super::requests::answers;
use super::swarm::Swarm;
use crate::bench::measure::{Axis, Bound, Figure, Line, Plot, Section, Spread, Unit};
use crate::error::Result;
use crate::say;

/// How many of a root session.
const OF_A_ROOT: usize = 20;
/// How many calls of `delegate` are under way at once.
const CALLS: usize = 32;
/// How long nothing happens.
const QUIET: Duration = Duration::from_secs(10);
/// How many calls of `delegate` are measured one by one.
const ONE_BY_ONE: usize = 50;
/// What 10,000 may take, in bytes.
const MOST_MEMORY: f64 = 150e6;

/// A daemon on which this many work, held there.
struct Crowd {
    home: Home,
    daemon: Daemon,
    swarm: Swarm,
}

impl Crowd {
    async fn gather(count: usize, place: &Place) -> Result<Self> {
        let home = place.home(ROOMY)?;
        let daemon = home.daemon().await?;
        let swarm = Swarm::connect(&home.dirs()?, &home.project()?).await?;
        swarm.hold(true);
        let roots: Vec<String> = (0..count.div_ceil(OF_A_ROOT))
            .map(|_| swarm.root())
            .collect();
        let mut calls = futures::stream::iter(0..count)
            .map(|n| {
                let (swarm, root) = (&swarm, &roots[n / OF_A_ROOT]);
                async move { swarm.delegate(root, &format!("Look into case {n}.")).await }
            })
            .buffer_unordered(CALLS);
        while let Some(called) = calls.next().await {
            called?;
        }
        drop(calls);
        swarm.working(count).await?;
        Ok(Self {
            home,
            daemon,
            swarm,
        })
    }
}

/// Measures with each of these numbers at work.
pub(super) async fn measure(counts: &[usize], place: &Place) -> Result<Section> {
    let mut section = Section::new(
        "Many at once",
        format!(
            "So many delegations run at once, {OF_A_ROOT} of each root session, on a host that holds them. How long it \
             took to have them all running, what the daemon's memory is then, its time on a processor while nothing \
             happens for {} s, and how long answers take meanwhile: medians, and below them what all but one in a \
             hundred stay under.",
            QUIET.as_secs()
        ),
    );
    let mut memory = Vec::new();
    for &count in counts {
        say(&format!("{count} at once"));
        let column = format!("{} at once", grouped(count));
        let begun = Instant::now();
        let crowd = Crowd::gather(count, place).await?;
        #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
        let each = begun.elapsed().as_secs_f64() * 1e3 / count as f64;
        let pid = crowd.daemon.pid()?;
        let before = used(pid)?;
        tokio::time::sleep(QUIET).await;
        let after = used(pid)?;
        let cpu = after.since(&before).cpu.as_secs_f64() / QUIET.as_secs_f64() * 100.0;
        #[expect(clippy::cast_precision_loss, reason = "memory is not so large")]
        let resident = after.memory as f64;
        let mut add = |figure: Option<Figure>| section.figures.extend(figure);
        add(Figure::new(
            "to have one running",
            &column,
            Unit::Ms,
            [each],
        ));
        let size = Figure::new("memory", &column, Unit::Bytes, [resident]);
        add(size.map(|figure| match count {
            10_000 => figure.bound(Bound::AtMost(MOST_MEMORY)),
            _ => figure,
        }));
        add(Figure::new(
            "processor, nothing happens",
            &column,
            Unit::Percent,
            [cpu],
        ));
        let client = crowd.home.client().await?;
        let mut asked = answers(&client, &crowd.home.project()?).await?;
        let root = crowd.swarm.root();
        let mut calls = Vec::new();
        for n in 0..ONE_BY_ONE {
            let begun = Instant::now();
            crowd
                .swarm
                .delegate(&root, &format!("And case {n}."))
                .await?;
            calls.push(begun.elapsed());
        }
        asked.push(("`delegate`", calls));
        for (what, times) in asked {
            let spread = Spread::of_times(times.iter().copied());
            add(Figure::times(what, &column, times));
            add(Figure::new(
                format!("{what}, all but one in 100"),
                &column,
                Unit::Ms,
                spread.map(|spread| spread.p99),
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
        memory.extend(Spread::of([resident / 1e6]).map(|spread| (count as f64, spread)));
        crowd.daemon.kill().await?;
    }
    section.plots.push(Plot {
        name: "memory".to_owned(),
        title: "The daemon's memory with many at work".to_owned(),
        x: Axis {
            label: "at once".to_owned(),
            log: true,
        },
        y: Axis {
            label: "MB".to_owned(),
            log: true,
        },
        lines: vec![Line {
            name: "daemon".to_owned(),
            points: memory,
        }],
    });
    Ok(section)
}

/// A flood of events from a few children.
pub(super) async fn flood(place: &Place) -> Result<Section> {
    /// A million a minute.
    const A_SECOND: u32 = 16_667;
    const TICK: Duration = Duration::from_millis(10);
    const WINDOW: Duration = Duration::from_secs(10);
    const CHILDREN: usize = 20;
    let mut section = Section::new(
        "A flood of events",
        format!(
            "{CHILDREN} children stream text, a million pieces a minute in all, for {} s: as the bridge joins them (pieces \
             that come while a batch is on its way are one event) and each as an event of its own.",
            WINDOW.as_secs()
        ),
    );
    for (column, joined) in [("joined", true), ("one by one", false)] {
        say(&format!("a flood of events, {column}"));
        let crowd = Crowd::gather(CHILDREN, place).await?;
        let children = crowd.swarm.children();
        let client = crowd.home.client().await?;
        let directory = crowd.home.project()?;
        let pid = crowd.daemon.pid()?;
        let before = used(pid)?;
        let pour = async {
            let mut ticks = tokio::time::interval(TICK);
            let pieces = (A_SECOND / 100) as usize / CHILDREN + 1;
            let begun = Instant::now();
            while begun.elapsed() < WINDOW {
                ticks.tick().await;
                for child in &children {
                    if joined {
                        crowd.swarm.delta(child, &"word ".repeat(pieces));
                    } else {
                        for _ in 0..pieces {
                            crowd.swarm.delta(child, "word ");
                        }
                    }
                }
            }
            begun.elapsed()
        };
        let (took, asked) = tokio::join!(pour, answers(&client, &directory));
        let cpu = used(pid)?.since(&before).cpu;
        let part = cpu.as_secs_f64() / took.as_secs_f64() * 100.0;
        section
            .figures
            .extend(Figure::new("processor", column, Unit::Percent, [part]));
        for (what, times) in asked? {
            section.figures.extend(Figure::times(what, column, times));
        }
        crowd.daemon.kill().await?;
    }
    Ok(section)
}

/// A number with its thousands set apart.
pub(super) fn grouped(number: usize) -> String {
    let text = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in text.char_indices() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
