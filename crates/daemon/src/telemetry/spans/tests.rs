//! The spans of a record.

use super::*;
use brigade_core::delegation::{Access, Actor, Reason, Spec};
use brigade_core::id::{Attempt, ProjectId};

fn spec(registered: i64) -> Spec {
    Spec {
        id: "brave-amber-otter".parse().unwrap(),
        project: ProjectId::from_path("/p"),
        directory: "/p".into(),
        parent: "ses_1".parse().unwrap(),
        root: "ses_1".parse().unwrap(),
        host: "h".into(),
        origin: None,
        credentials: Vec::new(),
        caller: None,
        agent: "explore".into(),
        model: None,
        prompt: "the secret work".into(),
        ask_title: true,
        access: Access::default(),
        registered_at: at(registered),
        max_run_ms: None,
        stall_ms: None,
        max_attempts: 3,
        continues: None,
        retries: None,
        worktree: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The spans of what happened, one event a second from the registration on.
fn told(events: Vec<Event>) -> Vec<SpanData> {
    let spec = spec(100);
    let rows: Vec<_> = (100..)
        .zip(events)
        .map(|(second, event)| EventRow {
            seq: second,
            at: at(second),
            delegation: spec.id.clone(),
            event,
        })
        .collect();
    let log: Vec<_> = rows.iter().map(|row| (row.at, row.event.clone())).collect();
    let record = Delegation::replay(spec, &log);
    let story = Story {
        record: &record,
        progress: &Progress::default(),
        events: &rows,
        calls: &Calls::default(),
    };
    story.spans(&InstrumentationScope::default())
}

fn error(span: &SpanData) -> Option<String> {
    let found = span
        .attributes
        .iter()
        .find(|it| it.key.as_str() == name::ERROR);
    found.map(|it| it.value.to_string())
}

fn cancelled(attempt: u32) -> [Event; 2] {
    let outcome = Outcome {
        state: State::Cancelled,
        reason: Reason::Cancelled { by: Actor::Person },
    };
    let decided = Event::Decided {
        attempt: Attempt(attempt),
        outcome: outcome.clone(),
        ran_ms: 0,
        unheard: 0,
    };
    [decided, Event::Ended { outcome }]
}

#[test]
fn what_never_began_is_one_span() {
    let [decided, ended] = cancelled(0);
    let spans = told(vec![Event::Registered, decided, ended]);
    let [root] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(root.name, "invoke_agent explore");
    assert_eq!(root.parent_span_id, SpanId::INVALID);
    assert_eq!(
        (root.start_time, root.end_time),
        (at(100).into(), at(102).into())
    );
    assert_eq!(error(root).as_deref(), Some("cancelled"));
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn attempts_have_their_times_and_what_cut_them_off() {
    let started = |attempt| Event::Started {
        attempt: Attempt(attempt),
        runner: "12:34".into(),
        own: attempt > 1,
        confinement: None,
    };
    let cut_off = Event::Interrupted {
        attempt: Attempt(1),
        why: "its process ended".into(),
        ran_ms: 1_000,
    };
    let [decided, ended] = cancelled(2);
    let spans = told(vec![
        Event::Registered,
        started(1),
        cut_off,
        started(2),
        decided,
        ended,
    ]);
    let [first, second, root] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(
        (first.start_time, first.end_time),
        (at(101).into(), at(102).into())
    );
    assert_eq!(
        (second.start_time, second.end_time),
        (at(103).into(), at(104).into())
    );
    assert_eq!(error(first).as_deref(), Some("interrupted"));
    assert_eq!(error(second).as_deref(), Some("cancelled"));
    for attempt in [first, second] {
        assert_eq!(attempt.parent_span_id, root.span_context.span_id());
        assert_eq!(
            attempt.span_context.trace_id(),
            root.span_context.trace_id()
        );
    }
}

#[test]
fn a_trace_has_the_same_id_in_every_daemon_and_another_one_in_every_store() {
    let [one, again, other] = [100, 100, 101].map(|at| Ids::of(&spec(at)).trace());
    assert_eq!(one, again);
    assert_ne!(one, other);
}
