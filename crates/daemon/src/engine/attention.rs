//! Calling for the person's attention: what has ended where nobody is looking.

use std::collections::HashMap;
use std::sync::Mutex;

use brigade_core::delegation::Delegation;
use brigade_core::text::desktop;
use brigade_os::process::ProcessId;
use brigade_store::StoreError;

use super::{Engine, Entry};
use crate::hosts::lock;
use crate::processes::Processes;

/// What hosts' terminals have told, by process and gone with it. In memory only.
#[derive(Debug, Default)]
pub(crate) struct Terminals(Mutex<HashMap<ProcessId, Terminal>>);

/// A terminal with a host's window in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The root session that it shows.
    pub(crate) session: Option<String>,
    /// Whether it has the focus, where that is known.
    pub(crate) focused: Option<bool>,
}

impl Terminals {
    /// A process tells of its terminal.
    pub(crate) fn heard(&self, process: ProcessId, terminal: Terminal, processes: &dyn Processes) {
        let mut terminals = lock(&self.0);
        terminals.retain(|process, _| processes.is_alive(process));
        terminals.insert(process, terminal);
    }

    /// Whether the person is taken to see what happens in a session, which this process owns, if any does. Of a
    /// terminal that does not tell of its focus it is believed: who sits before it is not to be told everything twice.
    fn show(&self, session: &str, owner: Option<ProcessId>, processes: &dyn Processes) -> bool {
        let terminals = lock(&self.0);
        let owned = owner.is_some_and(|owner| {
            let told = terminals.get(&owner).and_then(|terminal| terminal.focused);
            processes.is_alive(&owner) && told != Some(false)
        });
        owned
            || terminals.iter().any(|(process, terminal)| {
                terminal.focused == Some(true)
                    && terminal.session.as_deref() == Some(session)
                    && processes.is_alive(process)
            })
    }
}

impl Engine {
    /// What is known of the terminals.
    pub(crate) fn terminals(&self) -> &Terminals {
        &self.0.terminals
    }

    /// Has the desktop tell of an end, where that was the last of its batch and nobody is looking, or where it was asked
    /// for in a shell and nobody waits for it any more.
    pub(super) fn call_attention(&self, entry: &Entry, record: &Delegation) {
        let spec = &record.spec;
        if !self.configs().for_directory(&spec.directory).notice.desktop {
            return;
        }
        let parent = spec.parent.as_str();
        let attended = if spec.from_shell() {
            entry.changed.receiver_count() > 0
        } else {
            let owner = self.hub().owner(parent).map(|owner| owner.process);
            self.terminals().show(parent, owner, self.hub().processes())
        };
        if attended {
            return;
        }
        let (engine, record) = (self.clone(), record.clone());
        self.spawn(async move {
            match engine.to_be_told(&record).await {
                Ok(ended) => {
                    if let Some(note) = desktop::ended(&ended) {
                        tracing::info!(id = %record.spec.id, "the desktop is to tell of its end");
                        engine.0.desktop.show(note);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what has ended could not be read; the desktop does not tell of it");
                }
            }
        });
    }

    /// Title and state of what is told of with this one's end.
    async fn to_be_told(
        &self,
        record: &Delegation,
    ) -> Result<Vec<(String, brigade_core::delegation::State)>, StoreError> {
        let id = &record.spec.id;
        if !record.spec.from_shell() {
            return self.store().batch_ended_by(id).await;
        }
        let row = self.store().get(id).await?;
        Ok(row
            .map(|row| (row.title, record.state))
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::SystemProcesses;

    #[test]
    fn a_session_is_seen_in_its_own_terminal_unless_that_lost_the_focus() {
        let terminals = Terminals::default();
        let processes = SystemProcesses::shared();
        let here = ProcessId::current().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let other = ProcessId::of(child.id()).unwrap();
        let shown = |owner| terminals.show("ses_a", owner, &*processes);
        let heard = |process, session: Option<&str>, focused| {
            let session = session.map(str::to_owned);
            terminals.heard(process, Terminal { session, focused }, &*processes);
        };
        assert!(!shown(None), "no host has it");
        assert!(shown(Some(here)), "it does not tell of a focus");
        heard(here, Some("ses_a"), None);
        assert!(shown(Some(here)));
        heard(here, Some("ses_a"), Some(false));
        assert!(!shown(Some(here)));
        // Looked at in another one, which has not spoken in it.
        heard(other, Some("ses_b"), Some(true));
        assert!(!shown(Some(here)));
        heard(other, Some("ses_a"), Some(true));
        assert!(shown(Some(here)) && shown(None));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!shown(Some(here)) && !shown(None), "gone with its process");
        heard(here, None, Some(true));
        assert!(shown(Some(here)), "its terminal has the focus");
    }
}
