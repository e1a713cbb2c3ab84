//! What a process uses, as Linux tells it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use crate::error::{Error, Result, io};

/// What a process has used so far.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// What each of its threads has.
    threads: BTreeMap<OsString, Spent>,
    /// Its resident memory, in bytes.
    pub(super) memory: u64,
}

/// Time on a processor.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// How long.
    pub(super) cpu: Duration,
    /// How often a thread was put on a processor.
    pub(super) switches: u64,
}

impl Used {
    /// What was spent since: by those threads that are still there, which are those that do the work.
    pub(super) fn since(&self, before: &Self) -> Spent {
        let mut sum = Spent::default();
        for (thread, now) in &self.threads {
            let then = before.threads.get(thread).copied().unwrap_or_default();
            sum.cpu += now.cpu.saturating_sub(then.cpu);
            sum.switches += now.switches.saturating_sub(then.switches);
        }
        sum
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(io(format!("read {path}")))
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':')
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Looks at a process.
pub(super) fn used(pid: u32) -> Result<Used> {
    let strange = |what: &str| Error::Wrong(format!("/proc does not tell the {what} of {pid}"));
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let mut threads = BTreeMap::new();
    for task in tasks
        .map_err(io(format!("look at process {pid}")))?
        .flatten()
    {
        // A thread that has ended since counts for nothing.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let mut spent = Spent::default();
        for kind in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
            spent.switches += field(&status, kind).ok_or_else(|| strange("context switches"))?;
        }
        // The first number is the time on a processor, in nanoseconds.
        let times = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns = times.split(' ').next().and_then(|ns| ns.parse().ok());
        spent.cpu = Duration::from_nanos(ns.unwrap_or(0));
        threads.insert(task.file_name(), spent);
    }
    let status = read(&format!("/proc/{pid}/status"))?;
    let memory = field(&status, "VmRSS").ok_or_else(|| strange("memory"))? << 10;
    Ok(Used { threads, memory })
}
