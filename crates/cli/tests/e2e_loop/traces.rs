//! What a delegation did, as a collector of traces hears it.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use brigade_testkit::Script;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::stage::{
    CONTINUED, Host, LIMIT, Parent, answer, delegating, ended, sandbox, show, work,
};

/// A collector that keeps what it is sent.
struct Collector {
    address: String,
    heard: watch::Receiver<Heard>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Heard {
    spans: Vec<Span>,
    raw: Vec<u8>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, heard) = watch::channel(Heard::default());
        let app = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::new(sender));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            heard,
            serving,
        }
    }

    /// All that was heard, once a whole trace is.
    async fn trace(&mut self) -> Heard {
        let whole = |heard: &Heard| {
            heard
                .spans
                .iter()
                .any(|span| span.parent_span_id.is_empty())
        };
        let waiting = self.heard.wait_for(whole);
        tokio::time::timeout(LIMIT, waiting)
            .await
            .unwrap()
            .unwrap()
            .clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(heard): State<Arc<watch::Sender<Heard>>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    heard.send_modify(|heard| {
        heard.raw.extend_from_slice(&body);
        let scopes = request
            .resource_spans
            .into_iter()
            .flat_map(|it| it.scope_spans);
        heard.spans.extend(scopes.flat_map(|it| it.spans));
    });
}

fn attribute(span: &Span, name: &str) -> Value {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::BoolValue(yes)) => json!(yes),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(other) => json!(format!("{other:?}")),
        None => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_delegation_that_lost_its_host_and_its_daemon_is_one_trace() {
    let mut collector = Collector::start().await;
    let config = format!("[telemetry]\nendpoint = \"{}\"\n", collector.address);
    let sandbox = sandbox(&config).await;
    let go_on = Script::new().gate("continued").say(answer("alpha"));
    sandbox.model().when(CONTINUED, go_on);
    let host = Host::start(&sandbox).await;
    let parent = Parent::open(&sandbox, &host, "Traced").await;
    let looks = Script::new()
        .call("glob", &json!({"pattern": "*.nothing"}))
        .step()
        .gate("alpha")
        .say(answer("alpha"));
    let script = delegating(&[work("alpha", looks)]).step().say("under way");
    parent.says(script).await;
    let ids = parent.delegations().await;
    sandbox.model().reached("alpha", 1, LIMIT).await.unwrap();
    host.kill9().await.unwrap();
    sandbox
        .model()
        .reached("continued", 1, LIMIT)
        .await
        .unwrap();
    assert!(sandbox.signal_daemon(Signal::KILL));
    // The next daemon, which whoever asks starts, knows only what is on record.
    let row = show(&sandbox, &ids[0]).await;
    assert_eq!(row["attempt"], json!(2), "{row:#}");
    sandbox.model().open("continued");
    ended(&sandbox, &ids[0]).await;

    let heard = collector.trace().await;
    let row = show(&sandbox, &ids[0]).await;
    let shown = format!("{:#?}", heard.spans);
    assert!(
        heard
            .spans
            .iter()
            .all(|span| row["trace"] == json!(hex(&span.trace_id))),
        "{shown}"
    );
    let named = |name: &str| -> Vec<&Span> {
        heard
            .spans
            .iter()
            .filter(|span| span.name == name)
            .collect()
    };
    let [root] = named("invoke_agent explore")[..] else {
        panic!("{shown}");
    };
    let [first] = named("attempt 1")[..] else {
        panic!("{shown}");
    };
    let [second] = named("attempt 2")[..] else {
        panic!("{shown}");
    };
    let [tool] = named("execute_tool glob")[..] else {
        panic!("{shown}");
    };
    let chats: Vec<&Span> = heard
        .spans
        .iter()
        .filter(|span| span.name.starts_with("chat "))
        .collect();
    assert_eq!(heard.spans.len(), 4 + chats.len(), "{shown}");

    assert_eq!(
        attribute(root, "gen_ai.operation.name"),
        json!("invoke_agent")
    );
    assert_eq!(attribute(root, "gen_ai.agent.name"), json!("explore"));
    assert_eq!(attribute(root, "gen_ai.conversation.id"), row["child"]);
    assert_eq!(attribute(root, "brigade.delegation.id"), json!(ids[0]));
    assert_eq!(attribute(root, "error.type"), Value::Null);
    for (attempt, own, error) in [
        (first, false, json!("interrupted")),
        (second, true, Value::Null),
    ] {
        assert_eq!(attempt.parent_span_id, root.span_id);
        assert_eq!(attribute(attempt, "brigade.own_server"), json!(own));
        assert_eq!(attribute(attempt, "error.type"), error);
    }

    // The step with the tool and the one that was cut off, then the one that answered.
    let parents: Vec<_> = chats.iter().map(|chat| &chat.parent_span_id).collect();
    assert_eq!(
        parents,
        [&first.span_id, &first.span_id, &second.span_id],
        "{shown}"
    );
    let errors: Vec<_> = chats
        .iter()
        .map(|chat| attribute(chat, "error.type"))
        .collect();
    assert_eq!(
        (&errors[0], &errors[2]),
        (&Value::Null, &Value::Null),
        "{shown}"
    );
    assert_ne!(errors[1], Value::Null, "{shown}");
    for chat in &chats {
        assert_eq!(attribute(chat, "gen_ai.operation.name"), json!("chat"));
        assert_eq!(chat.kind(), SpanKind::Client);
        assert_eq!(
            attribute(chat, "gen_ai.provider.name"),
            attribute(root, "gen_ai.provider.name")
        );
    }
    assert_eq!(tool.parent_span_id, first.span_id);
    assert_eq!(attribute(tool, "gen_ai.tool.name"), json!("glob"));
    assert!(tool.end_time_unix_nano >= tool.start_time_unix_nano);
    assert!(chats[0].start_time_unix_nano <= tool.start_time_unix_nano);

    // As many tokens as on record, each counted once.
    for (name, recorded) in [
        ("gen_ai.usage.input_tokens", "tokens_in"),
        ("gen_ai.usage.output_tokens", "tokens_out"),
    ] {
        let sum: i64 = chats
            .iter()
            .filter_map(|chat| attribute(chat, name).as_i64())
            .sum();
        assert!(sum > 0, "{shown}");
        assert_eq!(json!(sum), row["progress"][recorded]);
        assert_eq!(attribute(root, name), row["progress"][recorded]);
    }
    for span in &heard.spans {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        assert!(
            span.start_time_unix_nano >= root.start_time_unix_nano
                && span.end_time_unix_nano <= root.end_time_unix_nano,
            "{shown}"
        );
    }

    let raw = String::from_utf8_lossy(&heard.raw);
    for said in ["Look into", "What alpha is", "*.nothing"] {
        assert!(!raw.contains(said), "what was said is in no span");
    }
}
