//! `brigade gate`, for the daemon alone: a process that it can put on record before it does anything.

use std::path::PathBuf;

use brigade_os::confine::{Writable, confine};
use brigade_os::spawn::{become_program, hold, pass_gate};

use crate::args::Gate;
use crate::error::{CliError, Kind};

/// Waits at the gate and becomes the program, in the same process, confined if wanted; or holds another process to the life of the
/// daemon.
pub(crate) fn run(args: &Gate) -> Result<(), CliError> {
    let failed = |what: String| CliError::new(Kind::Failed, what);
    if let Some(process) = args.hold {
        return hold(process).map_err(|error| failed(format!("{process} can't be ended: {error}")));
    }
    let open =
        pass_gate().map_err(|error| failed(format!("the gate can't be watched: {error}")))?;
    let (true, Some((program, rest))) = (open, args.command.split_first()) else {
        return Ok(());
    };
    if args.confined {
        // Behind the gate, so that what had to be made for it first is there. Unconfined it must not go on.
        let writable = Writable {
            plain: args.plain.clone(),
            ..writable(&args.writable)
        };
        confine(&writable).map_err(|error| {
            failed(format!(
                "it can't be confined, and was not started: {error}"
            ))
        })?;
    }
    let error = become_program(program, rest);
    Err(failed(format!("{}: {error}", program.display())))
}

/// What is no folder is a file; what is not there is told by its name when it is to be allowed.
fn writable(paths: &[PathBuf]) -> Writable {
    let (folders, files) = paths.iter().cloned().partition(|path| path.is_dir());
    Writable {
        folders,
        files,
        ..Writable::default()
    }
}
