//! `GET /v1/delegations/{id}/follow`: the text as it grows, until the end.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use brigade_core::id::DelegationId;
use brigade_protocol::delegations::{Follow, FollowQuery, Scope};
use brigade_store::Listed;
use futures::Stream;
use tokio::sync::watch;

use super::{Api, Failure, delegation, view};
use crate::engine::Entry;

struct Follower {
    api: Api,
    id: DelegationId,
    entry: Option<(Arc<Entry>, watch::Receiver<u64>)>,
    shown: String,
    doing: Option<String>,
    queue: Vec<Follow>,
    done: bool,
    /// Whether it ends with the text's growing.
    peek: bool,
}

pub(super) async fn handle(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<FollowQuery>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let scope = Scope {
        directory: query.directory,
    };
    let row = delegation::find(&api, &id, &scope).await?;
    let id = match &row {
        Listed::Ours(row) => row.delegation.spec.id.clone(),
        Listed::Predecessor(file) => file.id.clone(),
    };
    let entry = api.engine.entry(&id).map(|entry| {
        let mut changed = entry.changed.subscribe();
        changed.mark_changed();
        (entry, changed)
    });
    let mut follower = Follower {
        api,
        id,
        entry,
        shown: String::new(),
        doing: None,
        queue: Vec::new(),
        done: false,
        peek: query.peek,
    };
    if follower.entry.is_none() {
        // It may have ended after the row was read: active it is no more.
        let row = match row {
            Listed::Ours(_) => {
                let ended = follower.api.engine.store().get(&follower.id).await?;
                let ended = ended.ok_or_else(|| Failure::not_found(follower.id.as_str()))?;
                Listed::Ours(Box::new(ended))
            }
            foreign @ Listed::Predecessor(_) => foreign,
        };
        follower.end(&row).await;
    }
    if let Some((entry, _)) = &follower.entry
        && entry.live().partial.is_empty()
        && let Some(text) = follower.api.engine.store().text(&follower.id).await?
    {
        // What an earlier daemon has seen of it.
        follower.show(&text);
    }
    let stream = futures::stream::unfold(follower, |mut follower| async move {
        let next = follower.next().await?;
        let event = Event::default().json_data(&next).unwrap_or_else(|error| {
            tracing::error!(%error, "a follower's event could not be written as JSON");
            Event::default().comment("unwritable")
        });
        Some((Ok(event), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

impl Follower {
    async fn next(&mut self) -> Option<Follow> {
        loop {
            if !self.queue.is_empty() {
                return Some(self.queue.remove(0));
            }
            if self.done {
                return None;
            }
            let Some((entry, changed)) = &mut self.entry else {
                return None;
            };
            tokio::select! {
                result = changed.changed() => if result.is_err() { return None },
                () = self.api.stop.cancelled() => return None,
            }
            let live = entry.live();
            if let Some(tool) = &live.progress.last_tool {
                let doing = format!("{tool} ({} tool calls)", live.progress.tool_calls);
                if self.doing.as_ref() != Some(&doing) {
                    self.doing = Some(doing.clone());
                    self.queue.push(Follow::Doing { what: doing });
                }
            }
            self.show(&live.partial);
            if self.api.engine.entry(&self.id).is_none() {
                match self.api.engine.store().get(&self.id).await {
                    Ok(Some(row)) => self.end(&Listed::Ours(Box::new(row))).await,
                    Ok(None) => return None,
                    Err(error) => {
                        tracing::error!(%error, "a followed delegation could not be read; the stream ends");
                        return None;
                    }
                }
            }
        }
    }

    fn show(&mut self, text: &str) {
        // A step that begins has no text yet: what there was stays until there is more.
        if text.is_empty() || text == self.shown {
            return;
        }
        let message = match text.strip_prefix(self.shown.as_str()) {
            Some(more) => Follow::More {
                text: more.to_owned(),
            },
            None => Follow::Reset {
                text: text.to_owned(),
            },
        };
        text.clone_into(&mut self.shown);
        self.queue.push(message);
    }

    async fn end(&mut self, row: &Listed) {
        let summary = view::listed(&self.api.engine, row);
        if !self.peek {
            self.tell_result(row).await;
        }
        self.queue.push(Follow::Ended {
            state: summary.state,
            reason: summary.reason.unwrap_or_default(),
            artifact: summary.artifact.unwrap_or_default(),
        });
        self.done = true;
    }

    async fn tell_result(&mut self, row: &Listed) {
        let store = self.api.engine.store();
        let _turn = self.api.turn(store.artifact_len(row).await).await;
        match self.api.engine.artifact_text(row).await {
            Ok(text) => {
                if let Listed::Ours(ours) = row
                    && let Err(error) =
                        delegation::read_by_person(&self.api, &ours.delegation.spec).await
                {
                    tracing::warn!(%error, "that a result was read could not be recorded");
                }
                self.queue.push(Follow::Reset { text });
            }
            Err(error) => {
                tracing::error!(%error, "the artifact of a followed delegation could not be read");
            }
        }
    }
}
