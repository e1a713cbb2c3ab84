//! A flood of events from a few children.

use std::cell::Cell;
use std::time::{Duration, Instant};

use brigade_client::Client;
use brigade_protocol::delegations::{Follow, Scope};
use futures::StreamExt;
use futures::future::try_join_all;
use tokio::time::timeout;

use super::failed;
use super::home::Place;
use super::many::Crowd;
use super::requests::{TIMES, answers};
use super::swarm::{LIMIT, Pieces, Swarm};
use crate::bench::measure::{Figure, Section, Unit, grouped};
use crate::bench::process::used;
use crate::error::{Error, Result};
use crate::say;

/// A million.
const A_MINUTE: f64 = 1e6;
/// How often pieces are said that are due.
const TICK: Duration = Duration::from_millis(10);
const CHILDREN: usize = 20;
/// What a piece holds.
const WORD: &str = "word ";

/// Pours for so long, and then for as long as requests take.
pub(super) async fn measure(window: Duration, place: &Place) -> Result<Section> {
    let mut section = Section::new(
        "A flood of events",
        format!(
            "{CHILDREN} children stream text for {} s, {} pieces a minute in all: joined as the bridge does it (pieces of \
             one text that come while a batch is on its way are one event), and each as an event of its own. The flood \
             is over when the daemon has answered a question that every child asks after its last piece; then it is \
             counted how many pieces are in the texts that the daemon shows. The processor's time, in percent of one \
             core, is that from the first piece said to the last taken, and nothing else is asked of the daemon \
             meanwhile. Then the same flood goes on while {TIMES} requests of each kind are made, one after the other.",
            window.as_secs(),
            grouped(&format!("{A_MINUTE}"))
        ),
    );
    for (column, pieces) in [("joined", Pieces::Joined), ("one by one", Pieces::Single)] {
        say(&format!("a flood of events, {column}"));
        let crowd = Crowd::gather(CHILDREN, pieces, place).await?;
        let client = crowd.home.client().await?;
        let children = children(&client, &crowd.delegations).await?;
        let pid = crowd.daemon.pid()?;
        let (before, begun) = (used(pid)?, Instant::now());
        let said = pour(&crowd.swarm, &children, |elapsed| elapsed < window).await;
        let poured = begun.elapsed();
        let late = Instant::now();
        let heard = children.iter().map(|child| crowd.swarm.heard(child));
        try_join_all(heard).await?;
        let (late, taken) = (late.elapsed(), begun.elapsed());
        let cpu = used(pid)?.since(&before).cpu;
        whole(&client, &crowd.delegations, &said).await?;
        let total: u32 = said.iter().sum();
        let a_minute = |time: Duration| f64::from(total) / time.as_secs_f64() * 60.0;
        let figures = [
            Figure::new("pieces said", column, Unit::Count, [f64::from(total)]),
            Figure::new(
                "said a minute",
                column,
                Unit::Count,
                [a_minute(poured).round()],
            ),
            Figure::new(
                "taken a minute",
                column,
                Unit::Count,
                [a_minute(taken).round()],
            ),
            Figure::times("the last taken, after it was said", column, [late]),
            Figure::new(
                "processor",
                column,
                Unit::Percent,
                [cpu.as_secs_f64() / taken.as_secs_f64() * 100.0],
            ),
        ];
        section.figures.extend(figures.into_iter().flatten());
        let all_asked = Cell::new(false);
        let asked = async {
            let asked = answers(&client).await;
            all_asked.set(true);
            asked
        };
        let (_, asked) = tokio::join!(pour(&crowd.swarm, &children, |_| !all_asked.get()), asked);
        section.figures.extend(asked?.figures(column));
        crowd.daemon.kill().await?;
    }
    Ok(section)
}

/// The child sessions of these delegations.
async fn children(client: &Client, delegations: &[String]) -> Result<Vec<String>> {
    let mut children = Vec::new();
    for id in delegations {
        let details = client.show(id, &Scope::default()).await.map_err(failed)?;
        let child = details.child;
        children.push(child.ok_or_else(|| Error::Wrong(format!("{id} has no child session")))?);
    }
    Ok(children)
}

/// Has the children say, in turn, what is due, as long as it is to go on; gives how much each has said.
async fn pour(swarm: &Swarm, children: &[String], goes_on: impl Fn(Duration) -> bool) -> Vec<u32> {
    let mut said = vec![0_u32; children.len()];
    let mut turns = (0..children.len()).cycle();
    let (mut ticks, begun) = (tokio::time::interval(TICK), Instant::now());
    let mut total = 0_u32;
    while goes_on(begun.elapsed()) {
        ticks.tick().await;
        // By the clock, so that late ticks are made up for.
        let due = begun.elapsed().as_secs_f64() * A_MINUTE / 60.0;
        while f64::from(total) < due
            && let Some(turn) = turns.next()
        {
            swarm.delta(&children[turn], WORD);
            said[turn] += 1;
            total += 1;
        }
    }
    said
}

/// Looks whether the daemon shows all that was said.
async fn whole(client: &Client, delegations: &[String], said: &[u32]) -> Result<()> {
    let shown = delegations.iter().zip(said).map(|(id, said)| async move {
        let wanted = WORD.len() * *said as usize;
        let mut follow = client.peek(id).await.map_err(failed)?;
        let mut length = 0;
        let grown = async {
            while length < wanted
                && let Some(news) = follow.next().await
            {
                match news.map_err(failed)? {
                    Follow::Reset { text } => length = text.len(),
                    Follow::More { text } => length += text.len(),
                    Follow::Doing { .. } | Follow::Ended { .. } => {}
                }
            }
            Ok(())
        };
        let grown: std::result::Result<Result<()>, _> = timeout(LIMIT, grown).await;
        grown.unwrap_or(Ok(()))?;
        match length == wanted {
            true => Ok(()),
            false => Err(Error::Wrong(format!(
                "of {id} the daemon shows {length} bytes of {wanted} that were streamed"
            ))),
        }
    });
    try_join_all(shown).await.map(drop)
}
