//! A daemon that has nothing to do.

use std::time::{Duration, Instant};

use super::home::Place;
use crate::bench::measure::{Bound, Figure, Section, Unit};
use crate::bench::process::used;
use crate::error::{Error, Result, io};
use crate::say;

/// When it is to leave.
const IDLE_EXIT: Duration = Duration::from_secs(2);
/// How long it may take to come to rest after its start.
const SETTLE: Duration = Duration::from_secs(3);
/// What it may take, in bytes.
const MOST_MEMORY: f64 = 20e6;

/// Watches it for so long.
pub(super) async fn measure(window: Duration, place: &Place) -> Result<Section> {
    let seconds = window.as_secs_f64();
    say(&format!("nothing to do, for {seconds} s"));
    let mut section = Section::new(
        "Nothing to do",
        format!(
            "A daemon without work: its memory, and how often one of its threads was put on a processor within {seconds} \
             s, and for how long. And how long after `[daemon] idle_exit` ({} s here) it is gone.",
            IDLE_EXIT.as_secs()
        ),
    );
    let home = place.home("")?;
    let daemon = home.daemon().await?;
    tokio::time::sleep(SETTLE).await;
    let pid = daemon.pid()?;
    let before = used(pid)?;
    tokio::time::sleep(window).await;
    let after = used(pid)?;
    daemon.kill().await?;
    let spent = after.since(&before);
    #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
    let (memory, switches) = (after.memory as f64, spent.switches as f64);
    let cpu = spent.cpu.as_secs_f64() * 1e3;
    let home = place.home(&format!(
        "[daemon]\nidle_exit = \"{}s\"\n",
        IDLE_EXIT.as_secs()
    ))?;
    let mut daemon = home.daemon().await?;
    let begun = Instant::now();
    let ended = tokio::time::timeout(IDLE_EXIT * 10, daemon.process.wait()).await;
    match ended {
        Ok(ended) => ended.map_err(io("wait for the daemon"))?,
        Err(_) => return Err(Error::Wrong("an idle daemon does not leave".to_owned())),
    };
    let late = begun.elapsed().as_secs_f64() - IDLE_EXIT.as_secs_f64();
    let figures = [
        Figure::new("memory", "", Unit::Bytes, [memory])
            .map(|figure| figure.bound(Bound::AtMost(MOST_MEMORY))),
        Figure::new(
            format!("context switches in {seconds} s"),
            "",
            Unit::Count,
            [switches],
        ),
        Figure::new(format!("processor in {seconds} s"), "", Unit::Ms, [cpu]),
        Figure::new("gone after its time was over", "", Unit::Ms, [late * 1e3]),
    ];
    section.figures.extend(figures.into_iter().flatten());
    Ok(section)
}
