//! Traces of what delegations did, for a collector of OpenTelemetry: one per delegation, told once it has ended. Without
//! the feature `otel`, or where no collector is named, nothing is kept and nothing is told.

#[cfg(feature = "otel")]
mod export;
#[cfg(feature = "otel")]
mod ids;
#[cfg(feature = "otel")]
mod spans;

use std::time::Duration;

use brigade_agents::opencode::Calls;
use brigade_core::delegation::Spec;
use brigade_core::id::DelegationId;
use brigade_store::Store;

use crate::troubles::Troubles;

/// How long what is not sent yet may take when the daemon goes.
const LAST: Duration = Duration::from_secs(2);

/// Whether this Brigade can send traces at all.
pub const BUILT_IN: bool = cfg!(feature = "otel");

/// Why an address can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no collector's address: like \"http://127.0.0.1:4318\" it has to be, {why}")]
pub(crate) struct EndpointError {
    text: String,
    why: &'static str,
}

/// Where a collector listens: `http://host:port`, without the path that all of them share.
///
/// # Errors
/// Where it is no such address.
pub(crate) fn endpoint(text: &str) -> Result<String, EndpointError> {
    // What stands before an `@` may be a password: it is repeated nowhere.
    let secret = text.contains('@');
    let wrong = |why| EndpointError {
        text: if secret { "(…@…)" } else { text }
            .chars()
            .take(100)
            .collect(),
        why,
    };
    if secret {
        return Err(wrong(
            "without a name or a password: OTEL_EXPORTER_OTLP_HEADERS is the place for those",
        ));
    }
    let address: axum::http::Uri = text.trim().parse().map_err(|_| wrong("and well formed"))?;
    if address.scheme_str() != Some("http") {
        return Err(wrong(
            "without TLS: a collector beside you passes it on where it has to go further",
        ));
    }
    if address.host().is_none_or(str::is_empty) || address.query().is_some() {
        return Err(wrong("with a host and without a query"));
    }
    Ok(text.trim().trim_end_matches('/').to_owned())
}

/// Tells what delegations did. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Telemetry {
    #[cfg(feature = "otel")]
    on: Option<std::sync::Arc<export::Sender>>,
}

impl Telemetry {
    /// Sends to the collector that the configuration names, or else the environment.
    pub(crate) fn start(setting: Option<&str>, troubles: &Troubles) -> Self {
        #[cfg(feature = "otel")]
        {
            let on = export::Sender::start(setting, troubles);
            Self {
                on: on.map(std::sync::Arc::new),
            }
        }
        #[cfg(not(feature = "otel"))]
        {
            let _ = troubles;
            if setting.is_some() {
                tracing::warn!(
                    "[telemetry] endpoint is set, but this Brigade is built without traces: nothing is sent"
                );
            }
            Self::default()
        }
    }

    /// Whether anything is told.
    pub(crate) fn is_on(&self) -> bool {
        #[cfg(feature = "otel")]
        {
            self.on.is_some()
        }
        #[cfg(not(feature = "otel"))]
        {
            false
        }
    }

    /// The ID of a delegation's trace, where traces are sent.
    pub(crate) fn trace(&self, spec: &Spec) -> Option<String> {
        #[cfg(feature = "otel")]
        {
            let ids = ids::Ids::of(spec);
            self.on.as_ref().map(|_| ids.trace().to_string())
        }
        #[cfg(not(feature = "otel"))]
        {
            let _ = spec;
            None
        }
    }

    /// Keeps what was read of a run until its delegation has ended.
    pub(crate) fn keep(&self, id: &DelegationId, calls: &Calls) {
        #[cfg(feature = "otel")]
        if let Some(sender) = &self.on {
            sender.keep(id, calls);
        }
        #[cfg(not(feature = "otel"))]
        let _ = (id, calls);
    }

    /// Tells of a delegation that has ended, by its record. Whatever fails here is only logged.
    pub(crate) async fn ended(&self, store: &Store, id: &DelegationId) {
        #[cfg(feature = "otel")]
        if let Some(sender) = &self.on {
            sender.ended(store, id).await;
        }
        #[cfg(not(feature = "otel"))]
        let _ = (store, id);
    }

    /// Sends what is not sent yet, for a moment at most.
    pub(crate) async fn close(&self) {
        #[cfg(feature = "otel")]
        if let Some(sender) = &self.on {
            sender.close(LAST).await;
        }
        #[cfg(not(feature = "otel"))]
        let _ = LAST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_an_address_without_tls() {
        for (text, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            (" http://localhost:4318/ ", "http://localhost:4318"),
            ("http://[::1]:4318/otlp", "http://[::1]:4318/otlp"),
        ] {
            assert_eq!(endpoint(text).unwrap(), expected);
        }
        for bad in [
            "",
            "localhost",
            "127.0.0.1:4318",
            "https://collector.example",
            "http://",
            "http://x/?a=b",
            "grpc://x:4317",
            "http://user:key@x:4318",
        ] {
            let error = endpoint(bad).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:4318"), "{bad}: {error}");
            assert!(!error.contains("key"), "{error}");
        }
    }
}
