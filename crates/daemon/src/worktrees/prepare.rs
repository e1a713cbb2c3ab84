//! Laying a worktree out before its delegation starts: the files, and what the setup command makes of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_core::delegation::{Spec, Worktree, span};
use brigade_core::id::DelegationId;
use brigade_os::process::End;
use brigade_os::spawn::{gated, leash};
use brigade_store::{StoreError, WorktreeState};
use brigade_worktree::rebuild;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{BACKOFF, Laying, Readiness, Stand, Worktrees, begun};
use crate::config::{Config, SetupBy};
use crate::failpoint;
use crate::hosts::lock;
use crate::last_words::last_words;

/// Why laying out was given up.
const UNNEEDED: &str = "the delegation has ended meanwhile";

impl Worktrees {
    /// Where a worktree stands, as far as is known. Changes nothing.
    pub(crate) fn look(&self, worktree: &Worktree) -> Readiness {
        match lock(&self.0.stands).get(&worktree.id) {
            Some(Stand::Ready) => Readiness::Ready,
            Some(Stand::Failed { why, .. }) => Readiness::Failing(why.clone()),
            Some(Stand::Coming(_)) | None => Readiness::Coming,
        }
    }

    /// The same, and has done what it takes to get it ready.
    pub(crate) fn demand(&self, spec: &Spec, worktree: &Worktree, config: &Config) -> Readiness {
        let mut stands = lock(&self.0.stands);
        let count = match stands.get(&worktree.id) {
            Some(Stand::Ready) => return Readiness::Ready,
            Some(Stand::Coming(_)) => return Readiness::Coming,
            Some(Stand::Failed { why, until, .. }) if *until > Instant::now() => {
                return Readiness::Failing(why.clone());
            }
            Some(Stand::Failed { count, .. }) => *count,
            None => 0,
        };
        let laying = Laying::default();
        stands.insert(worktree.id.clone(), Stand::Coming(laying.clone()));
        drop(stands);
        let (worktrees, spec, worktree) = (self.clone(), spec.clone(), worktree.clone());
        let config = config.clone();
        self.spawn(async move {
            let Laying { unneeded, ended } = laying;
            let _ended = ended.drop_guard();
            let prepared = worktrees.prepare(&spec, &worktree, &config, &unneeded);
            let stand = match prepared.await {
                Ok(()) => {
                    worktrees.0.parts.troubles.clear(worktree.id.as_str());
                    Some(Stand::Ready)
                }
                Err(_) if unneeded.is_cancelled() => None,
                Err(why) => Some(worktrees.failed(&worktree.id, why, count + 1)),
            };
            match stand {
                Some(stand) => lock(&worktrees.0.stands).insert(worktree.id.clone(), stand),
                None => lock(&worktrees.0.stands).remove(&worktree.id),
            };
            // Whoever waits for it asks again.
            worktrees.0.parts.hub.servers_changed();
        });
        Readiness::Coming
    }

    /// Nobody needs a worktree any more: stops laying it out, and waits until nothing works on it.
    pub(crate) async fn abandon(&self, id: &DelegationId) {
        let laying = match lock(&self.0.stands).get(id) {
            Some(Stand::Coming(laying)) => laying.clone(),
            _ => return,
        };
        laying.unneeded.cancel();
        laying.ended.cancelled().await;
    }

    fn failed(&self, id: &DelegationId, why: String, count: u32) -> Stand {
        let pause = BACKOFF.0 * 2u32.saturating_pow((count - 1).min(16));
        let pause = pause.min(BACKOFF.1);
        self.0.parts.troubles.note(format!(
            "{id}: its worktree could not be laid out: {why}; it is tried again"
        ));
        let until = Instant::now() + pause;
        let hub = self.0.parts.hub.clone();
        self.spawn(async move {
            tokio::time::sleep_until(until).await;
            hub.servers_changed();
        });
        Stand::Failed { why, count, until }
    }

    async fn prepare(
        &self,
        spec: &Spec,
        worktree: &Worktree,
        config: &Config,
        unneeded: &CancellationToken,
    ) -> Result<(), String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let store = &self.0.parts.store;
        let row = store.worktree(&worktree.id).await;
        let row = row
            .map_err(|error| words(&error))?
            .ok_or("it is not on record")?;
        let place = self.place_for(&worktree.id, spec);
        if row.state == WorktreeState::Ready && place.tree().is_dir() {
            return make_below(&place.tree(), Path::new(&worktree.directory));
        }
        if config.worktree.setup.is_some() && self.0.parts.hub.environment(spec).is_none() {
            // It would have to be left out, for good.
            return Err(
                "the environment to run its setup command in is not known: it waits for its host"
                    .to_owned(),
            );
        }
        let files = self.beginning(spec, worktree).await;
        let files = files.map_err(|error| words(&error))?;
        if spec.continues.is_some() {
            // Who has claimed the files of the round before for removal has removed them by then.
            drop(self.0.changing.lock().await);
        }
        let building = turn(&self.0.building, unneeded).await?;
        let snapshot = begun(&place)?;
        let built = rebuild(&place, &snapshot, &files, &self.0.steps).await;
        built.map_err(|error| words(&error))?;
        drop(building);
        // A folder in which nothing is tracked is not among the files.
        make_below(&place.tree(), Path::new(&worktree.directory))?;
        failpoint::pass("worktree-built");
        let setup = match &config.worktree.setup {
            Some(command) => {
                let _turn = turn(&self.0.setting_up, unneeded).await?;
                let set_up = self.set_up(spec, worktree, command, config, unneeded);
                Some(set_up.await)
            }
            None => None,
        };
        let bytes = brigade_worktree::usage(&self.folder(&worktree.id)).await;
        if unneeded.is_cancelled() {
            return Err(UNNEEDED.to_owned());
        }
        failpoint::pass("worktree-set-up");
        store
            .set_worktree(&worktree.id, WorktreeState::Ready, bytes, setup)
            .await
            .map_err(|error| words(&error))
    }

    /// The files that a delegation begins with: as the round before has left them, or as they were taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn beginning(
        &self,
        spec: &Spec,
        worktree: &Worktree,
    ) -> Result<String, StoreError> {
        let mut before = spec.continues.as_ref().map(|earlier| earlier.id.clone());
        while let Some(id) = before {
            let Some(row) = self.0.parts.store.get(&id).await? else {
                break;
            };
            if let Some(changes) = row.delegation.changes {
                return Ok(changes.tree);
            }
            let earlier = row.delegation.spec.continues;
            before = earlier.map(|earlier| earlier.id);
        }
        Ok(worktree.base.clone())
    }

    /// Runs the setup command, and says how it ended: the work goes on whatever comes of it.
    async fn set_up(
        &self,
        spec: &Spec,
        worktree: &Worktree,
        command: &str,
        config: &Config,
        unneeded: &CancellationToken,
    ) -> String {
        let settings = &config.worktree;
        let confined = worktree.confine && brigade_os::confine::available().is_ok();
        if settings.setup_by == SetupBy::Project && !confined && !settings.trust_setup {
            return "not run: the project's setup command can't be confined here, and [worktree] trust_setup is false"
                .to_owned();
        }
        let Some(environment) = self.0.parts.hub.environment(spec) else {
            return "not run: the environment to run it in is not known".to_owned();
        };
        let place = self.place(&worktree.id);
        let mut variables = environment.variables.clone();
        variables.extend(own_variables(&place.tmp()));
        let mut args: Vec<OsString> = vec!["gate".into()];
        if confined {
            args.push("--confined".into());
            let folders = [place.tree(), place.tmp()];
            let also = settings.writable.iter().filter(|path| path.exists());
            for path in folders.iter().chain(also) {
                args.extend(["--writable".into(), path.clone().into_os_string()]);
            }
        }
        // The gate's program starts in the root folder.
        args.extend(["--", "sh", "-c", "cd \"$1\" && exec sh -c \"$2\"", "sh"].map(OsString::from));
        args.extend([worktree.directory.clone().into(), command.into()]);
        let log = self.folder(&worktree.id).join("setup.log");
        let running = run(
            &self.0.parts.program,
            args,
            &variables,
            &log,
            (settings.setup_time, unneeded),
        );
        match running.await {
            Ok(Ran::Unneeded) => UNNEEDED.to_owned(),
            Ok(Ran::Success) => "done".to_owned(),
            Ok(Ran::Failed(status)) => format!("{status}{}", last_words(&log)),
            Ok(Ran::OverTime(limit)) => format!(
                "stopped after {}{}",
                span(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
                last_words(&log)
            ),
            Err(error) => format!("not run: {error}"),
        }
    }
}

/// How a command ended.
enum Ran {
    Success,
    Failed(std::process::ExitStatus),
    OverTime(Duration),
    Unneeded,
}

/// Waits for a turn; an error where nobody needs it any more.
async fn turn<'a>(
    of: &'a Semaphore,
    unneeded: &CancellationToken,
) -> Result<SemaphorePermit<'a>, String> {
    match unneeded.run_until_cancelled(of.acquire()).await {
        Some(turn) => turn.map_err(|_| "the daemon ends".to_owned()),
        None => Err(UNNEEDED.to_owned()),
    }
}

/// Makes a folder below another where it is not there, through no link: what has worked there may have put one in the
/// way.
fn make_below(top: &Path, folder: &Path) -> Result<(), String> {
    let below = folder
        .strip_prefix(top)
        .map_err(|_| format!("{} is not in {}", folder.display(), top.display()))?;
    let mut path = top.to_owned();
    for name in below {
        path.push(name);
        match std::fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = std::fs::symlink_metadata(&path);
                if !there.is_ok_and(|there| there.is_dir()) {
                    return Err(format!("{} is no folder any more", path.display()));
                }
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(())
}

/// Runs a command behind its gate to its end, or to the limit.
async fn run(
    program: &Path,
    args: Vec<OsString>,
    variables: &BTreeMap<String, String>,
    log: &Path,
    (limit, unneeded): (Option<Duration>, &CancellationToken),
) -> std::io::Result<Ran> {
    let started = gated(program, args, variables, log)?;
    let process = started.id;
    // Should the daemon end meanwhile, the next one begins with this anew.
    let hold = ["gate".to_owned(), "--hold".to_owned(), process.to_string()];
    let held = leash(program, hold)?;
    let mut child = started.open().await?;
    let ended = async {
        match limit {
            Some(limit) => tokio::time::timeout(limit, child.wait()).await.ok(),
            None => Some(child.wait().await),
        }
    };
    let Some(ended) = unneeded.run_until_cancelled(ended).await else {
        // It leads a group of its own.
        process.end(End::Kill)?;
        child.wait().await?;
        return Ok(Ran::Unneeded);
    };
    if ended.is_some()
        && let Err(error) = held.release().await
    {
        tracing::debug!(%error, "who watched over a setup command is gone");
    }
    match (ended, limit) {
        (Some(status), _) => {
            let status = status?;
            Ok(if status.success() {
                Ran::Success
            } else {
                Ran::Failed(status)
            })
        }
        (None, limit) => {
            process.end(End::Kill)?;
            child.wait().await?;
            Ok(Ran::OverTime(limit.unwrap_or_default()))
        }
    }
}

/// Package managers keep their caches where they may write.
fn own_variables(tmp: &Path) -> BTreeMap<String, String> {
    let cache = tmp.join("cache");
    [
        ("TMPDIR", tmp.to_owned()),
        ("XDG_CACHE_HOME", cache.clone()),
        ("npm_config_cache", cache.join("npm")),
    ]
    .map(|(name, path): (&str, PathBuf)| (name.to_owned(), path.display().to_string()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_again_and_through_no_link() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("tree");
        std::fs::create_dir(&top).unwrap();
        let folder = top.join("web/deep");
        make_below(&top, &folder).unwrap();
        make_below(&top, &folder).unwrap();
        make_below(&top, &top).unwrap();
        assert!(folder.is_dir());
        std::fs::remove_dir_all(top.join("web")).unwrap();
        let elsewhere = temp.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, top.join("web")).unwrap();
        let why = make_below(&top, &folder).unwrap_err();
        assert!(why.contains("is no folder any more"), "{why}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert!(make_below(&top, &elsewhere).is_err());
    }
}
