//! The daemon goes when nobody has needed it for long, and not before.

use std::sync::Arc;
use std::time::Duration;

use brigade_daemon::{Options, run};
use brigade_testkit::FakeClock;
use brigade_testkit::simulated::{Faults, HostOptions, SimulatedHost, World};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::rig::{NO_PROGRAM, dirs_in};

/// Several times the limit that is set here.
const LONG: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_for_a_bridge_and_for_work_and_goes_without() {
    let temp = tempfile::Builder::new().prefix("bi").tempdir().unwrap();
    let dirs = dirs_in(temp.path());
    let project = temp.path().join("project");
    for folder in [&project, &dirs.config] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(dirs.config_file(), "[daemon]\nidle_exit = \"200ms\"\n").unwrap();
    let world = Arc::new(World::new(project));
    let (ready, is_ready) = oneshot::channel();
    let mut options = Options::new(dirs.clone(), NO_PROGRAM.into(), [], |_| {
        ready.send(()).unwrap();
    });
    options.clock = Arc::new(FakeClock::at(world.epoch()));
    let mut daemon = tokio::spawn(run(options));
    is_ready.await.unwrap();
    let options = HostOptions {
        name: "a",
        mode: "tui",
        test: "helper_process",
        dirs: &dirs,
        folder: temp.path(),
        faults: Faults::default(),
    };
    let mut host = SimulatedHost::start(&world, options).await.unwrap();
    assert!(
        timeout(LONG, &mut daemon).await.is_err(),
        "a bridge is connected"
    );
    let root = world.root();
    host.person(&root, "hello");
    host.delegate(&root, "@stream never").await.unwrap();
    world
        .until("the prompt", |state| {
            (state.done("POST /session/") > 0).then_some(())
        })
        .await
        .unwrap();
    host.offline().await.unwrap();
    assert!(
        timeout(LONG, &mut daemon).await.is_err(),
        "a delegation runs"
    );
    host.online().await.unwrap();
    host.deletes(&root);
    host.heard().await.unwrap();
    host.kill().await.unwrap();
    timeout(LIMIT, daemon).await.unwrap().unwrap().unwrap();
    assert!(!dirs.socket().exists());
}
