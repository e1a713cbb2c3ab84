//! Child sessions that belong to nothing that runs: found in connected hosts, stopped, never deleted.

use brigade_protocol::gc::{Fate, Finding, FindingKind, Gc};
use brigade_testkit::simulated::SimulatedHost;

use crate::delivery::idle;
use crate::rig::Rig;

/// The sessions that are found, or dealt with.
async fn sessions(rig: &Rig, dry_run: bool) -> Vec<Finding> {
    let request = Gc {
        dry_run,
        processes: false,
    };
    let report = rig.client().await.gc(&request).await.unwrap();
    assert_eq!(report.notes, [""; 0], "the host could be asked");
    report
        .findings
        .into_iter()
        .filter(|finding| finding.kind == FindingKind::Session)
        .collect()
}

/// A host with a delegation whose child is streaming, and that child.
async fn streaming(rig: &Rig) -> (SimulatedHost, String) {
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(rig, &root).await;
    host.delegate(&root, "@stream never").await.unwrap();
    let child = rig
        .until("the child's request", |state| {
            let child = state.children(&root).first()?.id.clone();
            (!state.requests_of(&child).is_empty()).then_some(child)
        })
        .await;
    (host, child)
}

/// The daemon dies, and its store is lost.
async fn lose_the_store(rig: &Rig, host: &SimulatedHost) {
    rig.kill().await;
    for ending in ["", "-wal", "-shm"] {
        let mut path = rig.dirs.store().into_os_string();
        path.push(ending);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
    rig.start().await;
    host.reconnect().await.unwrap();
}

#[tokio::test]
async fn a_child_that_works_for_nobody_is_stopped_and_stays() {
    let rig = Rig::new("").await;
    let (host, child) = streaming(&rig).await;
    assert_eq!(sessions(&rig, false).await, [], "it is needed");
    lose_the_store(&rig, &host).await;

    let found = sessions(&rig, true).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].subject.as_str(), found[0].fate),
        (child.as_str(), Fate::Planned)
    );
    assert!(found[0].what.contains("is not on record"), "{found:?}");
    assert!(
        rig.world.read(|state| state.is_busy(&child)),
        "it was only looked"
    );

    let done = sessions(&rig, false).await;
    assert_eq!(done[0].fate, Fate::Done, "{done:?}");
    rig.until("the end of it", |state| {
        (!state.is_busy(&child)).then_some(())
    })
    .await;
    assert!(rig.world.read(|state| state.session(&child).is_some()));
    assert_eq!(sessions(&rig, true).await, []);
}

#[tokio::test]
async fn a_child_in_which_a_person_goes_on_is_left_alone() {
    let rig = Rig::new("").await;
    let (host, child) = streaming(&rig).await;
    lose_the_store(&rig, &host).await;
    host.aborts(&child);
    rig.until("the end of it", |state| {
        (!state.is_busy(&child)).then_some(())
    })
    .await;
    host.person(&child, "@stream never");
    rig.until("the person's own", |state| {
        state.is_busy(&child).then_some(())
    })
    .await;
    assert_eq!(sessions(&rig, false).await, []);
    assert!(rig.world.read(|state| state.is_busy(&child)));
}

#[tokio::test]
async fn without_a_host_it_is_said_that_no_session_was_seen() {
    let rig = Rig::new("").await;
    let request = Gc {
        dry_run: true,
        processes: false,
    };
    let report = rig.client().await.gc(&request).await.unwrap();
    assert_eq!(report.notes.len(), 1, "{report:?}");
    assert!(
        report.notes[0].contains("no host is connected"),
        "{report:?}"
    );
}
