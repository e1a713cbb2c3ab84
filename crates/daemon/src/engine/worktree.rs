//! The worktrees of write-capable delegations, as their lives need them.

use brigade_core::delegation::{Changes, Delegation, Spec, Worktree};
use brigade_core::id::DelegationId;
use brigade_core::permission::Ruleset;
use brigade_core::text::replies::{Refusal, Unsteerable};
use brigade_protocol::changes::{ApplyOutcome, ApplyReport};
use brigade_store::WorktreeState;
use tokio_util::sync::CancellationToken;

use super::steer::NotSteered;
use super::{Engine, NotStarted, Started};
use crate::config::Config;
use crate::servers::Place;
use crate::worktrees::{Applied, ApplyRequest, NotApplied, Readiness};

impl Engine {
    /// Takes the state that a write-capable delegation begins with: of its directory's tree, or what `from` has left.
    ///
    /// # Errors
    /// The refusal, for the model to read; nothing is kept then.
    pub(super) async fn give_worktree(
        &self,
        spec: &mut Spec,
        from: Option<&str>,
        config: &Config,
    ) -> Result<(), Refusal> {
        let agent = spec.agent.clone();
        let refused = |why: String| Refusal::NoWorktree {
            agent: agent.clone(),
            why,
        };
        if !self.configs().user().server.enabled {
            return Err(refused(
                "it would run on a server of Brigade's own, and [server] enabled is false"
                    .to_owned(),
            ));
        }
        let from = match from {
            Some(id) => Some(self.left_by(spec, id).await?),
            None => None,
        };
        // The folder bears its name, and another's is nobody's to take.
        while self
            .0
            .worktrees
            .is_taken(&spec.id)
            .await
            .map_err(|error| refused(error.to_string()))?
        {
            spec.id = self.draw_id();
        }
        let taken = self.0.worktrees.take(spec, from, config).await;
        spec.worktree = Some(taken.map_err(|error| refused(error.to_string()))?);
        Ok(())
    }

    /// What an ended delegation of the same project has left, to begin with: its worktree's name and tree.
    async fn left_by(
        &self,
        spec: &Spec,
        id: &str,
    ) -> Result<(DelegationId, DelegationId, String), Refusal> {
        let bad = |what: String| Refusal::BadArgument { what };
        let parsed = id.parse::<DelegationId>().ok();
        let row = match &parsed {
            Some(id) => self
                .store()
                .get(id)
                .await
                .map_err(|error| super::register::unavailable(&error))?,
            None => None,
        };
        let record = row
            .map(|row| row.delegation)
            .filter(|record| record.spec.project == spec.project);
        let Some(record) = record else {
            return Err(bad(format!(
                "from is {id:?}, which this project does not have"
            )));
        };
        if !record.state.is_terminal() {
            return Err(bad(format!(
                "from is {id:?}, which is {}: its changes are there once it has ended",
                record.state
            )));
        }
        match (&record.spec.worktree, &record.changes) {
            (Some(worktree), Some(changes)) => Ok((
                record.spec.id.clone(),
                worktree.id.clone(),
                changes.tree.clone(),
            )),
            _ => Err(bad(format!("from is {id:?}, which has changed no files"))),
        }
    }

    /// Registers work that may have taken a worktree: what comes to nothing leaves none. Whoever may edit does so in
    /// one: without, it would be in the person's own tree.
    pub(super) async fn admit_with_worktree(
        &self,
        spec: Spec,
        config: &Config,
    ) -> Result<Started, NotStarted> {
        if spec.worktree.is_none() && Ruleset(spec.access.rules.to_vec()).tool_offered("edit") {
            return Err(NotStarted::Refused(Refusal::NoWorktree {
                agent: spec.agent,
                why: "it may edit now, and none was taken for it; delegate the work anew"
                    .to_owned(),
            }));
        }
        let taken = spec.worktree.as_ref().map(|worktree| worktree.id.clone());
        let own = taken.filter(|id| *id == spec.id);
        let started = self.admit(spec, config).await;
        let kept = started.as_ref().is_ok_and(|started| !started.existing);
        if let (Some(id), false) = (own, kept) {
            self.0.worktrees.forget(&id).await;
        }
        started
    }

    /// The worktree in which a further round would go on.
    pub(super) async fn same_worktree(
        &self,
        old: &Delegation,
    ) -> Result<Option<Worktree>, NotSteered> {
        let Some(worktree) = &old.spec.worktree else {
            return Ok(None);
        };
        let row = self.store().worktree(&worktree.id).await?;
        // Files that are gone are laid out again as they were left.
        if row.is_some_and(|row| row.state != WorktreeState::Discarded) {
            return Ok(Some(worktree.clone()));
        }
        let id = old.spec.id.clone();
        Err(Unsteerable::WorktreeGone { id }.into())
    }

    /// How the setup command of its worktree ended, where there was one.
    pub(super) async fn setup_of(&self, record: &Delegation) -> Option<String> {
        let worktree = record.spec.worktree.as_ref()?;
        match self.store().worktree(&worktree.id).await {
            Ok(row) => row?.setup,
            Err(error) => {
                tracing::warn!(id = %record.spec.id, %error, "how its setup ended can't be told to it");
                None
            }
        }
    }

    /// Where it could run, as things stand: its worktree first, then a server.
    pub(crate) fn place(&self, spec: &Spec) -> Place {
        match spec
            .worktree
            .as_ref()
            .map(|worktree| self.0.worktrees.look(worktree))
        {
            None | Some(Readiness::Ready) => self.0.servers.place(spec),
            Some(Readiness::Coming) => Place::Coming,
            Some(Readiness::Failing(why)) => Place::Failing(why),
        }
    }

    /// The same, and has done what it takes to get there.
    pub(super) fn demand(&self, spec: &Spec) -> Place {
        let readiness = spec.worktree.as_ref().map(|worktree| {
            let config = self.configs().for_directory(&spec.directory);
            self.0.worktrees.demand(spec, worktree, &config)
        });
        match readiness {
            None | Some(Readiness::Ready) => self.0.servers.demand(spec),
            Some(Readiness::Coming) => Place::Coming,
            Some(Readiness::Failing(why)) => Place::Failing(why),
        }
    }

    /// A call that has applied something was aborted before its host had the answer: nobody knows of it, so it is
    /// taken out again.
    pub(super) async fn take_back(&self, seq: i64) {
        let taken = self.try_take_back(seq).await;
        match taken {
            Ok(Some(report)) if report.outcome == ApplyOutcome::Undone => {
                tracing::info!(seq, id = %report.id, "an apply whose call was aborted is taken out again");
            }
            Ok(Some(report)) => self.0.troubles.note(format!(
                "{}: what was applied in a call that was aborted could not be taken out again, since the files were \
                 changed since; `brigade apply --undo` shows where",
                report.id
            )),
            Ok(None) => {}
            Err(error) => self.0.troubles.note(format!(
                "what was applied in a call that was aborted could not be taken out again: {error}"
            )),
        }
    }

    async fn try_take_back(&self, seq: i64) -> Result<Option<ApplyReport>, NotApplied> {
        let Some(apply) = self.store().apply_of(seq).await? else {
            return Ok(None);
        };
        let Some(row) = self.store().get(&apply.apply.delegation).await? else {
            return Ok(None);
        };
        let request = ApplyRequest {
            to: None,
            paths: Vec::new(),
            markers: false,
            dry_run: false,
            allowed: None,
            call: None,
            by: "model",
        };
        let never = CancellationToken::new();
        let undone = self
            .0
            .worktrees
            .undo(&row.delegation, Some(seq), &request, &never)
            .await?;
        Ok(Some(undone.report))
    }

    /// A delegation has ended: a worktree in which nothing was changed is of no use any more.
    pub(super) fn tidy_worktree(&self, record: &Delegation) {
        let Some(worktree) = &record.spec.worktree else {
            return;
        };
        self.0.worktrees.has_ended();
        let unchanged = record.changes.as_ref().is_none_or(Changes::is_empty);
        if unchanged {
            let (worktrees, record) = (self.0.worktrees.clone(), record.clone());
            let id = worktree.id.clone();
            self.spawn(async move {
                // One that was cancelled before it began may still be laid out.
                worktrees.abandon(&id).await;
                worktrees.let_go(&record).await;
            });
        }
    }

    /// Applies what a delegation has changed, or takes it out again. A task of its own sees it through: who asks may
    /// hang up at any moment, and `cancel` has it taken back then.
    ///
    /// # Errors
    /// [`NotApplied`].
    pub(crate) async fn apply(
        &self,
        record: Delegation,
        request: ApplyRequest,
        undo: bool,
        cancel: CancellationToken,
    ) -> Result<Applied, NotApplied> {
        let (engine, worktrees) = (self.clone(), self.0.worktrees.clone());
        let applying = self.0.tasks.spawn(async move {
            // Its answer was lost, and it is repeated.
            let again = request.call.as_deref().filter(|_| !undo);
            if let Some((seq, report)) = again.and_then(|call| worktrees.answered(call)) {
                return Ok(Applied {
                    report,
                    seq: Some(seq),
                    diff: None,
                });
            }
            let applied = if undo {
                worktrees.undo(&record, None, &request, &cancel).await?
            } else {
                worktrees.apply(&record, &request, &cancel).await?
            };
            engine.0.activity.notify_one();
            let Some(seq) = applied.seq.filter(|_| !undo) else {
                return Ok(applied);
            };
            if let Some(call) = &request.call {
                worktrees.answering(call, &applied.report, seq);
            }
            if cancel.is_cancelled() {
                // Who asked has hung up in the last moment, and would never know.
                worktrees.confirmed(seq);
                engine.take_back(seq).await;
            } else if applied.report.whole {
                // What it may still hold stays, and with it the files. Nobody waits for that.
                engine.spawn(async move {
                    worktrees.let_go(&record).await;
                });
            }
            Ok(applied)
        });
        match applying.await {
            Ok(applied) => applied,
            Err(error) => Err(NotApplied::BrokeOff(format!("it broke off: {error}"))),
        }
    }
}
