//! Work that a person asks for in a shell, without any window of a host.

use brigade_core::delegation::{State, Worktree};
use brigade_core::id::DelegationId;
use serde::{Deserialize, Serialize};

use crate::bridge::Host;

/// Work, and the shell in which it is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The host's program, and process and environment of the shell's command.
    pub host: Host,
    /// Where it is to be done.
    pub directory: String,
    /// Who is to do it.
    pub agent: String,
    /// The work.
    pub prompt: String,
    /// The time limit in minutes, 0 for none; absent for what the configuration says.
    #[serde(default)]
    pub timeout_minutes: Option<f64>,
    /// The delegation with whose changes it is to begin, where it changes files.
    #[serde(default)]
    pub from: Option<String>,
}

/// Accepted work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    /// The one ID.
    pub id: DelegationId,
    /// Whether the same agent was already at work on the same prompt; nothing new was started then.
    pub existing: bool,
    /// Its state.
    pub state: State,
    /// What of the agent's usual rights it does not get.
    pub withheld: Vec<String>,
    /// What remains open by rule only; empty where read-only is enforced.
    pub open: Vec<String>,
    /// What it works in, where it changes files.
    #[serde(default)]
    pub worktree: Option<Worktree>,
}
