//! Very many at work at once.

use std::time::{Duration, Instant};

use futures::StreamExt;

use super::home::{Daemon, Home, Place};
use super::life::ROOMY;
use super::requests::{TIMES, answers, figures, prompt};
use super::swarm::{Pieces, Swarm};
use crate::bench::measure::{Axis, Bound, Figure, Line, Plot, Section, Spread, Unit, grouped};
use crate::bench::process::used;
use crate::error::Result;
use crate::say;

/// How many of a root session.
const OF_A_ROOT: usize = 20;
/// How many calls of `delegate` are under way at once.
const CALLS: usize = 32;
/// What 10,000 may take, in bytes.
const MOST_MEMORY: f64 = 150e6;

/// When nothing happens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet {
    /// From the last one's being at work.
    pub(super) after: Duration,
    /// How long it is watched then.
    pub(super) window: Duration,
}

/// A daemon on which this many work, held there.
pub(super) struct Crowd {
    pub(super) home: Home,
    pub(super) daemon: Daemon,
    pub(super) swarm: Swarm,
    /// The IDs.
    pub(super) delegations: Vec<String>,
}

impl Crowd {
    pub(super) async fn gather(count: usize, pieces: Pieces, place: &Place) -> Result<Self> {
        let home = place.home(ROOMY)?;
        let daemon = home.daemon().await?;
        let swarm = Swarm::connect(&home.dirs()?, &home.project()?, pieces).await?;
        swarm.hold();
        let roots: Vec<String> = (0..count.div_ceil(OF_A_ROOT))
            .map(|_| swarm.root())
            .collect();
        let mut calls = futures::stream::iter(0..count)
            .map(|n| {
                let (swarm, root) = (&swarm, &roots[n / OF_A_ROOT]);
                async move { swarm.delegate(root, &prompt(n)).await }
            })
            .buffer_unordered(CALLS);
        let mut delegations = Vec::with_capacity(count);
        while let Some(called) = calls.next().await {
            delegations.push(called?);
        }
        drop(calls);
        swarm.working(count).await?;
        Ok(Self {
            home,
            daemon,
            swarm,
            delegations,
        })
    }
}

/// Measures with each of these numbers at work.
pub(super) async fn measure(counts: &[usize], quiet: Quiet, place: &Place) -> Result<Section> {
    let mut section = Section::new(
        "Many at once",
        format!(
            "So many delegations run at once, {OF_A_ROOT} of each root session, on a host that holds them. How long it \
             took to have them all running; the daemon's time on a processor, in percent of one core, and how often one of \
             its threads was put on one, while nothing happens: for {} s, from {} s after the last was running; its \
             memory at the end of that; then how long answers take, over all projects, and calls of `delegate`: medians \
             of {TIMES} each, and their 99th percentiles.",
            quiet.window.as_secs(),
            quiet.after.as_secs()
        ),
    );
    let mut memory = Vec::new();
    for &count in counts {
        say(&format!("{count} at once"));
        let column = format!("{} at once", grouped(&count.to_string()));
        let begun = Instant::now();
        let crowd = Crowd::gather(count, Pieces::Joined, place).await?;
        #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
        let each = begun.elapsed().as_secs_f64() * 1e3 / count as f64;
        let pid = crowd.daemon.pid()?;
        // A run without a word for 30 s is asked after, again and again. What that costs is to be seen, so it is let
        // come into its stride, and then watched for two of its periods. That is measured, and waits for nothing.
        tokio::time::sleep(quiet.after).await;
        let (before, begun) = (used(pid)?, Instant::now());
        tokio::time::sleep(quiet.window).await;
        let (after, watched) = (used(pid)?, begun.elapsed().as_secs_f64());
        let spent = after.since(&before);
        #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
        let (resident, switches) = (after.memory as f64, spent.switches as f64);
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
            [spent.cpu.as_secs_f64() / watched * 100.0],
        ));
        add(Figure::new(
            "context switches, nothing happens",
            &column,
            Unit::PerSecond,
            [switches / watched],
        ));
        let client = crowd.home.client().await?;
        let asked = answers(&client).await?;
        section.figures.extend(asked.figures(&column));
        let root = crowd.swarm.root();
        let mut calls = Vec::new();
        for n in 0..TIMES {
            let prompt = format!("And case {n}.");
            let begun = Instant::now();
            crowd.swarm.delegate(&root, &prompt).await?;
            calls.push(begun.elapsed());
        }
        section
            .figures
            .extend(figures("`delegate`", &column, &calls));
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
