//! Results that the parent reads by itself, and notices that cross with that.

use brigade_protocol::delegations::Scope;
use brigade_testkit::simulated::{Confirm, SimulatedHost};
use futures::StreamExt;

use crate::delivery::{asked, idle};
use crate::rig::Rig;

/// A root session with a delegation that runs until the gate `child` opens.
async fn running() -> (Rig, SimulatedHost, String, String) {
    let rig = Rig::new("").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let id = host
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    rig.until("the prompt", |state| {
        (state.done("POST /session/") > 0).then_some(())
    })
    .await;
    (rig, host, root, id)
}

fn notices(rig: &Rig, root: &str, id: &str) -> usize {
    rig.world.read(|state| state.notices(root, id))
}

#[tokio::test]
async fn a_result_that_reached_the_parents_own_call_needs_no_notice() {
    let (rig, host, root, id) = running().await;
    let reading = host.read(&root, &id, Confirm::Handed);
    let ending = async { rig.world.open("child") };
    let (answer, ()) = tokio::join!(reading, ending);
    assert!(answer.unwrap().contains("done"));
    host.heard().await.unwrap();
    rig.settled().await;
    assert_eq!(
        (notices(&rig, &root, &id), rig.requests(&root)),
        (0, 1),
        "{}",
        rig.dump()
    );
    assert!(!rig.show(&id).await.summary.unread);
}

#[tokio::test]
async fn a_result_that_did_not_reach_the_call_is_told() {
    for confirm in [Confirm::Aborted, Confirm::Nothing] {
        let (rig, host, root, id) = running().await;
        let reading = host.read(&root, &id, confirm);
        let ending = async { rig.world.open("child") };
        let (answer, ()) = tokio::join!(reading, ending);
        answer.unwrap();
        if confirm == Confirm::Nothing {
            assert_eq!(notices(&rig, &root, &id), 0, "it may still be confirmed");
            host.reconnect().await.unwrap();
        }
        rig.assert_once(&root, &[id], 2).await;
    }
}

#[tokio::test]
async fn a_call_that_was_given_up_holds_nothing_back() {
    let (rig, host, root, id) = running().await;
    {
        let reading = host.read(&root, &id, Confirm::Handed);
        tokio::pin!(reading);
        let second = host.read(&root, &id, Confirm::Aborted);
        let elsewhere = rig.world.root();
        let probe = async {
            host.person(&elsewhere, "hello");
            host.delegate(&elsewhere, "@say probe").await
        };
        tokio::select! {
            answer = &mut reading => panic!("{answer:?}"),
            answer = second => panic!("{answer:?}"),
            id = probe => drop(id.unwrap()),
        }
    }
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    // The calls are over with their sessions' activity, which the bridge tells with the next turn.
    host.person(&root, "go on");
    rig.noticed(&root, std::slice::from_ref(&id)).await;
    rig.settled().await;
    assert_eq!(notices(&rig, &root, &id), 1, "{}", rig.dump());
}

#[tokio::test]
async fn a_reader_in_another_session_holds_nothing_back() {
    let (rig, host, root, id) = running().await;
    let other = rig.world.root();
    let reading = host.read(&other, &id, Confirm::Handed);
    let ending = async { rig.world.open("child") };
    let (answer, ()) = tokio::join!(reading, ending);
    assert!(answer.unwrap().contains("done"));
    rig.assert_once(&root, &[id], 2).await;
}

#[tokio::test]
async fn a_result_read_while_its_notice_waits_makes_it_needless() {
    let (rig, host, root, id) = running().await;
    host.person(&root, "@stream parent\n@say all right");
    asked(&rig, &root, 2).await;
    host.heard().await.unwrap();
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    host.read(&root, &id, Confirm::Handed).await.unwrap();
    host.heard().await.unwrap();
    rig.world.open("parent");
    rig.settled().await;
    assert_eq!(
        (notices(&rig, &root, &id), rig.requests(&root)),
        (0, 2),
        "{}",
        rig.dump()
    );
}

#[tokio::test]
async fn a_parent_that_has_read_everything_leaves_no_waking_behind_when_its_host_dies() {
    let (rig, mut host, root, id) = running().await;
    host.person(&root, "@stream parent\n@say all right");
    asked(&rig, &root, 2).await;
    host.heard().await.unwrap();
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    host.read(&root, &id, Confirm::Handed).await.unwrap();
    host.heard().await.unwrap();
    host.kill().await.unwrap();
    rig.settled().await;
    assert_eq!(notices(&rig, &root, &id), 0, "{}", rig.dump());
}

#[tokio::test]
async fn what_is_left_of_a_batch_still_wakes() {
    let (rig, host, root, read) = running().await;
    let told = host
        .delegate(&root, "@stream told\n@say other")
        .await
        .unwrap();
    rig.world.open("told");
    rig.noticed(&root, std::slice::from_ref(&told)).await;
    let reading = host.read(&root, &read, Confirm::Handed);
    let ending = async { rig.world.open("child") };
    let (answer, ()) = tokio::join!(reading, ending);
    answer.unwrap();
    // One of the two was stored without a request since: that is what the waking is for.
    rig.assert_once(&root, &[told], 2).await;
    assert_eq!(notices(&rig, &root, &read), 0);
}

#[tokio::test]
async fn what_a_person_has_followed_to_its_end_is_read() {
    let rig = Rig::new("[limits]\ninline_result = 0\n").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let id = host.delegate(&root, "@say done").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    let client = rig.client().await;
    assert_eq!(client.status().await.unwrap().unread, 1);
    let mut text = client.follow(&id, &Scope::default()).await.unwrap();
    while text.next().await.is_some() {}
    assert_eq!(client.status().await.unwrap().unread, 0);
}
