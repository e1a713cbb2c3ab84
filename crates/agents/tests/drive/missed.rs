//! Events that were missed, and those that come while the host is asked for what was missed.

use brigade_agents::opencode::{RunSpec, Signal};
use serde_json::json;

use crate::fake::{Fault, Host, spec, start};
use crate::{CHILD, ended};

#[tokio::test(start_paused = true)]
async fn a_lost_idle_is_found_by_asking_after_a_silence() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.assistant(CHILD, "done", &json!({}));
    host.set_busy(CHILD, false);
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "done");
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_disconnected_is_read() {
    let host = Host::new();
    let driving = start(
        &host,
        RunSpec {
            fresh: true,
            ..spec(1)
        },
    );
    host.until("PATCH", 1).await;
    host.busy(CHILD).await;
    host.signal(Signal::Disconnected).await;
    host.assistant(CHILD, "ended in silence", &json!({}));
    host.set_busy(CHILD, false);
    host.fault("GET /session/status", Fault::NotSent);
    let before = tokio::time::Instant::now();
    host.signal(Signal::Reconnected).await;
    assert_eq!(
        ended(driving.outcome.await.unwrap()).answer,
        "ended in silence"
    );
    assert!(before.elapsed().as_secs() < 2);
}

#[tokio::test(start_paused = true)]
async fn an_end_told_while_an_older_status_is_under_way_is_not_undone_by_it() {
    let host = Host::new();
    let child = host.child(1);
    host.prompted_before(&child, 1);
    host.set_busy(&child, true);
    host.fault("GET /session/status", Fault::Late);
    let driving = start(
        &host,
        RunSpec {
            child: Some(child.parse().unwrap()),
            ..spec(1)
        },
    );
    // The host has read that the child is busy; the end overtakes that answer.
    host.until("GET /session/status", 1).await;
    let before = tokio::time::Instant::now();
    host.answer(&child, "done").await;
    host.heard().await;
    host.deliver();
    assert_eq!(ended(driving.outcome.await.unwrap()).answer, "done");
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
}
