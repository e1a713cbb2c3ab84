//! The machine that is measured on, and the versions of what is measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use brigade_testkit::opencode;

use super::process::{field, number};
use crate::error::{Error, Result, io};

/// Names and values, in the order in which they are shown.
pub(crate) fn facts(program: &Path, folder: &Path) -> Result<Vec<(String, String)>> {
    let mut facts = vec![
        ("Processor".to_owned(), processor()),
        ("Memory".to_owned(), memory()),
        (
            "File system".to_owned(),
            file_system(folder)?.unwrap_or_default(),
        ),
        ("System".to_owned(), output("uname", &["-srm"])?),
        ("Brigade".to_owned(), version(program)?),
        ("Commit".to_owned(), commit()?),
        ("OpenCode".to_owned(), opencode::VERSION.to_owned()),
        ("Rust".to_owned(), output("rustc", &["--version"])?),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    Ok(facts)
}

fn version(program: &Path) -> Result<String> {
    output(&program.to_string_lossy(), &["--version"])
}

/// The commit, and whether there is more in the tree than that.
fn commit() -> Result<String> {
    let commit = output("git", &["rev-parse", "--short=10", "HEAD"])?;
    // A report of an earlier run is no change to what is measured.
    let changed = output("git", &["status", "--porcelain", "--", ".", ":!docs"])?;
    Ok(match changed.is_empty() {
        true => commit,
        false => format!("{commit}, with changes"),
    })
}

/// The model and how many cores may be used.
fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&known, "model name").unwrap_or("unknown");
    format!("{model}, {cores} cores")
}

/// All of it, in GiB; nothing where the system has no `/proc`.
fn memory() -> String {
    let known = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = number(&known, "MemTotal");
    kib.map_or_else(String::new, |kib| format!("{} GiB", kib >> 20))
}

/// The kind of file system that a folder is on; none where the system has no `/proc`.
pub(crate) fn file_system(folder: &Path) -> Result<Option<String>> {
    let folder = folder
        .canonicalize()
        .map_err(io(format!("find {}", folder.display())))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(kind(&mounts, &folder))
}

/// The kind of the innermost mount that holds a folder: of those at one place, the last has hidden the others.
fn kind(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (place, rest) = line.split_once(" - ")?;
        let place = place.split(' ').nth(4)?;
        let kind = rest.split(' ').next()?;
        folder.starts_with(place).then_some((place.len(), kind))
    });
    let innermost = mounts.max_by_key(|(length, _)| *length);
    innermost.map(|(_, kind)| kind.to_owned())
}

/// What a program prints, on one line.
fn output(program: &str, args: &[&str]) -> Result<String> {
    let done = Command::new(program)
        .args(args)
        .current_dir(crate::root())
        .output()
        .map_err(io(format!("start {program}")))?;
    if !done.status.success() {
        return Err(Error::Wrong(format!(
            "`{program} {}` failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&done.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_on_the_innermost_and_newest_mount() {
        let mounts = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            30 21 0:26 / /tmp rw - xfs /dev/sdb rw\n\
            31 21 0:27 / /tmp rw,nosuid - tmpfs tmpfs rw\n\
            32 21 0:28 / /tm rw - btrfs /dev/sdc rw\n";
        let on = |folder: &str| kind(mounts, Path::new(folder));
        assert_eq!(on("/tmp/brigade").as_deref(), Some("tmpfs"));
        assert_eq!(on("/tmpfiles").as_deref(), Some("ext4"));
        assert_eq!(kind("", Path::new("/tmp")), None);
    }
}
