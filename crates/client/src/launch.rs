//! Starting the daemon and hearing from itself whether it is ready.

use std::path::Path;
use std::time::Duration;

use brigade_os::paths::{Dirs, ensure_private_dir};
use brigade_os::spawn;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{ClientError, Handshake};

/// How long a daemon may take to come up: a large store's migration included.
const READY: Duration = Duration::from_secs(60);

/// Starts the daemon and waits for its first line.
pub(crate) async fn launch(program: &Path, dirs: &Dirs) -> Result<Handshake, ClientError> {
    let failed = |why: String| ClientError::NotStarted { why, hint: None };
    // What a daemon says in its last moments goes beside its logs. Where that folder can't be made,
    // the daemon itself will say so in its first line.
    let errors = dirs.logs().join("daemon.stderr");
    let errors = ensure_private_dir(&dirs.data)
        .and_then(|()| ensure_private_dir(&dirs.logs()))
        .is_ok()
        .then_some(errors.as_path());
    let args = ["daemon", "run", "--detached"];
    let mut child = spawn::background(program, args, errors)
        .map_err(|error| failed(format!("{} can't be run: {error}", program.display())))?;
    let Some(stdout) = child.stdout.take() else {
        return Err(failed("its output is not piped".to_owned()));
    };
    let mut line = String::new();
    let mut stdout = BufReader::new(stdout);
    match tokio::time::timeout(READY, stdout.read_line(&mut line)).await {
        Ok(Ok(0)) => {
            let status = child
                .wait()
                .await
                .map_or_else(|error| error.to_string(), |s| s.to_string());
            let see = errors.map_or_else(String::new, |path| format!("; see {}", path.display()));
            Err(failed(format!("it ended without a word ({status}){see}")))
        }
        Ok(Ok(_)) => line
            .trim_end()
            .parse()
            .map_err(|error| failed(format!("{error}"))),
        Ok(Err(error)) => Err(failed(format!("its output can't be read: {error}"))),
        Err(_) => Err(failed(format!(
            "it was not ready after {} s; it goes on trying (process {})",
            READY.as_secs(),
            child.id().unwrap_or_default()
        ))),
    }
}
