//! `POST /v1/panel`: the panel in a host's terminal UI says that it is there, and what it had to leave out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use brigade_os::process::ProcessId;
use brigade_protocol::ErrorCode;
use brigade_protocol::daemon::Panel;

use super::{Api, Failure, Peer};

/// The panels that were heard of, for as long as their processes live.
#[derive(Debug, Default)]
pub(crate) struct Panels(Mutex<HashMap<ProcessId, Panel>>);

impl Panels {
    fn heard(&self, process: ProcessId, panel: Panel) {
        let mut panels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        panels.retain(|process, _| process.is_alive());
        panels.insert(process, panel);
    }

    /// Those whose processes live, by process.
    pub(crate) fn list(&self) -> Vec<Panel> {
        let mut panels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        panels.retain(|process, _| process.is_alive());
        let mut list: Vec<_> = panels.values().cloned().collect();
        list.sort_by_key(|panel| panel.pid);
        list
    }
}

pub(super) async fn handle(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(panel): Json<Panel>,
) -> Result<StatusCode, Failure> {
    if peer
        .pid
        .is_some_and(|pid| u32::try_from(pid) != Ok(panel.pid))
    {
        return Err(Failure::new(
            ErrorCode::Refused,
            "the panel named another process than the one it connects from",
        ));
    }
    let Some(process) = ProcessId::of(panel.pid) else {
        return Err(Failure::new(
            ErrorCode::BadRequest,
            format!("there is no process {}", panel.pid),
        ));
    };
    api.panels.heard(process, panel);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(pid: u32, missing: &[&str]) -> Panel {
        Panel {
            pid,
            version: "0.1.0".into(),
            host: Some("1.18.33".into()),
            missing: missing.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_process_has_one_panel_and_takes_it_with_it() {
        let panels = Panels::default();
        let own = ProcessId::current().unwrap();
        panels.heard(own, panel(own.pid, &[]));
        panels.heard(own, panel(own.pid, &["toasts"]));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let other = ProcessId::of(child.id()).unwrap();
        panels.heard(other, panel(other.pid, &[]));
        assert_eq!(panels.list().len(), 2);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(panels.list(), [panel(own.pid, &["toasts"])]);
    }
}
