//! Registering, transitions, progress, lists.

use brigade_core::delegation::{Command, Event, RunEnd, State, StopCause};
use brigade_core::id::Attempt;
use brigade_store::{
    Along, Change, CommitError, Found, ListFilter, Listed, Progress, Registration, Wake,
};

use crate::common::{Fixture, Life, at, id, open, project, session, spec, word};

#[tokio::test]
async fn a_registration_is_on_file_with_its_event() {
    let fixture = Fixture::new();
    let mut grown = fixture.store.grown();
    grown.borrow_and_update();
    let life = fixture
        .register(spec("a-b-c", "ses_1", "look around"))
        .await;
    assert!(grown.has_changed().unwrap());
    let row = fixture.store.get(life.id()).await.unwrap().unwrap();
    assert_eq!(row.delegation, life.delegation);
    assert_eq!(row.title, "look around");
    assert_eq!(row.notice, "none");
    let events = fixture.store.timeline(life.id()).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event, Event::Registered);
    let after = fixture.store.events_after(events[0].seq, 10).await.unwrap();
    assert!(after.is_empty());
}

#[tokio::test]
async fn the_same_agent_and_prompt_is_one_delegation_while_it_is_active() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "look")).await;
    let again = spec("d-e-f", "ses_1", "look");
    match fixture.store.register(again.clone(), at(1)).await.unwrap() {
        Registration::Existing { row, active } => {
            assert_eq!(row.delegation.spec.id, id("a-b-c"));
            assert_eq!(active, 1);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.store.get(&id("d-e-f")).await.unwrap(), None);
    // Another agent, another session, another prompt are other work.
    let mut other = spec("g-h-i", "ses_1", "look");
    other.agent = "researcher".into();
    fixture.register(other).await;
    fixture.register(spec("j-k-l", "ses_2", "look")).await;
    fixture.register(spec("m-n-o", "ses_1", "look again")).await;
    // So is the same from a shell in another directory: no parent session says where it belongs.
    let mut shell = spec("p-q-r", "shell", "look");
    fixture.register(shell.clone()).await;
    shell.id = id("s-t-u");
    shell.directory = "/p/elsewhere".into();
    fixture.register(shell).await;
    // What has ended can be asked for anew.
    life.run(&fixture.store).await;
    life.end(&fixture.store, "# T", Wake::All).await;
    fixture.register(again).await;
}

#[tokio::test]
async fn a_taken_id_is_drawn_again() {
    let fixture = Fixture::new();
    fixture.register(spec("a-b-c", "ses_1", "one")).await;
    let taken = fixture
        .store
        .register(spec("a-b-c", "ses_2", "two"), at(1))
        .await
        .unwrap();
    assert_eq!(taken, Registration::IdTaken);
}

#[tokio::test]
async fn twenty_at_once_share_a_batch_and_the_next_opens_another() {
    let fixture = Fixture::new();
    let lives = futures_like_join((0..20).map(|n| {
        fixture.register(spec(
            &format!("a-b-{}", word(n)),
            "ses_1",
            &format!("work {n}"),
        ))
    }))
    .await;
    for mut life in lives {
        life.run(&fixture.store).await;
        life.end(&fixture.store, "# T", Wake::All).await;
    }
    let notices = fixture.store.open_notices(&session("ses_1")).await.unwrap();
    assert_eq!(notices.len(), 20);
    assert!(notices.iter().all(|n| n.batch == 1 && n.batch_size == 20));
    let mut remaining: Vec<_> = notices.iter().map(|n| n.remaining).collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..20).collect::<Vec<_>>());
    fixture
        .ended(spec("x-y-z", "ses_1", "late"), "# T", Wake::All)
        .await;
    fixture
        .ended(spec("x-y-y", "ses_2", "elsewhere"), "# T", Wake::All)
        .await;
    let notices = fixture.store.open_notices(&session("ses_1")).await.unwrap();
    assert_eq!(notices.last().unwrap().batch, 2);
    let elsewhere = fixture.store.open_notices(&session("ses_2")).await.unwrap();
    assert_eq!(elsewhere[0].batch, 1);
}

/// Runs them all at once, so that their writes meet in the queue.
async fn futures_like_join<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, slot) in pending.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn one_that_joins_while_a_member_is_active_belongs_to_the_batch() {
    let fixture = Fixture::new();
    let mut first = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    let mut second = fixture.register(spec("a-b-d", "ses_1", "two")).await;
    first.run(&fixture.store).await;
    first.end(&fixture.store, "# T", Wake::All).await;
    let mut third = fixture.register(spec("a-b-e", "ses_1", "three")).await;
    for life in [&mut second, &mut third] {
        life.run(&fixture.store).await;
        life.end(&fixture.store, "# T", Wake::All).await;
    }
    let notices = fixture.store.open_notices(&session("ses_1")).await.unwrap();
    let remaining: Vec<_> = notices.iter().map(|n| (n.batch, n.remaining)).collect();
    assert_eq!(remaining, [(1, 1), (1, 1), (1, 0)]);
}

#[tokio::test]
async fn a_stale_change_is_refused_whole() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    let stale = life.clone();
    life.run(&fixture.store).await;
    let late = stale.change(&Command::Start {
        runner: "2:2".into(),
        own: false,
        confinement: None,
    });
    let before = fixture.store.timeline(life.id()).await.unwrap();
    assert_eq!(
        fixture.store.commit(late).await,
        Err(CommitError::Stale(life.id().clone()))
    );
    let row = fixture.store.get(life.id()).await.unwrap().unwrap();
    assert_eq!(row.delegation, life.delegation);
    assert_eq!(fixture.store.timeline(life.id()).await.unwrap(), before);
    // One that is terminal takes nothing, even at the right version.
    life.end(&fixture.store, "# T", Wake::All).await;
    let mut beyond = life.change_anyway();
    beyond.expect_version = life.version;
    assert_eq!(
        fixture.store.commit(beyond).await,
        Err(CommitError::Stale(life.id().clone()))
    );
}

impl Life {
    /// A change that the state machine would not make.
    fn change_anyway(&self) -> Change {
        Change {
            id: self.id().clone(),
            expect_version: self.version,
            delegation: self.delegation.clone(),
            events: vec![Event::Registered],
            at: at(20),
            along: Along::default(),
        }
    }
}

#[tokio::test]
async fn writes_that_meet_a_refused_one_are_stored_all_the_same() {
    let fixture = Fixture::new();
    let life = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    let mut stale = life.change(&Command::Start {
        runner: "1:1".into(),
        own: false,
        confinement: None,
    });
    stale.expect_version = 99;
    let (refused, stored) =
        tokio::join!(fixture.store.commit(stale), async {
            futures_like_join((0..10).map(|n| {
                fixture.register(spec(&format!("d-e-{}", word(n)), "ses_1", &format!("{n}")))
            }))
            .await
        });
    assert_eq!(refused, Err(CommitError::Stale(id("a-b-c"))));
    for life in stored {
        assert!(fixture.store.get(life.id()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn progress_belongs_to_its_attempt_and_stops_with_the_decision() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    life.run(&fixture.store).await;
    let progress = |tool_calls| Progress {
        tool_calls,
        ..Progress::default()
    };
    let save = |attempt, calls, text| {
        fixture.store.save_progress(
            &life.delegation.spec.id,
            Attempt(attempt),
            progress(calls),
            text,
            7,
        )
    };
    save(1, 3, Some("so far")).await.unwrap();
    save(2, 9, Some("another's")).await.unwrap();
    let row = fixture.store.get(&id("a-b-c")).await.unwrap().unwrap();
    assert_eq!((row.progress.tool_calls, row.ran_ms), (3, 7));
    // Without new text the old stays.
    save(1, 4, None).await.unwrap();
    let text = fixture.store.text(&id("a-b-c")).await.unwrap();
    assert_eq!(text.as_deref(), Some("so far"));

    let stop = Command::Stop {
        attempt: None,
        cause: StopCause::TimeLimit { limit_ms: 1 },
    };
    life.commit(&fixture.store, life.change(&stop))
        .await
        .unwrap();
    life.commit(&fixture.store, life.decision(RunEnd::Aborted, ""))
        .await
        .unwrap();
    fixture
        .store
        .save_progress(life.id(), Attempt(1), progress(99), Some("too late"), 99)
        .await
        .unwrap();
    let row = fixture.store.get(life.id()).await.unwrap().unwrap();
    assert_eq!((row.progress.tool_calls, row.ran_ms), (4, 0));
    // What had streamed is what there is.
    let text = fixture.store.text(life.id()).await.unwrap();
    assert_eq!(text.as_deref(), Some("so far"));
}

#[tokio::test]
async fn what_a_run_has_done_is_stored_with_its_end_or_not_at_all() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    life.run(&fixture.store).await;
    let decision = |life: &Life, tool_calls| {
        let mut decision = life.decision(RunEnd::Answered, "# T");
        decision.along.progress = Some(Progress {
            tool_calls,
            ..Progress::default()
        });
        decision
    };
    let done = async || {
        let row = fixture.store.get(&id("a-b-c")).await.unwrap().unwrap();
        row.progress.tool_calls
    };
    let mut stale = decision(&life, 9);
    stale.expect_version += 1;
    assert_eq!(
        fixture.store.commit(stale).await,
        Err(CommitError::Stale(id("a-b-c")))
    );
    assert_eq!(done().await, 0);
    life.commit(&fixture.store, decision(&life, 3))
        .await
        .unwrap();
    assert_eq!(done().await, 3);
}

#[tokio::test]
async fn an_interruption_keeps_the_text_for_the_next_attempt() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    life.run(&fixture.store).await;
    fixture
        .store
        .save_progress(life.id(), Attempt(1), Progress::default(), Some("half"), 5)
        .await
        .unwrap();
    let interrupt = Command::Interrupt {
        attempt: Attempt(1),
        why: "it died".into(),
        ran_ms: 5,
    };
    life.commit(&fixture.store, life.change(&interrupt))
        .await
        .unwrap();
    let active = fixture.store.load_active().await.unwrap();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].delegation, life.delegation);
    assert_eq!((active[0].version, active[0].ran_ms), (life.version, 0));
    let text = fixture.store.text(life.id()).await.unwrap();
    assert_eq!(text.as_deref(), Some("half"));
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "one")).await;
    life.run(&fixture.store).await;
    life.commit(
        &fixture.store,
        life.decision(RunEnd::Answered, "# Found\n\nit"),
    )
    .await
    .unwrap();
    // The files as a kill would leave them, with the log not folded in: decided, and no artifact yet.
    let after = tempfile::tempdir().unwrap();
    for name in ["brigade.db", "brigade.db-wal"] {
        std::fs::copy(fixture.path().join(name), after.path().join(name)).unwrap();
    }
    let store = open(after.path()).unwrap();
    let active = store.load_active().await.unwrap();
    assert_eq!(active[0].delegation, life.delegation);
    assert_eq!(
        active[0].delegation.outcome().unwrap().state,
        State::Complete
    );
    assert_eq!(
        store.text(life.id()).await.unwrap().as_deref(),
        Some("# Found\n\nit")
    );
    // The end goes on from there, with its notice, once.
    life.commit(&store, life.ending("# Found\n\nit", Wake::All))
        .await
        .unwrap();
    assert_eq!(
        store.open_notices(&session("ses_1")).await.unwrap().len(),
        1
    );
    let again = store.commit(life.change_anyway()).await;
    assert_eq!(again, Err(CommitError::Stale(life.id().clone())));
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::new();
    fixture.register(spec("a-b-c", "ses_1", "one")).await;
    fixture.store.close().await;
    fixture.store.close().await;
    let error = fixture.store.get(&id("a-b-c")).await.unwrap_err();
    assert!(error.to_string().contains("stopping"), "{error}");
    let store = open(fixture.path()).unwrap();
    assert!(store.get(&id("a-b-c")).await.unwrap().is_some());
}

#[tokio::test]
async fn an_id_is_found_by_its_beginning() {
    let fixture = Fixture::new();
    fixture
        .register(spec("brave-amber-otter", "ses_1", "1"))
        .await;
    fixture.register(spec("brave-amber-ox", "ses_1", "2")).await;
    fixture
        .register(spec("brave-amber-otter-x", "ses_1", "3"))
        .await;
    let find = |text: &'static str| fixture.store.find(text, None);
    assert!(matches!(
        find("brave-amber-ox").await.unwrap(),
        Found::One(_)
    ));
    assert!(matches!(find("brave-amber-otter").await.unwrap(),
        Found::One(row) if row.id() == &id("brave-amber-otter")));
    assert!(matches!(find("brave").await.unwrap(), Found::Many(ids) if ids.len() == 3));
    assert_eq!(find("timid").await.unwrap(), Found::None);
    let elsewhere = "fedcba9876543210".parse().unwrap();
    let found = fixture.store.find("brave-amber-ox", Some(&elsewhere)).await;
    assert_eq!(found.unwrap(), Found::None);
    let near = fixture
        .store
        .near(&id("brave-x-y"), &project())
        .await
        .unwrap();
    assert_eq!(near.len(), 3);
}

#[tokio::test]
async fn a_list_is_newest_first_and_says_how_many_more() {
    let fixture = Fixture::new();
    for n in 0..5 {
        let mut spec = spec(&format!("a-b-{}", word(n)), "ses_1", &format!("{n}"));
        spec.registered_at = at(i64::from(n));
        fixture.register(spec).await;
    }
    let mut other = spec("x-y-z", "ses_2", "other");
    other.registered_at = at(9);
    fixture.ended(other, "# T", Wake::All).await;
    let names =
        |rows: &[Listed]| -> Vec<String> { rows.iter().map(|row| row.id().to_string()).collect() };
    let filter = ListFilter {
        limit: 2,
        ..ListFilter::default()
    };
    let (rows, more) = fixture.store.list(filter.clone()).await.unwrap();
    assert_eq!(
        (names(&rows), more),
        (vec!["x-y-z".into(), "a-b-e".into()], 4)
    );
    let (rows, more) = fixture
        .store
        .list(ListFilter {
            root: Some(session("ses_1")),
            project: Some(project()),
            ..filter.clone()
        })
        .await
        .unwrap();
    assert_eq!(
        (names(&rows), more),
        (vec!["a-b-e".into(), "a-b-d".into()], 3)
    );
    let (rows, more) = fixture
        .store
        .list(ListFilter {
            states: vec![State::Complete],
            ..filter
        })
        .await
        .unwrap();
    assert_eq!((names(&rows), more), (vec!["x-y-z".into()], 0));
}

#[tokio::test]
async fn what_is_open_is_what_runs_or_is_unread() {
    let fixture = Fixture::new();
    let done = fixture
        .ended(spec("a-b-c", "ses_1", "1"), "# T", Wake::All)
        .await;
    fixture.register(spec("a-b-d", "ses_1", "2")).await;
    fixture.register(spec("a-b-e", "ses_2", "3")).await;
    let open = async || -> Vec<String> {
        let rows = fixture.store.open_of_root(&session("ses_1")).await.unwrap();
        rows.iter()
            .map(|row| row.delegation.spec.id.to_string())
            .collect()
    };
    assert_eq!(open().await, ["a-b-c", "a-b-d"]);
    assert_eq!(fixture.store.counts().await.unwrap().unread, 1);
    fixture.store.record_read(done.id(), "ses_9").await.unwrap();
    // For its parent it stays open, but it has been read.
    assert_eq!(open().await, ["a-b-c", "a-b-d"]);
    assert_eq!(fixture.store.counts().await.unwrap().unread, 0);
    fixture.store.mark_read(done.id(), "ses_1").await.unwrap();
    assert_eq!(open().await, ["a-b-d"]);
    // One that runs has no result that could be read.
    fixture
        .store
        .mark_read(&id("a-b-d"), "ses_1")
        .await
        .unwrap();
    assert_eq!(open().await, ["a-b-d"]);
    let counts = fixture.store.counts().await.unwrap();
    assert_eq!((counts.queued, counts.unread, counts.total), (2, 0, 3));
    assert_eq!(counts.notices_waiting, 1);
}
