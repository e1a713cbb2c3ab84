//! How a request reaches the host: through its bridge, or over HTTP.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use super::shared::Shared;

/// An HTTP method that the host's API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PATCH.
    Patch,
}

impl Method {
    /// The method's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One request to the host's server.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path with its query, without the directory.
    pub path: String,
    /// The directory whose instance is meant.
    pub directory: String,
    /// The JSON body, if there is one.
    pub body: Option<Value>,
    /// When to give it up. A request to a host that is booting can hang for minutes.
    pub timeout: Duration,
}

/// The host's answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body; null where there is none or it is no JSON.
    pub body: Value,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The host surely never saw the request.
    #[error("the request was not sent: {why}")]
    NotSent {
        /// What stood in the way.
        why: String,
    },
    /// The host may or may not have carried it out: look before repeating it.
    #[error("no answer came, the request may have been carried out: {why}")]
    Doubt {
        /// What was lost.
        why: String,
    },
}

/// A way to the host's server.
pub trait Transport: Send + Sync {
    /// Sends a request and awaits the answer, at most for its timeout.
    ///
    /// Any status is an answer. An error tells whether the host may have carried the request out.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>>;

    /// Where those who use this host share what it answers of all sessions; none where each asks by itself.
    fn shared(&self) -> Option<Arc<Shared>> {
        None
    }
}
