//! What was used, and lists sorted by it.

use brigade_core::delegation::{RunEnd, State};
use brigade_core::id::Attempt;
use brigade_store::{ListFilter, Listed, Progress, Sort, UsageBy, UsageFilter, Used, Wake};
use jiff::tz::TimeZone;

use crate::common::{Fixture, at, project, session, spec};

fn progress(tokens: u64, cost: f64) -> Progress {
    Progress {
        tokens_in: tokens - 1,
        tokens_out: 1,
        cost,
        model: Some("lab/small".into()),
        ..Progress::default()
    }
}

/// One that ended having used this, in the order of their costs; and one that runs.
async fn used() -> Fixture {
    let fixture = Fixture::new();
    for (n, (name, root, agent, tokens)) in [
        ("a-b-c", "ses_1", "explore", 100),
        ("a-b-d", "ses_1", "researcher", 300),
        ("a-b-e", "ses_2", "explore", 200),
    ]
    .into_iter()
    .enumerate()
    {
        let mut spec = spec(name, root, name);
        spec.agent = agent.into();
        spec.registered_at = at(i64::try_from(n).unwrap());
        let mut life = fixture.register(spec).await;
        life.run(&fixture.store).await;
        #[expect(clippy::cast_precision_loss)]
        let used = progress(tokens, tokens as f64 / 100.0);
        let saved = fixture
            .store
            .save_progress(life.id(), Attempt(1), used, None, 7);
        saved.await.unwrap();
        if name == "a-b-e" {
            continue;
        }
        let end = if agent == "explore" {
            RunEnd::Answered
        } else {
            RunEnd::Empty
        };
        let decision = life.decision(end, "# T\n\ntext");
        life.commit(&fixture.store, decision).await.unwrap();
        let ending = life.ending("# T", Wake::Never);
        life.commit(&fixture.store, ending).await.unwrap();
    }
    fixture
}

async fn keys(fixture: &Fixture, by: UsageBy) -> Vec<(String, u64, u64)> {
    let rows = fixture.store.usage(UsageFilter::default(), by).await;
    let rows = rows.unwrap();
    rows.into_iter()
        .map(|row| (row.key, row.delegations, row.tokens_in + row.tokens_out))
        .collect()
}

#[tokio::test]
async fn what_was_used_is_summed_by_whatever_is_asked() {
    let fixture = used().await;
    let row = |key: &str, n, tokens| (key.to_owned(), n, tokens);
    assert_eq!(
        keys(&fixture, UsageBy::Agent).await,
        [row("explore", 2, 300), row("researcher", 1, 300)]
    );
    assert_eq!(
        keys(&fixture, UsageBy::Session).await,
        [row("ses_1", 2, 400), row("ses_2", 1, 200)]
    );
    assert_eq!(
        keys(&fixture, UsageBy::Model).await,
        [row("lab/small", 3, 600)]
    );
    // All on one day: what runs counts for the present one, which is the same as that of the ends.
    let day = at(1_000).to_zoned(TimeZone::system()).date();
    assert_eq!(
        keys(&fixture, UsageBy::Day).await,
        [row(&day.to_string(), 3, 600)]
    );
    let of_one = UsageFilter {
        project: Some(project()),
        root: Some(session("ses_1")),
        since: Some(day),
    };
    let rows = fixture.store.usage(of_one, UsageBy::Project).await.unwrap();
    let [row] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert_eq!((row.complete, row.error, row.active), (1, 1, 0));
    assert_eq!(row.ran_ms, 10);
    assert!((row.cost - 4.0).abs() < 1e-9);
    let tomorrow = UsageFilter {
        since: Some(day.tomorrow().unwrap()),
        ..UsageFilter::default()
    };
    let rows = fixture.store.usage(tomorrow, UsageBy::Agent).await.unwrap();
    assert!(rows.is_empty(), "{rows:?}");
}

#[tokio::test]
async fn budgets_are_held_against_what_ended_and_what_runs() {
    let fixture = used().await;
    let of = async |root: &str| {
        let used = fixture.store.used_in_session(&session(root)).await;
        used.unwrap()
    };
    let used = |tokens, cost| Used { cost, tokens };
    assert_eq!(of("ses_1").await, used(400, 4.0));
    assert_eq!(of("ses_2").await, used(200, 2.0));
    assert_eq!(of("ses_3").await, Used::default());
    assert_eq!(fixture.store.used_today().await.unwrap(), used(600, 6.0));
}

#[tokio::test]
async fn lists_are_sorted_filtered_and_turned_by_pages() {
    let fixture = used().await;
    let list = async |filter: ListFilter| {
        let limit = if filter.limit == 0 { 9 } else { filter.limit };
        let filter = ListFilter { limit, ..filter };
        let (rows, more) = fixture.store.list(filter).await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id().to_string()).collect();
        (ids.join(" "), more)
    };
    let sorted = |sort, reverse| ListFilter {
        sort,
        reverse,
        ..ListFilter::default()
    };
    for (sort, down, up) in [
        (Sort::Registered, "a-b-e a-b-d a-b-c", "a-b-c a-b-d a-b-e"),
        (Sort::Cost, "a-b-d a-b-e a-b-c", "a-b-c a-b-e a-b-d"),
        (Sort::Tokens, "a-b-d a-b-e a-b-c", "a-b-c a-b-e a-b-d"),
        // What has not ended comes last either way.
        (Sort::Ended, "a-b-d a-b-c a-b-e", "a-b-c a-b-d a-b-e"),
        (Sort::Duration, "a-b-e a-b-d a-b-c", "a-b-c a-b-d a-b-e"),
        (Sort::State, "a-b-e a-b-c a-b-d", "a-b-d a-b-c a-b-e"),
    ] {
        assert_eq!(
            list(sorted(sort, false)).await,
            (down.into(), 0),
            "{sort:?}"
        );
        assert_eq!(list(sorted(sort, true)).await, (up.into(), 0), "{sort:?}");
    }
    let page = ListFilter {
        offset: 1,
        limit: 1,
        ..sorted(Sort::Cost, false)
    };
    assert_eq!(list(page).await, ("a-b-e".into(), 1));
    let two = ListFilter {
        states: vec![State::Running, State::Error],
        ..ListFilter::default()
    };
    assert_eq!(list(two).await, ("a-b-e a-b-d".into(), 0));
    let of_agent = ListFilter {
        agent: Some("explore".into()),
        project: Some(project()),
        since: Some(at(1)),
        ..ListFilter::default()
    };
    assert_eq!(list(of_agent).await, ("a-b-e".into(), 0));
    let unread = || ListFilter {
        unread: true,
        ..ListFilter::default()
    };
    assert_eq!(list(unread()).await, ("a-b-d a-b-c".into(), 0));
    assert_eq!(fixture.store.counts().await.unwrap().unread, 2);
    let (rows, _) = fixture
        .store
        .list(ListFilter {
            limit: 1,
            ..unread()
        })
        .await
        .unwrap();
    let Listed::Ours(row) = &rows[0] else {
        panic!("{rows:?}");
    };
    let id = row.delegation.spec.id.clone();
    fixture.store.record_read(&id, "cli").await.unwrap();
    assert_eq!(list(unread()).await, ("a-b-c".into(), 0));
    assert_eq!(fixture.store.counts().await.unwrap().unread, 1);
}
