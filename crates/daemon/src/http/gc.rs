//! `POST /v1/gc`: looks for what a crash has left, and mends it unless it is only to be looked.

use axum::Json;
use axum::extract::State;
use brigade_protocol::gc::{Gc, GcReport};

use super::{Api, Failure};
use crate::gc;

pub(super) async fn handle(
    State(api): State<Api>,
    Json(request): Json<Gc>,
) -> Result<Json<GcReport>, Failure> {
    let _alone = match request.dry_run {
        true => None,
        false => Some(api.clearing.lock().await),
    };
    let places = gc::Places {
        logs: api.about.data_dir.join("logs"),
        data: api.about.data_dir.clone(),
    };
    Ok(Json(gc::run(&api.engine, &places, &request).await?))
}
