//! The machine's own faults: disks, clock, suspended processes. The daemon and its files are real.

use brigade_core::delegation::State;
use brigade_testkit::simulated::{Confirm, Fault, SimulatedHost};
use rustix::process::Signal;

use crate::delivery::idle;
use crate::disks::{deny_writing, fill, on_own_disks, remount};
use crate::rig::Rig;
use crate::rig::signal;

const ONE_AT_A_TIME: &str = "[limits]\nconcurrent = 1\n";

/// A process, and a root session in which a person has written.
async fn begun(rig: &Rig) -> (SimulatedHost, String) {
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(rig, &root).await;
    (host, root)
}

/// Waits until a child's model has been asked, for the delegations of this parent in all.
async fn at_work(rig: &Rig, root: &str, children: usize) {
    rig.until("the children's requests", |state| {
        let asked =
            |child: &&brigade_testkit::simulated::Session| !state.requests_of(&child.id).is_empty();
        (state
            .children(root)
            .iter()
            .filter(|child| asked(child))
            .count()
            == children)
            .then_some(())
    })
    .await;
}

fn told(rig: &Rig, root: &str, id: &str) -> usize {
    rig.world.read(|state| state.notices(root, id))
}

/// Waits until these were told, and asserts that each was once. For a store that can't be read from here.
async fn told_once(rig: &Rig, root: &str, ids: &[String]) {
    rig.noticed(root, ids).await;
    for id in ids {
        rig.notice_becomes(id, "delivered").await;
        assert_eq!(told(rig, root, id), 1, "{}", rig.dump());
    }
}

#[tokio::test]
async fn artifacts_on_a_full_disk_hold_the_end_back_until_there_is_room() {
    let mut artifacts = None;
    let Some(rig) = on_disks(ONE_AT_A_TIME, |dirs| {
        let folder = dirs.opencode_data.join("delegations");
        artifacts = Some(folder.clone());
        vec![(folder, "256k")]
    })
    .await
    else {
        return;
    };
    let (host, root) = begun(&rig).await;
    let filler = fill(&rig, &artifacts.unwrap());
    let first = host.delegate(&root, "@say the whole answer").await.unwrap();
    let trouble = rig.trouble(&first).await;
    assert!(trouble.contains("No space left"), "{trouble}");
    assert!(
        trouble.contains("The result is kept in the store"),
        "{trouble}"
    );
    // Decided, and told to nobody; the slot is another's already.
    assert_eq!(rig.show(&first).await.summary.state, State::Running);
    let second = host
        .delegate(&root, "@stream second\n@say other")
        .await
        .unwrap();
    at_work(&rig, &root, 2).await;
    assert_eq!((told(&rig, &root, &first), rig.requests(&root)), (0, 1));
    filler.free();
    rig.ended(std::slice::from_ref(&first)).await;
    rig.world.open("second");
    let both = [first, second];
    rig.ended(&both).await;
    rig.assert_once(&root, &both, 2).await;
    rig.healthy().await;
    let path = rig.show(&both[0]).await.summary.artifact.unwrap();
    let text = std::fs::read_to_string(rig.inside(path.as_ref())).unwrap();
    assert!(text.contains("the whole answer"), "{text}");
}

#[tokio::test]
async fn artifacts_on_a_read_only_file_system_are_written_once_it_is_writable() {
    let mut artifacts = None;
    let Some(rig) = on_disks("", |dirs| {
        let folder = dirs.opencode_data.join("delegations");
        artifacts = Some(folder.clone());
        vec![(folder, "256k")]
    })
    .await
    else {
        return;
    };
    let (artifacts, pid) = (artifacts.unwrap(), rig.daemon_pid().await);
    let (host, root) = begun(&rig).await;
    remount(pid, &artifacts, "ro");
    let id = host.delegate(&root, "@say the whole answer").await.unwrap();
    let trouble = rig.trouble(&id).await;
    assert!(trouble.contains("Read-only file system"), "{trouble}");
    assert_eq!(told(&rig, &root, &id), 0);
    remount(pid, &artifacts, "rw");
    rig.ended(std::slice::from_ref(&id)).await;
    rig.assert_once(&root, &[id], 2).await;
    rig.healthy().await;
}

#[tokio::test]
async fn a_store_on_a_full_disk_reports_no_end_and_accepts_nothing_until_there_is_room() {
    let mut data = None;
    let Some(rig) = on_disks("", |dirs| {
        data = Some(dirs.data.clone());
        vec![(dirs.data.clone(), "4m")]
    })
    .await
    else {
        return;
    };
    let (host, root) = begun(&rig).await;
    let running = host
        .delegate(&root, "@stream child\n@say the whole answer")
        .await
        .unwrap();
    at_work(&rig, &root, 1).await;
    let filler = fill(&rig, &data.unwrap());
    // What is in the log of the store already may be written over; beyond that there is no room.
    let mut refused = String::new();
    for n in 0..200 {
        match host
            .delegate(&root, &format!("@say {n}\n{}", "x".repeat(60_000)))
            .await
        {
            Ok(_) => {}
            Err(error) => {
                refused = error.to_string();
                break;
            }
        }
    }
    assert!(refused.contains("Delegation refused: "), "{refused}");
    assert!(
        refused.contains("the disk of the store is full"),
        "{refused}"
    );
    assert!(refused.contains("it was not started"), "{refused}");
    rig.world.open("child");
    let trouble = rig.trouble(&running).await;
    assert!(
        trouble.contains("the disk of the store is full"),
        "{trouble}"
    );
    assert_eq!(told(&rig, &root, &running), 0);
    filler.free();
    rig.ended(std::slice::from_ref(&running)).await;
    told_once(&rig, &root, &[running]).await;
    rig.healthy().await;
}

#[tokio::test]
async fn a_log_that_can_not_be_written_disturbs_nothing() {
    let mut logs = None;
    let Some(rig) = on_disks("[daemon]\nlog = \"debug\"\n", |dirs| {
        logs = Some(dirs.logs());
        vec![(dirs.logs(), "4m")]
    })
    .await
    else {
        return;
    };
    let logs = logs.unwrap();
    let filler = fill(&rig, &logs);
    let (host, root) = begun(&rig).await;
    // More than fits into what is left of the log's last block.
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(host.delegate(&root, &format!("@say {n}")).await.unwrap());
    }
    rig.ended(&ids).await;
    told_once(&rig, &root, &ids).await;
    let trouble = rig.trouble("log: ").await;
    assert!(trouble.contains("No space left"), "{trouble}");
    assert!(trouble.contains("Everything else goes on"), "{trouble}");
    filler.free();
    let id = host.delegate(&root, "@say more").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    rig.healthy().await;
    let text = std::fs::read_to_string(rig.inside(&logs).join("daemon.log")).unwrap();
    assert!(text.contains("lines could not be written"), "{text}");
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_no_file_can_be_written() {
    let rig = Rig::new("").await;
    let (host, root) = begun(&rig).await;
    let mut ids = Vec::new();
    for gate in ["one", "two", "three"] {
        let prompt = format!("@stream {gate}\n@say answer {gate}");
        ids.push(host.delegate(&root, &prompt).await.unwrap());
    }
    at_work(&rig, &root, 3).await;
    let pid = rig.daemon_pid().await;
    deny_writing(pid, true);
    let refused = host.delegate(&root, "@say four").await.unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("it could not be stored, so it was not started"),
        "{refused}"
    );
    rig.world.open("one");
    rig.trouble(&ids[0]).await;
    assert_eq!(rig.show(&ids[0]).await.summary.state, State::Running);
    assert_eq!(told(&rig, &root, &ids[0]), 0);
    deny_writing(pid, false);
    rig.ended(&ids[..1]).await;
    rig.noticed(&root, &ids[..1]).await;
    // Once more, and the daemon dies while it can write nothing.
    deny_writing(pid, true);
    rig.world.open("two");
    rig.trouble(&ids[1]).await;
    rig.crash().await;
    rig.world.open("three");
    rig.ended(&ids).await;
    rig.assert_once(&root, &ids, 2).await;
    rig.healthy().await;
    for (id, gate) in ids.iter().zip(["one", "two", "three"]) {
        let path = rig.show(id).await.summary.artifact.unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("answer {gate}")), "{text}");
    }
    assert_eq!(rig.world.read(|state| state.children(&root).len()), 3);
}

/// A rig whose daemon has disks of its own; none where that is not allowed.
async fn on_disks(
    config: &str,
    disks: impl FnOnce(&brigade_os::paths::Dirs) -> Vec<(std::path::PathBuf, &'static str)>,
) -> Option<Rig> {
    let mut allowed = true;
    let rig = Rig::started_by(config, 1, |_, dirs| {
        on_own_disks(&disks(dirs)).unwrap_or_else(|| {
            allowed = false;
            Vec::new()
        })
    })
    .await;
    allowed.then_some(rig)
}

#[tokio::test]
async fn an_artifact_is_read_as_it_is_now_and_from_the_store_where_it_is_gone() {
    let rig = Rig::new("").await;
    let (host, root) = begun(&rig).await;
    let id = host.delegate(&root, "@say the whole answer").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    let path = rig.show(&id).await.summary.artifact.unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replace("whole", "corrected")).unwrap();
    let read = host.read(&root, &id, Confirm::Handed).await.unwrap();
    assert!(read.contains("the corrected answer"), "{read}");
    // Not even text any more: what can be read of it is read.
    std::fs::write(&path, b"the \xff answer").unwrap();
    let read = host.read(&root, &id, Confirm::Handed).await.unwrap();
    assert!(read.contains("the \u{fffd} answer"), "{read}");
    std::fs::remove_file(&path).unwrap();
    let read = host.read(&root, &id, Confirm::Handed).await.unwrap();
    assert!(read.contains("the whole answer"), "{read}");
    assert!(read.contains(&format!("{path} is gone")), "{read}");
    std::fs::create_dir(&path).unwrap();
    let read = host.read(&root, &id, Confirm::Handed).await.unwrap();
    assert!(read.contains("the whole answer"), "{read}");
    assert!(read.contains(&format!("{path} can't be read")), "{read}");
}

#[tokio::test]
async fn an_answer_too_large_to_be_taken_in_ends_as_an_error_with_what_was_heard() {
    let rig = Rig::new("").await;
    let (host, root) = begun(&rig).await;
    let id = host
        .delegate(&root, "@stream child\n@say the whole answer")
        .await
        .unwrap();
    at_work(&rig, &root, 1).await;
    let child = rig.world.read(|state| state.children(&root)[0].id.clone());
    // As the bridge says it.
    let messages = format!("GET /session/{child}/message");
    rig.faults.next(&messages, Fault::Status(413));
    rig.world.open("child");
    rig.ended(std::slice::from_ref(&id)).await;
    let shown = rig.show(&id).await.summary;
    assert_eq!(shown.state, State::Error, "{:?}", shown.reason);
    assert!(shown.reason.unwrap().contains("413"));
    let text = std::fs::read_to_string(shown.artifact.unwrap()).unwrap();
    assert!(text.contains("so far, "), "{text}");
    rig.assert_once(&root, &[id], 2).await;
}

/// What runs, what is queued and what waits to be told survives that the wall clock jumps by this many hours while
/// all processes stand still, as they do on a machine that sleeps.
async fn survives_sleep(hours: i64) {
    let rig = Rig::new("[limits]\nconcurrent = 1\nmax_run = \"20s\"\nstall = \"20s\"\n").await;
    let (mut host, root) = begun(&rig).await;
    let away = rig.world.root();
    host.person(&away, "hello");
    idle(&rig, &away).await;
    let mut other = rig.host("b").await;
    other.person(&root, "go on");
    idle(&rig, &root).await;
    // Ended, and offered to a process for the person's next message.
    let waiting = other
        .delegate(&root, "@stream waiting\n@say 1")
        .await
        .unwrap();
    at_work(&rig, &root, 1).await;
    let running = host
        .delegate(&away, "@stream running\n@say 2")
        .await
        .unwrap();
    let queued = host.delegate(&away, "@say 3").await.unwrap();
    other.mute(true);
    rig.world.open("waiting");
    other.mute(false);
    rig.ended(std::slice::from_ref(&waiting)).await;
    at_work(&rig, &away, 1).await;
    let pids = [rig.daemon_pid().await, host.pid(), other.pid()];
    for pid in pids {
        signal(pid, Signal::STOP);
    }
    rig.set_clock(rig.clock.millis() + hours * 3_600_000).await;
    for pid in pids.into_iter().rev() {
        signal(pid, Signal::CONT);
    }
    // The daemon has seen the new time by the time it has answered this.
    assert_eq!(rig.show(&running).await.summary.state, State::Running);
    assert_eq!(rig.show(&queued).await.summary.state, State::Registered);
    rig.world.open("running");
    let both = [running, queued];
    rig.ended(&both).await;
    for id in both.iter().chain([&waiting]) {
        let shown = rig.show(id).await;
        assert_eq!(shown.summary.state, State::Complete, "{id}");
        assert_eq!(shown.summary.attempt, 1, "{id}");
        assert!(shown.ran_ms < 20_000, "{id} ran {} ms", shown.ran_ms);
    }
    rig.assert_once(&root, &[waiting], 3).await;
    rig.assert_once(&away, &both, 2).await;
    host.kill().await.unwrap();
    other.kill().await.unwrap();
}

#[tokio::test]
async fn a_machine_that_slept_for_hours_times_nothing_out_and_doubles_nothing() {
    survives_sleep(9).await;
}

#[tokio::test]
async fn a_clock_that_jumps_back_while_things_run_changes_nothing() {
    survives_sleep(-9).await;
}

/// Longer than the daemon waits for an answer, so this test takes its time.
#[tokio::test]
async fn a_host_suspended_while_it_makes_a_child_is_waited_for_and_makes_no_second() {
    let rig = Rig::new("").await;
    let (host, root) = begun(&rig).await;
    rig.faults
        .next("POST /session", Fault::Held("make".to_owned()));
    let id = host.delegate(&root, "@say done").await.unwrap();
    rig.faulted().await;
    signal(host.pid(), Signal::STOP);
    rig.world.open("make");
    rig.logged("making the child failed, looking for it").await;
    assert_eq!(rig.show(&id).await.summary.state, State::Running);
    signal(host.pid(), Signal::CONT);
    rig.ended(std::slice::from_ref(&id)).await;
    let shown = rig.show(&id).await.summary;
    assert_eq!((shown.state, shown.attempt), (State::Complete, 1));
    rig.assert_once(&root, &[id], 2).await;
    rig.world.read(|state| {
        let children = state.children(&root);
        assert_eq!(children.len(), 1, "{}", state.dump());
        assert_eq!(
            state.requests_of(&children[0].id).len(),
            1,
            "{}",
            state.dump()
        );
    });
}
