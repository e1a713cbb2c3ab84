//! Work that a person asks for in a shell: a delegation like any other, without a parent session, on a server of
//! our own.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade_agents::opencode::credentials;
use brigade_core::delegation::{Access, Spec};
use brigade_core::id::{DelegationId, SessionId};
use brigade_core::text::replies::Refusal;
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::Host;

use super::register::{max_run_ms, no_beginning, permitted};
use super::{Engine, NotStarted, Started};
use crate::config::Config;
use crate::hosts::Catalogue;
use crate::servers::{Place, Servers};

/// Work, and where it is asked for.
#[derive(Debug)]
pub(crate) struct ShellRequest {
    /// Who asks.
    pub(crate) process: ProcessId,
    /// The program of the host that is to do it, and the shell's environment.
    pub(crate) host: Host,
    /// Where it is to be done.
    pub(crate) directory: String,
    /// Who is to do it.
    pub(crate) agent: String,
    /// The work.
    pub(crate) prompt: String,
    /// The time limit asked for, in minutes; 0 for none.
    pub(crate) timeout_minutes: Option<f64>,
    /// The delegation with whose changes it is to begin.
    pub(crate) from: Option<String>,
}

/// A server held for a delegation that may come to nothing; the caller may hang up at any moment.
pub(super) struct Held<'a> {
    servers: &'a Servers,
    admitting: &'a AtomicUsize,
    id: DelegationId,
    kept: bool,
    /// Whether it changes files there.
    pub(super) writes: bool,
}

impl Held<'_> {
    /// The delegation that was registered has the server from here on, where it is the one that it was held for.
    pub(super) fn hand_over(mut self, started: &Started) {
        self.kept = !started.existing && started.delegation.spec.id == self.id;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.admitting.fetch_sub(1, Ordering::Relaxed);
        if !self.kept {
            self.servers.release(&self.id);
        }
    }
}

impl Engine {
    /// Checks what is asked for in a shell and registers it durably. Where no server of our own runs for its
    /// environment, one is brought up first, which takes some seconds.
    ///
    /// # Errors
    /// The refusal, in the words that a model would read.
    pub(crate) async fn run_from_shell(
        &self,
        request: ShellRequest,
    ) -> Result<Started, NotStarted> {
        let config = self.acceptable(&request.prompt, &request.directory)?;
        let max_run_ms = max_run_ms(request.timeout_minutes, &request.agent, &config)?;
        let project = self.project_of(&request.directory).await;
        self.hub().set_project(&request.directory, project.clone());
        let host = self.hub().note_environment(request.process, &request.host);
        // What waited for an environment may have one now.
        self.schedule();
        let mut spec = Spec {
            id: self.draw_id(),
            project,
            directory: request.directory,
            parent: SessionId::shell(),
            root: SessionId::shell(),
            host,
            origin: Some(request.process.to_string()),
            credentials: credentials(&request.host.env),
            caller: None,
            agent: request.agent,
            model: None,
            prompt: request.prompt,
            ask_title: false,
            access: Access::default(),
            registered_at: self.now(),
            max_run_ms,
            stall_ms: config.stall_ms(),
            max_attempts: config.limits.attempts,
            continues: None,
            retries: None,
            worktree: None,
        };
        spec.ask_title = config.asks_title(&spec.agent);
        let held = self.hold_server(&mut spec, &config).await?;
        if held.writes {
            self.give_worktree(&mut spec, request.from.as_deref(), &config)
                .await?;
        } else if let Some(from) = request.from {
            return Err(no_beginning(&from, &spec.agent).into());
        }
        let started = self.admit_with_worktree(spec, &config).await?;
        held.hand_over(&started);
        Ok(started)
    }

    /// Work from a shell is repeated, or goes on, in the environment of the shell that asks for that, where it has
    /// shown one.
    pub(super) fn move_to_shell(&self, spec: &mut Spec, asker: ProcessId) {
        if let Some(environment) = self.hub().environment_of(&asker) {
            spec.origin = Some(asker.to_string());
            spec.host.clone_from(&environment.host);
            spec.credentials = credentials(&environment.variables);
        }
    }

    /// Has a server up for work from the shell, and gives that the rights which its agent has there: another process
    /// may know other agents, or these as they were.
    pub(super) async fn hold_server(
        &self,
        spec: &mut Spec,
        config: &Config,
    ) -> Result<Held<'_>, NotStarted> {
        self.0.admitting.fetch_add(1, Ordering::Relaxed);
        let mut held = Held {
            servers: &self.0.servers,
            admitting: &self.0.admitting,
            id: spec.id.clone(),
            kept: false,
            writes: false,
        };
        let catalogue = self.shell_catalogue(spec).await?;
        let permitted = permitted(&catalogue, &spec.agent, None, config)?;
        (spec.access, spec.model) = (permitted.access, permitted.model);
        held.writes = permitted.writes;
        Ok(held)
    }

    async fn shell_catalogue(&self, spec: &Spec) -> Result<Catalogue, NotStarted> {
        let refused = |why: String, mend: &str| Refusal::Unavailable {
            why,
            mend: mend.to_owned(),
        };
        if !self.configs().user().server.enabled {
            let why = "work from the shell needs a server of Brigade's own, and [server] enabled is false";
            return Err(refused(why.to_owned(), "Set it to true.").into());
        }
        let mut changes = self.hub().changes();
        let process = loop {
            match self.0.servers.demand(spec) {
                Place::Ready(process) => break process,
                Place::Coming | Place::Full => {
                    if changes.changed().await.is_err() {
                        return Err(refused("the daemon ends".to_owned(), "Call again.").into());
                    }
                }
                Place::Failing(why) => {
                    let why = format!("OpenCode could not be started: {why}");
                    return Err(refused(why, "`brigade doctor` tells what to mend.").into());
                }
                Place::NoEnvironment | Place::Off => {
                    let why = "the environment to run it in is not known".to_owned();
                    let mend = "Ask for it in a shell in which `opencode` is found.";
                    return Err(refused(why, mend).into());
                }
            }
        };
        let connection = self.hub().connected(&process).await;
        if let Some(catalogue) = connection.catalogue(&spec.directory) {
            return Ok(catalogue);
        }
        let learnt = self.learn(&connection, &spec.directory).await;
        learnt.map_err(|error| {
            let why = format!("OpenCode did not tell its agents: {error}");
            refused(why, "Call again.").into()
        })
    }
}
