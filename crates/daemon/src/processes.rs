//! Which processes live, and when they end: the system's own word, or a simulation's.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use brigade_os::process::{End, Marked, ProcessId, marked};
use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};

use crate::hosts::lock;

/// The end of a process, for all who wait for it.
type Exit = BoxFuture<'static, Result<(), Arc<io::Error>>>;

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
#[derive(Default)]
pub(crate) struct SystemProcesses {
    /// The ends that anybody waits for. Each takes an open file, of which a process may have no more than about a
    /// thousand on many machines, and thousands of runs wait for the end of one host.
    exits: Mutex<HashMap<ProcessId, WeakShared<Exit>>>,
}

impl SystemProcesses {
    /// Ready to be shared.
    pub(crate) fn shared() -> Arc<dyn Processes> {
        Arc::new(Self::default())
    }
}

impl Processes for SystemProcesses {
    fn is_alive(&self, process: &ProcessId) -> bool {
        process.is_alive()
    }

    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, io::Result<()>> {
        let exit = {
            let mut exits = lock(&self.exits);
            exits.retain(|_, exit| exit.upgrade().is_some());
            let known = exits.get(&process).and_then(WeakShared::upgrade);
            // What could not be watched then may be watched now.
            let known = known.filter(|exit| !matches!(exit.peek(), Some(Err(_))));
            known.unwrap_or_else(|| {
                let exit = process.wait_exit().map(|exit| exit.map_err(Arc::new));
                let exit = exit.boxed().shared();
                exits.extend(exit.downgrade().map(|exit| (process, exit)));
                exit
            })
        };
        exit.map(|exit| exit.map_err(|error| io::Error::new(error.kind(), error)))
            .boxed()
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};

    use futures::future::join_all;

    use super::*;

    /// How many of this process's open files watch another one.
    fn watches() -> usize {
        let files = fs::read_dir("/proc/self/fd").into_iter().flatten();
        let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().contains("pidfd"))
            .count()
    }

    #[tokio::test]
    async fn however_many_wait_for_an_end_it_takes_one_open_file() {
        let processes = SystemProcesses::shared();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        let before = watches();
        let mut waiting = join_all((0..100).map(|_| processes.wait_exit(process)));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(watches(), before + 1);
        drop(waiting);
        assert_eq!(watches(), before);
        let waiting = join_all((0..100).map(|_| processes.wait_exit(process)));
        drop(child.stdin.take());
        child.wait().unwrap();
        for exit in waiting.await {
            exit.unwrap();
        }
        processes.wait_exit(process).await.unwrap();
    }
}
