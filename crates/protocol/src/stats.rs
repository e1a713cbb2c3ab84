//! What delegations have used.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What to sum.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StatsQuery {
    /// Only those of this directory's project; none for all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only those of this root session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Only those that ended on this local day or later, or are active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Date>,
    /// By what to break the sums down.
    pub by: StatsBy,
}

/// By what sums are broken down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatsBy {
    /// The local day of the daemon's time zone on which it ended; what is active counts for the present day.
    #[default]
    Day,
    /// The agent.
    Agent,
    /// The model.
    Model,
    /// The root session.
    Session,
    /// The project.
    Project,
}

/// What was used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stats {
    /// By what it is broken down.
    pub by: StatsBy,
    /// All together.
    pub total: Usage,
    /// The parts: days in their order, all else the dearest first.
    pub rows: Vec<StatsRow>,
    /// What the person's budgets allow and what of it is used, where there are any.
    #[serde(default)]
    pub budget: Vec<BudgetEntry>,
}

/// A part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatsRow {
    /// The day, agent, model, session or project; `unknown` for a model that is not known.
    pub key: String,
    /// What it has used.
    #[serde(flatten)]
    pub usage: Usage,
}

/// What some delegations have used together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// How many there are.
    pub delegations: u64,
    /// How many of them are registered or running.
    pub active: u64,
    /// How many ended with an answer.
    pub complete: u64,
    /// How many ended in an error.
    pub error: u64,
    /// How many were cancelled.
    pub cancelled: u64,
    /// How many were over their time.
    pub timeout: u64,
    /// Tokens read by the models, cached ones included.
    pub tokens_in: u64,
    /// Tokens written by the models, reasoning included.
    pub tokens_out: u64,
    /// Cost in US dollars, as the host counts it.
    pub cost: f64,
    /// Running time in milliseconds.
    pub ran_ms: u64,
}

impl Usage {
    /// Adds what others have used.
    pub fn add(&mut self, other: &Usage) {
        self.delegations += other.delegations;
        self.active += other.active;
        self.complete += other.complete;
        self.error += other.error;
        self.cancelled += other.cancelled;
        self.timeout += other.timeout;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.cost += other.cost;
        self.ran_ms += other.ran_ms;
    }
}

/// One of the budgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetEntry {
    /// The key in `[budget]`: `day_cost` or `day_tokens`.
    pub key: String,
    /// How much is used.
    pub used: f64,
    /// How much may be.
    pub limit: f64,
}
