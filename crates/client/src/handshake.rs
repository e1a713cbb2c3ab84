//! What a starting daemon tells its starter: one line on its standard output, which it then closes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The one line of a starting daemon, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "daemon")]
pub enum Handshake {
    /// It listens.
    Ready {
        /// On this socket.
        socket: PathBuf,
    },
    /// Another one holds the lock; this one goes.
    AlreadyRunning,
    /// It can't run; it goes.
    Failed {
        /// Why not.
        message: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// The text is no [`Handshake`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no daemon's first line: {why}")]
pub struct NoHandshake {
    /// The head of the text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl FromStr for Handshake {
    type Err = NoHandshake;

    fn from_str(text: &str) -> Result<Self, NoHandshake> {
        serde_json::from_str(text).map_err(|error| NoHandshake {
            text: text.chars().take(200).collect(),
            why: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line_and_read_back() {
        for handshake in [
            Handshake::Ready {
                socket: "/run/a b/daemon.sock".into(),
            },
            Handshake::AlreadyRunning,
            Handshake::Failed {
                message: "two\nlines".into(),
                hint: Some("mend".into()),
            },
        ] {
            let line = handshake.to_string();
            assert!(!line.contains('\n'));
            assert_eq!(line.parse(), Ok(handshake));
        }
        assert!("hello".parse::<Handshake>().is_err());
        assert!("".parse::<Handshake>().is_err());
    }
}
