//! Notifications on a real session bus, with a desktop in this test at its other end.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use brigade_testkit::simulated::SimulatedHost;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::delivery::idle;
use crate::rig::Rig;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Head and body of a notification.
type Note = (String, String);

/// The desktop's side.
struct Notifications(mpsc::UnboundedSender<Note>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    #[expect(clippy::too_many_arguments, reason = "the interface is the desktop's")]
    fn notify(
        &self,
        _app: &str,
        _replaces: u32,
        _icon: &str,
        head: String,
        body: String,
        _actions: Vec<String>,
        _hints: std::collections::HashMap<String, zbus::OwnedVariant>,
        _timeout: i32,
    ) -> u32 {
        self.0.send((head, body)).unwrap();
        1
    }
}

/// A session bus with a desktop on it.
struct Bus {
    daemon: Child,
    notes: mpsc::UnboundedReceiver<Note>,
    _desktop: zbus::Connection,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

impl Bus {
    /// None where this machine has no `dbus-daemon`.
    async fn start(path: &Path) -> Option<Self> {
        let address = format!("unix:path={}", path.display());
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address", "--address"])
            .arg(&address)
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        // It says its address once it listens.
        let mut line = String::new();
        let mut said = std::io::BufReader::new(daemon.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        let (sender, notes) = mpsc::unbounded_channel();
        let desktop = zbus::connection::Builder::address(address.as_str())
            .name("org.freedesktop.Notifications")
            .serve_at("/org/freedesktop/Notifications", Notifications(sender))
            .build()
            .await
            .unwrap();
        Some(Self {
            daemon,
            notes,
            _desktop: desktop,
        })
    }

    async fn next(&mut self, rig: &Rig) -> Note {
        let next = timeout(LIMIT, self.notes.recv()).await;
        next.unwrap_or_else(|_| panic!("no notification\n{}", rig.dump()))
            .unwrap()
    }
}

async fn delegated(host: &SimulatedHost, root: &str, works: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for work in works {
        ids.push(host.delegate(root, work).await.unwrap());
    }
    ids
}

#[tokio::test]
async fn the_desktop_tells_once_of_a_batch_that_has_ended_where_no_host_is() {
    let rig = Rig::new("").await;
    let Some(mut bus) = Bus::start(&rig.bus()).await else {
        return;
    };
    let (mut host, other) = (rig.host("a").await, rig.host("b").await);
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    // Its host is there: the person sees it.
    let seen = delegated(&host, &root, &["@say # Seen\n\nAll."]).await;
    rig.ended(&seen).await;
    rig.settled().await;

    let works = [
        "@stream g1\n@say # One\n\nAll.",
        "@stream g2\n@say # Two\n\nAll.",
    ];
    let ids = delegated(&host, &root, &works).await;
    host.kill().await.unwrap();
    rig.world.open("g1");
    rig.ended(&ids[..1]).await;
    rig.world.open("g2");
    rig.ended(&ids[1..]).await;
    let note = bus.next(&rig).await;
    let told = ("2 delegations have ended", "2 complete");
    assert_eq!((note.0.as_str(), note.1.as_str()), told);

    // Neither the next daemon nor the host that comes back has it told again.
    rig.crash().await;
    other.person(&root, "hello again");
    rig.noticed(&root, &ids).await;
    drop(other);
    assert!(bus.notes.try_recv().is_err(), "{}", rig.dump());
}
