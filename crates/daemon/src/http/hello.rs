//! `POST /v1/hello`: versions and data homes are compared before anything else.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use brigade_protocol::daemon::{Hello, Welcome};
use brigade_protocol::{ErrorBody, ErrorCode, PROTOCOL};

use super::{Api, Failure};

pub(super) async fn handle(
    State(api): State<Api>,
    Json(hello): Json<Hello>,
) -> Result<Json<Welcome>, Failure> {
    same_home(&api, Path::new(&hello.data_dir))?;
    Ok(Json(Welcome {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
    }))
}

/// Refuses, by name, a client that means another data folder.
pub(super) fn same_home(api: &Api, theirs: &Path) -> Result<(), Failure> {
    let ours = &api.about.data_dir;
    let resolve = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if resolve(theirs) == resolve(ours) {
        return Ok(());
    }
    Err(Failure(
        ErrorBody::new(
            ErrorCode::OtherDataHome,
            format!(
                "the daemon on this socket serves the data folder {}, not {}; nothing was done",
                ours.display(),
                theirs.display()
            ),
        )
        .with_hint(
            "set BRIGADE_RUNTIME_DIR to a folder of its own for the second data folder, or stop the other daemon with `brigade daemon stop`",
        ),
    ))
}
