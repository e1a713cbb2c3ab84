//! `POST /v1/tools/send`: a message from the agent that delegated.

use axum::Json;
use axum::extract::State;
use brigade_core::delegation::Sender;
use brigade_protocol::tools::{Answer, Send};
use serde_json::Value;

use super::{Api, Failure, send, tool};
use crate::engine::NotSteered;

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<Send>,
) -> Result<Json<Answer>, Failure> {
    tool::connection(&api, &call.caller)?;
    let answer = |title: String, output: String| {
        Ok(Json(Answer {
            title,
            output,
            handed: None,
            asks: Vec::new(),
            diff: None,
        }))
    };
    let refused = |why: String| answer("not sent".to_owned(), why);
    let row = match tool::find(&api, &call.caller, &call.args).await? {
        Ok((_, row)) => row,
        Err(unknown) => return refused(unknown),
    };
    let row = match tool::steerable(&call.caller, row) {
        Ok(row) => row,
        Err(why) => return refused(why.to_string()),
    };
    let message = call.args.get("message").and_then(Value::as_str);
    let sent = api
        .engine
        .send(
            &row,
            Sender::Parent,
            message.unwrap_or_default(),
            call.caller.message.as_deref(),
            None,
        )
        .await;
    match sent {
        Ok(steered) => {
            let told = send::told(&row, steered);
            answer(told.id.to_string(), told.message)
        }
        Err(NotSteered::Unsteerable(why)) => refused(why.to_string()),
        Err(NotSteered::Refused(why)) => refused(why.to_string()),
        Err(NotSteered::Store(error)) => Err(error.into()),
    }
}
