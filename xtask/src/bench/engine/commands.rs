//! Commands as processes of their own, as people wait for them.

use std::time::{Duration, Instant};

use super::home::Place;
use super::life::ROOMY;
use crate::bench::measure::{Bound, Figure, Section, Unit};
use crate::error::{Error, Result, io};
use crate::{fill, say};

/// How often each is run.
const TIMES: usize = 30;
/// How many are on file.
const ON_FILE: u32 = 1_000;

/// Runs each quick command beside a daemon.
pub(super) async fn measure(place: &Place) -> Result<Section> {
    let mut section = Section::new(
        "Commands",
        format!(
            "From the start of the process to its end, beside a running daemon with {ON_FILE} on file."
        ),
    );
    let home = place.home(ROOMY)?;
    fill::fill(&fill::Args::for_a_bench(home.path(""), ON_FILE, 0)).await?;
    let daemon = home.daemon().await?;
    let client = home.client().await?;
    let newest = client
        .list(&Default::default())
        .await
        .map_err(super::failed)?;
    let id = newest.delegations.first().map(|row| row.id.to_string());
    let id = id.ok_or_else(|| Error::Wrong("nothing is on file".to_owned()))?;
    let commands: [&[&str]; 7] = [
        &["--version"],
        &["list"],
        &["show", &id, "--all"],
        &["read", &id, "--all"],
        &["search", "token", "--all"],
        &["stats"],
        &["daemon", "status"],
    ];
    for args in commands {
        let shown = args.iter().map(|arg| if *arg == id { "ID" } else { arg });
        let shown = format!("`brigade {}`", shown.collect::<Vec<_>>().join(" "));
        say(&shown);
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            let status = home.command(args).status().await;
            let status = status.map_err(io(format!("run {shown}")))?;
            times.push(begun.elapsed());
            if !status.success() {
                return Err(Error::Wrong(format!("{shown} failed ({status})")));
            }
        }
        let figure = Figure::times(&shown, "", times);
        section.figures.extend(figure.map(|figure| match args {
            ["list"] => figure.bound(Bound::AtMost(15.0)),
            _ => figure,
        }));
    }
    daemon.kill().await?;
    let size = std::fs::metadata(&place.program).map_err(io("look at the program"))?;
    #[expect(clippy::cast_precision_loss, reason = "it is not so large")]
    let size = Figure::new("size of the program", "", Unit::Bytes, [size.len() as f64]);
    section.figures.extend(size);
    Ok(section)
}
