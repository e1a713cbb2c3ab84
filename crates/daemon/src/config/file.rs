//! One file, as it is written: everything optional, unknown keys refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use brigade_core::permission::{AskPolicy, McpPolicy, RunMode};
use brigade_store::Wake;
use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::duration::Limit;
use super::{Config, SetupBy};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    notice: Notice,
    #[serde(default)]
    guard: Guard,
    #[serde(default)]
    daemon: Daemon,
    #[serde(default)]
    server: Server,
    #[serde(default)]
    worktree: Worktree,
    #[serde(default)]
    telemetry: Telemetry,
    #[serde(default)]
    budget: Budget,
    #[serde(default)]
    agent: BTreeMap<String, Agent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    #[serde(default, deserialize_with = "at_least_one")]
    concurrent: Option<u32>,
    #[serde(default, deserialize_with = "at_least_one")]
    queue: Option<usize>,
    max_run: Option<Limit>,
    stall: Option<Limit>,
    #[serde(default, deserialize_with = "at_least_one")]
    attempts: Option<u32>,
    #[serde(default, deserialize_with = "at_least_one")]
    prompt: Option<usize>,
    inline_result: Option<usize>,
    #[serde(default, deserialize_with = "at_least_one")]
    page: Option<usize>,
}

/// A number from 1 on: none at all would leave nothing to be done.
fn at_least_one<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<i64>,
{
    let number = i64::deserialize(deserializer)?;
    let refused = |what: &str| D::Error::custom(format!("{number} is too {what}"));
    if number < 1 {
        return Err(refused("small: a number from 1 on is needed"));
    }
    N::try_from(number).map(Some).map_err(|_| refused("large"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    wake: Option<WakeWord>,
    desktop: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WakeWord {
    All,
    Each,
    Never,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Guard {
    task: Option<bool>,
    mcp: Option<McpPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Daemon {
    idle_exit: Option<Limit>,
    #[serde(default, deserialize_with = "log_level")]
    log: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    enabled: Option<bool>,
    linger: Option<Limit>,
    #[serde(default, deserialize_with = "at_least_one")]
    confined: Option<u32>,
    confine_read_only: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Worktree {
    confine: Option<bool>,
    #[serde(default, deserialize_with = "folders")]
    writable: Option<Vec<PathBuf>>,
    ask: Option<AskPolicy>,
    setup: Option<String>,
    trust_setup: Option<bool>,
    setup_time: Option<Limit>,
    keep: Option<Limit>,
    #[serde(default, deserialize_with = "size")]
    disk: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    untracked: Option<u64>,
}

/// An amount of bytes as people write it: `"20GB"`.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let size = text.parse::<ByteSize>();
    let size = size.map_err(|_| {
        D::Error::custom(format!("{text:?} is no size: write \"500MB\" or \"20GB\""))
    })?;
    Ok(Some(size.as_u64()))
}

/// Folders with whole paths; `~` is the person's own.
fn folders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    let home = std::env::home_dir();
    let texts = Vec::<String>::deserialize(deserializer)?;
    let folder = |text: String| {
        let path = match (text.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(&text),
        };
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(D::Error::custom(format!(
                "{text:?} is no whole path: begin with / or ~/"
            )))
        }
    };
    texts
        .into_iter()
        .map(folder)
        .collect::<Result<_, _>>()
        .map(Some)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Telemetry {
    #[serde(default, deserialize_with = "collector")]
    endpoint: Option<String>,
}

/// The address of a collector.
fn collector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let endpoint = crate::telemetry::endpoint(&text).map_err(D::Error::custom)?;
    Ok(Some(endpoint))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    run: Option<RunMode>,
    max_run: Option<Limit>,
    title: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    #[serde(default, deserialize_with = "some_dollars")]
    session_cost: Option<f64>,
    #[serde(default, deserialize_with = "some_dollars")]
    day_cost: Option<f64>,
    #[serde(default, deserialize_with = "at_least_one")]
    session_tokens: Option<u64>,
    #[serde(default, deserialize_with = "at_least_one")]
    day_tokens: Option<u64>,
}

/// What `tracing` understands; it would leave out what it does not.
fn log_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::log_level::filter(&text).map_err(D::Error::custom)?;
    Ok(Some(text))
}

/// An amount of money above none; a whole number will do.
fn some_dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let dollars = f64::deserialize(deserializer)?;
    if dollars > 0.0 && dollars.is_finite() {
        Ok(Some(dollars))
    } else {
        Err(D::Error::custom(format!(
            "{dollars} is no budget: an amount of US dollars above 0 is needed"
        )))
    }
}

fn set<T, U: Into<T>>(target: &mut T, value: Option<U>) {
    if let Some(value) = value {
        *target = value.into();
    }
}

/// The smaller of two limits, where none is the largest.
fn smaller<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b < a { b } else { a }),
        (a, b) => a.or(b),
    }
}

impl File {
    /// The person's file over the defaults.
    pub(super) fn apply(self, config: &mut Config) {
        let limits = &mut config.limits;
        set(&mut limits.concurrent, self.limits.concurrent);
        set(&mut limits.queue, self.limits.queue);
        set(
            &mut limits.max_run,
            self.limits.max_run.map(|limit| limit.0),
        );
        set(&mut limits.stall, self.limits.stall.map(|limit| limit.0));
        set(&mut limits.attempts, self.limits.attempts);
        set(&mut limits.prompt, self.limits.prompt);
        set(&mut limits.inline_result, self.limits.inline_result);
        set(&mut limits.page, self.limits.page);
        set(&mut config.notice.wake, self.notice.wake.map(wake));
        set(&mut config.notice.desktop, self.notice.desktop);
        set(&mut config.guard.task, self.guard.task);
        set(&mut config.guard.mcp, self.guard.mcp);
        set(
            &mut config.daemon.idle_exit,
            self.daemon.idle_exit.map(|limit| limit.0),
        );
        set(&mut config.daemon.log, self.daemon.log);
        set(&mut config.server.enabled, self.server.enabled);
        set(
            &mut config.server.linger,
            self.server.linger.map(|limit| limit.0),
        );
        set(&mut config.server.confined, self.server.confined);
        set(
            &mut config.server.confine_read_only,
            self.server.confine_read_only,
        );
        let worktree = &mut config.worktree;
        set(&mut worktree.confine, self.worktree.confine);
        set(&mut worktree.writable, self.worktree.writable);
        set(&mut worktree.ask, self.worktree.ask);
        worktree.setup = self.worktree.setup;
        set(&mut worktree.trust_setup, self.worktree.trust_setup);
        set(
            &mut worktree.setup_time,
            self.worktree.setup_time.map(|limit| limit.0),
        );
        set(&mut worktree.keep, self.worktree.keep.map(|limit| limit.0));
        set(&mut worktree.disk, self.worktree.disk);
        set(&mut worktree.untracked, self.worktree.untracked);
        config.telemetry.endpoint = self.telemetry.endpoint;
        let budget = &mut config.budget;
        budget.session_cost = self.budget.session_cost.or(budget.session_cost);
        budget.day_cost = self.budget.day_cost.or(budget.day_cost);
        budget.session_tokens = self.budget.session_tokens.or(budget.session_tokens);
        budget.day_tokens = self.budget.day_tokens.or(budget.day_tokens);
        for (name, agent) in self.agent {
            let target = config.agents.entry(name).or_default();
            target.run = agent.run.or(target.run);
            target.max_run = agent.max_run.map(|limit| limit.0).or(target.max_run);
            target.title = agent.title.or(target.title);
        }
    }

    /// The keys in a project's file that are the person's alone, and are left out.
    pub(super) fn left_out(&self) -> Vec<&'static str> {
        [
            ("[limits] concurrent", self.limits.concurrent.is_some()),
            ("[limits] queue", self.limits.queue.is_some()),
            ("[daemon] idle_exit", self.daemon.idle_exit.is_some()),
            ("[daemon] log", self.daemon.log.is_some()),
            ("[server] enabled", self.server.enabled.is_some()),
            ("[server] linger", self.server.linger.is_some()),
            ("[server] confined", self.server.confined.is_some()),
            (
                "[server] confine_read_only",
                self.server.confine_read_only.is_some(),
            ),
            ("[worktree] confine", self.worktree.confine.is_some()),
            ("[worktree] writable", self.worktree.writable.is_some()),
            (
                "[worktree] trust_setup",
                self.worktree.trust_setup.is_some(),
            ),
            ("[worktree] disk", self.worktree.disk.is_some()),
            ("[telemetry] endpoint", self.telemetry.endpoint.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect()
    }

    /// A project's file over the person's: taste is free (title, wake, sizes), everything that costs or
    /// endangers can only become less. What is the person's alone is left as it is.
    pub(super) fn tighten(self, config: &mut Config) {
        let limits = &mut config.limits;
        if let Some(limit) = self.limits.max_run {
            limits.max_run = smaller(limits.max_run, limit.0);
        }
        if let Some(limit) = self.limits.stall {
            limits.stall = smaller(limits.stall, limit.0);
        }
        if let Some(attempts) = self.limits.attempts {
            limits.attempts = limits.attempts.min(attempts);
        }
        if let Some(prompt) = self.limits.prompt {
            limits.prompt = limits.prompt.min(prompt);
        }
        set(&mut limits.inline_result, self.limits.inline_result);
        set(&mut limits.page, self.limits.page);
        set(&mut config.notice.wake, self.notice.wake.map(wake));
        if self.notice.desktop == Some(false) {
            config.notice.desktop = false;
        }
        set(&mut config.guard.task, self.guard.task);
        if self.guard.mcp == Some(McpPolicy::Named) {
            config.guard.mcp = McpPolicy::Named;
        }
        let worktree = &mut config.worktree;
        if self.worktree.ask == Some(AskPolicy::Refuse) {
            worktree.ask = AskPolicy::Refuse;
        }
        // A project knows best what it needs; whether it is trusted is the person's to say.
        if let Some(setup) = self.worktree.setup {
            worktree.setup = Some(setup);
            worktree.setup_by = SetupBy::Project;
        }
        if let Some(limit) = self.worktree.setup_time {
            worktree.setup_time = smaller(worktree.setup_time, limit.0);
        }
        set(&mut worktree.keep, self.worktree.keep.map(|limit| limit.0));
        if let Some(untracked) = self.worktree.untracked {
            worktree.untracked = worktree.untracked.min(untracked);
        }
        let budget = &mut config.budget;
        budget.session_cost = smaller(budget.session_cost, self.budget.session_cost);
        budget.day_cost = smaller(budget.day_cost, self.budget.day_cost);
        budget.session_tokens = smaller(budget.session_tokens, self.budget.session_tokens);
        budget.day_tokens = smaller(budget.day_tokens, self.budget.day_tokens);
        for (name, agent) in self.agent {
            let general = config.limits.max_run;
            let target = config.agents.entry(name).or_default();
            if let Some(run) = agent.run {
                target.run = match target.run {
                    Some(own) => Some(own.tightened(run)),
                    // What its own rules say is never less than reading.
                    None => Some(run).filter(|run| *run != RunMode::Worktree),
                };
            }
            if let Some(limit) = agent.max_run {
                target.max_run = Some(smaller(target.max_run.unwrap_or(general), limit.0));
            }
            target.title = agent.title.or(target.title);
        }
    }
}

fn wake(word: WakeWord) -> Wake {
    match word {
        WakeWord::All => Wake::All,
        WakeWord::Each => Wake::Each,
        WakeWord::Never => Wake::Never,
    }
}
