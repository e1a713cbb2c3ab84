//! A request's place in the records, and the step that answers it.

use std::time::Instant;

use axum::http::HeaderMap;
use serde_json::Value;

use super::request::{self, Kind, Standing};
use super::script::{Op, Script};
use super::{Outcome, Record, Shared, epoch_ms};

/// A request's place in the records; if it is dropped unfinished, the host went away.
pub(crate) struct Entry {
    pub(crate) shared: Shared,
    pub(crate) index: usize,
    pub(crate) model: String,
    pub(crate) streaming: bool,
    pub(crate) topic: Option<String>,
    pub(crate) delegations: Vec<String>,
    pub(crate) repeat: usize,
    done: bool,
}

impl Entry {
    /// Records the end.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    /// Records how it ends.
    pub(crate) fn record(&mut self, outcome: Outcome) {
        self.done = true;
        let index = self.index;
        self.shared.update(|state| {
            let record = &mut state.records[index];
            record.answered = Some(Instant::now());
            record.answered_ms = Some(epoch_ms());
            record.outcome = outcome;
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.done {
            self.record(Outcome::Disconnected);
        }
    }
}

/// Records a request and chooses the step that answers it.
pub(crate) fn enter(
    shared: &Shared,
    headers: &HeaderMap,
    body: Value,
) -> (Entry, Result<Vec<Op>, String>) {
    let kind = request::kind(&body);
    let standing = request::standing(&body);
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let session = header("x-session-id");
    let (step, prompt) = match &standing {
        Ok(Standing::Scripted { step, text, .. } | Standing::Plain { step, text }) => {
            (*step, text.clone())
        }
        Err(_) => (0, String::new()),
    };
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let streaming = body["stream"].as_bool().unwrap_or_default();
    let topic = request::topic(&body);
    let delegations = request::delegations(&body);
    let named = headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    let headers = named.collect();
    let (index, repeat, ops) = shared.update(|state| {
        let same = |record: &&Record| {
            record.kind == kind
                && record.session == session
                && record.step == step
                && record.prompt == prompt
        };
        let repeat = state.records.iter().filter(same).count();
        let index = state.records.len();
        let ops = match (kind, standing) {
            (Kind::Title, _) => Ok(say(&state.defaults.title)),
            (Kind::Compaction, _) => Ok(say(&state.defaults.summary)),
            (Kind::Turn, Err(problem)) => Err(problem.to_string()),
            (Kind::Turn, Ok(Standing::Scripted { script, step, .. })) => {
                Ok(nth(&script, step).unwrap_or_else(|| say("ok")))
            }
            (Kind::Turn, Ok(Standing::Plain { step, text })) => {
                let defaults = &state.defaults;
                let rule = defaults
                    .rules
                    .iter()
                    .find(|(needle, _)| text.contains(needle.as_str()));
                let script = match rule {
                    Some((_, script)) => script,
                    None if request::is_notice(&text) => &defaults.notice,
                    None => &defaults.reply,
                };
                Ok(nth(script, step).unwrap_or_else(|| say("ok")))
            }
        };
        state.records.push(Record {
            index,
            kind,
            received: Instant::now(),
            received_ms: epoch_ms(),
            answered: None,
            answered_ms: None,
            outcome: Outcome::Pending,
            session: session.clone(),
            parent_session: header("x-parent-session-id"),
            model: model.clone(),
            step,
            repeat,
            prompt: prompt.clone(),
            headers,
            body,
        });
        (index, repeat, ops)
    });
    let shared = Shared::clone(shared);
    (
        Entry {
            shared,
            index,
            model,
            streaming,
            topic,
            delegations,
            repeat,
            done: false,
        },
        ops,
    )
}

fn nth(script: &Script, step: usize) -> Option<Vec<Op>> {
    script.steps.get(step).cloned()
}

fn say(text: &str) -> Vec<Op> {
    vec![Op::Say {
        text: text.to_owned(),
        line: true,
    }]
}
