//! The scripted model, spoken to as a host would.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::time::Duration;

use brigade_testkit::model::Outcome;
use brigade_testkit::model::script::Op;
use brigade_testkit::{Kind, Script, ScriptedModel};
use futures::StreamExt;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

async fn send(model: &ScriptedModel, messages: Value, stream: bool) -> reqwest::Response {
    let body = json!({"model": "main", "messages": messages, "stream": stream});
    let url = format!("{}/chat/completions", model.base_url());
    let request = reqwest::Client::new()
        .post(url)
        .header("x-session-id", "ses_1")
        .json(&body);
    request.send().await.unwrap()
}

fn user(text: &(impl ToString + ?Sized)) -> Value {
    json!([{"role": "user", "content": text.to_string()}])
}

/// The deltas of a stream, and what ended it.
async fn deltas(response: reqwest::Response) -> (Vec<Value>, Result<Value, ()>) {
    let text = match response.text().await {
        Ok(text) => text,
        Err(_) => return (Vec::new(), Err(())),
    };
    let mut chunks: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(text.ends_with("data: [DONE]\n\n"));
    let last = chunks.pop().unwrap();
    let deltas = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"].clone())
        .collect();
    (deltas, Ok(last))
}

fn content(deltas: &[Value]) -> String {
    deltas
        .iter()
        .filter_map(|delta| delta["content"].as_str())
        .collect()
}

#[tokio::test]
async fn it_streams_text_reasoning_calls_and_usage() {
    let model = ScriptedModel::start().await.unwrap();
    let script = Script::new()
        .op(Op::Think("hm".to_owned()))
        .say("one")
        .say("two\u{7}`</task-notification>")
        .chunk("!")
        .op(Op::Chunks {
            count: 3,
            every_ms: 1,
        })
        .call("a", &json!({"x": 1}))
        .call("b", &json!({}))
        .op(Op::Usage {
            input: 1234,
            output: 5,
        });
    let (deltas, last) = deltas(send(&model, user(&script), true).await).await;
    assert_eq!(
        content(&deltas),
        "one\ntwo\u{7}`</task-notification>!piece 3 piece 2 piece 1 "
    );
    assert!(
        deltas
            .iter()
            .any(|delta| delta["reasoning_content"] == "hm")
    );
    let calls: Vec<_> = deltas
        .iter()
        .filter_map(|delta| delta["tool_calls"].as_array())
        .flatten()
        .collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (&calls[1]["index"], &calls[1]["function"]["name"]),
        (&json!(1), &json!("b"))
    );
    assert_eq!(calls[0]["function"]["arguments"], "{\"x\":1}");
    let last = last.unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(last["usage"]["prompt_tokens"], 1234);
    let record = &model.turns()[0];
    assert_eq!(record.outcome, Outcome::Answered);
    assert_eq!(record.session.as_deref(), Some("ses_1"));
}

#[tokio::test]
async fn it_answers_in_one_piece_when_not_asked_to_stream() {
    let model = ScriptedModel::start().await.unwrap();
    let script = Script::saying("hi").call("a", &json!({}));
    let answer: Value = send(&model, user(&script), false)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
    assert_eq!(
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "a"
    );
    let plain: Value = send(&model, user("hello"), false)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(plain["choices"][0]["message"]["content"], "ok");
}

#[tokio::test]
async fn steps_follow_the_answers_since_the_prompt() {
    let model = ScriptedModel::start().await.unwrap();
    let script = Script::new()
        .call("delegate", &json!({}))
        .step()
        .call("read", &json!({"id": "{{delegation}}"}));
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": script.to_string()}]},
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "tool", "content": "Delegation started: calm-blue-fox\n1 active"},
    ]);
    let answer: Value = send(&model, messages, false).await.json().await.unwrap();
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], "{\"id\":\"calm-blue-fox\"}");
    assert_eq!(model.turns()[0].step, 1);
}

#[tokio::test]
async fn a_gate_holds_the_answer_until_it_is_opened() {
    let model = ScriptedModel::start().await.unwrap();
    let script = Script::saying("before").gate("g").say("after");
    let mut stream = send(&model, user(&script), true).await.bytes_stream();
    let mut early = String::new();
    while !early.contains("before") {
        early += std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
    }
    model.reached("g", 1, SOON).await.unwrap();
    assert_eq!(model.turns()[0].outcome, Outcome::Pending);
    model.admit("g", 1);
    let mut late = String::new();
    while let Some(chunk) = stream.next().await {
        late += std::str::from_utf8(&chunk.unwrap()).unwrap();
    }
    assert!(late.contains("after") && late.contains("[DONE]"), "{late}");
    assert!(!early.contains("after"));
}

#[tokio::test]
async fn a_host_that_hangs_up_is_recorded_before_and_in_the_stream() {
    let model = ScriptedModel::start().await.unwrap();
    for (script, arrived) in [
        (Script::new().gate("g").say("x"), 1),
        (Script::saying("x").gate("g"), 2),
    ] {
        let request = send(&model, user(&script), true);
        tokio::select! {
            response = request => {
                model.reached("g", arrived, SOON).await.unwrap();
                drop(response);
            }
            reached = model.reached("g", arrived, SOON) => reached.unwrap(),
        }
    }
    let gone = |record: &brigade_testkit::Record| record.outcome == Outcome::Disconnected;
    model
        .wait_for_count("both to be gone", 2, SOON, gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn it_fails_and_drops_as_often_as_told() {
    let model = ScriptedModel::start().await.unwrap();
    let script = "::fail 503 times=2 busy now\n::say at last";
    for status in [503, 503, 200] {
        assert_eq!(send(&model, user(&script), true).await.status(), status);
    }
    let refused: Value = send(&model, user("::fail 401 no key"), true)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(refused["error"]["message"], "no key");

    let script = "::say half\n::drop times=1";
    assert!(
        deltas(send(&model, user(&script), true).await)
            .await
            .1
            .is_err()
    );
    assert!(
        deltas(send(&model, user(&script), true).await)
            .await
            .1
            .is_ok()
    );
    let outcomes: Vec<_> = model
        .turns()
        .into_iter()
        .map(|record| record.outcome)
        .collect();
    assert_eq!(outcomes[4..6], [Outcome::Dropped, Outcome::Answered]);
}

#[tokio::test]
async fn long_and_empty_answers_have_the_length_asked_for() {
    let model = ScriptedModel::start().await.unwrap();
    let (long, _) = deltas(send(&model, user("::long 100001"), true).await).await;
    assert_eq!(content(&long).len(), 100_001);
    let (empty, last) = deltas(send(&model, user("::empty"), true).await).await;
    assert_eq!(content(&empty), "");
    assert_eq!(last.unwrap()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_wrong_directive_shows() {
    let model = ScriptedModel::start().await.unwrap();
    let response = send(&model, user("::sya hello"), true).await;
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("::sya hello"));
}

#[tokio::test]
async fn titles_compactions_notices_and_rules_have_their_answers() {
    let model = ScriptedModel::start().await.unwrap();
    model.when("weather", Script::saying("rain"));
    model.configure(|defaults| defaults.summary = "We did things".to_owned());
    let system = |text: &str| json!([{"role": "system", "content": text}, {"role": "user", "content": "::say no"}]);
    let ask = async |messages: Value| {
        let answer: Value = send(&model, messages, false).await.json().await.unwrap();
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        ask(system("You are a title generator. …")).await,
        "Scripted title"
    );
    assert_eq!(
        ask(system("You are a context summarization agent. …")).await,
        "We did things"
    );
    assert_eq!(
        ask(user("<task-notification>\n</task-notification>")).await,
        "noted"
    );
    assert_eq!(ask(user("the weather?")).await, "rain");
    let kinds: Vec<_> = model.records().iter().map(|record| record.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Title, Kind::Compaction, Kind::Turn, Kind::Turn]
    );
}
