//! Notices without an owner: leased to one bridge at a time, and told once whatever becomes of it.

#[cfg(target_os = "linux")]
use brigade_protocol::bridge::Down;
use brigade_testkit::simulated::SimulatedHost;

use crate::delivery::{asked, idle};
#[cfg(target_os = "linux")]
use crate::disks::deny_writing;
use crate::rig::Rig;

/// Started hosts `a` and `b`, and in `a` a root session whose first delegation has ended while its model streams;
/// then `a` is killed: the notice has no owner, and `b` is offered it. The model was asked twice so far.
async fn orphaned() -> (Rig, SimulatedHost, String, String) {
    let rig = Rig::new("").await;
    let mut first = rig.host("a").await;
    let second = rig.host("b").await;
    let root = rig.world.root();
    first.person(&root, "hello");
    idle(&rig, &root).await;
    let id = first
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    first.person(&root, "@stream never");
    asked(&rig, &root, 2).await;
    first.heard().await.unwrap();
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    first.kill().await.unwrap();
    second.offered(&root, 1).await.unwrap();
    (rig, second, root, id)
}

#[tokio::test]
async fn an_offer_rides_on_the_persons_next_message() {
    let (rig, host, root, id) = orphaned().await;
    let message = host.person(&root, "and?");
    rig.assert_once(&root, std::slice::from_ref(&id), 3).await;
    rig.world.read(|state| {
        let messages = state.messages(&root);
        let ridden = messages.iter().find(|known| known.id() == message).unwrap();
        assert!(ridden.text().contains(&id), "{}", state.dump());
    });
}

#[tokio::test]
async fn an_offer_is_taken_back_where_an_owner_appears() {
    let (rig, host, root, id) = orphaned().await;
    let owner = rig.host("c").await;
    owner.person(&root, "and?");
    // Its own message is answered first, the notice after it.
    rig.assert_once(&root, &[id], 4).await;
    assert_eq!(host.offers(&root), 0);
}

#[tokio::test]
async fn an_offer_grows_when_there_is_more() {
    let rig = Rig::new("").await;
    let mut first = rig.host("a").await;
    let second = rig.host("b").await;
    let root = rig.world.root();
    first.person(&root, "hello");
    idle(&rig, &root).await;
    let quick = first
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    // Cut off with its process and continued in the other, where it ends.
    let slow = first
        .delegate(&root, "@stream never\n@say done")
        .await
        .unwrap();
    rig.until("both children", |state| {
        (state.done("POST /session/") >= 2).then_some(())
    })
    .await;
    first.person(&root, "@stream never");
    asked(&rig, &root, 2).await;
    first.heard().await.unwrap();
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&quick)).await;
    first.kill().await.unwrap();
    second.offered(&root, 2).await.unwrap();
    second.person(&root, "and?");
    rig.assert_once(&root, &[quick, slow], 3).await;
}

#[tokio::test]
async fn an_unused_offer_is_given_back_by_a_reconnection_and_made_again() {
    let (rig, host, root, id) = orphaned().await;
    host.reconnect().await.unwrap();
    host.offered(&root, 1).await.unwrap();
    rig.crash().await;
    host.connected(3).await.unwrap();
    host.offered(&root, 1).await.unwrap();
    host.person(&root, "and?");
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn an_offer_used_while_nobody_listened_is_told_at_the_next_connection() {
    for crash in [false, true] {
        let (rig, host, root, id) = orphaned().await;
        host.mute(true);
        host.person(&root, "and?");
        host.offline().await.unwrap();
        if crash {
            rig.crash().await;
        }
        host.mute(false);
        host.online().await.unwrap();
        rig.assert_once(&root, &[id], 3).await;
    }
}

#[tokio::test]
async fn a_lease_moves_on_when_its_process_is_gone() {
    let (rig, mut host, root, id) = orphaned().await;
    let other = rig.host("c").await;
    assert_eq!(other.offers(&root), 0);
    host.kill().await.unwrap();
    other.offered(&root, 1).await.unwrap();
    other.person(&root, "and?");
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn a_lease_stays_with_a_process_that_is_only_out_of_reach() {
    let (rig, host, root, id) = orphaned().await;
    let other = rig.host("c").await;
    host.offline().await.unwrap();
    // Whoever comes now is not offered what the first may still use.
    let third = rig.host("d").await;
    let elsewhere = rig.world.root();
    third.person(&elsewhere, "hello");
    idle(&rig, &elsewhere).await;
    let probe = third.delegate(&elsewhere, "@say probe").await.unwrap();
    rig.noticed(&elsewhere, &[probe]).await;
    assert_eq!(
        other.offers(&root) + third.offers(&root),
        0,
        "{}",
        rig.dump()
    );
    host.person(&root, "and?");
    host.online().await.unwrap();
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn a_used_offer_of_a_process_that_died_is_found_in_the_session() {
    let (rig, mut host, root, id) = orphaned().await;
    let other = rig.host("c").await;
    host.mute(true);
    host.person(&root, "@stream never");
    asked(&rig, &root, 3).await;
    host.kill().await.unwrap();
    rig.notice_becomes(&id, "delivered").await;
    assert_eq!(other.offers(&root), 0);
    // Whoever owns the session next finds that its model has had the notice.
    other.person(&root, "and?");
    rig.assert_once(&root, &[id], 4).await;
}

#[tokio::test]
async fn an_offer_in_a_message_that_was_never_stored_is_made_again() {
    let (rig, mut host, root, id) = orphaned().await;
    let other = rig.host("c").await;
    let typed = host.types(&root);
    host.heard().await.unwrap();
    host.kill().await.unwrap();
    drop(typed);
    other.offered(&root, 1).await.unwrap();
    other.person(&root, "and?");
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn a_message_with_an_offer_may_be_stored_long_after_the_bridge_says_so() {
    let (rig, host, root, id) = orphaned().await;
    let typed = host.types(&root);
    host.heard().await.unwrap();
    // The daemon has looked for it by the time another delegation's notice has gone out.
    let elsewhere = rig.world.root();
    host.person(&elsewhere, "hello");
    idle(&rig, &elsewhere).await;
    let probe = host.delegate(&elsewhere, "@say probe").await.unwrap();
    rig.noticed(&elsewhere, &[probe]).await;
    host.stores(typed, "and?");
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn an_offer_to_a_deleted_session_waits_for_nothing() {
    let (rig, host, root, _) = orphaned().await;
    host.deletes(&root);
    rig.settled().await;
}

#[tokio::test]
async fn an_offer_to_a_session_that_was_deleted_unheard_waits_for_nothing() {
    let (rig, _host, root, _) = orphaned().await;
    let deaf = rig.host("c").await;
    deaf.offline().await.unwrap();
    rig.kill().await;
    deaf.deletes(&root);
    rig.start().await;
    rig.settled().await;
}

#[tokio::test]
async fn an_offer_whose_bridge_forgot_that_it_was_used_is_found_in_the_session() {
    let (rig, host, root, id) = orphaned().await;
    host.mute(true);
    host.person(&root, "and?");
    asked(&rig, &root, 3).await;
    host.forgets_offers();
    rig.kill().await;
    host.mute(false);
    rig.start().await;
    rig.assert_once(&root, &[id], 3).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_used_offer_that_can_not_be_recorded_is_told_again_until_it_is() {
    for crash in [false, true] {
        let (rig, host, root, id) = orphaned().await;
        deny_writing(rig.daemon_pid().await, true);
        host.person(&root, "and?");
        host.disconnected().await.unwrap();
        if crash {
            rig.crash().await;
        } else {
            deny_writing(rig.daemon_pid().await, false);
        }
        host.connected(2).await.unwrap();
        rig.assert_once(&root, &[id], 3).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_offer_whose_return_can_not_be_recorded_is_asked_back_once() {
    let (rig, host, root, id) = orphaned().await;
    let owner = rig.host("c").await;
    let pid = rig.daemon_pid().await;
    deny_writing(pid, true);
    owner.person(&root, "and?");
    rig.trouble(&root).await;
    assert_eq!(rig.world.read(|state| state.notices(&root, &id)), 0);
    deny_writing(pid, false);
    rig.assert_once(&root, &[id], 4).await;
    let asked_back = |down: &[Down]| {
        let withdrawals = down.iter().filter(|m| matches!(m, Down::Withdraw { .. }));
        Some(withdrawals.count())
    };
    let asked_back = host.came("what came down", asked_back).await.unwrap();
    assert_eq!(asked_back, 1, "{}", rig.dump());
}
