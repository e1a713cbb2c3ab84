//! The worktrees of write-capable delegations.

use brigade_core::delegation::Spec;
use brigade_core::text::replies::Refusal;

use super::Engine;
use crate::config::Config;

impl Engine {
    /// Takes the state that a write-capable delegation begins with.
    ///
    /// # Errors
    /// The refusal, for the model to read.
    pub(super) async fn give_worktree(
        &self,
        spec: &mut Spec,
        _from: Option<&str>,
        _config: &Config,
    ) -> Result<(), Refusal> {
        Err(Refusal::NoWorktree {
            agent: spec.agent.clone(),
            why: "this version makes none yet".to_owned(),
        })
    }
}
