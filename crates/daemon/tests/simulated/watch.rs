//! What a watcher hears: everything at first, and then what changes.

use std::time::Duration;

use brigade_client::Events;
use brigade_core::delegation::State;
use brigade_protocol::delegations::{Cancel, Summary, WatchQuery, Watched};
use futures::StreamExt;

use crate::delivery::idle;
use crate::rig::Rig;

const LIMIT: Duration = Duration::from_secs(60);

/// The next message.
async fn next(events: &mut Events<Watched>) -> Watched {
    let next = tokio::time::timeout(LIMIT, events.next()).await;
    next.unwrap().unwrap().unwrap()
}

/// Waits for a changed row that is so.
async fn row(events: &mut Events<Watched>, is_so: impl Fn(&Summary) -> bool) -> Summary {
    loop {
        let Watched::Changed { delegations } = next(events).await else {
            panic!("everything was sent anew");
        };
        if let Some(row) = delegations.into_iter().find(&is_so) {
            return row;
        }
    }
}

fn all(limit: u32) -> WatchQuery {
    WatchQuery {
        limit: Some(limit),
        ..WatchQuery::default()
    }
}

#[tokio::test]
async fn a_watcher_sees_a_delegation_come_work_and_end_and_be_read() {
    let rig = Rig::new("").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let client = rig.client().await;
    let mut events = client.watch(&all(10)).await.unwrap();
    let empty = Watched::Reset {
        delegations: Vec::new(),
        more: 0,
    };
    assert_eq!(next(&mut events).await, empty);
    let mut elsewhere = client
        .watch(&WatchQuery {
            session: Some(rig.world.root()),
            ..WatchQuery::default()
        })
        .await
        .unwrap();
    assert_eq!(next(&mut elsewhere).await, empty);

    let id = host
        .delegate(&root, "@tool gate\n@stream child\n@say done")
        .await
        .unwrap();
    let seen = row(&mut events, |row| row.progress.tool_calls == 1).await;
    assert_eq!((seen.id.as_str(), seen.state), (&*id, State::Running));
    rig.world.open("gate");
    let seen = row(&mut events, |row| row.progress.last_line.is_some()).await;
    assert_eq!(seen.state, State::Running);
    rig.world.open("child");
    let ended = row(&mut events, |row| row.state.is_terminal()).await;
    assert_eq!(ended.state, State::Complete);
    // Its notice holds all of it, so that it counts as read.
    if ended.unread {
        row(&mut events, |row| row.id.as_str() == id && !row.unread).await;
    }

    // Nothing of all that was the other session's, and nothing changes any more.
    rig.settled().await;
    let quiet = tokio::time::timeout(Duration::from_millis(600), elsewhere.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let mut again = client.watch(&all(0)).await.unwrap();
    let Watched::Reset { delegations, more } = next(&mut again).await else {
        panic!("everything comes first");
    };
    assert_eq!((delegations.len(), more), (0, 1), "the limit holds");
}

#[tokio::test]
async fn who_waits_for_a_turn_is_shown_with_its_place_in_the_line() {
    let rig = Rig::new("[limits]\nconcurrent = 1\n").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let client = rig.client().await;
    let mut ids = Vec::new();
    for gate in ["one", "two", "three"] {
        let prompt = format!("@stream {gate}\n@say done");
        ids.push(host.delegate(&root, &prompt).await.unwrap());
    }
    let last = ids.pop().unwrap();
    let phase = async || rig.show(&last).await.summary.phase;
    assert_eq!(phase().await, "queued, 1 before it");
    let mut events = client.watch(&all(10)).await.unwrap();
    next(&mut events).await;
    rig.world.open("one");
    let moved = row(&mut events, |row| {
        row.id.as_str() == last && row.phase == "queued"
    })
    .await;
    assert_eq!(moved.state, State::Registered);
    assert_eq!(phase().await, "queued");
    rig.world.open("two");
    rig.world.open("three");
    rig.ended(&ids).await;
}

#[tokio::test]
async fn many_changes_at_once_are_few_messages_and_the_last_of_them_holds() {
    let rig = Rig::new("[limits]\nconcurrent = 3\n").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let client = rig.client().await;
    let mut events = client.watch(&all(100)).await.unwrap();
    next(&mut events).await;
    let mut rows = std::collections::HashMap::new();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(
            host.delegate(&root, &format!("@stream never{n}"))
                .await
                .unwrap(),
        );
    }
    client
        .cancel(&Cancel {
            all: true,
            ..Cancel::default()
        })
        .await
        .unwrap();
    rig.ended(&ids).await;
    let mut messages = 0;
    while rows.len() < 20 || rows.values().any(|state: &State| !state.is_terminal()) {
        let Watched::Changed { delegations } = next(&mut events).await else {
            panic!("everything was sent anew");
        };
        messages += 1;
        for row in delegations {
            let before = rows.insert(row.id.to_string(), row.state);
            assert!(
                before.is_none_or(|before| !before.is_terminal() || before == row.state),
                "an end was taken back"
            );
        }
    }
    assert!(rows.values().all(|state| *state == State::Cancelled));
    assert!(messages < 40, "{messages} messages for 20 delegations");
}
