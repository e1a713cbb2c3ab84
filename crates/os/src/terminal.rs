//! The terminal, if there is one.

/// The width of the terminal that standard output is, in columns; none if it is none.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Stops this process and what it has started, as a shell's `Ctrl-Z` does, until it is told to go on.
///
/// # Errors
/// When the system refuses the signal.
pub fn suspend() -> std::io::Result<()> {
    Ok(rustix::process::kill_current_process_group(
        rustix::process::Signal::TSTP,
    )?)
}
