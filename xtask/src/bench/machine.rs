//! The machine that is measured on, and the versions of what is measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use brigade_testkit::opencode;

use crate::error::{Error, Result, io};

/// Names and values, in the order in which they are shown.
pub(crate) fn facts(program: &Path) -> Result<Vec<(String, String)>> {
    let mut facts = vec![
        ("Processor".to_owned(), processor()),
        ("Memory".to_owned(), memory()),
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
    let kib = field(&known, "MemTotal")
        .and_then(|size| size.split_whitespace().next())
        .and_then(|size| size.parse::<u64>().ok());
    kib.map_or_else(String::new, |kib| format!("{} GiB", kib >> 20))
}

/// The value of a `name: value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
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
