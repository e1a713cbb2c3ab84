//! Properties of the state machine over arbitrary command sequences.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::id::{Attempt, DelegationId, ProjectId, SessionId};

fn spec(max_attempts: u32) -> Spec {
    Spec {
        id: "brave-amber-otter".parse::<DelegationId>().unwrap(),
        project: ProjectId::from_path("/p"),
        directory: "/p".into(),
        parent: "ses_parent".parse::<SessionId>().unwrap(),
        root: "ses_parent".parse::<SessionId>().unwrap(),
        host: "host".into(),
        origin: None,
        credentials: Vec::new(),
        agent: "explore".into(),
        model: None,
        prompt: "look".into(),
        ask_title: true,
        access: Access::default(),
        registered_at: Timestamp::UNIX_EPOCH,
        max_run_ms: None,
        stall_ms: None,
        max_attempts,
        caller: None,
        continues: None,
        retries: None,
        worktree: None,
    }
}

/// The same for work that changes files.
fn writing(max_attempts: u32) -> Spec {
    Spec {
        worktree: Some(Worktree {
            id: "brave-amber-otter".parse().unwrap(),
            top: "/p".into(),
            directory: "/w/tree".into(),
            base: "b".into(),
            from: None,
            confine: true,
            left_out: Vec::new(),
        }),
        ..spec(max_attempts)
    }
}

fn changes(files: u64) -> Changes {
    Changes {
        tree: "t".into(),
        files,
        added: files,
        removed: 0,
        shown: Vec::new(),
        patch: None,
        beside: Vec::new(),
    }
}

fn attempt() -> impl Strategy<Value = Attempt> {
    (0u32..5).prop_map(Attempt)
}

fn cause() -> impl Strategy<Value = StopCause> {
    prop_oneof![
        Just(StopCause::Cancel { by: Actor::Person }),
        Just(StopCause::Cancel {
            by: Actor::ParentDeleted
        }),
        Just(StopCause::TimeLimit { limit_ms: 900_000 }),
        Just(StopCause::Stall { limit_ms: 360_000 }),
    ]
}

fn end() -> impl Strategy<Value = RunEnd> {
    prop_oneof![
        Just(RunEnd::Answered),
        Just(RunEnd::Empty),
        Just(RunEnd::ProviderError {
            message: "401".into()
        }),
        Just(RunEnd::HostError {
            message: "no such agent".into()
        }),
        Just(RunEnd::PermissionRefused {
            what: "bash".into()
        }),
        Just(RunEnd::Aborted),
        Just(RunEnd::SessionDeleted),
        Just(RunEnd::CutOff),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => Just(Command::Start { runner: "1:1".into(), own: false, confinement: None }),
        3 => attempt().prop_map(|attempt| Command::ChildReady {
            attempt,
            session: "ses_child".parse().unwrap(),
        }),
        3 => attempt().prop_map(|attempt| Command::Prompted { attempt }),
        1 => (proptest::option::of(attempt()), cause())
            .prop_map(|(attempt, cause)| Command::Stop { attempt, cause }),
        2 => (attempt(), end(), 0u32..3, 0u64..1_000).prop_map(|(attempt, end, messages, ran_ms)| {
            Command::RunEnded { attempt, end, messages, ran_ms }
        }),
        1 => Just(Command::Send { from: Sender::Person, text: "and the tests?".into(), call: None }),
        2 => (attempt(), 0u64..1_000).prop_map(|(attempt, ran_ms)| Command::Interrupt {
            attempt,
            why: "host died".into(),
            ran_ms,
        }),
        1 => (0u64..3).prop_map(|files| Command::Collected { changes: changes(files) }),
        1 => Just(Command::ArtifactWritten),
        1 => Just(Command::ArtifactFailed { error: "disk full".into() }),
    ]
}

/// Runs the commands on work that only reads and on work that writes, giving each step to `check` as (before,
/// command, what came of it, after). Returns what became of the latter.
fn drive(
    commands: &[Command],
    mut check: impl FnMut(&Delegation, &Command, &Result<Transition, Rejected>, &Delegation),
) -> (Delegation, Vec<(Timestamp, Event)>) {
    drive_one(spec(3), commands, &mut check);
    drive_one(writing(3), commands, &mut check)
}

fn drive_one(
    spec: Spec,
    commands: &[Command],
    check: &mut impl FnMut(&Delegation, &Command, &Result<Transition, Rejected>, &Delegation),
) -> (Delegation, Vec<(Timestamp, Event)>) {
    let mut delegation = Delegation::new(spec);
    let mut log = Vec::new();
    for (step, command) in commands.iter().enumerate() {
        let at = Timestamp::from_second(i64::try_from(step).unwrap()).unwrap();
        let before = delegation.clone();
        let result = delegation.apply(command);
        if let Ok(transition) = &result {
            for event in &transition.events {
                delegation.evolve(event, at);
                log.push((at, event.clone()));
            }
        }
        check(&before, command, &result, &delegation);
    }
    (delegation, log)
}

fn attempt_of(command: &Command) -> Option<Attempt> {
    match command {
        Command::ChildReady { attempt, .. }
        | Command::Prompted { attempt }
        | Command::RunEnded { attempt, .. }
        | Command::Interrupt { attempt, .. } => Some(*attempt),
        Command::Stop { attempt, .. } => *attempt,
        _ => None,
    }
}

proptest! {
    #[test]
    fn nothing_leaves_a_terminal_state(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, _, result, after| {
            if before.state.is_terminal() {
                assert!(result.is_err());
                assert_eq!(before, after);
            }
        });
    }

    #[test]
    fn an_outcome_is_decided_once(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, _, _, after| {
            if let Some(outcome) = before.outcome() {
                assert_eq!(Some(outcome), after.outcome());
            }
        });
    }

    #[test]
    fn replaying_the_events_gives_the_same_record(commands in proptest::collection::vec(command(), 0..60)) {
        let (delegation, log) = drive(&commands, |_, _, _, _| {});
        prop_assert_eq!(Delegation::replay(writing(3), &log), delegation);
    }

    #[test]
    fn another_attempt_changes_nothing(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, command, result, after| {
            if attempt_of(command).is_some_and(|attempt| attempt != before.attempt) {
                assert!(result.is_err(), "{command:?} at {before:?}");
                assert_eq!(before, after);
            }
        });
    }

    #[test]
    fn a_terminal_state_comes_only_with_a_written_artifact(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, command, _, after| {
            if !before.state.is_terminal() && after.state.is_terminal() {
                assert_eq!(command, &Command::ArtifactWritten);
                assert!(before.outcome().is_some());
            }
        });
    }

    #[test]
    fn what_a_child_may_have_changed_is_collected_before_it_ends(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, command, result, after| {
            let worked = after.spec.worktree.is_some() && after.child.is_some();
            if after.state.is_terminal() {
                assert_eq!(after.changes.is_some(), worked || before.changes.is_some());
            }
            if let (Command::Collected { changes }, Ok(_)) = (command, result) {
                assert!(before.spec.worktree.is_some() && before.outcome().is_some());
                assert_eq!(after.changes.as_ref(), Some(changes));
                assert_eq!(after.state, before.state);
            }
        });
    }

    #[test]
    fn a_slot_is_freed_exactly_when_it_is_no_longer_held(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, _, result, after| {
            let freed = result.as_ref().map_or(0, |transition| {
                transition.effects.iter().filter(|effect| **effect == Effect::FreeSlot).count()
            });
            let released = usize::from(before.holds_slot() && !after.holds_slot());
            assert_eq!(freed, released);
        });
    }

    #[test]
    fn attempts_never_go_back_nor_past_their_limit(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, _, _, after| {
            assert!(after.attempt >= before.attempt);
            // The three that work, and one that only collects.
            assert!(after.attempt <= Attempt(4));
        });
    }

    #[test]
    fn only_an_answer_is_complete(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, command, _, after| {
            let completed = after.outcome().is_some_and(|outcome| outcome.state == State::Complete);
            if before.outcome().is_none() && completed {
                let answered = matches!(command, Command::RunEnded { end: RunEnd::Answered, .. });
                assert!(answered, "{command:?}");
            }
        });
    }

    #[test]
    fn no_answer_is_final_before_every_message_was_put_to_it(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, command, result, after| {
            if let Command::RunEnded { end: RunEnd::Answered, messages, .. } = command
                && after.outcome().is_some_and(|outcome| outcome.state == State::Complete)
                && before.outcome().is_none()
                && before.phase == Phase::Working
                && !before.only_collects()
            {
                assert!(*messages >= before.messages);
            }
            if matches!(command, Command::Send { .. }) && result.is_ok() {
                assert_eq!(after.messages, before.messages + 1);
                assert_eq!(after.phase, before.phase);
            }
        });
    }

    #[test]
    fn a_cancelled_run_stays_cancelled(commands in proptest::collection::vec(command(), 0..60)) {
        drive(&commands, |before, _, _, after| {
            if let Phase::Stopping { cause: StopCause::Cancel { .. } } = before.phase
                && let Some(outcome) = after.outcome()
            {
                assert_eq!(outcome.state, State::Cancelled);
            }
        });
    }

    #[test]
    fn a_record_survives_its_serialisation(commands in proptest::collection::vec(command(), 0..60)) {
        let (delegation, log) = drive(&commands, |_, _, _, _| {});
        let text = serde_json::to_string(&delegation).unwrap();
        prop_assert_eq!(serde_json::from_str::<Delegation>(&text).unwrap(), delegation);
        let text = serde_json::to_string(&log).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<(Timestamp, Event)>>(&text).unwrap(), log);
    }
}

#[test]
fn when_all_attempts_are_used_up_one_more_only_collects() {
    let mut record = Delegation::new(spec(1));
    let put = |record: &mut Delegation, command: &Command| {
        let transition = record.apply(command).unwrap();
        for event in &transition.events {
            record.evolve(event, Timestamp::UNIX_EPOCH);
        }
    };
    let start = Command::Start {
        runner: "1:1".into(),
        own: true,
        confinement: None,
    };
    let interrupt = |attempt| Command::Interrupt {
        attempt: Attempt(attempt),
        why: "host died".into(),
        ran_ms: 1,
    };
    put(&mut record, &start);
    assert!(!record.only_collects());
    put(&mut record, &interrupt(1));
    assert!(record.only_collects() && record.outcome().is_none());
    put(&mut record, &start);
    let mut again = record.clone();
    // It may find the answer, or that there is none, and nothing comes after it.
    let ended = |end| Command::RunEnded {
        attempt: Attempt(2),
        end,
        messages: 0,
        ran_ms: 0,
    };
    let found = record.apply(&ended(RunEnd::Answered)).unwrap();
    assert!(
        matches!(&found.events[0], Event::Decided { outcome, .. } if outcome.state == State::Complete)
    );
    let lost = Outcome::lost(1, "host died");
    let nothing = record.apply(&ended(RunEnd::CutOff)).unwrap();
    assert!(matches!(&nothing.events[0], Event::Decided { outcome, .. } if *outcome == lost));
    put(&mut again, &interrupt(2));
    assert_eq!(again.outcome(), Some(&lost));
    assert_eq!(again.attempts(), 1);
}

#[test]
fn a_run_that_answered_before_its_time_stop_is_complete() {
    let cause = StopCause::TimeLimit { limit_ms: 1 };
    assert_eq!(
        Outcome::of_stop(cause, Some(&RunEnd::Answered)).state,
        State::Complete
    );
    assert_eq!(
        Outcome::of_stop(cause, Some(&RunEnd::Aborted)).state,
        State::Timeout
    );
    assert_eq!(Outcome::of_stop(cause, None).state, State::Timeout);
}

#[test]
fn spans_read_as_people_write_them() {
    let spans: Vec<_> = [0, 250, 90_000, 900_000, 3_600_000, 5_400_000]
        .map(span)
        .into();
    assert_eq!(spans, ["0s", "250ms", "1m 30s", "15m", "1h", "1h 30m"]);
    let back = [0, 250, 90_000, 900_000, 3_600_000, 5_400_000].map(Some);
    assert_eq!(
        spans.iter().map(|text| unspan(text)).collect::<Vec<_>>(),
        back
    );
    for no in ["", "m", "5", "1m 30", "-1s", "1x"] {
        assert_eq!(unspan(no), None, "{no:?}");
    }
}
