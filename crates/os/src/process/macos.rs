//! macOS: `proc_pidinfo` for the start time, a kqueue for the end.

use std::ffi::OsString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::OwnedFd;

use rustix::event::kqueue::{
    Event, EventFilter, EventFlags, ProcessEvents, kevent_timespec, kqueue,
};
use rustix::io::Errno;
use rustix::process::Pid;

use super::Marked;

/// When a live process started, in microseconds since 1970, and who its parent is (0 for none); none if it is gone. An
/// error says nothing about it.
pub(super) fn look(pid: Pid) -> io::Result<Option<(u64, u32)>> {
    let mut info = MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    let size = i32::try_from(size_of::<libc::proc_bsdinfo>()).map_err(io::Error::other)?;
    #[expect(unsafe_code, reason = "no safe call tells a process's start time")]
    // SAFETY: the buffer is of the size that is named, and any bytes make a `proc_bsdinfo`.
    let info = unsafe {
        let filled = libc::proc_pidinfo(
            pid.as_raw_nonzero().get(),
            libc::PROC_PIDTBSDINFO,
            0,
            info.as_mut_ptr().cast(),
            size,
        );
        if filled != size {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ESRCH) => Ok(None),
                _ => Err(error),
            };
        }
        info.assume_init()
    };
    let zombie = info.pbi_status == libc::SZOMB;
    let started = info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec;
    Ok((!zombie).then_some((started, info.pbi_ppid)))
}

/// Who asks does so of confined processes, and there are none.
pub(super) fn all() -> Vec<(super::ProcessId, u32)> {
    Vec::new()
}

/// Nothing is bound here.
pub(super) fn is_bound(_pid: u32) -> bool {
    false
}

/// Something that becomes readable once the process has ended: a kqueue that holds that event.
pub(super) fn watch(pid: Pid) -> Result<OwnedFd, Errno> {
    let queue = kqueue()?;
    let exit = Event::new(
        EventFilter::Proc {
            pid,
            flags: ProcessEvents::EXIT,
        },
        EventFlags::ADD,
        std::ptr::null_mut(),
    );
    let mut none: [Event; 0] = [];
    #[expect(
        unsafe_code,
        reason = "rustix can't know that the event refers to no descriptor"
    )]
    // SAFETY: the event refers to a process, not to a file descriptor.
    unsafe {
        kevent_timespec(&queue, &[exit], &mut none, None)?;
    }
    Ok(queue)
}

/// See [`with_variable`].
pub(super) fn variable(_pid: u32, _name: &str) -> Option<OsString> {
    None
}

/// Environments of other processes are not shown here without further rights.
pub(super) fn with_variable(_name: &str) -> Vec<Marked> {
    Vec::new()
}
