//! The desktop's notifications: shown where there is a desktop, and never in anybody's way.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use brigade_core::text::desktop::DesktopNote;

use crate::hosts::lock;

/// How many may wait for a desktop that is slow to take them.
const WAITING: usize = 8;
/// The name that they go out under.
const APP: &str = "Brigade";

/// What shows notifications.
pub(crate) trait Desktop: Send + Sync {
    /// Shows one, some time soon, if that can be.
    fn show(&self, note: DesktopNote);

    /// Whether there is somebody to show them to, in words for `doctor`.
    fn state(&self) -> String;
}

/// The desktop of the session that the daemon was started in.
#[derive(Default)]
pub(crate) struct SystemDesktop {
    thread: Mutex<Option<SyncSender<DesktopNote>>>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Desktop for SystemDesktop {
    fn show(&self, note: DesktopNote) {
        if let Err(why) = reachable() {
            tracing::debug!(why, "a notification was not shown");
            return;
        }
        let mut thread = lock(&self.thread);
        // A thread of its own: the library waits for the desktop, which may hang.
        let sender = thread.get_or_insert_with(|| {
            let (sender, notes) = sync_channel(WAITING);
            let failed = Arc::clone(&self.failed);
            std::thread::spawn(move || show_all(&notes, &failed));
            sender
        });
        if sender.try_send(note).is_err() {
            *lock(&self.failed) = Some("it has not taken those before yet".to_owned());
            tracing::warn!("the desktop takes no notifications; one was left out");
        }
    }

    fn state(&self) -> String {
        match (reachable(), &*lock(&self.failed)) {
            (Err(why), _) => format!("{why}: none are shown"),
            (Ok(()), Some(why)) => format!("the last one could not be shown: {why}"),
            (Ok(()), None) => "shown where nobody is looking".to_owned(),
        }
    }
}

fn show_all(notes: &Receiver<DesktopNote>, failed: &Mutex<Option<String>>) {
    while let Ok(note) = notes.recv() {
        let mut shown = notify_rust::Notification::new();
        shown.appname(APP).summary(&note.head).body(&note.body);
        let result = shown.show().map(|_| ()).map_err(|error| error.to_string());
        if let Err(why) = &result {
            tracing::info!(why, "a notification could not be shown");
        }
        *lock(failed) = result.err();
    }
}

/// Whether there is a way to a desktop; without one the library would wait for it in vain.
fn reachable() -> Result<(), &'static str> {
    if cfg!(target_os = "macos") {
        return Ok(());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let there = match set("DBUS_SESSION_BUS_ADDRESS") {
        Some(address) => match address
            .to_str()
            .and_then(|text| text.strip_prefix("unix:path="))
        {
            Some(path) => Path::new(path.split([',', ';']).next().unwrap_or(path)).exists(),
            None => true,
        },
        None => {
            set("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists())
        }
    };
    if there {
        Ok(())
    } else {
        Err("there is no desktop here (no D-Bus session)")
    }
}

/// No desktop at all.
#[cfg(test)]
pub(crate) struct NoDesktop;

#[cfg(test)]
impl Desktop for NoDesktop {
    fn show(&self, _: DesktopNote) {}

    fn state(&self) -> String {
        "none".to_owned()
    }
}
