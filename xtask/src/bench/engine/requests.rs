//! How long the daemon's answers take.

use std::time::{Duration, Instant};

use brigade_client::Client;
use brigade_protocol::delegations::{ListQuery, Scope, SearchQuery};

use super::failed;
use crate::bench::measure::{Figure, Spread, Unit};
use crate::error::{Error, Result};
use crate::fill::{COMMON, RARE};

/// How often each is asked: so that a 99th percentile is more than the slowest.
pub(super) const TIMES: usize = 200;
/// How many prompts hold [`RARE`].
const RARELY: usize = 5;
/// So many of those that hold a word are ranked at most, the newest.
const RANKED: usize = 1_000;

pub(super) const LIST: &str = "`list`, a page of 50";
pub(super) const SEARCH_COMMON: &str = "`search`, a common word";
pub(super) const SEARCH_RARE: &str = "`search`, a rare word";

/// What was asked.
pub(super) struct Answers {
    /// Over how many.
    counts: [(&'static str, usize); 3],
    /// How long each answer took.
    pub(super) times: Vec<(&'static str, Vec<Duration>)>,
}

/// The prompt of one of many: all hold the common word, few the rare one.
pub(super) fn prompt(number: usize) -> String {
    match number < RARELY {
        true => format!("Look into {COMMON} {RARE} of case {number}."),
        false => format!("Look into {COMMON} case {number}."),
    }
}

/// A row for the times, and one for the slow ones among them.
pub(super) fn figures(what: &str, column: &str, times: &[Duration]) -> Vec<Figure> {
    let spread = Spread::of_times(times.iter().copied());
    let slow = Figure::new(
        format!("{what}, 99th percentile"),
        column,
        Unit::Ms,
        spread.map(|spread| spread.p99),
    );
    let all = Figure::times(what, column, times.iter().copied());
    all.into_iter().chain(slow).collect()
}

impl Answers {
    /// Over how many it was asked.
    pub(super) fn counts(&self, column: &str) -> Vec<Figure> {
        let counts = self.counts.iter().filter_map(|(what, count)| {
            #[expect(clippy::cast_precision_loss, reason = "there are not so many")]
            let count = *count as f64;
            Figure::new(*what, column, Unit::Count, [count])
        });
        counts.collect()
    }

    /// All there is to be told of it.
    pub(super) fn figures(&self, column: &str) -> Vec<Figure> {
        let times = self.times.iter();
        let times = times.flat_map(|(what, times)| figures(what, column, times));
        self.counts(column).into_iter().chain(times).collect()
    }
}

async fn times<T, E: std::fmt::Display>(
    mut ask: impl AsyncFnMut() -> std::result::Result<T, E>,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(TIMES);
    // The first finds nothing in memory, which is measured by the start.
    ask().await.map_err(failed)?;
    for _ in 0..TIMES {
        let begun = Instant::now();
        ask().await.map_err(failed)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// Asks for everything that people and models ask for often, over all projects. Every delegation is to hold the common
/// word.
pub(super) async fn answers(client: &Client) -> Result<Answers> {
    let list = ListQuery {
        limit: Some(50),
        ..ListQuery::default()
    };
    let search = |words: &str, limit: Option<u32>| SearchQuery {
        q: words.to_owned(),
        directory: None,
        limit,
    };
    let newest = client.list(&list).await.map_err(failed)?;
    let all = usize::try_from(newest.more).unwrap_or(usize::MAX) + newest.delegations.len();
    let hits = async |words: &str| {
        let found = client.search(&search(words, Some(10_000))).await;
        found.map(|found| found.hits.len()).map_err(failed)
    };
    let (common, rare) = (hits(COMMON).await?, hits(RARE).await?);
    if common < all.min(RANKED) || rare == 0 {
        return Err(Error::Wrong(format!(
            "of {all} delegations {common} were found by `{COMMON}`, which all hold, and {rare} by `{RARE}`"
        )));
    }
    let row = newest.delegations.first();
    let id = row.map(|row| row.id.to_string());
    let id = id.ok_or_else(|| Error::Wrong("nothing is on file".to_owned()))?;
    let scope = Scope::default();
    let (for_common, for_rare) = (search(COMMON, None), search(RARE, None));
    Ok(Answers {
        counts: [
            ("delegations that `list` covers", all),
            ("delegations that hold the common word", all),
            ("delegations that hold the rare word", rare),
        ],
        times: vec![
            (LIST, times(async || client.list(&list).await).await?),
            (
                SEARCH_COMMON,
                times(async || client.search(&for_common).await).await?,
            ),
            (
                SEARCH_RARE,
                times(async || client.search(&for_rare).await).await?,
            ),
            (
                "`daemon status`",
                times(async || client.status().await).await?,
            ),
            (
                "`show`",
                times(async || client.show(&id, &scope).await).await?,
            ),
            (
                "`read`",
                times(async || client.text(&id, &scope).await).await?,
            ),
        ],
    })
}
