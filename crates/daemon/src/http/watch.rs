//! `GET /v1/watch`: the delegations, and from then on each that changes.
//!
//! Listeners are told IDs only; what has changed is read when it is sent, and changes that come meanwhile are one.
//! A reader that is too slow for that many IDs gets everything anew.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_protocol::delegations::{Summary, WatchQuery, Watched};
use brigade_store::{ListFilter, Listed, StoreError};
use futures::Stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Api, Failure, view};
use crate::project;

/// How many rows there are at most, and where the client does not say.
const LIMITS: (u32, u32) = (10_000, 1_000);
/// How much time there is at least between two messages, and after one with everything.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// From how many changes on everything is sent anew.
const MANY: usize = 2_000;

/// What has to be sent.
enum Due {
    All,
    /// The record itself, or (false) only how far it is.
    Some(HashMap<DelegationId, bool>),
}

/// One that may go on, as it was sent last.
struct Active {
    shown: Summary,
    /// See [`view::spent`].
    spent: (u64, bool),
}

struct Watcher {
    api: Api,
    project: Option<ProjectId>,
    root: Option<SessionId>,
    limit: u32,
    records: Receiver<DelegationId>,
    progress: Receiver<DelegationId>,
    hosts: watch::Receiver<u64>,
    /// The active ones as they were sent last.
    active: HashMap<DelegationId, Active>,
    due: Due,
    next: Instant,
}

pub(super) async fn handle(
    State(api): State<Api>,
    Query(query): Query<WatchQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let project = project::of_optional(query.directory.as_deref()).await;
    let root = query.session.as_deref().map(str::parse).transpose()?;
    if let Some(project) = &project {
        api.engine.look_for_predecessor(project).await;
    }
    // Listening before anything is read: what changes meanwhile is told again.
    let watcher = Watcher {
        records: api.engine.store().changes(),
        progress: api.engine.progress(),
        hosts: api.engine.hub().changes(),
        api,
        project,
        root,
        limit: query.limit.unwrap_or(LIMITS.1).min(LIMITS.0),
        active: HashMap::new(),
        due: Due::All,
        next: Instant::now(),
    };
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let message = watcher.next().await?;
        let event = Event::default()
            .json_data(&message)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "a watcher's event could not be written as JSON");
                Event::default().comment("unwritable")
            });
        Some((Ok(event), watcher))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

impl Due {
    fn nothing() -> Self {
        Self::Some(HashMap::new())
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Some(ids) if ids.is_empty())
    }

    fn add(&mut self, id: DelegationId, record: bool) {
        if let Self::Some(ids) = self {
            *ids.entry(id).or_default() |= record;
            if ids.len() > MANY {
                *self = Self::All;
            }
        }
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<Watched> {
        loop {
            tokio::select! {
                () = self.api.stop.cancelled() => return None,
                told = self.records.recv() => match told {
                    Ok(id) => self.due.add(id, true),
                    Err(RecvError::Lagged(_)) => self.due = Due::All,
                    Err(RecvError::Closed) => return None,
                },
                told = self.progress.recv() => match told {
                    Ok(id) if self.active.contains_key(&id) => self.due.add(id, false),
                    // Not of this watcher, or so new that its record is told next.
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        let active: Vec<_> = self.active.keys().cloned().collect();
                        active.into_iter().for_each(|id| self.due.add(id, false));
                    }
                    Err(RecvError::Closed) => return None,
                },
                changed = self.hosts.changed() => {
                    changed.ok()?;
                    // Whether a host is connected is part of where a delegation stands.
                    let active: Vec<_> = self.active.keys().cloned().collect();
                    active.into_iter().for_each(|id| self.due.add(id, true));
                }
                () = sleep_until(self.next), if !self.due.is_nothing() => {
                    let due = std::mem::replace(&mut self.due, Due::nothing());
                    let read = match due {
                        Due::All => self.all().await.map(Some),
                        Due::Some(ids) => self.some(ids).await,
                    };
                    match read {
                        Ok(Some(message)) => return Some(message),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::error!(%error, "what is watched could not be read; the stream ends");
                            return None;
                        }
                    }
                }
            }
        }
    }

    async fn all(&mut self) -> Result<Watched, StoreError> {
        let filter = ListFilter {
            project: self.project.clone(),
            root: self.root.clone(),
            limit: self.limit,
            ..ListFilter::default()
        };
        let (rows, more) = self.api.engine.store().list(filter).await?;
        let mut delegations = Vec::with_capacity(rows.len());
        self.active.clear();
        for row in &rows {
            let shown = view::listed(&self.api.engine, row);
            if let Listed::Ours(row) = row {
                self.remember(&shown, view::spent(&row.delegation));
            }
            delegations.push(shown);
        }
        self.next = Instant::now() + PAUSES.1;
        Ok(Watched::Reset { delegations, more })
    }

    /// None where nothing of it is to be seen here.
    async fn some(
        &mut self,
        due: HashMap<DelegationId, bool>,
    ) -> Result<Option<Watched>, StoreError> {
        let mut delegations = Vec::new();
        for (id, record) in due {
            let before = self.active.get(&id);
            let (now, spent) = match (record, before) {
                (false, Some(before)) => {
                    let Some(entry) = self.api.engine.entry(&id) else {
                        // It has just ended: its record is told, too.
                        continue;
                    };
                    let shown = Summary {
                        progress: view::live_progress(&entry, before.spent),
                        ..before.shown.clone()
                    };
                    (shown, before.spent)
                }
                _ => match self.api.engine.store().get(&id).await? {
                    Some(row) if self.watches(&row.delegation.spec) => {
                        let spent = view::spent(&row.delegation);
                        (view::summary(&self.api.engine, &row), spent)
                    }
                    _ => continue,
                },
            };
            if before.is_some_and(|before| before.shown == now) {
                continue;
            }
            self.remember(&now, spent);
            delegations.push(now);
        }
        delegations.extend(self.moved_up());
        if delegations.is_empty() {
            return Ok(None);
        }
        self.next = Instant::now() + PAUSES.0;
        Ok(Some(Watched::Changed { delegations }))
    }

    /// Those that have another place in the line than they were shown with.
    fn moved_up(&mut self) -> Vec<Summary> {
        let line = self.api.engine.next_in_line(view::LINE + 1);
        let mut moved = Vec::new();
        for (id, active) in &mut self.active {
            if view::is_queued(&active.shown.phase) {
                let phase = view::queued(&line, id);
                if phase != active.shown.phase {
                    active.shown.phase = phase;
                    moved.push(active.shown.clone());
                }
            }
        }
        moved
    }

    fn remember(&mut self, shown: &Summary, spent: (u64, bool)) {
        if shown.state.is_terminal() {
            self.active.remove(&shown.id);
        } else {
            let shown = shown.clone();
            self.active
                .insert(shown.id.clone(), Active { shown, spent });
        }
    }

    fn watches(&self, spec: &brigade_core::delegation::Spec) -> bool {
        let project = self.project.as_ref();
        let root = self.root.as_ref();
        project.is_none_or(|project| spec.project == *project)
            && root.is_none_or(|root| spec.root == *root)
    }
}
