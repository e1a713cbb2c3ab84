//! `POST /v1/tools/cancel`: stops a delegation for the agent that delegated it, and hands over what there is.

use axum::Json;
use axum::extract::State;
use brigade_core::delegation::Actor;
use brigade_core::text::replies;
use brigade_protocol::tools::{Answer, Cancel};
use brigade_store::Listed;

use super::cancel::STOPPED;
use super::tool::{self, Hold};
use super::{Api, Failure};
use crate::engine::DispatchError;

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<Cancel>,
) -> Result<Json<Answer>, Failure> {
    tool::connection(&api, &call.caller)?;
    let plain = |output: String| {
        Ok(Json(Answer {
            title: "delegation_cancel".to_owned(),
            output,
            handed: None,
            asks: Vec::new(),
            diff: None,
        }))
    };
    let (id, row) = match tool::find(&api, &call.caller, &call.args).await? {
        Ok(found) => found,
        Err(unknown) => return plain(unknown),
    };
    if let Err(why) = tool::steerable(&call.caller, row) {
        return plain(why.to_string());
    }
    // The notice would tell the same once more.
    let hold = Hold::new(&api, &call.caller, &id);
    let words = match api.engine.cancel(&id, Actor::Parent).await {
        Ok(stood) if api.engine.ended(&id, STOPPED).await => {
            format!("{id} is {}.", replies::cancelled(&stood, true))
        }
        Ok(stood) => return plain(format!("{id} is {}.", replies::cancelled(&stood, false))),
        Err(DispatchError::Store(error)) => return Err(error.into()),
        Err(DispatchError::NotActive(_)) => format!("{id} had already ended; nothing was done."),
        Err(DispatchError::Rejected(why)) => {
            return plain(format!("{id}: {why}; nothing was done."));
        }
    };
    let row = tool::reread(&api, &id).await?;
    match &row {
        Listed::Ours(ended) if ended.delegation.state.is_terminal() => {
            hold.hand_over(&call.caller, &row, 0, Some(words)).await
        }
        _ => plain(words),
    }
}
