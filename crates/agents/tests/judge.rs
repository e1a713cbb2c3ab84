//! Recorded runs of the real host, told event by event: at no point may the judge see an end that is not the end.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use brigade_agents::opencode::{
    Evidence, HostEvent, Message, MessageError, Observer, Verdict, judge,
};
use brigade_core::delegation::RunEnd;
use serde_json::{Value, json};

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/data/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// What the host has stored, told by its events.
#[derive(Default)]
struct Stored(Vec<Value>);

impl Stored {
    fn fold(&mut self, event: &Value) {
        let properties = &event["properties"];
        match event["type"].as_str().unwrap() {
            "message.updated" => {
                let info = &properties["info"];
                let known = self
                    .0
                    .iter_mut()
                    .find(|message| message["info"]["id"] == info["id"]);
                match known {
                    Some(message) => message["info"] = info.clone(),
                    None => self.0.push(json!({"info": info, "parts": []})),
                }
            }
            "message.part.updated" => {
                let part = &properties["part"];
                let message = self
                    .0
                    .iter_mut()
                    .find(|message| message["info"]["id"] == part["messageID"])
                    .unwrap();
                let parts = message["parts"].as_array_mut().unwrap();
                match parts.iter_mut().find(|known| known["id"] == part["id"]) {
                    Some(known) => *known = part.clone(),
                    None => parts.push(part.clone()),
                }
            }
            _ => {}
        }
    }

    fn messages(&self) -> Vec<Message> {
        serde_json::from_value(json!(self.0)).unwrap()
    }
}

/// Tells a recording event by event and gives the first end that is seen, together with how many events had
/// been told; after it, every further event must show the same end.
fn replay(name: &str) -> Option<(RunEnd, String)> {
    let recording = recorded(name);
    let mut observer = Observer::new();
    let mut stored = Stored::default();
    let mut first: Option<(RunEnd, String)> = None;
    for event in recording["events"].as_array().unwrap() {
        stored.fold(event);
        observer.on_event(HostEvent::parse(event.clone()).unwrap());
        let evidence = Evidence {
            idle: observer.is_idle(),
            error: observer.error(),
            refused: None,
            asked: &[],
        };
        let messages = stored.messages();
        // While the prompt is absent an error may be anybody's; the driver waits before it concludes.
        if messages.is_empty() {
            continue;
        }
        if let Verdict::Ended { end, answer, .. } = judge(&messages, &evidence) {
            match &first {
                None => first = Some((end, answer)),
                Some(first) => assert_eq!(*first, (end, answer), "{name}: an end that was none"),
            }
        } else {
            assert!(first.is_none(), "{name}: the end was taken back at {event}");
        }
    }
    first
}

fn messages(name: &str) -> Vec<Message> {
    serde_json::from_value(recorded(name)["messages"].take()).unwrap()
}

fn idle() -> Evidence<'static> {
    Evidence {
        idle: true,
        ..Evidence::default()
    }
}

#[test]
fn answers_are_answers() {
    for (name, answer) in [
        ("answer", "# Title hello"),
        ("tool", "the answer"),
        ("perm_reject_message", "went on"),
        ("question_answered", "went on"),
        // The dropped stream's text came first and is told again.
        ("drop_then_ok", "first partsecond"),
    ] {
        assert_eq!(
            replay(name),
            Some((RunEnd::Answered, answer.to_owned())),
            "{name}"
        );
    }
}

#[test]
fn an_empty_answer_is_empty_and_not_the_text_before_a_tool() {
    assert_eq!(replay("empty"), Some((RunEnd::Empty, String::new())));
    let mut messages = messages("tool");
    messages
        .last_mut()
        .unwrap()
        .parts
        .retain(|part| part.kind != "text");
    let verdict = judge(&messages, &idle());
    assert!(
        matches!(&verdict, Verdict::Ended { end: RunEnd::Empty, answer, .. } if answer.is_empty()),
        "{verdict:?}"
    );
}

#[test]
fn a_providers_error_that_is_written_after_the_first_idle_is_found_with_its_words() {
    let end = RunEnd::ProviderError {
        message: "bad key (HTTP 401)".to_owned(),
    };
    assert_eq!(replay("provider_401"), Some((end, String::new())));
}

#[test]
fn an_abort_keeps_what_was_streamed() {
    assert_eq!(
        replay("abort_stream"),
        Some((RunEnd::Aborted, "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 ".to_owned()))
    );
    assert_eq!(
        replay("abort_tool"),
        Some((RunEnd::Aborted, "pre".to_owned()))
    );
}

#[test]
fn a_context_overflow_is_no_end() {
    let end = replay("overflow");
    // What the model says after the compaction, and not the compaction's own summary.
    assert_eq!(end, Some((RunEnd::Answered, "ok".to_owned())));
    let messages = messages("overflow");
    for count in 1..messages.len() {
        let verdict = judge(&messages[..count], &Evidence::default());
        assert_eq!(verdict, Verdict::Running, "after {count} messages");
    }
    // Idle between summary and continuation would be no answer either.
    assert!(matches!(
        judge(&messages[..4], &idle()),
        Verdict::Unproven { .. }
    ));
}

#[test]
fn retries_are_no_end() {
    assert_eq!(replay("provider_503"), None);
}

#[test]
fn a_bare_refusal_ends_the_turn_as_refused() {
    let Some((RunEnd::PermissionRefused { what }, partial)) = replay("perm_reject_bare") else {
        panic!("not refused");
    };
    assert!(what.starts_with("bash: "), "{what}");
    assert_eq!(partial, "hmm");
    assert!(matches!(
        replay("question"),
        Some((RunEnd::PermissionRefused { .. }, _))
    ));
    let evidence = Evidence {
        refused: Some("bash (ls)"),
        ..idle()
    };
    let verdict = judge(&messages("perm_reject_bare"), &evidence);
    assert!(
        matches!(&verdict, Verdict::Ended { end: RunEnd::PermissionRefused { what }, .. } if what == "bash (ls)"),
        "{verdict:?}"
    );
}

#[test]
fn an_unknown_model_is_the_hosts_error_in_its_first_words() {
    let end = RunEnd::HostError {
        message: "Model not found: scripted/nope.".to_owned(),
    };
    assert_eq!(replay("unknown_model"), Some((end, String::new())));
}

#[test]
fn an_unknown_agent_leaves_nothing_but_an_error() {
    let recording = recorded("unknown_agent");
    let mut observer = Observer::new();
    for event in recording["events"].as_array().unwrap() {
        observer.on_event(HostEvent::parse(event.clone()).unwrap());
    }
    let evidence = Evidence {
        idle: observer.is_idle(),
        error: observer.error(),
        refused: None,
        asked: &[],
    };
    let Verdict::Ended {
        end: RunEnd::HostError { message },
        ..
    } = judge(&[], &evidence)
    else {
        panic!("no end");
    };
    assert!(
        message.starts_with("Agent not found: \"nope\""),
        "{message}"
    );
    assert_eq!(judge(&[], &idle()), Verdict::NotStarted);
}

#[test]
fn what_a_crash_leaves_proves_no_end() {
    for (name, partial_expected) in [
        ("crash_streaming", ""),
        ("crash_between_steps", "pre"),
        ("crash_in_tool", ""),
    ] {
        let verdict = judge(&messages(name), &idle());
        let Verdict::Unproven { partial, .. } = verdict else {
            panic!("{name}: {verdict:?}");
        };
        assert_eq!(partial, partial_expected, "{name}");
        assert_eq!(
            judge(&messages(name), &Evidence::default()),
            Verdict::Running
        );
    }
}

#[test]
fn a_compaction_that_fails_before_it_begins_is_the_providers_error() {
    let messages = messages("overflow");
    let error: MessageError = serde_json::from_value(json!({
        "name": "ContextOverflowError", "data": {"message": "too long"}
    }))
    .unwrap();
    let evidence = Evidence {
        error: Some(&error),
        ..idle()
    };
    let verdict = judge(&messages[..2], &evidence);
    assert!(
        matches!(&verdict, Verdict::Ended { end: RunEnd::ProviderError { message }, .. } if message == "too long"),
        "{verdict:?}"
    );
}

#[test]
fn a_refused_loop_is_a_refusal_and_no_failure_of_the_providers() {
    for words in [
        "The user has specified a rule which prevents you from using this specific tool call. Here are some of the relevant rules []",
        "The user rejected permission to use this specific tool call with the following feedback: no",
    ] {
        let extra = json!({"error": {"name": "UnknownError", "data": {"message": words}}});
        let list = json!([
            said("user", "work", &json!({})),
            said("assistant", "so far", &extra)
        ]);
        let messages: Vec<Message> = serde_json::from_value(list).unwrap();
        let Verdict::Ended { end, answer, .. } = judge(&messages, &idle()) else {
            panic!("no end");
        };
        assert_eq!(answer, "so far");
        assert!(
            matches!(&end, RunEnd::PermissionRefused { what } if what.contains("doom_loop")),
            "{end:?}"
        );
    }
}

/// A host's message, made up.
fn said(role: &str, text: &str, extra: &Value) -> Value {
    let mut info =
        json!({"id": format!("msg_{text}"), "role": role, "time": {"created": 1, "completed": 2}});
    if role == "assistant" {
        info["finish"] = json!("stop");
    }
    for (key, value) in extra.as_object().unwrap() {
        info[key] = value.clone();
    }
    json!({"info": info, "parts": [{"type": "text", "id": "p", "text": text, "synthetic": extra.get("auto")}]})
}

fn answer(list: &[Value]) -> String {
    let messages: Vec<Message> = serde_json::from_value(json!(list)).unwrap();
    let Verdict::Ended { answer, .. } = judge(&messages, &idle()) else {
        panic!("no end");
    };
    answer
}

#[test]
fn an_answer_before_a_compaction_is_not_lost_to_the_continuation() {
    let list = [
        said("user", "work", &json!({})),
        said("assistant", "the report", &json!({})),
        said("assistant", "a summary", &json!({"summary": true})),
        said("user", "continue", &json!({"auto": true})),
        said("assistant", "nothing more to do", &json!({})),
    ];
    assert_eq!(answer(&list), "the report\n\nnothing more to do");
}

#[test]
fn what_the_model_says_to_a_person_who_stepped_in_is_the_answer() {
    let mut list = vec![
        said("user", "work", &json!({})),
        said("assistant", "first", &json!({})),
        said("user", "no, the other one", &json!({})),
    ];
    // As long as it has said nothing to that, the first answer stands.
    assert_eq!(answer(&list), "first");
    list.push(said("assistant", "second", &json!({})));
    assert_eq!(answer(&list), "second");
}

#[test]
fn usage_adds_up_over_all_model_calls() {
    let Verdict::Ended { usage, .. } = judge(&messages("tool"), &idle()) else {
        panic!("no end");
    };
    assert_eq!(
        (usage.tokens.input, usage.tokens.output, usage.tool_calls),
        (20, 10, 1)
    );
}

#[test]
fn the_observer_follows_text_tools_and_tokens() {
    let recording = recorded("tool");
    let mut observer = Observer::new();
    let mut ran_tool = false;
    for event in recording["events"].as_array().unwrap() {
        observer.on_event(HostEvent::parse(event.clone()).unwrap());
        ran_tool |= observer.progress().running_tools == 1;
    }
    let progress = observer.progress();
    assert!(ran_tool);
    assert_eq!(progress.running_tools, 0);
    assert_eq!(progress.last_tool.as_deref(), Some("read"));
    assert_eq!(
        (progress.usage.tokens.input, progress.usage.tool_calls),
        (20, 1)
    );
    assert_eq!(observer.partial(), "the answer");
}

#[test]
fn a_dropped_streams_text_is_forgotten() {
    let recording = recorded("drop_then_ok");
    let mut observer = Observer::new();
    let mut seen = Vec::new();
    let mut retried = false;
    for event in recording["events"].as_array().unwrap() {
        observer.on_event(HostEvent::parse(event.clone()).unwrap());
        retried |= observer.progress().retrying.is_some();
        if seen.last().map(String::as_str) != Some(observer.partial()) {
            seen.push(observer.partial().to_owned());
        }
    }
    assert!(retried && observer.progress().retrying.is_none());
    assert_eq!(
        seen,
        ["", "first part", "", "first part", "first partsecond"]
    );
}

#[test]
fn a_million_deltas_are_cheap_and_bounded() {
    let mut observer = Observer::new();
    let delta = |text: &str| {
        HostEvent::parse(json!({"type": "message.part.delta", "properties": {
            "sessionID": "ses_1", "messageID": "msg_1", "partID": "prt_1", "field": "text", "delta": text
        }}))
        .unwrap()
    };
    let event = delta("ä0123456789abcdef");
    for _ in 0..1_000_000 {
        observer.on_event(event.clone());
    }
    let length = observer.partial().len();
    assert!(length <= 8 << 20 && length > (8 << 20) - 32, "{length}");
}
