//! Disks that are full, small or read-only, for the daemon's process alone.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::rig::Rig;

/// What a daemon is started by whose folders lie on file systems of their own, each of this size. They are seen by
/// that process only, and go with it.
pub(crate) fn on_own_disks(disks: &[(PathBuf, &str)]) -> Option<Vec<OsString>> {
    let namespace = namespace()?;
    let mut script = String::new();
    for (folder, size) in disks {
        std::fs::create_dir_all(folder).unwrap();
        let folder = folder.display();
        script.push_str(&format!(
            "mount -t tmpfs -o size={size},mode=0700 tmpfs '{folder}' && "
        ));
    }
    script.push_str("exec \"$@\"");
    let mut by: Vec<OsString> = ["unshare", namespace, "--", "sh", "-c"]
        .map(OsString::from)
        .into();
    by.extend([script.into(), "sh".into()]);
    Some(by)
}

/// How a process gets mounts of its own here; none, said loudly, where that is not allowed.
fn namespace() -> Option<&'static str> {
    let allowed = |flags: &&str| {
        Command::new("unshare")
            .args([*flags, "--", "mount", "-t", "tmpfs", "tmpfs", "/tmp"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let found = ["-m", "-Urm"].into_iter().find(allowed);
    if found.is_none() {
        // Printed past the harness, which hides what a test that passes has to say.
        let mut terminal = std::io::stderr().lock();
        let said = "SKIPPED: nobody may mount a file system of his own here (unshare -Urm)\n";
        terminal.write_all(said.as_bytes()).unwrap();
    }
    found
}

/// Makes the daemon's file system under a folder read-only, or writable again.
pub(crate) fn remount(pid: u32, folder: &Path, how: &str) {
    let pid = pid.to_string();
    let mut command = Command::new("nsenter");
    if namespace() == Some("-Urm") {
        command.args(["-U", "--preserve-credentials"]);
    }
    let status = command
        .args(["-t", &pid, "-m", "mount", "-o"])
        .arg(format!("remount,bind,{how}"))
        .arg(folder)
        .status()
        .unwrap();
    assert!(status.success(), "remount,{how} {}", folder.display());
}

/// Fills the daemon's disk under a folder to the last byte.
pub(crate) fn fill(rig: &Rig, folder: &Path) -> Filler {
    let path = rig.inside(folder).join("filler");
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    for size in [65_536, 4_096, 512, 1] {
        while file
            .write(&vec![b'x'; size])
            .is_ok_and(|written| written > 0)
        {}
    }
    Filler(path)
}

/// What fills a disk.
#[must_use]
pub(crate) struct Filler(PathBuf);

impl Filler {
    /// The disk has room again.
    pub(crate) fn free(self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// From now on no file can be written by this process, whatever disk it is on; sockets can.
pub(crate) fn deny_writing(pid: u32, denied: bool) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let limit = Rlimit {
        current: denied.then_some(0),
        maximum: getrlimit(Resource::Fsize).maximum,
    };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}
