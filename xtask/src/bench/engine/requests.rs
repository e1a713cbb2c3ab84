//! How long the daemon's answers take.

use std::time::{Duration, Instant};

use brigade_client::Client;
use brigade_protocol::delegations::{ListQuery, Scope, SearchQuery};

use super::failed;
use crate::error::Result;

/// How often each is asked.
const TIMES: usize = 100;
/// A word of all texts, and one of few.
const COMMON: &str = "the";
/// See [`COMMON`].
const RARE: &str = "bloom skiplist";

/// What was asked, and how long each answer took.
pub(super) type Answers = Vec<(&'static str, Vec<Duration>)>;

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

/// Asks for everything that people and models ask for often.
pub(super) async fn answers(client: &Client, directory: &str) -> Result<Answers> {
    let scope = Scope {
        directory: Some(directory.to_owned()),
    };
    let list = ListQuery {
        directory: scope.directory.clone(),
        limit: Some(50),
        ..ListQuery::default()
    };
    let search = |words: &str| SearchQuery {
        q: words.to_owned(),
        directory: scope.directory.clone(),
        limit: None,
    };
    let newest = client.list(&list).await.map_err(failed)?;
    let mut all = vec![
        (
            "`list`, a page of 50",
            times(async || client.list(&list).await).await?,
        ),
        ("`search`, a common word", {
            let query = search(COMMON);
            times(async || client.search(&query).await).await?
        }),
        ("`search`, rare words", {
            let query = search(RARE);
            times(async || client.search(&query).await).await?
        }),
        (
            "`daemon status`",
            times(async || client.status().await).await?,
        ),
    ];
    if let Some(row) = newest.delegations.first() {
        let id = row.id.to_string();
        all.push((
            "`show`",
            times(async || client.show(&id, &scope).await).await?,
        ));
        all.push((
            "`read`",
            times(async || client.text(&id, &scope).await).await?,
        ));
    }
    Ok(all)
}
