//! What the daemon's services are made of: each takes what it needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use brigade_agents::opencode::Launcher;
use brigade_core::clock::Clock;
use brigade_store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Chance;
use crate::config::Configs;
use crate::desktop::Desktop;
use crate::hosts::Hub;
use crate::telemetry::Telemetry;
use crate::troubles::Troubles;

/// The parts.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Chance,
    pub(crate) configs: Configs,
    pub(crate) hub: Hub,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
    /// What starts servers of our own, where their logs go, and how their bridges find this daemon.
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) logs: PathBuf,
    pub(crate) variables: BTreeMap<String, String>,
    /// Where worktrees are, and the program that is a gate to setup commands.
    pub(crate) data: PathBuf,
    pub(crate) worktrees: PathBuf,
    pub(crate) program: PathBuf,
    /// Notified whenever something happens, so that idleness can be measured.
    pub(crate) activity: Arc<Notify>,
    pub(crate) troubles: Troubles,
    pub(crate) telemetry: Telemetry,
    pub(crate) desktop: Arc<dyn Desktop>,
}
