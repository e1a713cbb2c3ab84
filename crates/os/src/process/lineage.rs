//! Who started a process, up to the first.

use std::io;

use super::{ProcessId, system};

/// How far up is looked, and how often in all: processes end while they are looked at.
const FAR: usize = 1_000;

/// A process, its parent, that one's parent, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    /// The process itself first.
    pub line: Vec<ProcessId>,
    /// It was bound so that it can gain no rights, as this process is not, and who bound it has ended: it hangs below
    /// the first process, or below one that the first has started, as what outlives its parents does.
    pub adrift: bool,
}

impl Lineage {
    /// That of the process with this ID; none where it is gone.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let mut line: Vec<ProcessId> = Vec::new();
        let mut next = pid;
        for _ in 0..FAR {
            match ProcessId::with_parent(next)? {
                Some((process, 0)) => {
                    line.push(process);
                    return Ok(Some(Self {
                        adrift: adrift(&line),
                        line,
                    }));
                }
                Some((process, parent)) => {
                    line.push(process);
                    next = parent;
                }
                // It ended meanwhile: whom it had started has another parent now.
                None => match line.pop() {
                    Some(child) => next = child.pid,
                    None => return Ok(None),
                },
            }
        }
        Err(io::Error::other(
            "its parents change faster than they can be looked at",
        ))
    }
}

impl ProcessId {
    /// The processes below this one. None on macOS.
    pub fn descendants(&self) -> Vec<ProcessId> {
        let all = system::all();
        let mut found = Vec::new();
        let mut parents = vec![*self];
        while let Some(parent) = parents.pop() {
            let children = all
                .iter()
                // A child is not older than its parent.
                .filter(|(child, of)| *of == parent.pid && child.start >= parent.start)
                .map(|(child, _)| *child);
            for child in children {
                found.push(child);
                parents.push(child);
            }
        }
        found
    }
}

fn adrift(line: &[ProcessId]) -> bool {
    let bound = |process: &ProcessId| system::is_bound(process.pid);
    if !line.first().is_some_and(bound) || system::is_bound(std::process::id()) {
        return false;
    }
    let binds = line.iter().position(|process| !bound(process));
    // The last is the first process of all. What this one has bound itself is no server.
    binds.is_none_or(|at| at + 2 >= line.len() || line[at].pid == std::process::id())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn begins_with_the_process_and_ends_with_the_first() {
        // The shell stays between, since it has something to do afterwards.
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & echo $!; wait; :"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = shell.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let child = ProcessId::of(line.trim().parse().unwrap()).unwrap();
        let lineage = Lineage::of(child.pid).unwrap().unwrap();
        let own = ProcessId::current().unwrap();
        let parent = ProcessId::of(shell.id()).unwrap();
        assert_eq!(lineage.line[..3], [child, parent, own]);
        assert!(!lineage.adrift);
        #[cfg(target_os = "linux")]
        {
            assert_eq!(parent.descendants(), [child]);
            let all = own.descendants();
            assert!(all.contains(&parent) && all.contains(&child) && !all.contains(&own));
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
        // Whoever takes it in, it is no child of ours any more.
        let lineage = Lineage::of(child.pid).unwrap().unwrap();
        assert_eq!(lineage.line[0], child);
        assert!(!lineage.line.contains(&parent));
        child.end(super::super::End::Kill).unwrap();
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(Lineage::of(pid).unwrap(), None);
    }
}
