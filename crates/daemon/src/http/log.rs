//! `GET` and `POST /v1/log`: what is logged, said and changed.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use brigade_protocol::daemon::{LogLevel, SetLogLevel};
use brigade_protocol::{ErrorBody, ErrorCode};

use super::{Api, Failure};
use crate::log_level::{ACCEPTED, LevelError};

/// Longest time for which a change may be passing.
const LONGEST: Duration = Duration::from_hours(24 * 7);

pub(super) async fn get(State(api): State<Api>) -> Json<LogLevel> {
    Json(present(&api))
}

pub(super) async fn set(
    State(api): State<Api>,
    Json(wish): Json<SetLogLevel>,
) -> Result<Json<LogLevel>, Failure> {
    let length = wish.for_ms.map(Duration::from_millis);
    if length.is_some_and(|length| length.is_zero() || length > LONGEST) {
        let message = "a change of the log lasts at least a millisecond and at most 7 days, or until the daemon ends; nothing was changed";
        return Err(Failure::new(ErrorCode::BadRequest, message));
    }
    let passing = length.map(|length| (length, api.engine.now()));
    let change = api.log.set(&wish.directives, passing)?;
    if let Some(length) = length {
        let (level, stop) = (api.log.clone(), api.stop.clone());
        // Not among the work that an ending daemon waits for.
        tokio::spawn(async move {
            tokio::select! {
                () = level.revert(change, length) => {}
                () = stop.cancelled() => {}
            }
        });
    }
    Ok(Json(present(&api)))
}

fn present(api: &Api) -> LogLevel {
    let present = api.log.present();
    LogLevel {
        directives: present.directives,
        until: present.until,
        then: present.then,
        setting: api.log.setting().to_owned(),
        config: api.about.config.display().to_string(),
        file: api
            .about
            .data_dir
            .join("logs/daemon.log")
            .display()
            .to_string(),
    }
}

impl From<LevelError> for Failure {
    fn from(error: LevelError) -> Self {
        Self(match error {
            LevelError::Unknown { text, why } => {
                let message = format!("{text:?} is no log level{why}; nothing was changed");
                ErrorBody::new(ErrorCode::BadRequest, message)
                    .with_hint(format!("accepted is {ACCEPTED}"))
            }
            LevelError::NotOurs => ErrorBody::new(ErrorCode::Refused, error.to_string()),
        })
    }
}
