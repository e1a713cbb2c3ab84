//! Answering one request: choosing the step, playing it, recording how it went.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::entry::{Entry, enter};
use super::request;
use super::script::Op;
use super::{Outcome, Shared, epoch_ms, pass};

/// Handles `POST /v1/chat/completions`.
pub(crate) async fn completions(
    Extract(shared): Extract<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(problem) => return failure(400, &format!("no JSON: {problem}")),
    };
    let (entry, chosen) = enter(&shared, &headers, body);
    let mut play = match chosen {
        Ok(ops) => Play {
            ops: ops.into_iter().peekable(),
            entry,
            text: String::new(),
            calls: Vec::new(),
            usage: (100, 10),
        },
        Err(problem) => {
            entry.finish(Outcome::Failed(400));
            return failure(400, &format!("scripted model: {problem}"));
        }
    };
    // What comes before the first byte decides whether there is a stream at all.
    if let Some((status, message)) = play.before_first_byte().await {
        play.entry.finish(Outcome::Failed(status));
        return failure(status, &message);
    }
    if play.entry.streaming {
        play.stream()
    } else {
        play.whole().await
    }
}

/// The step being played.
struct Play {
    ops: std::iter::Peekable<std::vec::IntoIter<Op>>,
    entry: Entry,
    text: String,
    calls: Vec<Value>,
    usage: (u64, u64),
}

/// What an operation brings forth.
enum Out {
    Text(String),
    Reasoning(String),
    Call(Value),
    Cut,
    End,
}

impl Play {
    /// Plays what precedes the answer; a failure if that is the answer.
    async fn before_first_byte(&mut self) -> Option<(u16, String)> {
        loop {
            match self.ops.peek()? {
                Op::Sleep(_) | Op::Gate(_) | Op::Usage { .. } | Op::Empty | Op::Fail { .. } => {}
                _ => return None,
            }
            match self.ops.next()? {
                Op::Fail {
                    status,
                    times,
                    message,
                } => {
                    if times.is_none_or(|times| self.entry.repeat < times) {
                        return Some((status, message));
                    }
                }
                op => self.quiet(&op).await,
            }
        }
    }

    async fn quiet(&mut self, op: &Op) {
        match op {
            Op::Sleep(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Op::Gate(name) => pass(&self.entry.shared, name).await,
            Op::Usage { input, output } => self.usage = (*input, *output),
            _ => {}
        }
    }

    /// The next output of the step.
    async fn next(&mut self) -> Out {
        loop {
            let Some(op) = self.ops.next() else {
                return Out::End;
            };
            match op {
                Op::Say { text, line } => {
                    let mut text =
                        request::fill(&text, self.entry.topic.as_deref(), &self.entry.delegations);
                    if line && !self.text.is_empty() {
                        text.insert(0, '\n');
                    }
                    return Out::Text(text);
                }
                Op::Chunks { count, every_ms } => {
                    if count == 0 {
                        continue;
                    }
                    if count > 1 {
                        let rest = Op::Chunks {
                            count: count - 1,
                            every_ms,
                        };
                        self.push_front([Op::Sleep(every_ms), rest]);
                    }
                    return Out::Text(format!("piece {count} "));
                }
                Op::Long(bytes) => {
                    let size = bytes.min(4096);
                    if bytes > size {
                        self.push_front([Op::Long(bytes - size)]);
                    }
                    return Out::Text(filler(size));
                }
                Op::Think(text) => return Out::Reasoning(text),
                Op::Call { tool, arguments } => {
                    static CALLS: AtomicU64 = AtomicU64::new(0);
                    let id = format!("call_{}", CALLS.fetch_add(1, Ordering::Relaxed));
                    let arguments = request::fill(
                        &arguments,
                        self.entry.topic.as_deref(),
                        &self.entry.delegations,
                    );
                    return Out::Call(json!({
                        "id": id,
                        "type": "function",
                        "function": {"name": tool, "arguments": arguments},
                    }));
                }
                Op::Drop { times } => {
                    if times.is_none_or(|times| self.entry.repeat < times) {
                        return Out::Cut;
                    }
                }
                // The status line is out already: all that is left is to cut the stream.
                Op::Fail { times, .. } => {
                    if times.is_none_or(|times| self.entry.repeat < times) {
                        return Out::Cut;
                    }
                }
                op => self.quiet(&op).await,
            }
        }
    }

    fn push_front<const N: usize>(&mut self, ops: [Op; N]) {
        let rest: Vec<Op> = self.ops.by_ref().collect();
        let all: Vec<Op> = ops.into_iter().chain(rest).collect();
        self.ops = all.into_iter().peekable();
    }

    fn keep(&mut self, out: &Out) {
        match out {
            Out::Text(text) => self.text.push_str(text),
            Out::Call(call) => self.calls.push(call.clone()),
            _ => {}
        }
    }

    fn finish_reason(&self) -> &'static str {
        if self.calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        }
    }

    fn usage(&self) -> Value {
        let (input, output) = self.usage;
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
    }

    /// Answers as a stream of events.
    fn stream(mut self) -> Response {
        let (sender, receiver) = mpsc::channel::<Result<Bytes, Cut>>(1);
        let id = format!("chatcmpl-{}", self.entry.index);
        let model = self.entry.model.clone();
        let event = move |delta: &Value, finish: Option<&str>, usage: Option<Value>| {
            let mut chunk = json!({
                "id": id, "object": "chat.completion.chunk", "created": epoch_ms() / 1000, "model": model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            });
            if let Some(usage) = usage {
                chunk["usage"] = usage;
            }
            Ok(Bytes::from(format!("data: {chunk}\n\n")))
        };
        tokio::spawn(async move {
            let mut pending = Some(event(
                &json!({"role": "assistant", "content": ""}),
                None,
                None,
            ));
            loop {
                // The entry is dropped unfinished if the host goes away, and so recorded.
                if let Some(bytes) = pending.take()
                    && sender.send(bytes).await.is_err()
                {
                    return;
                }
                let out = tokio::select! {
                    out = self.next() => out,
                    () = sender.closed() => return,
                };
                self.keep(&out);
                pending = Some(match out {
                    Out::Text(text) => event(&json!({"content": text}), None, None),
                    Out::Reasoning(text) => event(&json!({"reasoning_content": text}), None, None),
                    Out::Call(mut call) => {
                        call["index"] = json!(self.calls.len() - 1);
                        event(&json!({"tool_calls": [call]}), None, None)
                    }
                    Out::Cut => {
                        self.entry.record(Outcome::Dropped);
                        // If the host is gone already, the cut has happened.
                        let _gone = sender.send(Err(Cut)).await;
                        return;
                    }
                    Out::End => break,
                });
            }
            let last = event(&json!({}), Some(self.finish_reason()), Some(self.usage()));
            // Recorded before the last bytes leave: whoever has read them finds the record complete.
            if sender.send(last).await.is_ok() && !sender.is_closed() {
                self.entry.record(Outcome::Answered);
                let _gone = sender
                    .send(Ok(Bytes::from_static(b"data: [DONE]\n\n")))
                    .await;
            }
        });
        let body = Body::from_stream(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|item| (item, receiver))
        }));
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    }

    /// Answers in one piece.
    async fn whole(mut self) -> Response {
        let mut reasoning = String::new();
        loop {
            let out = self.next().await;
            self.keep(&out);
            match out {
                Out::Reasoning(text) => reasoning.push_str(&text),
                Out::Cut => {
                    self.entry.finish(Outcome::Dropped);
                    let cut = stream::iter([Err::<Bytes, Cut>(Cut)]);
                    return Body::from_stream(cut).into_response();
                }
                Out::End => break,
                Out::Text(_) | Out::Call(_) => {}
            }
        }
        let mut message = json!({"role": "assistant", "content": self.text});
        if !reasoning.is_empty() {
            message["reasoning_content"] = json!(reasoning);
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = json!(self.calls);
        }
        let answer = json!({
            "id": format!("chatcmpl-{}", self.entry.index), "object": "chat.completion",
            "created": epoch_ms() / 1000, "model": self.entry.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason()}],
            "usage": self.usage(),
        });
        self.entry.finish(Outcome::Answered);
        axum::Json(answer).into_response()
    }
}

/// Ends a body so that the connection is cut.
#[derive(Debug, thiserror::Error)]
#[error("the scripted model cut the connection")]
struct Cut;

fn failure(status: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        code,
        axum::Json(json!({"error": {"message": message, "type": "scripted"}})),
    )
        .into_response()
}

fn filler(size: usize) -> String {
    const LINE: &str = "The quick brown fox jumps over the lazy dog, and then once more.\n";
    LINE.chars().cycle().take(size).collect()
}
