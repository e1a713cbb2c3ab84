//! Which processes live, and when they end: the system's own word, or a simulation's.

use std::io;
use std::sync::Arc;

use brigade_os::process::{End, Marked, ProcessId, marked};
use futures::FutureExt;
use futures::future::BoxFuture;

/// Who knows which processes live.
pub(crate) trait Processes: Send + Sync {
    /// Whether it still runs, or is suspended.
    fn is_alive(&self, process: &ProcessId) -> bool;

    /// Waits until it no longer runs. Returns at once if it doesn't. An error says that it can't be
    /// watched: then nothing may be concluded.
    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, io::Result<()>>;

    /// The living ones in whose environment this variable is set.
    fn marked(&self, variable: &'static str) -> BoxFuture<'static, Vec<Marked>>;

    /// A variable of the environment that it was started with, where the system tells.
    fn variable(&self, process: &ProcessId, name: &str) -> Option<String>;

    /// Those that it has started, and these in turn.
    fn descendants(&self, process: &ProcessId) -> Vec<ProcessId>;

    /// Ends a process of our own; one that is gone already is left at that.
    fn end(&self, process: &ProcessId, how: End) -> io::Result<()>;
}

/// The processes of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemProcesses;

impl SystemProcesses {
    /// Ready to be shared.
    pub(crate) fn shared() -> Arc<dyn Processes> {
        Arc::new(Self)
    }
}

impl Processes for SystemProcesses {
    fn is_alive(&self, process: &ProcessId) -> bool {
        process.is_alive()
    }

    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, io::Result<()>> {
        process.wait_exit().boxed()
    }

    fn marked(&self, variable: &'static str) -> BoxFuture<'static, Vec<Marked>> {
        let looking = tokio::task::spawn_blocking(|| marked(variable));
        looking.map(Result::unwrap_or_default).boxed()
    }

    fn variable(&self, process: &ProcessId, name: &str) -> Option<String> {
        process.variable(name)?.into_string().ok()
    }

    fn descendants(&self, process: &ProcessId) -> Vec<ProcessId> {
        process.descendants()
    }

    fn end(&self, process: &ProcessId, how: End) -> io::Result<()> {
        process.end(how)
    }
}
