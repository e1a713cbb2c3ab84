//! Whole lives: from the call of `delegate` to the waking that has been answered.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::disk::durable_files;
use super::home::Place;
use super::swarm::{Pieces, Swarm};
use crate::bench::measure::{Bound, Figure, Section, Unit};
use crate::bench::process::used;
use crate::error::Result;
use crate::say;

/// How many live at once.
pub(super) const AT_ONCE: u32 = 64;
/// How often both are measured, one after the other.
const ROUNDS: u32 = 5;
/// How long the disk is measured each time.
const WINDOW: Duration = Duration::from_secs(2);

/// Room for as many at once as are measured.
pub(super) const ROOMY: &str = "[limits]\nconcurrent = 100000\nqueue = 200000\n\n[notice]\ndesktop = false\n\n[daemon]\nlog = \"warn\"\n";

/// Lives one after the other in several root sessions at once; gives how many a second.
///
/// # Errors
/// When a session is not woken, or more than once for one.
pub(super) async fn lives(swarm: &Swarm, count: u32) -> Result<f64> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let left = AtomicU32::new(count);
    let one_by_one = async || -> Result<()> {
        let root = swarm.root();
        let next = || {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
        };
        let mut lived = 0;
        while next().is_ok() {
            let number = NUMBER.fetch_add(1, Ordering::SeqCst);
            let prompt = format!("Find out how tokens are refreshed, case {number}.");
            let id = swarm.delegate(&root, &prompt).await?;
            lived += 1;
            swarm.woken(&root, lived, &id).await?;
        }
        Ok(())
    };
    let begun = Instant::now();
    let mut all: FuturesUnordered<_> = (0..AT_ONCE.min(count)).map(|_| one_by_one()).collect();
    while let Some(done) = all.next().await {
        done?;
    }
    let took = begun.elapsed();
    swarm.woken_once_each()?;
    Ok(f64::from(count) / took.as_secs_f64())
}

/// The rate of whole lives beside that of the disk.
pub(super) async fn measure(count: u32, place: &Place) -> Result<Section> {
    let mut section = Section::new(
        "The whole life",
        format!(
            "{count} delegations, {AT_ONCE} at once, each from the call of `delegate` over run, result and notice to the \
             waking that has been answered, on a host that answers at once; each wakes its session once, or the \
             measuring fails. Beside it, in turns, the rate at which this \
             disk makes one file after the other durable (write, fsync, rename, fsync of the folder). Each life \
             makes one file and several commits durable."
        ),
    );
    let home = place.home(ROOMY)?;
    let daemon = home.daemon().await?;
    let swarm = Swarm::connect(&home.dirs()?, &home.project()?, Pieces::Joined).await?;
    lives(&swarm, AT_ONCE).await?;
    let pid = daemon.pid()?;
    let (mut disk, mut rates, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        disk.push(durable_files(&home.path(&format!("disk/{round}")), WINDOW)?);
        let (before, each) = (used(pid)?, (count / ROUNDS).max(1));
        rates.push(lives(&swarm, each).await?);
        times.push(used(pid)?.since(&before).cpu / each);
        say(&format!(
            "round {round}: {:.0} lives a second, {:.0} files",
            rates[rates.len() - 1],
            disk[disk.len() - 1]
        ));
    }
    let ratio = rates.iter().zip(&disk).map(|(lives, files)| lives / files);
    let figures = [
        Figure::new("lives a second", "", Unit::PerSecond, rates.iter().copied()),
        Figure::new(
            "durable files a second",
            "",
            Unit::PerSecond,
            disk.iter().copied(),
        ),
        Figure::times("processor, for each life", "", times),
        Figure::new("lives for each durable file", "", Unit::Ratio, ratio)
            .map(|figure| figure.bound(Bound::AtLeast(0.5))),
    ];
    section.figures.extend(figures.into_iter().flatten());
    swarm.woken_once_each()?;
    drop(swarm);
    daemon.kill().await?;
    Ok(section)
}
