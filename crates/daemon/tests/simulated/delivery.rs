//! Notices and wakings through an owner: each exactly once.

use brigade_testkit::simulated::{Fault, State};

use crate::rig::Rig;

/// A rig with one process, and a root session in which a person has written.
pub(crate) async fn begun(
    config: &str,
) -> (Rig, brigade_testkit::simulated::SimulatedHost, String) {
    let rig = Rig::new(config).await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    (rig, host, root)
}

pub(crate) async fn idle(rig: &Rig, session: &str) {
    let idle = |state: &State| (!state.is_busy(session)).then_some(());
    rig.until("an idle session", idle).await;
}

/// Waits until a session's model has been asked so often.
pub(crate) async fn asked(rig: &Rig, session: &str, times: usize) {
    let asked = |state: &State| (state.requests_of(session).len() >= times).then_some(());
    rig.until("a request", asked).await;
}

#[tokio::test]
async fn an_idle_parent_gets_the_notice_and_is_woken_once() {
    let (rig, host, root) = begun("").await;
    let id = host
        .delegate(&root, "@say # Found\\n\\nIt is there.")
        .await
        .unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    rig.assert_once(&root, std::slice::from_ref(&id), 2).await;
    let state = rig.show(&id).await.summary;
    let artifact = std::fs::read_to_string(state.artifact.unwrap()).unwrap();
    assert!(artifact.contains("It is there."), "{artifact}");
    rig.world.read(|state| {
        let seen = &state.requests_of(&root)[1].seen;
        assert!(seen.contains(&format!("<task-id>{id}</task-id>")), "{seen}");
        // The forwarded message is the proof of the waking: the host is asked for none.
        assert_eq!(
            state.done(&format!("GET /session/{root}/message/")),
            0,
            "{}",
            state.dump()
        );
    });
}

#[tokio::test]
async fn a_batch_asks_the_model_once_when_its_last_has_ended() {
    let (rig, host, root) = begun("").await;
    let mut ids = Vec::new();
    for gate in ["g1", "g2", "g3"] {
        ids.push(
            host.delegate(&root, &format!("@stream {gate}\n@say {gate}"))
                .await
                .unwrap(),
        );
    }
    for (gate, id) in ["g1", "g2"].iter().zip(&ids) {
        rig.world.open(gate);
        rig.noticed(&root, std::slice::from_ref(id)).await;
        assert_eq!(rig.requests(&root), 1, "{}", rig.dump());
    }
    rig.world.open("g3");
    rig.ended(&ids).await;
    rig.assert_once(&root, &ids, 2).await;
}

#[tokio::test]
async fn wake_each_and_wake_never_are_heard() {
    for (wake, requests) in [("each", 3), ("never", 1)] {
        let (rig, host, root) = begun(&format!("[notice]\nwake = \"{wake}\"\n")).await;
        let mut ids = Vec::new();
        for gate in ["g1", "g2"] {
            ids.push(
                host.delegate(&root, &format!("@stream {gate}\n@say {gate}"))
                    .await
                    .unwrap(),
            );
        }
        for (at, gate) in ["g1", "g2"].iter().enumerate() {
            rig.world.open(gate);
            rig.ended(&ids[at..=at]).await;
            let so_far = if wake == "each" { at + 2 } else { 1 };
            rig.assert_once(&root, &ids[at..=at], so_far).await;
        }
        rig.assert_once(&root, &ids, requests).await;
    }
}

#[tokio::test]
async fn a_streaming_parent_is_left_alone_until_it_is_idle() {
    let (rig, host, root) = begun("").await;
    let id = host
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    host.person(&root, "@stream parent\n@say all right");
    asked(&rig, &root, 2).await;
    host.heard().await.unwrap();
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    // The parent of another delegation is told meanwhile, so this one's notice had its chance.
    let other = rig.world.root();
    host.person(&other, "hello");
    idle(&rig, &other).await;
    let second = host.delegate(&other, "@say second").await.unwrap();
    rig.noticed(&other, &[second]).await;
    assert_eq!(
        rig.world.read(|state| state.notices(&root, &id)),
        0,
        "{}",
        rig.dump()
    );
    rig.world.open("parent");
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn what_waits_together_is_told_by_one_message_whatever_gets_lost() {
    for fault in [
        None,
        Some(Fault::LostRequest),
        Some(Fault::LostReply),
        Some(Fault::BreakAfter),
        Some(Fault::CrashBefore),
        Some(Fault::CrashAfter),
        Some(Fault::Status(500)),
    ] {
        let (rig, host, root) = begun("").await;
        let mut ids = Vec::new();
        for gate in ["g1", "g2", "g3", "g4"] {
            let prompt = format!("@stream {gate}\n@say {gate}");
            ids.push(host.delegate(&root, &prompt).await.unwrap());
        }
        // Three end while the parent streams, the fourth while it is idle.
        host.person(&root, "@stream parent\n@say all right");
        asked(&rig, &root, 2).await;
        host.heard().await.unwrap();
        for gate in ["g1", "g2", "g3"] {
            rig.world.open(gate);
        }
        rig.ended(&ids[..3]).await;
        if let Some(fault) = fault.clone() {
            rig.faults.next(&format!("POST /session/{root}/"), fault);
        }
        rig.world.open("parent");
        rig.noticed(&root, &ids[..3]).await;
        let told = |state: &State| {
            let messages = state.messages(&root);
            let tells = |text: String| ids.iter().any(|id| text.contains(id.as_str()));
            let told = messages.iter().filter(|m| m.info["role"] == "user");
            told.filter(|m| tells(m.text())).count()
        };
        rig.world.open("g4");
        rig.ended(&ids).await;
        rig.assert_once(&root, &ids, 3).await;
        assert_eq!(rig.world.read(told), 2, "{fault:?}\n{}", rig.dump());
        rig.world.read(|state| {
            for message in state.messages(&root) {
                let shown = message.parts.iter().filter(|part| part["ignored"] == true);
                assert!(shown.count() <= 1, "{fault:?}\n{}", state.dump());
            }
        });
        assert!(rig.faults.all_happened(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_parent_in_a_tool_gets_the_notice_with_its_next_step() {
    let (rig, host, root) = begun("").await;
    let id = host
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    host.person(&root, "@tool parent\n@say all right");
    asked(&rig, &root, 2).await;
    host.heard().await.unwrap();
    rig.world.open("child");
    rig.noticed(&root, std::slice::from_ref(&id)).await;
    assert_eq!(rig.requests(&root), 2, "{}", rig.dump());
    rig.world.open("parent");
    // The tool's result is sent with the notice, and that answers it.
    rig.assert_once(&root, &[id], 3).await;
}

#[tokio::test]
async fn a_session_that_is_busy_in_two_processes_is_left_alone() {
    let (rig, host, root) = begun("").await;
    let other = rig.host("b").await;
    let id = host
        .delegate(&root, "@stream child\n@say done")
        .await
        .unwrap();
    host.person(&root, "@stream one\n@say 1");
    asked(&rig, &root, 2).await;
    host.heard().await.unwrap();
    other.person(&root, "@stream two\n@say 2");
    asked(&rig, &root, 3).await;
    other.heard().await.unwrap();
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    rig.world.open("two");
    let quiet = |state: &State| {
        (state
            .messages(&root)
            .iter()
            .filter(|m| m.text() == "2")
            .count()
            == 1)
            .then_some(())
    };
    rig.until("the second answer", quiet).await;
    other.heard().await.unwrap();
    // Busy in the first process still, though it is not the owner.
    let elsewhere = rig.world.root();
    other.person(&elsewhere, "hello");
    idle(&rig, &elsewhere).await;
    let second = other.delegate(&elsewhere, "@say second").await.unwrap();
    rig.noticed(&elsewhere, &[second]).await;
    assert_eq!(
        rig.world.read(|state| state.notices(&root, &id)),
        0,
        "{}",
        rig.dump()
    );
    let before = rig.requests(&root);
    rig.world.open("one");
    rig.noticed(&root, std::slice::from_ref(&id)).await;
    rig.settled().await;
    // The first process's turn sees the second's message as new to it and answers that too, as the real one does.
    let after = rig.requests(&root) - before;
    assert!((1..=2).contains(&after), "{}", rig.dump());
    assert_eq!(rig.world.read(|state| state.notices(&root, &id)), 1);
}

#[tokio::test]
async fn a_deleted_parent_ends_its_delegations_and_waits_for_nothing() {
    let (rig, host, root) = begun("").await;
    let running = host.delegate(&root, "@stream never\n@say 1").await.unwrap();
    rig.until("the child", |state| {
        state.children(&root).first().map(|_| ())
    })
    .await;
    host.deletes(&root);
    rig.ended(std::slice::from_ref(&running)).await;
    rig.settled().await;
    let shown = rig.show(&running).await;
    assert_eq!(
        shown.summary.state.to_string(),
        "cancelled",
        "{:?}",
        shown.summary.reason
    );
}

#[tokio::test]
async fn a_clock_that_went_back_by_hours_harms_nothing() {
    let (rig, host, root) = begun("").await;
    let first = host.delegate(&root, "@stream first\n@say 1").await.unwrap();
    let hours = 5 * 3_600_000;
    rig.set_clock(rig.clock.millis() - hours).await;
    let second = host
        .delegate(&root, "@stream second\n@say 2")
        .await
        .unwrap();
    rig.world.open("first");
    rig.noticed(&root, std::slice::from_ref(&first)).await;
    rig.crash().await;
    rig.world.open("second");
    let ids = [first, second];
    rig.ended(&ids).await;
    rig.assert_once(&root, &ids, 2).await;
    rig.world.read(|state| {
        let messages = state.messages(&root);
        let ordered = messages.windows(2).all(|pair| pair[0].id() < pair[1].id());
        assert!(
            ordered,
            "each message's ID is later than all before it\n{}",
            state.dump()
        );
    });
    let list = rig.client().await.list(&Default::default()).await.unwrap();
    assert_eq!(list.delegations.len(), 2);
    let answer = host
        .read(&root, &ids[1], brigade_testkit::simulated::Confirm::Handed)
        .await
        .unwrap();
    assert!(answer.contains('2'), "{answer}");
}
