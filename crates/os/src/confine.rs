//! Keeping a process, and all that it starts, from changing files elsewhere.
//!
//! Linux has Landlock for that: a process binds itself, for good, and whatever it executes or starts is bound
//! with it. Reading stays as it was, and so does the network.

use std::path::PathBuf;

#[cfg(target_os = "linux")]
#[path = "confine/linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "confine/other.rs"]
mod system;

/// What a confined process may change: everything below these folders, and these files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writable {
    /// Folders, with all that is and will be below them.
    pub folders: Vec<PathBuf>,
    /// Folders that others use, too: in and below them plain files can be made, changed and removed, and nothing else. A
    /// link there would lead somebody who is not confined to where it points.
    pub plain: Vec<PathBuf>,
    /// Files whose content may be changed; not their being there, nor what else is in their folders.
    pub files: Vec<PathBuf>,
}

/// How far this process is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// The version of the kernel's interface that holds.
    pub abi: u32,
    /// What that version leaves open, in words; empty where it has all that is known here.
    pub open: Vec<&'static str>,
}

/// Why the kernel doesn't confine here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAvailable {
    /// The system has nothing of the kind.
    #[error("this system does not offer it: it takes Linux with Landlock")]
    System,
    /// The kernel was built without it.
    #[error("this kernel has no Landlock: Linux 6.2 or newer with it built in is needed")]
    NotBuilt,
    /// The kernel has it, turned off.
    #[error(
        "Landlock is turned off in this kernel: its command line needs it among the modules of `lsm=`"
    )]
    Off,
    /// The kernel's version leaves files elsewhere open to being emptied.
    #[error("this kernel's Landlock is of version {0}: version 3 (Linux 6.2) is needed")]
    TooOld(u32),
    /// Something else is in the way.
    #[error("Landlock can't be used: {0}")]
    Refused(String),
}

/// The version of the kernel's interface, tried out.
///
/// # Errors
/// [`NotAvailable`] with the reason.
pub fn available() -> Result<u32, NotAvailable> {
    system::available()
}

/// Confines this process, for good: it and what it starts or becomes can change files only where `writable`
/// says, and send signals only to one another (where the kernel has that). Programs that gain rights by being
/// executed (`sudo`) do so no more. What it starts stays below it in the tree of processes: it becomes the parent
/// of those whose own has ended.
///
/// To be called before there is a second thread.
///
/// # Errors
/// When the kernel does not offer it, or something that is to be writable is not there; the process must not go on then.
pub fn confine(writable: &Writable) -> std::io::Result<Confined> {
    system::confine(writable)
}
