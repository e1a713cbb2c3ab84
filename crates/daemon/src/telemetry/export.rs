//! Sends spans to a collector, beside the daemon's work: the queue has a limit, and what does not fit or can't be sent
//! is left out.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_agents::opencode::Calls;
use brigade_core::id::DelegationId;
use brigade_store::{Store, StoreError};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};

use super::endpoint;
use super::spans::Story;
use crate::hosts::lock;
use crate::troubles::Troubles;

/// Where traces are posted to, under a collector's own address.
const PATH: &str = "/v1/traces";
/// What a trouble with it is about.
const ABOUT: &str = "traces";
/// How many spans may wait, and how many go at once.
const QUEUE: (usize, usize) = (16_384, 512);
/// How long they wait for others to go with, and how long the collector may take.
const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);

/// What is on the way to the collector.
pub(super) struct Sender {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
    /// What was read of runs whose delegation has not ended.
    calls: Mutex<HashMap<DelegationId, Calls>>,
}

impl Sender {
    /// None where no collector is named, or it can't be used: that is logged and shown.
    pub(super) fn start(setting: Option<&str>, troubles: &Troubles) -> Option<Self> {
        let started = address(setting, |name| std::env::var(name).ok())
            .transpose()?
            .and_then(|address| Ok((build(&address, troubles)?, address)));
        match started {
            Ok((sender, address)) => {
                tracing::info!(address, "traces of what ends are sent there");
                Some(sender)
            }
            Err(error) => {
                tracing::error!(error, "no traces are sent");
                troubles.note(format!("{ABOUT}: none are sent: {error}"));
                None
            }
        }
    }

    pub(super) fn keep(&self, id: &DelegationId, calls: &Calls) {
        lock(&self.calls)
            .entry(id.clone())
            .or_default()
            .merge(calls);
    }

    pub(super) async fn ended(&self, store: &Store, id: &DelegationId) {
        let calls = lock(&self.calls).remove(id).unwrap_or_default();
        if let Err(error) = self.tell(store, id, &calls).await {
            tracing::warn!(%id, %error, "its trace is not sent: its record could not be read");
        }
    }

    async fn tell(
        &self,
        store: &Store,
        id: &DelegationId,
        calls: &Calls,
    ) -> Result<(), StoreError> {
        let Some(row) = store.get(id).await? else {
            return Ok(());
        };
        let events = store.timeline(id).await?;
        let story = Story {
            record: &row.delegation,
            progress: &row.progress,
            events: &events,
            calls,
        };
        for span in story.spans(&self.scope) {
            self.processor.on_end(span);
        }
        Ok(())
    }

    pub(super) async fn close(&self, limit: Duration) {
        let processor = Arc::clone(&self.processor);
        let closing = tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(limit));
        // A collector that does not answer keeps no daemon from going.
        match tokio::time::timeout(limit, closing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces may not have been sent"),
            Ok(Err(error)) => tracing::warn!(%error, "the last traces may not have been sent"),
            Err(_) => {
                tracing::warn!("the last traces may not have been sent: the collector is slow");
            }
        }
    }
}

/// Where traces go: the person's setting before the variables that all programs share; none where there is neither.
fn address(
    setting: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    {
        return Ok(None);
    }
    let base = |text: &str| endpoint(text).map(|base| format!("{base}{PATH}"));
    let named = |name: &str, read: &dyn Fn(&str) -> Result<String, super::EndpointError>| {
        let value = variable(name)?;
        Some(read(&value).map_err(|error| format!("{name}: {error}")))
    };
    if let Some(setting) = setting {
        return base(setting).map(Some).map_err(|error| error.to_string());
    }
    // What other programs are told of traces holds here, too.
    let said = |name: &str| variable(name).map(|value| value.trim().to_ascii_lowercase());
    let exporters = said("OTEL_TRACES_EXPORTER");
    if exporters.is_some_and(|names| !names.split(',').any(|name| name.trim() == "otlp")) {
        return Ok(None);
    }
    let protocol = said("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .or_else(|| said("OTEL_EXPORTER_OTLP_PROTOCOL"))
        .filter(|protocol| protocol != "http/protobuf");
    if let Some(protocol) = protocol {
        tracing::info!(
            protocol,
            "the environment names a collector that is spoken to otherwise: no traces are sent"
        );
        return Ok(None);
    }
    named("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &|text| endpoint(text))
        .or_else(|| named("OTEL_EXPORTER_OTLP_ENDPOINT", &base))
        .transpose()
}

fn build(address: &str, troubles: &Troubles) -> Result<Sender, String> {
    // A client that blocks must not be made among tasks.
    let client = std::thread::spawn(|| {
        let client = reqwest::blocking::Client::builder();
        // Headers with a key are for the collector that was named, and for no other.
        let client = client.redirect(reqwest::redirect::Policy::none());
        client.no_proxy().timeout(PATIENCE).build()
    });
    let client = match client.join() {
        Ok(client) => client.map_err(|error| error.to_string())?,
        Err(_) => return Err("its client can't be made".to_owned()),
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(address)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    let watched = Watched {
        inner: exporter,
        address: address.to_owned(),
        failing: AtomicBool::new(false),
        troubles: troubles.clone(),
    };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE.0)
        .with_max_export_batch_size(QUEUE.1)
        .with_scheduled_delay(PAUSE)
        .build();
    let mut processor = BatchSpanProcessor::new(watched, config);
    let version = env!("CARGO_PKG_VERSION");
    // Not the environment's attributes: one daemon serves all projects, wherever it was started.
    let resource = Resource::builder_empty()
        .with_service_name("brigade")
        .with_attributes([
            KeyValue::new("service.version", version),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
            KeyValue::new("telemetry.sdk.language", "rust"),
        ]);
    processor.set_resource(&resource.build());
    Ok(Sender {
        processor: Arc::new(processor),
        scope: InstrumentationScope::builder("brigade")
            .with_version(version)
            .build(),
        calls: Mutex::default(),
    })
}

/// Says once that the collector can't be reached, and once that it can be again.
struct Watched<E> {
    inner: E,
    address: String,
    failing: AtomicBool,
    troubles: Troubles,
}

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.address).finish()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        match &result {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(address = self.address, "traces are taken again");
                    self.troubles.clear(ABOUT);
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(address = self.address, %error, "traces can't be sent and are left out until they can be");
                    self.troubles.note(format!(
                        "{ABOUT}: they can't be sent to {} and are left out: {error}",
                        self.address
                    ));
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::net::TcpListener;

    fn span() -> SpanData {
        use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
        let now = std::time::SystemTime::now();
        SpanData {
            span_context: SpanContext::empty_context(),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "s".into(),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    async fn address_of(listener: &TcpListener) -> String {
        format!("http://{}{PATH}", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn a_collector_that_is_not_there_is_shown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = address_of(&listener).await;
        drop(listener);
        let troubles = Troubles::default();
        let sender = build(&address, &troubles).unwrap();
        sender.processor.on_end(span());
        sender.close(PATIENCE).await;
        let told = troubles.list().join("\n");
        assert!(
            told.starts_with(&format!("traces: they can't be sent to {address}")),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_holds_up_nothing_and_keeps_no_daemon_from_going() {
        // It listens, and nobody accepts.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sender = build(&address_of(&listener).await, &Troubles::default()).unwrap();
        let begun = Instant::now();
        for _ in 0..QUEUE.0 * 2 {
            sender.processor.on_end(span());
        }
        let limit = Duration::from_millis(300);
        sender.close(limit).await;
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }

    #[test]
    fn the_setting_goes_before_the_environment() {
        let given = |variables: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            }
        };
        assert_eq!(address(None, given(&[])), Ok(None));
        let base = given(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318/")]);
        assert_eq!(
            address(None, base).unwrap().unwrap(),
            "http://all:4318/v1/traces"
        );
        assert_eq!(
            address(Some("http://mine:1"), base).unwrap().unwrap(),
            "http://mine:1/v1/traces"
        );
        let whole = given(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1/own"),
        ]);
        assert_eq!(
            address(None, whole).unwrap().unwrap(),
            "http://traces:1/own"
        );
        let off = given(&[("OTEL_SDK_DISABLED", "true")]);
        assert_eq!(address(Some("http://mine:1"), off), Ok(None));
        let tls = given(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://far.example")]);
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ] {
            let other = |asked: &str| match asked {
                _ if asked == name => Some(value.to_owned()),
                "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://base:4318".to_owned()),
                _ => None,
            };
            assert_eq!(address(None, other), Ok(None), "{name}");
            assert!(address(Some("http://mine:1"), other).unwrap().is_some());
        }
        let error = address(None, tls).unwrap_err();
        assert!(
            error.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: "),
            "{error}"
        );
    }
}
