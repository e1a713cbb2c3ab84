//! Whoever asked is gone: a parent that was deleted while nobody listened, a caller that hung up.

use std::time::Duration;

use brigade_core::delegation::State;
use brigade_protocol::ErrorCode;
use brigade_protocol::delegations::Cancel;
use brigade_store::ListFilter;
use brigade_testkit::simulated::Fault;
use tokio::time::timeout;

use crate::delivery::idle;
use crate::rig::Rig;

#[tokio::test]
async fn what_a_parent_left_that_was_deleted_unheard_ends_and_frees_its_slot() {
    let rig = Rig::new("[limits]\nconcurrent = 1\n").await;
    let host = rig.host("a").await;
    let deaf = rig.host("b").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let running = host.delegate(&root, "@stream never").await.unwrap();
    let queued = host.delegate(&root, "@say later").await.unwrap();
    rig.until("the child's request", |state| {
        let child = state
            .children(&root)
            .first()
            .map(|child| child.id.clone())?;
        (!state.requests_of(&child).is_empty()).then_some(())
    })
    .await;
    // Deleted in a process whose bridge tells nobody, while there is no daemon either.
    deaf.offline().await.unwrap();
    rig.kill().await;
    deaf.deletes(&root);
    rig.start().await;
    let both = [running, queued];
    rig.ended(&both).await;
    for id in &both {
        let details = rig.show(id).await;
        assert_eq!(details.summary.state, State::Cancelled, "{id}");
        assert!(std::path::Path::new(&details.summary.artifact.unwrap()).exists());
    }
    // Nothing is told to a session that is gone, and the slot is there for others.
    rig.settled().await;
    let other = rig.world.root();
    host.person(&other, "hello");
    idle(&rig, &other).await;
    let id = host.delegate(&other, "@say done").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    assert_eq!(rig.show(&id).await.summary.state, State::Complete);
}

#[tokio::test]
async fn what_was_registered_runs_even_if_the_caller_hung_up() {
    let rig = Rig::new("").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let mut hung_up = 0;
    for n in 0..60_u64 {
        // Each hangs up at another moment of the call.
        let prompt = format!("@say {n}");
        let call = host.delegate(&root, &prompt);
        if timeout(Duration::from_micros(150 * n), call).await.is_err() {
            hung_up += 1;
        }
    }
    assert!(hung_up > 0, "no call was cut off");
    // Those whose registration is still under way are on file before this one.
    let last = host.delegate(&root, "@say last").await.unwrap();
    rig.ended(std::slice::from_ref(&last)).await;
    let store = rig.store();
    let filter = ListFilter {
        limit: 1_000,
        ..ListFilter::default()
    };
    let (rows, _) = store.list(filter).await.unwrap();
    store.close().await;
    let ids: Vec<String> = rows.iter().map(|row| row.id().to_string()).collect();
    assert!(ids.len() > 1, "nothing was registered");
    rig.ended(&ids).await;
}

#[tokio::test]
async fn a_call_whose_connection_breaks_while_the_agents_are_asked_for_is_repeated() {
    let rig = Rig::new("").await;
    // The host is slow to tell them when it comes in, so the call has to ask; and then the line breaks.
    rig.faults
        .next("GET /agent", Fault::Held("slow".to_owned()));
    rig.faults.next("GET /agent", Fault::BreakBefore);
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    let id = host.delegate(&root, "@say done").await.unwrap();
    assert!(rig.faults.all_happened());
    rig.world.open("slow");
    rig.ended(std::slice::from_ref(&id)).await;
    assert_eq!(rig.show(&id).await.summary.state, State::Complete);
}

#[tokio::test]
async fn a_mistyped_id_keeps_none_of_the_others_running() {
    let rig = Rig::new("").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let id = host.delegate(&root, "@stream never").await.unwrap();
    let request = Cancel {
        ids: vec!["no-such-one".into(), id.clone()],
        ..Cancel::default()
    };
    let cancelled = rig.client().await.cancel(&request).await.unwrap();
    assert_eq!(cancelled.results.len(), 1, "{cancelled:?}");
    assert_eq!(cancelled.results[0].id.as_str(), id);
    assert!(cancelled.results[0].ordered, "{cancelled:?}");
    assert_eq!(cancelled.unknown.len(), 1, "{cancelled:?}");
    assert_eq!(cancelled.unknown[0].code, ErrorCode::NotFound);
    assert!(cancelled.unknown[0].message.contains("no-such-one"));
    rig.ended(std::slice::from_ref(&id)).await;
    assert_eq!(rig.show(&id).await.summary.state, State::Cancelled);
}
