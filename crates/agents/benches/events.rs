//! What is done with every event of a host: `cargo bench -p brigade-agents`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can't go on has failed"
)]

use brigade_agents::opencode::{Evidence, HostEvent, Message, Observer, judge};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use serde_json::{Value, json};

/// As many as a busy minute of a child's stream has.
const DELTAS: usize = 1_000;

fn main() {
    divan::main();
}

fn delta(n: usize) -> Value {
    json!({"type": "message.part.delta", "properties": {"sessionID": "ses_child", "messageID": "msg_1",
        "partID": "prt_1", "field": "text", "delta": format!("word {n} ")}})
}

/// An assistant's message with a tool call that has ended.
fn message(n: usize) -> Value {
    json!({
        "info": {"id": format!("msg_{n:04}"), "role": "assistant", "sessionID": "ses_child", "parentID": "msg_0000",
            "agent": "explore", "providerID": "scripted", "modelID": "main", "finish": "tool-calls", "cost": 0.1,
            "time": {"created": 1, "completed": 2}, "tokens": {"input": 7, "output": 3}},
        "parts": [
            {"id": format!("prt_{n:04}a"), "type": "step-start", "messageID": format!("msg_{n:04}")},
            {"id": format!("prt_{n:04}b"), "type": "tool", "tool": "read", "callID": "c",
                "messageID": format!("msg_{n:04}"), "state": {"status": "completed",
                "input": {"filePath": "/p/a.rs"}, "output": "x".repeat(4_000), "time": {"start": 1, "end": 2}}},
        ],
    })
}

/// Reading events off the wire's JSON.
#[divan::bench]
fn parse_deltas(bencher: Bencher) {
    let wire: Vec<String> = (0..DELTAS).map(|n| delta(n).to_string()).collect();
    bencher.counter(ItemsCount::new(DELTAS)).bench(|| {
        for event in &wire {
            let event = serde_json::from_str(event).unwrap();
            black_box(HostEvent::parse(event));
        }
    });
}

/// Following a stream: events that are read already.
#[divan::bench]
fn observe_deltas(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(DELTAS))
        .with_inputs(|| {
            let events: Vec<HostEvent> = (0..DELTAS)
                .filter_map(|n| HostEvent::parse(delta(n)))
                .collect();
            (Observer::new(), events)
        })
        .bench_values(|(mut observer, events)| {
            for event in events {
                observer.on_event(event);
            }
            observer
        });
}

/// Reading and judging a session of this many steps.
#[divan::bench(args = [1, 20, 200])]
fn judge_a_session(bencher: Bencher, steps: usize) {
    let mut all = vec![json!({
        "info": {"id": "msg_0000", "role": "user", "sessionID": "ses_child", "time": {"created": 1}},
        "parts": [{"id": "prt_0000", "type": "text", "messageID": "msg_0000", "text": "look"}],
    })];
    all.extend((1..=steps).map(message));
    let wire = json!(all).to_string();
    bencher.bench(|| {
        let messages: Vec<Message> = serde_json::from_str(&wire).unwrap();
        judge(&messages, &Evidence::default())
    });
}
