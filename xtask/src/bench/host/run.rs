//! One batch by one contestant, from the call that gives it out to the end of the turn that it wakes.

use std::fmt;
use std::time::{Duration, Instant};

use brigade_testkit::model::Outcome;
use brigade_testkit::{Events, Kind, Record};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::batch::Batch;
use super::contestant::{AGENT, Contestant};
use super::seen::{Piece, Seen};
use crate::bench::process::{self, Use};
use crate::error::{Error, Result};

/// How long anything may take on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// What came out of a batch.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) batch: Batch,
    /// How long each call took that gave work out.
    pub(super) calls: Vec<Duration>,
    /// From the end of each child's model to the child's being idle, as the event stream tells it.
    pub(super) idle: Vec<Duration>,
    /// To its artifact's being in its place, where there is one.
    pub(super) artifact: Vec<Duration>,
    /// To its notice's being in the parent session, as the event stream tells it.
    pub(super) notice: Vec<Duration>,
    /// From the end of the last child's model to the first request for the parent that knows all results.
    /// None of who gives nothing out; of it only the calls are measured.
    pub(super) waking: Option<Duration>,
    /// From the prompt that wakes to that request; for the floor alone.
    pub(super) prompt: Option<Duration>,
    /// Sessions that were made in the meantime.
    pub(super) sessions: usize,
    /// The number of the model's first request for this batch.
    pub(super) first_request: usize,
    /// What the parent's first request and a child's carry, in characters: system text and tools.
    pub(super) carried: Option<Carried>,
    /// What the processes use before and while all work.
    pub(super) memory: Option<(Memory, Memory)>,
}

/// What a request carries beside the conversation, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried {
    pub(super) parent: usize,
    pub(super) child: usize,
    /// All notices that the waking request carries.
    pub(super) notices: usize,
}

/// What processes use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) host: Use,
    pub(super) daemon: Option<Use>,
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = |times: &[Duration]| times.iter().max().map_or(0, Duration::as_millis);
        write!(out, "calls {} ms at most", worst(&self.calls))?;
        self.waking.map_or(Ok(()), |waking| {
            write!(out, ", waking after {} ms", waking.as_millis())
        })
    }
}

/// The parent, when all of the batch is given out.
struct Begun {
    parent: String,
    pieces: Vec<Piece>,
    calls: Vec<Duration>,
}

/// Has a contestant do a batch.
///
/// # Errors
/// When anything of it does not happen.
pub(super) async fn run(
    contestant: &Contestant,
    batch: &Batch,
    with_memory: bool,
) -> Result<Measured> {
    let (serve, model) = (&contestant.serve, contestant.sandbox.model());
    let before = with_memory
        .then(|| memory(contestant))
        .transpose()?
        .flatten();
    let first_request = model.count();
    let events = serve.events().await?;
    let begun = begin(contestant, batch, &events).await?;
    if !contestant.works() {
        return Ok(Measured {
            batch: *batch,
            calls: begun.calls,
            idle: Vec::new(),
            artifact: Vec::new(),
            notice: Vec::new(),
            waking: None,
            prompt: None,
            sessions: 1,
            first_request,
            carried: None,
            memory: None,
        });
    }
    model.reached(&batch.gate(), batch.len(), LIMIT).await?;
    let during = with_memory
        .then(|| memory(contestant))
        .transpose()?
        .flatten();

    let (from_event, from_request) = (events.count(), model.count());
    model.open(&batch.gate());
    let prompted = match contestant.tool() {
        Some(_) => None,
        None => Some(wake(contestant, batch, &begun, &events, from_event).await?),
    };
    let waking = waking(contestant, batch, &begun, from_request).await?;
    events.idle(&begun.parent, from_event, LIMIT).await?;

    let seen = Seen {
        parent: &begun.parent,
        pieces: &begun.pieces,
        requests: &model.since(first_request),
        events: &events.heard(0),
        from_event,
    };
    let ends = seen.ends()?;
    let last = ends.iter().map(|end| end.at).max();
    let last = last.ok_or_else(|| Error::Wrong("a batch without pieces".to_owned()))?;
    Ok(Measured {
        batch: *batch,
        calls: begun.calls,
        idle: seen.idle(&ends),
        artifact: seen.artifacts(&ends, &contestant.sandbox.artifacts())?,
        notice: seen.notices(&ends),
        waking: Some(waking.received.saturating_duration_since(last)),
        prompt: prompted.map(|at| waking.received.saturating_duration_since(at)),
        sessions: seen.sessions(),
        first_request,
        carried: Some(seen.carried(&waking)),
        memory: before.zip(during),
    })
}

/// What the contestant's processes use now; none where the system does not tell.
fn memory(contestant: &Contestant) -> Result<Option<Memory>> {
    let host = process::memory(contestant.serve.process().id())?;
    let daemon = contestant
        .sandbox
        .daemon_pid()
        .map(process::memory)
        .transpose()?;
    Ok(host.map(|host| Memory {
        host,
        daemon: daemon.flatten(),
    }))
}

/// Gives the batch out, and waits until the parent's turn is over.
async fn begin(contestant: &Contestant, batch: &Batch, events: &Events) -> Result<Begun> {
    let serve = &contestant.serve;
    let parent = serve.create(&format!("Batch {}", batch.number)).await?.id;
    serve
        .prompt_async(&parent, contestant.script(batch))
        .await?;
    events.idle(&parent, 0, LIMIT).await?;
    let Some(tool) = contestant.tool() else {
        return by_hand(contestant, batch, parent).await;
    };
    let messages = serve.messages(&parent).await?;
    let calls: Vec<&Value> = messages
        .iter()
        .flat_map(|message| message.parts_of("tool"))
        .filter(|part| part["tool"] == tool)
        .collect();
    let mut begun = Begun {
        parent,
        pieces: Vec::new(),
        calls: Vec::new(),
    };
    for piece in batch.pieces() {
        let marker = batch.marker(piece);
        let is_its = |part: &&&Value| {
            let prompt = part["state"]["input"]["prompt"].as_str();
            prompt.is_some_and(|prompt| prompt.contains(&marker))
        };
        let state = calls
            .iter()
            .find(is_its)
            .map_or(&Value::Null, |part| &part["state"]);
        let time = |name: &str| state["time"][name].as_u64();
        let (Some(start), Some(end), true) =
            (time("start"), time("end"), state["status"] == "completed")
        else {
            return Err(Error::Wrong(format!(
                "{}: `{tool}` did not do its work: {state}",
                contestant.name
            )));
        };
        begun
            .calls
            .push(Duration::from_millis(end.saturating_sub(start)));
        let output = state["output"].as_str().unwrap_or_default();
        begun.pieces.push(Piece::new(marker, output));
    }
    Ok(begun)
}

/// Gives the batch out by calls of the API, all at the same time.
async fn by_hand(contestant: &Contestant, batch: &Batch, parent: String) -> Result<Begun> {
    let serve = &contestant.serve;
    let give = async |piece: u32| -> Result<Duration> {
        let title = batch.marker(piece);
        let prompt =
            json!({"agent": AGENT, "parts": [{"type": "text", "text": batch.prompt(piece)}]});
        let begun = Instant::now();
        let child = json!({"parentID": parent, "title": title});
        let child = serve.create_with(&child).await?;
        serve.prompt_async_with(&child.id, &prompt).await?;
        Ok(begun.elapsed())
    };
    let calls = try_join_all(batch.pieces().map(give)).await?;
    let piece = |piece: u32| Piece::new(batch.marker(piece), "");
    Ok(Begun {
        pieces: batch.pieces().map(piece).collect(),
        calls,
        parent,
    })
}

/// Tells the parent of all results at once as soon as the last child is idle; gives the moment at which it did.
async fn wake(
    contestant: &Contestant,
    batch: &Batch,
    begun: &Begun,
    events: &Events,
    from_event: usize,
) -> Result<Instant> {
    let (mut next, mut idle) = (from_event, 0);
    let all_idle = |events: &[Value]| {
        for event in &events[next..] {
            let of_child = event["properties"]["sessionID"] != begun.parent;
            idle += usize::from(event["type"] == "session.idle" && of_child);
        }
        next = events.len();
        (idle >= batch.len()).then_some(())
    };
    events
        .until("all children to be idle", LIMIT, all_idle)
        .await?;
    let results: String = batch.pieces().map(|piece| batch.answer(piece)).collect();
    let at = Instant::now();
    contestant
        .serve
        .prompt_async(&begun.parent, results)
        .await?;
    Ok(at)
}

/// Waits for the request that knows all results, and for the end of its answer.
async fn waking(
    contestant: &Contestant,
    batch: &Batch,
    begun: &Begun,
    from: usize,
) -> Result<Record> {
    let knows_all = |record: &Record| {
        if record.kind != Kind::Turn || record.session.as_deref() != Some(&begun.parent) {
            return false;
        }
        // The first has all the prompts.
        let texts: Vec<String> = record.user_texts().into_iter().skip(1).collect();
        let mut pieces = begun.pieces.iter();
        pieces.all(|piece| texts.iter().any(|text| piece.is_told_by(text)))
    };
    let mut next = from;
    let mut found = None;
    let answered = |records: &[Record]| {
        if found.is_none() {
            found = (next..records.len()).find(|index| knows_all(&records[*index]));
            next = records.len();
        }
        let record = &records[found?];
        (record.outcome != Outcome::Pending).then(|| record.clone())
    };
    let what = format!(
        "{}: the request that knows all {} results",
        contestant.name,
        batch.len()
    );
    let model = contestant.sandbox.model();
    Ok(model.until(&what, LIMIT, answered).await?)
}
