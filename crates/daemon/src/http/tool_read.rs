//! `POST /v1/tools/read`: waits for the end, and hands the artifact out page by page.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use brigade_core::id::DelegationId;
use brigade_core::text::replies::{self, Unfinished};
use brigade_protocol::tools::{Answer, Read};
use brigade_store::{Found, Listed};
use serde_json::Value;

use super::{Api, Failure, tool, view};

/// The longest that a read waits before it answers with the state.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Lets the notice go when the read ends without a result: aborted, given up, or failed.
struct Hold {
    api: Api,
    id: DelegationId,
    session: String,
    handed: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A handed result is confirmed, or not, by the bridge.
        if !self.handed {
            self.api
                .engine
                .delivery()
                .release_hold(&self.id, &self.session);
        }
    }
}

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<Read>,
) -> Result<Json<Answer>, Failure> {
    let connection = tool::connection(&api, &call.caller)?;
    let project = tool::project(&api, &call.caller).await;
    api.engine.scan_predecessor(&project).await;
    let asked = call
        .args
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
        .trim_matches('`');
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
        }))
    };
    // Only the whole ID finds a delegation here, and only one of the caller's project.
    let Ok(id) = asked.parse::<DelegationId>() else {
        return plain("no such delegation", replies::not_found(asked, &[]));
    };
    let mut row = match api.engine.store().find(id.as_str(), Some(&project)).await? {
        Found::One(row) if row.id() == &id => row,
        _ => {
            let near = api.engine.store().near(&id, &project).await?;
            return plain("no such delegation", replies::not_found(asked, &near));
        }
    };
    api.engine
        .delivery()
        .hold(&id, &call.caller.session, &call.caller.connection);
    let mut hold = Hold {
        api: api.clone(),
        id: id.clone(),
        session: call.caller.session.clone(),
        handed: false,
    };
    let deadline = tokio::time::Instant::now() + MAX_WAIT;
    while !view::is_terminal(&row) {
        let Some(entry) = api.engine.entry(&id) else {
            row = reread(&api, &id).await?;
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
                row = reread(&api, &id).await?;
                return plain(id.as_str(), unfinished(&api, &row, &connection));
            }
            () = api.stop.cancelled() => {
                row = reread(&api, &id).await?;
                return plain(id.as_str(), unfinished(&api, &row, &connection));
            }
        }
        row = reread(&api, &id).await?;
    }
    let _turn = api.turn(api.engine.store().artifact_len(&row).await).await;
    let text = api.engine.artifact_text(&row).await?;
    let page_size = api
        .engine
        .configs()
        .for_directory(&call.caller.directory)
        .limits
        .page;
    let page = replies::page(&id, &text, offset, page_size);
    hold.handed = matches!(row, Listed::Ours(_));
    Ok(Json(Answer {
        title: id.to_string(),
        output: page.text,
        handed: hold.handed.then(|| id.to_string()),
    }))
}

async fn reread(api: &Api, id: &DelegationId) -> Result<Listed, Failure> {
    let row = api.engine.store().get(id).await?;
    row.map(|row| Listed::Ours(Box::new(row)))
        .ok_or_else(|| Failure::not_found(id.as_str()))
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
