//! The environments that hosts have shown: what a server of our own is started with. In memory only.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use brigade_agents::opencode::lasting;
use brigade_core::delegation::Spec;
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Host;
use sha2::{Digest, Sha256};

/// How many environments of processes that are gone are kept: what they have left may still have to run.
const KEPT: usize = 64;

/// What makes two servers of our own the same: installation, program, environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EnvironmentKey([u8; 32]);

/// A host's program and surroundings.
#[derive(Clone)]
pub(crate) struct Environment {
    /// Which installation of the host it is.
    pub(crate) host: String,
    /// The host's program.
    pub(crate) executable: PathBuf,
    /// What of its variables does not belong to one process or terminal.
    pub(crate) variables: BTreeMap<String, String>,
    /// What it is known by.
    pub(crate) key: EnvironmentKey,
}

impl Environment {
    /// The environment that a bridge has described.
    pub(super) fn of(host: &Host, host_key: &str) -> Self {
        let variables = lasting(&host.env);
        let mut digest = Sha256::new();
        let mut add = |text: &str| {
            digest.update(text.as_bytes());
            digest.update([0]);
        };
        add(host_key);
        add(&host.executable);
        // An agent's socket is another in each login and leads to the same keys.
        for (name, value) in variables
            .iter()
            .filter(|(name, _)| *name != "SSH_AUTH_SOCK")
        {
            add(name);
            add(value);
        }
        Self {
            host: host_key.to_owned(),
            executable: PathBuf::from(&host.executable),
            key: EnvironmentKey(digest.finalize().into()),
            variables,
        }
    }

    /// Whether it has these credentials, by name.
    pub(super) fn has(&self, credentials: &[String]) -> bool {
        credentials.iter().all(|name| {
            self.variables
                .get(name)
                .is_some_and(|value| !value.is_empty())
        })
    }
}

/// The environments by the processes that have shown them, oldest first.
#[derive(Default)]
pub(super) struct Environments {
    seen: VecDeque<(ProcessId, Arc<Environment>)>,
}

impl Environments {
    /// A process has shown its environment. `lives` says which processes still do: theirs are kept anyhow.
    pub(super) fn note(
        &mut self,
        process: ProcessId,
        environment: Environment,
        lives: impl Fn(&ProcessId) -> bool,
    ) {
        self.seen.retain(|(seen, _)| *seen != process);
        // The same set is kept once, however many processes have it: as it was shown last, since what the key
        // leaves out may have changed.
        let environment = Arc::new(environment);
        for (_, known) in &mut self.seen {
            if known.key == environment.key {
                *known = Arc::clone(&environment);
            }
        }
        self.seen.push_back((process, environment));
        if self.seen.len() > KEPT {
            let mut gone = self.seen.iter().filter(|(seen, _)| !lives(seen)).count();
            self.seen.retain(|(seen, _)| {
                let drop = gone > KEPT && !lives(seen);
                gone -= usize::from(drop);
                !drop
            });
        }
    }

    /// What a process has shown.
    pub(super) fn of_process(&self, process: &ProcessId) -> Option<Arc<Environment>> {
        let (_, environment) = self.seen.iter().find(|(seen, _)| seen == process)?;
        Some(Arc::clone(environment))
    }

    /// The environment in which a delegation can run: the one it was asked for in, else the latest of the same
    /// installation that has credentials of the same names.
    pub(super) fn fit(&self, spec: &Spec) -> Option<Arc<Environment>> {
        let origin = spec.origin.as_ref().and_then(|origin| origin.parse().ok());
        origin
            .and_then(|origin| self.of_process(&origin))
            .or_else(|| {
                self.seen
                    .iter()
                    .rev()
                    .map(|(_, environment)| environment)
                    .find(|known| known.host == spec.host && known.has(&spec.credentials))
                    .map(Arc::clone)
            })
    }
}
