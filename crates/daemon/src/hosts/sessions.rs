//! Which process owns which session, and what the session is doing there.
//!
//! The owner is the connected process in which a person's message, a tool call or busy status of the
//! session was last seen. What happens in a process is known only through its own bridge: events do
//! not cross processes.

use std::collections::HashMap;

use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Activity;

/// How late a bridge may tell what happened: it posts at once, and repeats a post for some minutes at most.
const LATE_MS: i64 = 5 * 60_000;

/// What one process has shown of one session.
#[derive(Debug, Clone)]
struct Sighting {
    directory: String,
    activity: Activity,
    active_ms: i64,
}

/// The owner of a session, and how the session is.
#[derive(Debug, Clone)]
pub(crate) struct Ownership {
    /// The process to speak through.
    pub(crate) process: ProcessId,
    /// The instance's directory there.
    pub(crate) directory: String,
    /// What the session is doing there.
    pub(crate) activity: Activity,
    /// Whether the session is busy in more than one process: nothing may be injected then.
    pub(crate) contended: bool,
}

/// All sightings.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    seen: HashMap<String, HashMap<ProcessId, Sighting>>,
}

impl Sessions {
    /// Records what a bridge says of a session.
    pub(crate) fn sighted(
        &mut self,
        session: &str,
        process: &ProcessId,
        directory: &str,
        activity: Activity,
        active_ms: i64,
    ) {
        self.seen.entry(session.to_owned()).or_default().insert(
            *process,
            Sighting {
                directory: directory.to_owned(),
                activity,
                active_ms,
            },
        );
    }

    /// The same, told the moment it happened. Whatever is said to be later than this by far was stamped before the
    /// clock was moved back: it is not later.
    pub(crate) fn heard(
        &mut self,
        session: &str,
        process: &ProcessId,
        directory: &str,
        activity: Activity,
        active_ms: i64,
    ) {
        if let Some(sightings) = self.seen.get_mut(session) {
            for other in sightings.values_mut() {
                if other.active_ms.saturating_sub(active_ms) > LATE_MS {
                    other.active_ms = active_ms - 1;
                }
            }
        }
        self.sighted(session, process, directory, activity, active_ms);
    }

    /// A process is gone, or no longer connected: it owns nothing. Returns the sessions it was seen in.
    pub(crate) fn forget_process(&mut self, process: &ProcessId) -> Vec<String> {
        let mut touched = Vec::new();
        self.seen.retain(|session, sightings| {
            if sightings.remove(process).is_some() {
                touched.push(session.clone());
            }
            !sightings.is_empty()
        });
        touched
    }

    /// A directory's instance is gone from a process, and with it what ran there.
    pub(crate) fn forget_directory(&mut self, process: &ProcessId, directory: &str) -> Vec<String> {
        let mut touched = Vec::new();
        self.seen.retain(|session, sightings| {
            let there = sightings
                .get(process)
                .is_some_and(|sighting| sighting.directory == directory);
            if there {
                sightings.remove(process);
                touched.push(session.clone());
            }
            !sightings.is_empty()
        });
        touched
    }

    /// A session was deleted.
    pub(crate) fn forget_session(&mut self, session: &str) {
        self.seen.remove(session);
    }

    /// The owner of a session, if any process owns it.
    pub(crate) fn owner(&self, session: &str) -> Option<Ownership> {
        let sightings = self.seen.get(session)?;
        let busy = sightings
            .values()
            .filter(|sighting| sighting.activity != Activity::Idle)
            .count();
        let (process, sighting) = sightings
            .iter()
            .max_by_key(|(_, sighting)| sighting.active_ms)?;
        Some(Ownership {
            process: *process,
            directory: sighting.directory.clone(),
            activity: sighting.activity,
            contended: busy > 1 || (busy == 1 && sighting.activity == Activity::Idle),
        })
    }

    /// The processes that have shown a session.
    pub(crate) fn processes(&self, session: &str) -> Vec<ProcessId> {
        self.seen
            .get(session)
            .map(|sightings| sightings.keys().copied().collect())
            .unwrap_or_default()
    }

    /// The sessions that a process owns or has shown.
    pub(crate) fn of_process(&self, process: &ProcessId) -> Vec<String> {
        self.seen
            .iter()
            .filter(|(_, sightings)| sightings.contains_key(process))
            .map(|(session, _)| session.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(text: &str) -> ProcessId {
        text.parse().unwrap()
    }

    #[test]
    fn the_latest_active_process_owns_the_session() {
        let mut sessions = Sessions::default();
        sessions.sighted("ses_a", &process("1:10"), "/p", Activity::Idle, 5);
        sessions.sighted("ses_a", &process("2:10"), "/p", Activity::Idle, 9);
        let owner = sessions.owner("ses_a").unwrap();
        assert_eq!(owner.process, process("2:10"));
        assert!(!owner.contended);
        assert!(sessions.owner("ses_b").is_none());
    }

    #[test]
    fn who_is_heard_after_the_clock_was_moved_back_owns_the_session() {
        let mut sessions = Sessions::default();
        let hour = 3_600_000;
        sessions.heard("ses_a", &process("1:10"), "/p", Activity::Idle, 9 * hour);
        sessions.heard("ses_a", &process("2:10"), "/p", Activity::Idle, 4 * hour);
        assert_eq!(sessions.owner("ses_a").unwrap().process, process("2:10"));
        sessions.heard("ses_a", &process("1:10"), "/p", Activity::Idle, 5 * hour);
        assert_eq!(sessions.owner("ses_a").unwrap().process, process("1:10"));
        // What was only on its way for a while is what it says.
        sessions.heard(
            "ses_a",
            &process("2:10"),
            "/p",
            Activity::Idle,
            5 * hour - 30_000,
        );
        assert_eq!(sessions.owner("ses_a").unwrap().process, process("1:10"));
    }

    #[test]
    fn a_session_that_is_busy_elsewhere_is_contended() {
        let mut sessions = Sessions::default();
        sessions.sighted("ses_a", &process("1:10"), "/p", Activity::Streaming, 5);
        sessions.sighted("ses_a", &process("2:10"), "/p", Activity::Idle, 9);
        assert!(sessions.owner("ses_a").unwrap().contended);
        sessions.sighted("ses_a", &process("1:10"), "/p", Activity::Idle, 5);
        assert!(!sessions.owner("ses_a").unwrap().contended);
    }

    #[test]
    fn a_process_that_is_gone_owns_nothing() {
        let mut sessions = Sessions::default();
        sessions.sighted("ses_a", &process("1:10"), "/p", Activity::Streaming, 5);
        assert_eq!(sessions.forget_process(&process("1:10")), ["ses_a"]);
        assert!(sessions.owner("ses_a").is_none());
    }
}
