//! `POST /v1/tools/read`: waits for the end, and hands the artifact out page by page.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use brigade_core::text::replies::{self, Unfinished};
use brigade_protocol::tools::{Answer, Read};
use brigade_store::Listed;

use super::tool::{self, Hold};
use super::{Api, Failure, view};

/// The longest that a read waits before it answers with the state.
const MAX_WAIT: Duration = Duration::from_secs(600);

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<Read>,
) -> Result<Json<Answer>, Failure> {
    let connection = tool::connection(&api, &call.caller)?;
    let offset = call
        .args
        .get("offset")
        .and_then(|value| {
            value
                .as_u64()
                .or_else(|| value.as_str()?.trim().parse().ok())
        })
        .and_then(|offset| usize::try_from(offset).ok())
        .unwrap_or(0);
    let plain = |title: &str, output: String| {
        Ok(Json(Answer {
            title: title.to_owned(),
            output,
            handed: None,
            asks: Vec::new(),
            diff: None,
        }))
    };
    // Only the whole ID finds a delegation here, and only one of the caller's project.
    let (id, mut row) = match tool::find(&api, &call.caller, &call.args).await? {
        Ok(found) => found,
        Err(unknown) => return plain("no such delegation", unknown),
    };
    let hold = Hold::new(&api, &call.caller, &id);
    let deadline = tokio::time::Instant::now() + MAX_WAIT;
    while !view::is_terminal(&row) {
        let Some(entry) = api.engine.entry(&id) else {
            row = tool::reread(&api, &id).await?;
            if view::is_terminal(&row) {
                break;
            }
            return Err(Failure::new(
                brigade_protocol::ErrorCode::Internal,
                format!("{id} is neither active nor ended; `brigade doctor` looks into it"),
            ));
        };
        let mut changed = entry.changed.subscribe();
        let ended =
            async { while api.engine.entry(&id).is_some() && changed.changed().await.is_ok() {} };
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep_until(deadline) => {
                row = tool::reread(&api, &id).await?;
                return plain(id.as_str(), unfinished(&api, &row, &connection));
            }
            () = api.stop.cancelled() => {
                row = tool::reread(&api, &id).await?;
                return plain(id.as_str(), unfinished(&api, &row, &connection));
            }
        }
        row = tool::reread(&api, &id).await?;
    }
    hold.hand_over(&call.caller, &row, offset, None).await
}

fn unfinished(api: &Api, row: &Listed, connection: &crate::hosts::Connection) -> String {
    let shown = view::listed(&api.engine, row);
    let doing = tool::doing(&shown);
    replies::unfinished(&Unfinished {
        id: &shown.id,
        state: shown.state,
        age_ms: tool::age_ms(api.engine.now(), shown.registered_at),
        doing: Some(&doing),
        mode: tool::mode(connection),
    })
}
