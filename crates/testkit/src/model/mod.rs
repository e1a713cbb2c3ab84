//! A model on loopback that speaks the OpenAI chat-completions protocol and does as the prompt says.
//!
//! The directives are described in [`script`]. A user text without any gets a fixed answer. Each
//! request is recorded, and what is recorded can be awaited.

mod answer;
mod entry;
pub(crate) mod request;
pub mod script;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use request::Kind;
use script::Script;

use crate::{Error, Result, Watched};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is being answered.
    Pending,
    /// It was answered to the end.
    Answered,
    /// It was answered with this HTTP status.
    Failed(u16),
    /// The model cut the connection, as told.
    Dropped,
    /// The host went away before the end.
    Disconnected,
}

/// A request as the model saw it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number, from 0.
    pub index: usize,
    /// Why the host asked.
    pub kind: Kind,
    /// When its body had been read.
    pub received: Instant,
    /// The same in milliseconds since the Unix epoch, to compare with the host's own times.
    pub received_ms: u64,
    /// When the last byte of the answer was handed over.
    pub answered: Option<Instant>,
    /// The same in milliseconds since the Unix epoch.
    pub answered_ms: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The host's session.
    pub session: Option<String>,
    /// The session's parent, if it is a child.
    pub parent_session: Option<String>,
    /// The model asked for.
    pub model: String,
    /// Which step of the script it got, from 0.
    pub step: usize,
    /// How many earlier requests asked for the same step of the same text in the same session.
    pub repeat: usize,
    /// The text that the answer was chosen by.
    pub prompt: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
}

impl Record {
    /// The texts of the user's messages, oldest first.
    #[must_use]
    pub fn user_texts(&self) -> Vec<String> {
        self.texts("user")
    }

    /// The texts of the tool results, oldest first.
    #[must_use]
    pub fn tool_results(&self) -> Vec<String> {
        self.texts("tool")
    }

    /// The system prompt.
    #[must_use]
    pub fn system(&self) -> String {
        self.texts("system").join("\n")
    }

    /// The names of the tools that are offered.
    #[must_use]
    pub fn tools(&self) -> Vec<String> {
        let names = self.body["tools"].as_array().into_iter().flatten();
        names
            .filter_map(|tool| tool["function"]["name"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// Whether any message holds `needle`.
    #[must_use]
    pub fn contains(&self, needle: &str) -> bool {
        request::messages(&self.body)
            .iter()
            .any(|message| request::text(message).contains(needle))
    }

    fn texts(&self, role: &str) -> Vec<String> {
        let all = request::messages(&self.body).iter();
        all.filter(|message| request::role(message) == role)
            .map(request::text)
            .collect()
    }
}

/// How the model answers what holds no directive.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// For a user text without directives.
    pub reply: Script,
    /// For a notice, when no script is unfinished.
    pub notice: Script,
    /// The title of a session.
    pub title: String,
    /// The summary at a compaction.
    pub summary: String,
    /// For a user text that holds the first, the second; the first that fits wins.
    pub rules: Vec<(String, Script)>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            reply: Script::saying("ok"),
            notice: Script::saying("noted"),
            title: "Scripted title".to_owned(),
            summary: "Summary: nothing special".to_owned(),
            rules: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: bool,
    permits: usize,
    arrived: usize,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    records: Vec<Record>,
    gates: HashMap<String, Gate>,
    defaults: Defaults,
}

pub(crate) type Shared = Arc<Watched<State>>;

/// The running model. It stops when dropped.
#[derive(Debug)]
pub struct ScriptedModel {
    shared: Shared,
    port: u16,
    server: JoinHandle<()>,
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ScriptedModel {
    /// Starts on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> Result<Self> {
        Self::on_port(0).await
    }

    /// Starts on `port`, 0 for a free one.
    ///
    /// # Errors
    /// When the port can't be bound.
    pub async fn on_port(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .map_err(Error::io(format!("bind the model to port {port}")))?;
        let port = listener
            .local_addr()
            .map_err(Error::io("ask for the model's port"))?
            .port();
        let shared: Shared = Arc::new(Watched::new(State::default()));
        let router = Router::new()
            .route("/v1/chat/completions", post(answer::completions))
            .route("/v1/models", get(models))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // It serves until the task is aborted; without a listener left there is nobody to tell.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self {
            shared,
            port,
            server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The base address for an OpenAI-compatible provider.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Changes how it answers what holds no directive.
    pub fn configure(&self, change: impl FnOnce(&mut Defaults)) {
        self.shared.update(|state| change(&mut state.defaults));
    }

    /// Answers a user text without directives that holds `needle` with `script`.
    pub fn when(&self, needle: &str, script: Script) {
        self.configure(|defaults| defaults.rules.push((needle.to_owned(), script)));
    }

    /// What was recorded so far, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.shared.read(|state| state.records.clone())
    }

    /// How many requests were recorded so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.read(|state| state.records.len())
    }

    /// What was recorded from the request of this number on, oldest first.
    #[must_use]
    pub fn since(&self, first: usize) -> Vec<Record> {
        self.shared
            .read(|state| state.records.iter().skip(first).cloned().collect())
    }

    /// The recorded steps of sessions, without titles and compactions.
    #[must_use]
    pub fn turns(&self) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.kind == Kind::Turn);
        records
    }

    /// Waits until `look` finds something in the records.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the records in short.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&[Record]) -> Option<T>,
    ) -> Result<T> {
        self.shared
            .until_within(limit, what, seen, |state| look(&state.records))
            .await
    }

    /// Waits for the first record that `wanted` accepts, also one of the past.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the records in short.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Record) -> bool,
    ) -> Result<Record> {
        self.until(what, limit, |records| {
            records.iter().find(|record| wanted(record)).cloned()
        })
        .await
    }

    /// Waits until `count` records were accepted by `wanted`, and returns these.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the records in short.
    pub async fn wait_for_count(
        &self,
        what: &str,
        count: usize,
        limit: Duration,
        mut wanted: impl FnMut(&Record) -> bool,
    ) -> Result<Vec<Record>> {
        self.until(what, limit, |records| {
            let found: Vec<Record> = records
                .iter()
                .filter(|record| wanted(record))
                .cloned()
                .collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// Opens a gate for good.
    pub fn open(&self, gate: &str) {
        self.shared
            .update(|state| state.gates.entry(gate.to_owned()).or_default().open = true);
    }

    /// Lets `count` through a gate and no more.
    pub fn admit(&self, gate: &str, count: usize) {
        self.shared
            .update(|state| state.gates.entry(gate.to_owned()).or_default().permits += count);
    }

    /// Waits until `count` requests in all have come to a gate.
    ///
    /// # Errors
    /// [`Error::Timeout`], with the records in short.
    pub async fn reached(&self, gate: &str, count: usize, limit: Duration) -> Result<()> {
        let what = format!("{count} requests at the gate {gate}");
        self.shared
            .until_within(limit, &what, seen, |state| {
                (state.gates.get(gate).map_or(0, |gate| gate.arrived) >= count).then_some(())
            })
            .await
    }
}

/// Serves on `port` until the process is stopped, for use by hand.
///
/// # Errors
/// When the port can't be bound.
pub async fn run(port: u16, on_ready: impl FnOnce(&ScriptedModel)) -> Result<()> {
    let model = ScriptedModel::on_port(port).await?;
    on_ready(&model);
    std::future::pending::<()>().await;
    Ok(())
}

pub(crate) async fn pass(shared: &Shared, gate: &str) {
    shared.update(|state| state.gates.entry(gate.to_owned()).or_default().arrived += 1);
    loop {
        shared
            .until(|state| {
                state
                    .gates
                    .get(gate)
                    .is_some_and(|gate| gate.open || gate.permits > 0)
                    .then_some(())
            })
            .await;
        // Another may have taken the permit between seeing and taking it.
        let passed = shared.update(|state| {
            let gate = state.gates.entry(gate.to_owned()).or_default();
            let passed = gate.open || gate.permits > 0;
            if !gate.open && passed {
                gate.permits -= 1;
            }
            passed
        });
        if passed {
            return;
        }
    }
}

pub(crate) fn epoch_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

async fn models() -> axum::Json<Value> {
    axum::Json(json!({"object": "list", "data": [{"id": "main"}, {"id": "other"}]}))
}

fn seen(state: &State) -> String {
    let lines = state.records.iter().map(|record| {
        let prompt: String = record.prompt.chars().take(80).collect();
        format!(
            "\n  #{} {:?} {:?} session {} step {} {prompt:?}",
            record.index,
            record.kind,
            record.outcome,
            record.session.as_deref().unwrap_or("-"),
            record.step,
        )
    });
    let all: String = lines.collect();
    if all.is_empty() {
        "no request".to_owned()
    } else {
        all
    }
}
