//! The attempts of a delegation, as its events tell them.

use brigade_core::delegation::{Event, Spec};
use brigade_protocol::delegations::AttemptEntry;
use brigade_store::EventRow;

/// The attempts in order; what is under way has run for what is left of `ran_ms` over all of them.
pub(super) fn of(events: &[EventRow], spec: &Spec, ran_ms: u64) -> Vec<AttemptEntry> {
    let mut attempts: Vec<AttemptEntry> = Vec::new();
    for row in events {
        match &row.event {
            Event::Started {
                attempt,
                runner,
                own,
                ..
            } => attempts.push(AttemptEntry {
                attempt: attempt.0,
                collects: attempt.0 > spec.max_attempts,
                own_server: *own,
                pid: runner.split(':').next().and_then(|pid| pid.parse().ok()),
                started_at: row.at,
                ended_at: None,
                end: None,
                ran_ms: 0,
            }),
            Event::Interrupted { why, ran_ms, .. } => {
                end(&mut attempts, row, format!("cut off: {why}"), *ran_ms);
            }
            Event::Decided {
                outcome, ran_ms, ..
            } => {
                let words = format!("{}: {}", outcome.state, outcome.reason);
                end(&mut attempts, row, words, *ran_ms);
            }
            _ => {}
        }
    }
    let ended: u64 = attempts.iter().map(|attempt| attempt.ran_ms).sum();
    if let Some(last) = attempts.last_mut()
        && last.end.is_none()
    {
        last.ran_ms = ran_ms.saturating_sub(ended);
    }
    attempts
}

/// What is cancelled before its first attempt has none that ends.
fn end(attempts: &mut [AttemptEntry], row: &EventRow, words: String, ran_ms: u64) {
    if let Some(last) = attempts.last_mut()
        && last.end.is_none()
    {
        last.ended_at = Some(row.at);
        last.end = Some(words);
        last.ran_ms = ran_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_core::delegation::{Access, Outcome, Reason, State};
    use brigade_core::id::{Attempt, DelegationId, ProjectId};
    use jiff::Timestamp;

    fn spec() -> Spec {
        Spec {
            id: "brave-amber-otter".parse().unwrap(),
            project: ProjectId::from_path("/p"),
            directory: "/p".into(),
            parent: "ses_1".parse().unwrap(),
            root: "ses_1".parse().unwrap(),
            host: "h".into(),
            origin: None,
            credentials: Vec::new(),
            caller: None,
            agent: "explore".into(),
            model: None,
            prompt: "p".into(),
            ask_title: true,
            access: Access::default(),
            registered_at: Timestamp::UNIX_EPOCH,
            max_run_ms: None,
            stall_ms: None,
            max_attempts: 1,
            continues: None,
            retries: None,
            worktree: None,
        }
    }

    fn rows(events: Vec<Event>) -> Vec<EventRow> {
        let id: DelegationId = "brave-amber-otter".parse().unwrap();
        let row = |(seq, event)| EventRow {
            seq,
            at: Timestamp::from_second(seq).unwrap(),
            delegation: id.clone(),
            event,
        };
        (1..).zip(events).map(row).collect()
    }

    fn started(attempt: u32, own: bool) -> Event {
        Event::Started {
            attempt: Attempt(attempt),
            runner: "12:34".into(),
            own,
            confinement: None,
        }
    }

    #[test]
    fn each_attempt_says_where_it_ran_and_how_it_ended() {
        let cut_off = Event::Interrupted {
            attempt: Attempt(1),
            why: "its process ended".into(),
            ran_ms: 700,
        };
        let decided = Event::Decided {
            attempt: Attempt(2),
            outcome: Outcome {
                state: State::Complete,
                reason: Reason::Answered,
            },
            ran_ms: 50,
            unheard: 0,
        };
        let mut events = vec![
            Event::Registered,
            started(1, false),
            cut_off,
            started(2, true),
        ];
        let under_way = of(&rows(events.clone()), &spec(), 1_000);
        assert_eq!(under_way[1].ran_ms, 300);
        assert_eq!(under_way[1].end, None);
        events.push(decided);
        let both = of(&rows(events), &spec(), 750);
        let first = AttemptEntry {
            attempt: 1,
            collects: false,
            own_server: false,
            pid: Some(12),
            started_at: Timestamp::from_second(2).unwrap(),
            ended_at: Some(Timestamp::from_second(3).unwrap()),
            end: Some("cut off: its process ended".into()),
            ran_ms: 700,
        };
        assert_eq!(both[0], first);
        assert!(both[1].collects && both[1].own_server);
        assert_eq!(both[1].end.as_deref(), Some("complete: answered"));
        assert_eq!(both[1].ran_ms, 50);
    }

    #[test]
    fn what_never_began_has_none() {
        let decided = Event::Decided {
            attempt: Attempt(0),
            outcome: Outcome {
                state: State::Cancelled,
                reason: Reason::Answered,
            },
            ran_ms: 0,
            unheard: 0,
        };
        assert!(of(&rows(vec![Event::Registered, decided]), &spec(), 0).is_empty());
    }
}
