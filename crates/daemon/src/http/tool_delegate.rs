//! `POST /v1/tools/delegate`.

use axum::Json;
use axum::extract::State;
use brigade_core::text::replies::{self, Refusal};
use brigade_protocol::ErrorCode;
use brigade_protocol::tools::{Answer, Delegate};
use serde_json::Value;

use super::{Api, Failure, tool};
use crate::engine::{DelegateRequest, NotStarted};

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<Delegate>,
) -> Result<Json<Answer>, Failure> {
    let connection = tool::connection(&api, &call.caller)?;
    let request = match parse(&call) {
        Ok(request) => request,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let answer = match api.engine.delegate(&connection, request).await {
        Ok(started) => {
            let spec = &started.delegation.spec;
            Json(Answer {
                title: format!("{} · {}", spec.agent, spec.id),
                output: replies::started(&replies::Started {
                    id: &spec.id,
                    agent: &spec.agent,
                    state: started.delegation.state,
                    existing: started.existing,
                    active: started.active,
                    withheld: &spec.access.withheld,
                    open: &spec.access.open,
                    worktree: spec.worktree.as_ref(),
                    mode: tool::mode(&connection),
                }),
                handed: None,
                asks: Vec::new(),
                diff: None,
            })
        }
        Err(NotStarted::Refused(refusal)) => refused(&refusal),
        // Told as one that is not known: the bridge registers anew and repeats the call.
        Err(NotStarted::Disconnected) => {
            return Err(Failure::new(
                ErrorCode::UnknownConnection,
                "this connection closed while OpenCode was asked for its agents: register again",
            ));
        }
    };
    Ok(answer)
}

fn refused(refusal: &Refusal) -> Json<Answer> {
    Json(Answer {
        title: "delegation refused".to_owned(),
        output: refusal.to_string(),
        handed: None,
        asks: Vec::new(),
        diff: None,
    })
}

fn parse(call: &Delegate) -> Result<DelegateRequest, Refusal> {
    let bad = |what: &str| Refusal::BadArgument {
        what: what.to_owned(),
    };
    let text = |name: &str| call.args.get(name).and_then(Value::as_str);
    let timeout_minutes = match call.args.get("timeout_minutes") {
        None | Some(Value::Null) => None,
        // Some models write numbers as strings.
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(value) => Some(
            value
                .as_f64()
                .or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()))
                .ok_or_else(|| bad("timeout_minutes is no number"))?,
        ),
    };
    Ok(DelegateRequest {
        session: tool::session(&call.caller).map_err(|error| bad(&error.to_string()))?,
        is_child: call.caller.parent.is_some(),
        directory: call.caller.directory.clone(),
        caller: call.caller.agent.clone(),
        agent: text("agent")
            .map(str::trim)
            .filter(|agent| !agent.is_empty())
            .ok_or_else(|| bad("agent is missing: name who is to do it"))?
            .to_owned(),
        prompt: text("prompt")
            .ok_or_else(|| bad("prompt is missing: say what is to be done"))?
            .to_owned(),
        timeout_minutes,
        from: text("from")
            .map(|id| id.trim().trim_matches('`'))
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
    })
}
