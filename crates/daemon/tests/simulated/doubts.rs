//! Notices and wakings that get lost, or seem to be: each exactly once nevertheless.

use brigade_testkit::simulated::{Fault, State};

use crate::delivery::{asked, begun, idle};
use crate::rig::Rig;

#[tokio::test]
async fn what_is_lost_on_the_way_of_a_notice_is_made_good_once() {
    for fault in [
        Fault::LostRequest,
        Fault::LostReply,
        Fault::BreakBefore,
        Fault::BreakAfter,
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Status(500),
    ] {
        let (rig, host, root) = begun("").await;
        let first = host.delegate(&root, "@stream first\n@say 1").await.unwrap();
        let second = host
            .delegate(&root, "@stream second\n@say 2")
            .await
            .unwrap();
        let ids = [first, second];
        for (gate, id) in ["first", "second"].iter().zip(&ids) {
            rig.faults
                .next(&format!("POST /session/{root}/"), fault.clone());
            rig.world.open(gate);
            rig.ended(std::slice::from_ref(id)).await;
            rig.noticed(&root, std::slice::from_ref(id)).await;
        }
        rig.assert_once(&root, &ids, 2).await;
        assert!(rig.faults.all_happened(), "{fault:?}");
    }
}

#[tokio::test]
async fn what_was_refused_comes_after_what_the_person_wrote_meanwhile() {
    let (rig, host, root) = begun("").await;
    let post = format!("POST /session/{root}/prompt_async");
    rig.faults.next(&post, Fault::Status(500));
    let first = host.delegate(&root, "@stream g1\n@say 1").await.unwrap();
    let second = host.delegate(&root, "@say 2").await.unwrap();
    rig.noticed(&root, std::slice::from_ref(&second)).await;
    rig.world.open("g1");
    rig.faulted().await;
    host.person(&root, "and?");
    let ids = [first, second];
    rig.assert_once(&root, &ids, 3).await;
    // What was surely not stored comes as if it had never been tried.
    rig.world.read(|state| {
        let messages = state.messages(&root);
        let ordered = messages.windows(2).all(|pair| pair[0].id() < pair[1].id());
        assert!(ordered, "{}", state.dump());
    });
}

#[tokio::test]
async fn a_waking_that_is_repeated_after_an_answer_is_answered_too() {
    let (rig, host, root) = begun("").await;
    let post = format!("POST /session/{root}/prompt_async");
    rig.faults.next(&post, Fault::LostRequest);
    let id = host.delegate(&root, "@say done").await.unwrap();
    rig.faulted().await;
    // Nobody knows yet that the waking is lost. When it is repeated, its message has an older ID than this answer.
    host.person(&root, "and?");
    asked(&rig, &root, 2).await;
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn a_waking_in_doubt_is_not_answered_twice() {
    for fault in [
        Fault::LostRequest,
        Fault::LostReply,
        Fault::BreakBefore,
        Fault::BreakAfter,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ] {
        let (rig, host, root) = begun("").await;
        // Slow to answer: whoever repeats the waking in between asks for a second answer.
        rig.world.answer_notices_with("@stream slow\n@say noted");
        rig.faults
            .next(&format!("POST /session/{root}/prompt_async"), fault.clone());
        let id = host.delegate(&root, "@say done").await.unwrap();
        rig.ended(std::slice::from_ref(&id)).await;
        asked(&rig, &root, 2).await;
        host.reconnect().await.unwrap();
        host.heard().await.unwrap();
        rig.world.open("slow");
        rig.assert_once(&root, &[id], 2).await;
    }
}

#[tokio::test]
async fn a_waking_that_was_accepted_and_is_not_stored_yet_is_not_repeated() {
    let (rig, host, root) = begun("").await;
    let prompt = format!("POST /session/{root}/prompt_async");
    rig.faults
        .next(&prompt, Fault::Accepted("store".to_owned()));
    let id = host.delegate(&root, "@say done").await.unwrap();
    let prompted = |state: &State| (state.done(&prompt) > 0).then_some(());
    rig.until("the waking", prompted).await;
    // Whatever happens now makes the daemon look again.
    let elsewhere = rig.world.root();
    host.person(&elsewhere, "hello");
    idle(&rig, &elsewhere).await;
    let probe = host.delegate(&elsewhere, "@say probe").await.unwrap();
    host.delegate(&root, "@stream never").await.unwrap();
    rig.noticed(&elsewhere, &[probe]).await;
    assert_eq!(
        rig.world.read(|state| state.done(&prompt)),
        1,
        "{}",
        rig.dump()
    );
    rig.world.open("store");
    rig.assert_once(&root, &[id], 2).await;
}

/// The waking is due by the end of one delegation, and rides on the notice of another.
#[tokio::test]
async fn a_waking_that_is_not_stored_yet_is_not_repeated_though_the_clock_went_back() {
    let (rig, host, root) = begun("").await;
    let first = host.delegate(&root, "@stream first\n@say 1").await.unwrap();
    let second = host
        .delegate(&root, "@stream second\n@say 2")
        .await
        .unwrap();
    host.person(&root, "@stream parent\n@say all right");
    asked(&rig, &root, 2).await;
    host.heard().await.unwrap();
    rig.world.open("first");
    rig.ended(std::slice::from_ref(&first)).await;
    rig.set_clock(rig.clock.millis() - 60_000).await;
    rig.world.open("second");
    rig.ended(std::slice::from_ref(&second)).await;
    let prompt = format!("POST /session/{root}/prompt_async");
    rig.faults
        .next(&prompt, Fault::Accepted("store".to_owned()));
    rig.world.open("parent");
    let prompted = |state: &State| (state.done(&prompt) > 0).then_some(());
    rig.until("the waking", prompted).await;
    // Whatever happens now makes the daemon look again.
    let elsewhere = rig.world.root();
    host.person(&elsewhere, "hello");
    idle(&rig, &elsewhere).await;
    let probe = host.delegate(&elsewhere, "@say probe").await.unwrap();
    host.delegate(&root, "@stream never").await.unwrap();
    rig.noticed(&elsewhere, &[probe]).await;
    let posts = rig.world.read(|state| state.done(&prompt));
    assert_eq!(posts, 1, "{}", rig.dump());
    rig.world.open("store");
    rig.assert_once(&root, &[first, second], 3).await;
}

#[tokio::test]
async fn a_waking_waits_for_a_crashed_daemon_and_comes_once() {
    let (rig, host, root) = begun("").await;
    let id = host
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    rig.until("the child", |state| {
        (state.done("POST /session/") > 0).then_some(())
    })
    .await;
    rig.kill().await;
    rig.world.open("child");
    let child = rig.world.read(|state| state.children(&root)[0].id.clone());
    idle(&rig, &child).await;
    rig.start().await;
    rig.ended(std::slice::from_ref(&id)).await;
    rig.assert_once(&root, std::slice::from_ref(&id), 2).await;
    assert_eq!(
        rig.requests(&child),
        1,
        "the child was prompted once\n{}",
        rig.dump()
    );
    drop(host);
}

#[tokio::test]
async fn a_waking_that_a_process_out_of_reach_may_still_answer_is_not_repeated_elsewhere() {
    let rig = Rig::new("").await;
    let other = rig.host("b").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    other.person(&root, "hello");
    idle(&rig, &root).await;
    other.heard().await.unwrap();
    // Sent to an idle session, it arrives while a tool runs: stored, and answered once the tool has ended.
    let prompt = format!("POST /session/{root}/prompt_async");
    rig.faults.next(&prompt, Fault::Held("arrive".to_owned()));
    let id = host.delegate(&root, "@say done").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    rig.faulted().await;
    host.person(&root, "@tool slow\n@say all right");
    asked(&rig, &root, 2).await;
    rig.world.open("arrive");
    rig.notice_becomes(&id, "delivered").await;
    host.offline().await.unwrap();
    // Now the other process owns the session, and has nothing to do in it.
    let elsewhere = rig.world.root();
    other.person(&elsewhere, "hello");
    idle(&rig, &elsewhere).await;
    let probe = other.delegate(&elsewhere, "@say probe").await.unwrap();
    rig.noticed(&elsewhere, &[probe]).await;
    assert_eq!(rig.requests(&root), 2, "{}", rig.dump());
    rig.world.open("slow");
    idle(&rig, &root).await;
    host.online().await.unwrap();
    rig.assert_once(&root, &[id], 3).await;
}

/// The first process stands still with the notice in its hands while a person writes in the second.
#[tokio::test]
async fn a_notice_that_another_owner_s_process_still_holds_is_told_once() {
    let (rig, host, root) = begun("").await;
    let other = rig.host("b").await;
    rig.faults.next(
        &format!("POST /session/{root}/"),
        Fault::Held("arrive".to_owned()),
    );
    let id = host.delegate(&root, "@say done").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    rig.faulted().await;
    other.person(&root, "and?");
    idle(&rig, &root).await;
    other.heard().await.unwrap();
    // Its bridge gives up, and the host does what it was asked for nevertheless.
    host.reconnect().await.unwrap();
    rig.world.open("arrive");
    rig.assert_once(&root, &[id], 3).await;
}
