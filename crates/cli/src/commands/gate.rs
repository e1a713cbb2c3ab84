//! `brigade gate`, for the daemon alone: a process that it can put on record before it does anything.

use brigade_os::spawn::{become_program, hold, pass_gate};

use crate::args::Gate;
use crate::error::{CliError, Kind};

/// Waits at the gate and becomes the program, in the same process; or holds another process to the life of the
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
    let error = become_program(program, rest);
    Err(failed(format!("{}: {error}", program.display())))
}
