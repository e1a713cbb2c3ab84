//! Errors as people see them: what happened, what to do, and an exit code for scripts.

use std::io;

use brigade_client::ClientError;
use brigade_os::paths::PathError;
use brigade_protocol::ErrorCode;

/// What kind of failure it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It went wrong.
    Failed,
    /// What was typed makes no sense.
    Usage,
    /// There is no such thing.
    NotFound,
    /// There is no daemon to ask.
    Unreachable,
    /// Understood and refused.
    Refused,
    /// Who reads our output has enough: no failure.
    Enough,
}

impl Kind {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Kind::Enough => 0,
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Unreachable => 4,
            Kind::Refused => 5,
        }
    }
}

/// A command's failure.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    /// What kind of failure it is.
    pub(crate) kind: Kind,
    /// What happened. Empty where the output has said it already.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl CliError {
    /// It and its hint as one text.
    pub(crate) fn with_hint(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        }
    }

    /// A failure without a hint.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// A failure that the output has told of already.
    pub(crate) fn told(kind: Kind) -> Self {
        Self::new(kind, "")
    }

    /// The same failure, saying what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let kind = match &error {
            ClientError::Api(body) => match body.code {
                ErrorCode::BadRequest | ErrorCode::Ambiguous => Kind::Usage,
                ErrorCode::NotFound => Kind::NotFound,
                ErrorCode::Refused | ErrorCode::OtherDataHome => Kind::Refused,
                ErrorCode::ProtocolMismatch | ErrorCode::Draining => Kind::Unreachable,
                ErrorCode::UnknownConnection | ErrorCode::Store | ErrorCode::Internal => {
                    Kind::Failed
                }
            },
            ClientError::Protocol { .. } => Kind::Failed,
            _ => Kind::Unreachable,
        };
        Self {
            kind,
            hint: error.hint(),
            message: error.to_string(),
        }
    }
}

impl From<PathError> for CliError {
    fn from(error: PathError) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}

impl From<io::Error> for CliError {
    /// A failure to print; `brigade list | head` is none.
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::Enough,
            _ => Kind::Failed,
        };
        Self::new(kind, format!("the output can't be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_protocol::ErrorBody;

    #[test]
    fn scripts_can_tell_failures_apart() {
        let code = |code| {
            let error: CliError =
                ClientError::from(ErrorBody::new(code, "x").with_hint("y")).into();
            assert_eq!(
                (error.message.as_str(), error.hint.as_deref()),
                ("x", Some("y"))
            );
            error.kind.code()
        };
        assert_eq!(code(ErrorCode::Store), 1);
        assert_eq!(code(ErrorCode::Ambiguous), 2);
        assert_eq!(code(ErrorCode::NotFound), 3);
        assert_eq!(code(ErrorCode::Draining), 4);
        assert_eq!(code(ErrorCode::OtherDataHome), 5);
        let gone = ClientError::NotRunning {
            socket: "/s".into(),
        };
        assert_eq!(CliError::from(gone).kind.code(), 4);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(CliError::from(pipe).kind.code(), 0);
    }
}
