//! Taking an artifact back that has lost its record.

use std::io;

use brigade_core::delegation::{Delegation, Event};
use brigade_core::id::SessionId;
use brigade_core::text::artifact::{self, Artifact};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::Place;
use crate::error::StoreError;
use crate::record::{phase_name, record_json, seq_of};
use crate::rows::{Progress, attempt, ms};
use crate::{Store, predecessor, search, texts, usage};

/// The batch of what was taken back: its parent hears nothing more of it, so it belongs to none.
const NO_BATCH: i64 = 0;

/// What became of an artifact that was to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenBack {
    /// It has a record again.
    Done,
    /// Its ID has a record meanwhile.
    Known,
    /// It is not what it was: gone, or changed into something that is no artifact.
    Changed(String),
}

impl Store {
    /// Gives an artifact its record back: terminal, with all that the file says, unread as far as anybody
    /// knows. Nobody is told of it. The file stays as it is.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored then.
    pub async fn take_back(&self, place: &Place) -> Result<TakenBack, StoreError> {
        let (path, now) = (place.path.clone(), self.now());
        let read = super::blocking(move || read(&path)).await?;
        let (artifact, written_at) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(TakenBack::Changed("it is no artifact any more".to_owned())),
            Err(error) => return Ok(TakenBack::Changed(error.to_string())),
        };
        let (id, project, root) = (place.id.clone(), place.project.clone(), place.root.clone());
        let taken = Delegation::take_back(id, project, root, &artifact, written_at);
        let Some((delegation, event)) = taken else {
            return Ok(TakenBack::Changed("its status is no end".to_owned()));
        };
        let (id, place) = (place.id.clone(), place.clone());
        let stored = self
            .0
            .workers
            .write(move |db| store(db, &place, delegation, &event, &artifact, now))
            .await?;
        let Some(last) = stored else {
            return Ok(TakenBack::Known);
        };
        self.0.grown.send_replace(last);
        self.tell(&id);
        Ok(TakenBack::Done)
    }
}

/// The artifact and its file's time.
fn read(path: &std::path::Path) -> io::Result<Option<(Artifact, Timestamp)>> {
    let bytes = std::fs::read(path)?;
    let written_at = std::fs::metadata(path)?
        .modified()
        .ok()
        .and_then(|at| Timestamp::try_from(at).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let text = String::from_utf8_lossy(&bytes);
    let artifact = artifact::parse(&text).ok();
    Ok(artifact
        .filter(|artifact| artifact.header.is_brigades())
        .map(|artifact| (artifact, written_at)))
}

/// Stores the record with all that belongs to it; none where the ID has one. Says the last event's number.
fn store(
    db: &Connection,
    place: &Place,
    mut delegation: Delegation,
    event: &Event,
    artifact: &Artifact,
    now: i64,
) -> Result<Option<i64>, StoreError> {
    if seq_of(db, &place.id)?.is_some() {
        return Ok(None);
    }
    predecessor::forget(db, &place.path)?;
    let record = record_json(&mut delegation)?;
    let spec = &delegation.spec;
    let progress = progress(artifact);
    db.prepare_cached(
        "INSERT INTO delegations (id, project, root, parent, batch, child, agent, title, summary, state, phase, active,
                                  attempt, registered_at, started_at, ended_at, artifact, progress, record,
                                  model, tokens_in, tokens_out, cost, spent_ms, day)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                 ?19, ?20, ?21, ?22, ?23, ?24)",
    )?
    .execute(params![
        spec.id.as_str(),
        spec.project.as_str(),
        spec.root.as_str(),
        spec.parent.as_str(),
        NO_BATCH,
        delegation.child.as_ref().map(SessionId::as_str),
        spec.agent,
        artifact.title.as_str(),
        artifact.summary.as_str(),
        delegation.state.name(),
        phase_name(&delegation.phase),
        attempt(delegation.attempt),
        ms(spec.registered_at),
        delegation.started_at.map(ms),
        delegation.ended_at.map(ms),
        place.path.to_string_lossy(),
        serde_json::to_string(&progress)?,
        record,
        progress.model.as_deref().unwrap_or_default(),
        usage::stored(progress.tokens_in),
        usage::stored(progress.tokens_out),
        progress.cost,
        usage::stored(delegation.spent_ms),
        delegation.ended_at.map(usage::day),
    ])?;
    let seq = db.last_insert_rowid();
    // No digest: nothing was asked for in these words.
    db.prepare_cached("INSERT INTO prompts (delegation, prompt, digest) VALUES (?1, '', '')")?
        .execute([seq])?;
    let why = delegation
        .outcome()
        .map(|outcome| outcome.reason.to_string())
        .unwrap_or_default();
    let text = artifact::unmarked(&artifact.answer, &why);
    if !text.is_empty() {
        texts::take_in(db, seq, delegation.attempt, text)?;
    }
    search::insert(
        db,
        seq,
        spec.project.as_str(),
        artifact.title.as_str(),
        artifact.summary.as_str(),
        "",
        text,
    )?;
    let mut append =
        db.prepare_cached("INSERT INTO events (delegation, at, event) VALUES (?1, ?2, ?3)")?;
    append.execute(params![
        seq,
        ms(spec.registered_at),
        serde_json::to_string(&Event::Registered)?
    ])?;
    append.execute(params![seq, now, serde_json::to_string(event)?])?;
    Ok(Some(db.last_insert_rowid()))
}

/// What the run has used, as far as the header says.
fn progress(artifact: &Artifact) -> Progress {
    let header = &artifact.header;
    let tokens = header.tokens.as_ref().and_then(|line| {
        let (read, written) = line.as_str().split_once(" in, ")?;
        let written = written.strip_suffix(" out")?;
        Some((read.parse().ok()?, written.parse().ok()?))
    });
    let (tokens_in, tokens_out) = tokens.unwrap_or_default();
    let cost = header
        .cost
        .as_ref()
        .and_then(|line| line.as_str().strip_prefix('$')?.parse().ok())
        // The file may have been edited: what is no sum would spoil every sum.
        .filter(|cost: &f64| cost.is_finite() && *cost >= 0.0);
    Progress {
        tokens_in,
        tokens_out,
        cost: cost.unwrap_or_default(),
        model: header.model.as_ref().map(|model| model.as_str().to_owned()),
        ..Progress::default()
    }
}
