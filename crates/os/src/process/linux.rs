//! Linux: `/proc` for the start time, a pidfd for the end.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// When a live process started, in clock ticks since boot.
pub(super) fn start_time(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse(&stat)
}

/// Reads state and start time out of a `stat` line. The command's name, in brackets, may itself hold
/// brackets and spaces: the fields are counted from the last one.
fn parse(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    // The state is the third field, the start time the twenty-second.
    fields.nth(18)?.parse().ok()
}

/// Something that becomes readable once the process has ended, collected by its parent or not.
pub(super) fn watch(pid: Pid) -> Result<OwnedFd, Errno> {
    pidfd_open(pid, PidfdFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn fields_are_counted_from_the_last_bracket() {
        let line = |name: &str, state: &str| {
            format!(
                "42 ({name}) {state} 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 98765 4096 10\n"
            )
        };
        assert_eq!(parse(&line("cat", "S")), Some(98765));
        assert_eq!(parse(&line("a ) S 1 (b", "T")), Some(98765));
        assert_eq!(parse(&line("cat", "Z")), None);
        assert_eq!(parse("42 (cat) S 1"), None);
        assert_eq!(parse(""), None);
    }
}
