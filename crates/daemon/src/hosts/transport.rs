//! Requests to a host process through whatever connection its bridge has at the moment.

use std::sync::Arc;

use brigade_agents::opencode::{Reply, Request, Shared, Transport, TransportError};
use brigade_os::process::ProcessId;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Hub;

/// A process's transport over reconnections: what is not connected was surely not sent.
pub(crate) struct ProcessTransport {
    hub: Hub,
    process: ProcessId,
}

impl ProcessTransport {
    /// The transport to this process.
    pub(crate) fn new(hub: Hub, process: ProcessId) -> Self {
        Self { hub, process }
    }
}

impl Transport for ProcessTransport {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
        async move {
            match self.hub.of_process(&self.process) {
                Some(connection) => connection.call(request).await,
                None => Err(TransportError::NotSent {
                    why: "the host's bridge is not connected at the moment".to_owned(),
                }),
            }
        }
        .boxed()
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.hub.of_process(&self.process)?.shared()
    }
}
