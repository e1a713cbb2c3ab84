//! What processes use, as Linux tells it in `/proc`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use crate::error::{Error, Result, io};

/// What a process has used so far.
#[derive(Debug, Clone)]
pub(crate) struct Used {
    /// What each of its threads has.
    threads: BTreeMap<OsString, Spent>,
    /// Its resident memory, in bytes.
    pub(crate) memory: u64,
}

/// Time on a processor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// How long.
    pub(crate) cpu: Duration,
    /// How often a thread was put on a processor.
    pub(crate) switches: u64,
}

impl Used {
    /// What was spent since: by those threads that are still there, which are those that do the work.
    pub(crate) fn since(&self, before: &Self) -> Spent {
        let mut sum = Spent::default();
        for (thread, now) in &self.threads {
            let then = before.threads.get(thread).copied().unwrap_or_default();
            sum.cpu += now.cpu.saturating_sub(then.cpu);
            sum.switches += now.switches.saturating_sub(then.switches);
        }
        sum
    }
}

/// The value after a name and a colon at the beginning of a line.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The number that a value begins with.
pub(crate) fn number(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.split_whitespace().next()?.parse().ok()
}

/// Looks at a process.
pub(crate) fn used(pid: u32) -> Result<Used> {
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
            spent.switches += number(&status, kind).ok_or_else(|| strange("context switches"))?;
        }
        // The first number is the time on a processor, in nanoseconds.
        let times = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let ns = times.split(' ').next().and_then(|ns| ns.parse().ok());
        spent.cpu = Duration::from_nanos(ns.unwrap_or(0));
        threads.insert(task.file_name(), spent);
    }
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(io(format!("read {path}")))?;
    let memory = number(&status, "VmRSS").ok_or_else(|| strange("memory"))? << 10;
    Ok(Used { threads, memory })
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    /// Resident: what is shared counts in full.
    pub(crate) rss: u64,
    /// Proportional: what is shared with others counts by its part.
    pub(crate) pss: u64,
}

/// The memory of a process, without that of what it has started: a program that it is about to start still shares all
/// of its memory, and would count it again. None where there is no `/proc`.
///
/// # Errors
/// When the process is gone.
pub(crate) fn memory(pid: u32) -> Result<Option<Use>> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !cfg!(target_os = "linux") => {
            return Ok(None);
        }
        Err(error) => return Err(io(format!("read {path}"))(error)),
    };
    let size = |name: &str| {
        let kib = number(&text, name);
        kib.map(|kib| kib << 10)
            .ok_or_else(|| Error::Wrong(format!("{path} has no {name}")))
    };
    Ok(Some(Use {
        rss: size("Rss")?,
        pss: size("Pss")?,
    }))
}
