//! What a delegation did as spans, by OpenTelemetry's conventions for generative AI: `invoke_agent` with its attempts,
//! and in these `chat` for each call of the model and `execute_tool` for each of a tool. No word of prompts, answers,
//! errors or what tools were given is in them.

use std::time::{Duration, SystemTime};

use brigade_agents::opencode::{Calls, ModelCall, ToolCall};
use brigade_core::delegation::{Delegation, Event, Outcome, State};
use brigade_store::{EventRow, Progress};
use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::ids::Ids;

/// The names of attributes.
mod name {
    pub(super) const AGENT: &str = "gen_ai.agent.name";
    pub(super) const CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
    pub(super) const CACHE_WRITTEN: &str = "gen_ai.usage.cache_creation.input_tokens";
    pub(super) const CONVERSATION: &str = "gen_ai.conversation.id";
    pub(super) const ERROR: &str = "error.type";
    pub(super) const FINISH: &str = "gen_ai.response.finish_reasons";
    pub(super) const INPUT: &str = "gen_ai.usage.input_tokens";
    pub(super) const MODEL: &str = "gen_ai.request.model";
    pub(super) const OPERATION: &str = "gen_ai.operation.name";
    pub(super) const OUTPUT: &str = "gen_ai.usage.output_tokens";
    pub(super) const PROVIDER: &str = "gen_ai.provider.name";
    pub(super) const REASONING: &str = "gen_ai.usage.reasoning.output_tokens";
    pub(super) const TOOL: &str = "gen_ai.tool.name";
    pub(super) const TOOL_CALL: &str = "gen_ai.tool.call.id";
    pub(super) const TOOL_TYPE: &str = "gen_ai.tool.type";
}

/// What is on record of a delegation that has ended.
pub(super) struct Story<'a> {
    pub(super) record: &'a Delegation,
    pub(super) progress: &'a Progress,
    pub(super) events: &'a [EventRow],
    pub(super) calls: &'a Calls,
}

/// One attempt, by the events.
struct Attempt {
    number: u32,
    own: bool,
    started: Timestamp,
    ended: Timestamp,
    error: Option<String>,
}

/// A span, before it has its place in the trace.
struct Draft {
    thing: String,
    name: String,
    kind: SpanKind,
    started: SystemTime,
    ended: SystemTime,
    error: Option<String>,
    attributes: Vec<KeyValue>,
}

impl Story<'_> {
    /// All of its spans, the delegation's own last.
    pub(super) fn spans(&self, scope: &InstrumentationScope) -> Vec<SpanData> {
        let ids = Ids::of(&self.record.spec);
        let root = ids.span("delegation");
        let attempts = self.attempts();
        let mut spans = Vec::new();
        let mut add = |draft: Draft, parent: SpanId| {
            let span = ids.span(&draft.thing);
            spans.push(draft.placed(&ids, span, parent, scope));
        };
        let of_attempt = |at: SystemTime| {
            let attempt = attempts
                .iter()
                .rev()
                .find(|attempt| SystemTime::from(attempt.started) <= at);
            // The host's clock is the daemon's, but read earlier or later.
            let number = attempt.or(attempts.first()).map(|attempt| attempt.number);
            number.map_or(root, |number| ids.span(&format!("attempt {number}")))
        };
        for (message, call) in self.calls.iter() {
            let parent = of_attempt(time(call.started_ms));
            for tool in &call.tools {
                add(self.tool(tool), parent);
            }
            add(self.call(message, call), parent);
        }
        for attempt in &attempts {
            add(attempt.draft(), root);
        }
        add(self.whole(&attempts), SpanId::INVALID);
        spans
    }

    fn end(&self) -> Timestamp {
        let record = self.record;
        record
            .ended_at
            .or(record.decided_at)
            .unwrap_or(record.spec.registered_at)
    }

    fn attempts(&self) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut open = false;
        for row in self.events {
            match (&row.event, attempts.last_mut()) {
                (Event::Started { attempt, own, .. }, _) => {
                    attempts.push(Attempt {
                        number: attempt.0,
                        own: *own,
                        started: row.at,
                        ended: self.end(),
                        error: None,
                    });
                    open = true;
                }
                (Event::Interrupted { .. }, Some(last)) if open => {
                    last.ended = row.at;
                    last.error = Some("interrupted".to_owned());
                    open = false;
                }
                (Event::Decided { outcome, .. }, Some(last)) if open => {
                    last.ended = row.at;
                    last.error = error_of(outcome);
                    open = false;
                }
                _ => {}
            }
        }
        attempts
    }

    fn whole(&self, attempts: &[Attempt]) -> Draft {
        let Delegation { spec, .. } = self.record;
        let mut attributes = vec![
            KeyValue::new(name::OPERATION, "invoke_agent"),
            KeyValue::new(name::AGENT, spec.agent.clone()),
            KeyValue::new(name::INPUT, count(self.progress.tokens_in)),
            KeyValue::new(name::OUTPUT, count(self.progress.tokens_out)),
            KeyValue::new("brigade.delegation.id", spec.id.to_string()),
            KeyValue::new("brigade.project", spec.project.to_string()),
            KeyValue::new("brigade.root_session", spec.root.to_string()),
            KeyValue::new("brigade.state", self.record.state.name()),
            KeyValue::new("brigade.attempts", count(attempts.len() as u64)),
            KeyValue::new("brigade.cost_usd", self.progress.cost),
        ];
        let called = self.calls.iter().next().map(|(_, call)| call);
        let named = spec.model.as_ref();
        let provider = called.and_then(|call| call.provider.clone());
        let model = called.and_then(|call| call.model.clone());
        attributes.extend(
            [
                provider
                    .or_else(|| named.map(|model| model.provider.clone()))
                    .map(|it| KeyValue::new(name::PROVIDER, provider_name(&it))),
                model
                    .or_else(|| named.map(|model| model.model.clone()))
                    .map(|it| KeyValue::new(name::MODEL, it)),
                self.record
                    .child
                    .as_ref()
                    .map(|it| KeyValue::new(name::CONVERSATION, it.to_string())),
                spec.retries
                    .as_ref()
                    .map(|it| KeyValue::new("brigade.retries", it.to_string())),
                spec.continues
                    .as_ref()
                    .map(|it| KeyValue::new("brigade.continues", it.id.to_string())),
            ]
            .into_iter()
            .flatten(),
        );
        Draft {
            thing: "delegation".to_owned(),
            name: format!("invoke_agent {}", spec.agent),
            kind: SpanKind::Internal,
            started: spec.registered_at.into(),
            ended: self.end().into(),
            error: self.record.outcome().and_then(error_of),
            attributes,
        }
    }

    fn call(&self, message: &str, call: &ModelCall) -> Draft {
        let tokens = call.tokens;
        let mut attributes = vec![
            KeyValue::new(name::OPERATION, "chat"),
            // The conventions count what was cached among what was read.
            KeyValue::new(
                name::INPUT,
                count(tokens.input + tokens.cache.read + tokens.cache.write),
            ),
            KeyValue::new(name::OUTPUT, count(tokens.output + tokens.reasoning)),
            KeyValue::new(name::CACHE_READ, count(tokens.cache.read)),
            KeyValue::new(name::CACHE_WRITTEN, count(tokens.cache.write)),
            KeyValue::new(name::REASONING, count(tokens.reasoning)),
            KeyValue::new("brigade.cost_usd", call.cost),
        ];
        let finish = call.finish.clone().map(|finish| {
            let reasons = vec![StringValue::from(finish)];
            KeyValue::new(name::FINISH, Value::Array(reasons.into()))
        });
        attributes.extend(
            [
                call.provider
                    .as_deref()
                    .map(|it| KeyValue::new(name::PROVIDER, provider_name(it))),
                call.model.clone().map(|it| KeyValue::new(name::MODEL, it)),
                self.record
                    .child
                    .as_ref()
                    .map(|it| KeyValue::new(name::CONVERSATION, it.to_string())),
                finish,
            ]
            .into_iter()
            .flatten(),
        );
        let cut_off = call.ended_ms.is_none().then(|| "interrupted".to_owned());
        Draft {
            thing: format!("call {message}"),
            name: match &call.model {
                Some(model) => format!("chat {model}"),
                None => "chat".to_owned(),
            },
            kind: SpanKind::Client,
            started: time(call.started_ms),
            ended: time(call.ended_ms.unwrap_or(call.started_ms)),
            error: call.error.clone().or(cut_off),
            attributes,
        }
    }

    fn tool(&self, tool: &ToolCall) -> Draft {
        let mut attributes = vec![
            KeyValue::new(name::OPERATION, "execute_tool"),
            KeyValue::new(name::TOOL, tool.name.clone()),
            KeyValue::new(name::TOOL_TYPE, "function"),
            KeyValue::new(name::AGENT, self.record.spec.agent.clone()),
        ];
        attributes.extend(
            tool.call
                .clone()
                .map(|it| KeyValue::new(name::TOOL_CALL, it)),
        );
        let error = match (tool.failed, tool.ended_ms) {
            (true, _) => Some("tool_error"),
            (false, None) => Some("interrupted"),
            (false, Some(_)) => None,
        };
        Draft {
            thing: format!("tool {}", tool.id),
            name: format!("execute_tool {}", tool.name),
            kind: SpanKind::Internal,
            started: time(tool.started_ms),
            ended: time(tool.ended_ms.unwrap_or(tool.started_ms)),
            error: error.map(str::to_owned),
            attributes,
        }
    }
}

impl Attempt {
    fn draft(&self) -> Draft {
        Draft {
            thing: format!("attempt {}", self.number),
            name: format!("attempt {}", self.number),
            kind: SpanKind::Internal,
            started: self.started.into(),
            ended: self.ended.into(),
            error: self.error.clone(),
            attributes: vec![
                KeyValue::new("brigade.attempt", i64::from(self.number)),
                KeyValue::new("brigade.own_server", self.own),
            ],
        }
    }
}

impl Draft {
    fn placed(
        self,
        ids: &Ids,
        span: SpanId,
        parent: SpanId,
        scope: &InstrumentationScope,
    ) -> SpanData {
        let mut attributes = self.attributes;
        let status = match self.error {
            Some(error) => {
                attributes.push(KeyValue::new(name::ERROR, error));
                Status::error("")
            }
            None => Status::Unset,
        };
        SpanData {
            span_context: SpanContext::new(
                ids.trace(),
                span,
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: self.started,
            // A clock that was set back makes no span that ends before it begins.
            end_time: self.ended.max(self.started),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope.clone(),
        }
    }
}

/// What an outcome without an answer is called: the reason's name, as in the record.
fn error_of(outcome: &Outcome) -> Option<String> {
    if outcome.state == State::Complete {
        return None;
    }
    let reason = serde_json::to_value(&outcome.reason).ok();
    let named = reason
        .as_ref()
        .and_then(|reason| reason.get("reason")?.as_str());
    Some(named.unwrap_or(outcome.state.name()).to_owned())
}

fn time(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A provider by the conventions' name for it, where OpenCode has another one.
fn provider_name(id: &str) -> String {
    match id {
        "amazon-bedrock" => "aws.bedrock",
        "azure" => "azure.ai.openai",
        "google" => "gcp.gemini",
        "google-vertex" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        known => known,
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
