//! The ledger: what runs and what is unread in a root session, pushed to the bridges that serve it
//! whenever it changes, so that no hook has to ask.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use brigade_core::delegation::State;
use brigade_core::id::{DelegationId, SessionId};
use brigade_core::text::ledger::{LedgerView, Running, Unread, render, render_for_summary};
use brigade_core::text::title;
use brigade_protocol::bridge::Down;
use brigade_store::StoreError;

use super::Engine;
use crate::hosts::lock;

/// What each root session's ledger needs besides the store.
#[derive(Clone, Default)]
pub(crate) struct Ledgers(Arc<Mutex<HashMap<String, Root>>>);

#[derive(Default)]
struct Root {
    /// A push is under way; one more is to follow it.
    pushing: bool,
    again: bool,
    /// In how many turns each entry was shown.
    shown: HashMap<DelegationId, u32>,
    turn: String,
}

impl Engine {
    /// Something came into this root session by another way than a transition.
    pub(crate) fn refresh_ledger(&self, root: &str) {
        self.0.ledgers.touch(self, root);
    }
}

impl Ledgers {
    /// Something in this root session changed: push its ledger anew. Pushes of one root never overlap,
    /// and changes that come meanwhile are one further push.
    pub(super) fn touch(&self, engine: &Engine, root: &str) {
        {
            let mut roots = lock(&self.0);
            let state = roots.entry(root.to_owned()).or_default();
            if state.pushing {
                state.again = true;
                return;
            }
            state.pushing = true;
        }
        let (ledgers, engine, root) = (self.clone(), engine.clone(), root.to_owned());
        engine.clone().spawn(async move {
            loop {
                let open = ledgers.push(&engine, &root).await.unwrap_or_else(|error| {
                    tracing::warn!(%root, %error, "the ledger could not be read; the last one stays");
                    true
                });
                let mut roots = lock(&ledgers.0);
                let Some(state) = roots.get_mut(&root) else {
                    break;
                };
                if !std::mem::take(&mut state.again) {
                    state.pushing = false;
                    // Kept only as long as there is anything to show and it has been shown.
                    if !open || state.shown.is_empty() {
                        roots.remove(&root);
                    }
                    break;
                }
            }
        });
    }

    /// A step of this turn was shown the ledger: what is in it counts as shown once more per turn.
    pub(super) fn shown(&self, root: &str, turn: &str, listed: &HashSet<DelegationId>) -> bool {
        let mut roots = lock(&self.0);
        let state = roots.entry(root.to_owned()).or_default();
        if state.turn == turn {
            return false;
        }
        turn.clone_into(&mut state.turn);
        for id in listed {
            *state.shown.entry(id.clone()).or_default() += 1;
        }
        state.shown.retain(|id, _| listed.contains(id));
        true
    }

    fn shown_of(&self, root: &str, id: &DelegationId) -> u32 {
        lock(&self.0)
            .get(root)
            .and_then(|state| state.shown.get(id).copied())
            .unwrap_or(0)
    }

    /// Pushes the ledger to whoever serves the session. False when nothing is running or unread.
    async fn push(&self, engine: &Engine, root: &str) -> Result<bool, StoreError> {
        let Ok(root_id) = root.parse::<SessionId>() else {
            return Ok(false);
        };
        let connections = engine.hub().serving(root);
        if connections.is_empty() {
            return Ok(true);
        }
        let rows = engine.store().open_of_root(&root_id).await?;
        let now = engine.0.clock.now();
        let mut view = LedgerView {
            running: Vec::new(),
            unread: Vec::new(),
        };
        let heads: Vec<String> = rows
            .iter()
            .map(|row| title::of_prompt(&row.delegation.spec.prompt))
            .collect();
        for (row, head) in rows.iter().zip(&heads) {
            let id = &row.delegation.spec.id;
            let shown = self.shown_of(root, id);
            if row.delegation.state.is_terminal() {
                view.unread.push(Unread {
                    id,
                    state: row.delegation.state,
                    title: &row.title,
                    shown,
                });
            } else {
                let age = now.duration_since(row.delegation.spec.registered_at);
                view.running.push(Running {
                    id,
                    agent: &row.delegation.spec.agent,
                    state: if row.delegation.state == State::Registered {
                        State::Registered
                    } else {
                        State::Running
                    },
                    age_ms: u64::try_from(age.as_millis()).unwrap_or(0),
                    about: head,
                    shown,
                });
            }
        }
        let (step, summary) = (render(&view), render_for_summary(&view));
        for connection in connections {
            connection.send(Down::Ledger {
                session: root.to_owned(),
                step: step.clone(),
                summary: summary.clone(),
            });
        }
        Ok(!rows.is_empty())
    }
}
