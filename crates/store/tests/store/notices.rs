//! The outbox: each change of a notice or waking compares the state it comes from.

use brigade_core::delegation::{Actor, Command, StopCause};
use brigade_core::id::DelegationId;
use brigade_store::{Along, Change, Ended, NoticeRow, NoticeState, Wake};

use crate::common::{Fixture, id, session, spec};

async fn open(fixture: &Fixture) -> Vec<NoticeRow> {
    fixture.store.open_notices(&session("ses_1")).await.unwrap()
}

async fn wakes(fixture: &Fixture) -> Vec<DelegationId> {
    let rows = fixture.store.outbox(&session("ses_1")).await.unwrap().1;
    rows.into_iter().map(|row| row.delegation).collect()
}

async fn two(wake: Wake) -> (Fixture, DelegationId, DelegationId) {
    let fixture = Fixture::new();
    let mut first = fixture.register(spec("a-b-c", "ses_1", "1")).await;
    let mut second = fixture.register(spec("a-b-d", "ses_1", "2")).await;
    for life in [&mut first, &mut second] {
        life.run(&fixture.store).await;
        life.end(&fixture.store, "# T", wake).await;
    }
    (fixture, id("a-b-c"), id("a-b-d"))
}

#[tokio::test]
async fn a_batch_is_woken_for_as_configured() {
    assert_eq!(wakes(&two(Wake::All).await.0).await, [id("a-b-d")]);
    assert_eq!(
        wakes(&two(Wake::Each).await.0).await,
        [id("a-b-c"), id("a-b-d")]
    );
    assert!(wakes(&two(Wake::Never).await.0).await.is_empty());
}

#[tokio::test]
async fn a_notice_goes_from_pending_by_sending_to_delivered_and_not_back() {
    let (fixture, first, _) = two(Wake::All).await;
    let store = &fixture.store;
    let send = |message: &str| {
        store.sending_notices(
            vec![first.clone()],
            message.into(),
            "prompt".into(),
            "1:1".into(),
            Vec::new(),
        )
    };
    assert!(
        !store
            .notice_delivered(&first, "msg_1".into(), None)
            .await
            .unwrap()
    );
    assert_eq!(send("msg_1").await.unwrap(), std::slice::from_ref(&first));
    assert!(send("msg_2").await.unwrap().is_empty());
    let row = &open(&fixture).await[0];
    assert_eq!(row.state, NoticeState::Sending);
    assert_eq!(row.message.as_deref(), Some("msg_1"));
    assert_eq!(row.connection.as_deref(), Some("1:1"));
    // In doubt: back, and the message stays known, so that a repeat is the same one.
    assert!(store.notice_back(&first, true).await.unwrap());
    assert_eq!(open(&fixture).await[0].message.as_deref(), Some("msg_1"));
    assert_eq!(send("msg_1").await.unwrap(), std::slice::from_ref(&first));
    // Refused: that message will never come, and a repeat is a later one.
    assert!(store.notice_back(&first, false).await.unwrap());
    assert_eq!(open(&fixture).await[0].message, None);
    assert_eq!(send("msg_1").await.unwrap(), std::slice::from_ref(&first));
    assert!(
        store
            .notice_delivered(&first, "msg_1".into(), None)
            .await
            .unwrap()
    );
    assert!(
        !store
            .notice_delivered(&first, "msg_1".into(), None)
            .await
            .unwrap()
    );
    assert!(!store.notice_back(&first, true).await.unwrap());
    assert!(!store.notice_needless(&first).await.unwrap());
    assert!(send("msg_3").await.unwrap().is_empty());
    assert_eq!(open(&fixture).await.len(), 1);
    let last = store.last_delivered(&session("ses_1"), 1).await.unwrap();
    assert_eq!(last.unwrap().delegation, first);
    let row = store.get(&first).await.unwrap().unwrap();
    assert_eq!(row.notice, "delivered");
}

#[tokio::test]
async fn a_lease_takes_all_or_none() {
    let (fixture, first, second) = two(Wake::All).await;
    let store = &fixture.store;
    let lease = |ids: Vec<DelegationId>, channel: &str| {
        store.lease_notices(ids, channel.into(), "1:1".into())
    };
    assert!(lease(vec![first.clone()], "message:1").await.unwrap());
    let both = vec![first.clone(), second.clone()];
    assert!(!lease(both.clone(), "message:2").await.unwrap());
    let rows = open(&fixture).await;
    assert_eq!(rows[0].channel.as_deref(), Some("message:1"));
    assert_eq!(rows[0].state, NoticeState::Leased);
    assert_eq!(rows[1].state, NoticeState::Pending);
    // A read in the parent's session does not end a lease: the bridge may have used it.
    assert!(!store.notice_needless(&first).await.unwrap());
    assert!(store.notice_needless(&second).await.unwrap());
    assert!(store.notice_back(&first, true).await.unwrap());
    let row = &open(&fixture).await[0];
    assert_eq!(
        (row.state, row.message.clone()),
        (NoticeState::Pending, None)
    );
    // A late word that the offer was used still counts.
    let taken = store.sending_notices(
        vec![first.clone()],
        "msg_1".into(),
        "message:1".into(),
        "1:1".into(),
        Vec::new(),
    );
    assert_eq!(taken.await.unwrap(), std::slice::from_ref(&first));
    assert!(
        store
            .notice_delivered(&first, "msg_1".into(), None)
            .await
            .unwrap()
    );
    assert!(open(&fixture).await.is_empty());
}

#[tokio::test]
async fn a_waking_is_due_until_it_is_done() {
    let (fixture, _, second) = two(Wake::All).await;
    let store = &fixture.store;
    let planned = |message: &str| store.wakes_sending(vec![second.clone()], message.into());
    planned("msg_1").await.unwrap();
    assert_eq!(wakes(&fixture).await.first(), Some(&second));
    planned("msg_1").await.unwrap();
    assert!(store.wake_done(&second).await.unwrap());
    assert!(!store.wake_done(&second).await.unwrap());
    planned("msg_2").await.unwrap();
    assert!(wakes(&fixture).await.is_empty());
}

#[tokio::test]
async fn a_notice_plans_the_wakings_that_it_answers_for_or_nothing() {
    let (fixture, first, second) = two(Wake::All).await;
    let store = &fixture.store;
    let send = |message: &str| {
        let wakes = vec![second.clone()];
        let ids = vec![first.clone()];
        store.sending_notices(ids, message.into(), "prompt".into(), "1:1".into(), wakes)
    };
    let message = async || {
        let wakes = store.outbox(&session("ses_1")).await.unwrap().1;
        assert_eq!(wakes.len(), 1);
        wakes[0].message.clone()
    };
    assert_eq!(message().await, None);
    assert_eq!(send("msg_1").await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(message().await.as_deref(), Some("msg_1"));
    // It is under way: this one is not sent, and is to wake nobody.
    assert!(send("msg_2").await.unwrap().is_empty());
    assert_eq!(message().await.as_deref(), Some("msg_1"));
}

#[tokio::test]
async fn parents_with_anything_waiting_are_known_and_a_gone_one_waits_for_nothing() {
    let (fixture, first, second) = two(Wake::All).await;
    let store = &fixture.store;
    fixture
        .ended(spec("x-y-z", "ses_2", "3"), "# T", Wake::Never)
        .await;
    let parents = async || {
        let mut parents = store.parents_with_pending().await.unwrap();
        parents.sort();
        parents
    };
    assert_eq!(parents().await, [session("ses_1"), session("ses_2")]);
    // Its notices are needless, and still it is to be woken or not: that is for who delivers to say.
    for id in [&first, &second] {
        assert!(store.notice_needless(id).await.unwrap());
    }
    assert_eq!(parents().await, [session("ses_1"), session("ses_2")]);
    assert_eq!(
        store.last_delivered(&session("ses_1"), 1).await.unwrap(),
        None
    );
    assert_eq!(store.parent_gone(&session("ses_1")).await.unwrap(), []);
    assert_eq!(parents().await, [session("ses_2")]);
    // Who delivers is told what it has to forget.
    assert_eq!(
        store.parent_gone(&session("ses_2")).await.unwrap(),
        [id("x-y-z")]
    );
    assert!(parents().await.is_empty());
}

#[tokio::test]
async fn one_without_anybody_to_tell_has_no_notice_and_is_not_unread() {
    let fixture = Fixture::new();
    let mut life = fixture.register(spec("a-b-c", "ses_1", "1")).await;
    let stop = Command::Stop {
        attempt: None,
        cause: StopCause::Cancel {
            by: Actor::ParentDeleted,
        },
    };
    life.commit(&fixture.store, life.change(&stop))
        .await
        .unwrap();
    assert!(!life.delegation.notifies());
    let ending = life.ending("", Wake::All);
    let quiet = Change {
        along: Along {
            ended: ending.along.ended.clone().map(|ended| Ended {
                notify: false,
                ..ended
            }),
            ..Along::default()
        },
        ..ending
    };
    life.commit(&fixture.store, quiet).await.unwrap();
    assert!(open(&fixture).await.is_empty());
    assert!(wakes(&fixture).await.is_empty());
    assert_eq!(fixture.store.counts().await.unwrap().unread, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_waking_is_never_seen_without_the_notice_that_comes_with_it() {
    let fixture = Fixture::new();
    let parent = session("ses_1");
    let (store, watched) = (fixture.store.clone(), parent.clone());
    let (done, mut over) = tokio::sync::watch::channel(false);
    let looking = tokio::spawn(async move {
        let mut looks = 0_u32;
        while !*over.borrow_and_update() {
            let (notices, wakes) = store.outbox(&watched).await.unwrap();
            for wake in wakes {
                let told = notices.iter().any(|notice| notice.batch == wake.batch);
                assert!(told, "{wake:?} without a notice after {looks} looks");
            }
            looks += 1;
        }
        looks
    });
    let letter = |n: u8| char::from(b'a' + n);
    for n in 0..200_u8 {
        let id = format!("a-{}-{}", letter(n / 26), letter(n % 26));
        let mut life = fixture.register(spec(&id, "ses_1", &n.to_string())).await;
        life.run(&fixture.store).await;
        life.end(&fixture.store, "Title\n\nText", Wake::All).await;
        // Told and woken before the next one, so that what waits is always this one's.
        let store = &fixture.store;
        assert!(store.wake_done(life.id()).await.unwrap());
        assert!(store.notice_needless(life.id()).await.unwrap());
    }
    done.send(true).unwrap();
    assert!(looking.await.unwrap() > 0);
}
