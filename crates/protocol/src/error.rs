//! Errors as they travel.

use serde::{Deserialize, Serialize};

/// What kind of failure it is; decides HTTP status and exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// The prefix fits several IDs.
    Ambiguous,
    /// Understood and refused.
    Refused,
    /// The daemon serves another data home than the client's.
    OtherDataHome,
    /// Client and daemon speak different protocol versions.
    ProtocolMismatch,
    /// The daemon is about to go and takes nothing new.
    Draining,
    /// The bridge's connection is not known (any more): register again.
    UnknownConnection,
    /// The store could not be read or written.
    Store,
    /// A defect of Brigade.
    Internal,
}

impl ErrorCode {
    /// The HTTP status it travels with.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::NotFound => 404,
            ErrorCode::Ambiguous | ErrorCode::OtherDataHome => 409,
            ErrorCode::UnknownConnection => 410,
            ErrorCode::Refused => 422,
            ErrorCode::ProtocolMismatch => 426,
            ErrorCode::Internal => 500,
            ErrorCode::Draining | ErrorCode::Store => 503,
        }
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// What happened and what was kept.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same error, saying what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
