//! Processes that live as long as the history says.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use brigade_os::process::{End, Marked, ProcessId};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;

use crate::hosts::lock;
use crate::processes::Processes;

/// All processes there are. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Population(Arc<Inner>);

#[derive(Default)]
struct Inner {
    alive: Mutex<BTreeSet<ProcessId>>,
    ended: Notify,
}

impl Population {
    pub(super) fn begin(&self, process: ProcessId) {
        lock(&self.0.alive).insert(process);
    }

    pub(super) fn finish(&self, process: &ProcessId) {
        lock(&self.0.alive).remove(process);
        self.0.ended.notify_waiters();
    }
}

impl Processes for Population {
    fn is_alive(&self, process: &ProcessId) -> bool {
        lock(&self.0.alive).contains(process)
    }

    fn wait_exit(&self, process: ProcessId) -> BoxFuture<'static, io::Result<()>> {
        let all = self.clone();
        async move {
            loop {
                let ended = all.0.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if !all.is_alive(&process) {
                    return Ok(());
                }
                ended.await;
            }
        }
        .boxed()
    }

    fn marked(&self, _variable: &'static str) -> BoxFuture<'static, Vec<Marked>> {
        futures::future::ready(Vec::new()).boxed()
    }

    fn variable(&self, _process: &ProcessId, _name: &str) -> Option<String> {
        None
    }

    fn descendants(&self, _process: &ProcessId) -> Vec<ProcessId> {
        Vec::new()
    }

    fn end(&self, process: &ProcessId, _how: End) -> io::Result<()> {
        self.finish(process);
        Ok(())
    }
}
