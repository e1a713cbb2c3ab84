//! The daemon's memory is bounded, whatever comes.

use brigade_testkit::simulated::Confirm;
use futures::future::join_all;

use crate::delivery::idle;
use crate::rig::Rig;

/// A line of the daemon's `/proc/PID/status`, in megabytes.
async fn megabytes(rig: &Rig, name: &str) -> u64 {
    let pid = rig.daemon_pid().await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() >> 10
}

#[tokio::test]
async fn a_stream_of_a_million_deltas_is_held_only_as_far_as_it_is_shown() {
    let rig = Rig::new("").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let before = megabytes(&rig, "VmHWM").await;
    let id = host
        .delegate(&root, "@deltas 1000000\n@say done")
        .await
        .unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    let most = megabytes(&rig, "VmHWM").await;
    // The text that is shown has 8 MB at most: once with the driver, once with who shows it, twice on its way
    // into the store.
    assert!(most < before + 80, "{before} MB became {most} MB");
    rig.assert_once(&root, &[id], 2).await;
}

#[tokio::test]
async fn results_of_100_megabytes_are_held_a_few_times_over_at_most() {
    let rig = Rig::new("").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let before = megabytes(&rig, "VmHWM").await;
    let mut ids = Vec::new();
    for n in 0..2 {
        let prompt = format!("{n}\n@huge 100");
        ids.push(host.delegate(&root, &prompt).await.unwrap());
    }
    rig.ended(&ids).await;
    rig.assert_once(&root, &ids, 2).await;
    // Read by several at once, a page each.
    let reading = ids.iter().map(|id| host.read(&root, id, Confirm::Handed));
    for page in join_all(reading).await {
        assert!(page.unwrap().chars().count() < 40_000);
    }
    let most = megabytes(&rig, "VmHWM").await;
    // One that comes in: its body, the text that is taken from it, the buffer that this goes through, and until it
    // is stored once more. On a busy machine the other one does not wait for its turn to the end, so this counts
    // twice; taking turns, five times one has been seen. Store and artifact take both in pieces.
    assert!(most < before + 8 * 100 + 20, "{before} MB became {most} MB");
    for id in &ids {
        let path = rig.show(id).await.summary.artifact.unwrap();
        let text = std::fs::read(path).unwrap();
        assert!(text.len() > 100 << 20 && text.ends_with(b"THE END"));
    }
    rig.kill().await;
}
