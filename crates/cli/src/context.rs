//! What every command is given.

use std::path::PathBuf;

use brigade_client::{Client, StartPolicy};
use brigade_os::paths::Dirs;
use brigade_protocol::delegations::Scope;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{CliError, Kind};
use crate::output::{Output, patiently};

/// What every command is given.
pub(crate) struct Context {
    /// Brigade's places.
    pub(crate) dirs: Dirs,
    /// Where to print.
    pub(crate) out: Output,
}

impl Context {
    /// A connection to the daemon, which is started if it doesn't run.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        connected(&self.dirs).await
    }
}

/// A connection to the daemon of these places, which is started if it doesn't run.
pub(crate) async fn connected(dirs: &Dirs) -> Result<Client, CliError> {
    let connect = Client::connect(dirs, StartPolicy::IfNeeded);
    Ok(patiently("starting Brigade's daemon", connect).await?)
}

/// The current directory.
pub(crate) fn directory() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|error| {
        let message = format!("the current directory can't be used: {error}");
        CliError::new(Kind::Failed, message).hint("change to another directory")
    })
}

/// The current directory's project, or all.
pub(crate) fn scope(all: bool) -> Result<Scope, CliError> {
    let directory = match all {
        true => None,
        false => Some(directory()?.to_string_lossy().into_owned()),
    };
    Ok(Scope { directory })
}

/// The moment and the time zone in which times are printed.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    /// The moment.
    pub(crate) at: Timestamp,
    /// The time zone.
    pub(crate) zone: TimeZone,
}

impl Now {
    /// The system's.
    pub(crate) fn system() -> Self {
        Self {
            at: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }
}
