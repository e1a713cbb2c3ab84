//! Finds what a crash, a restored backup or a helping hand has left, and mends it. What looks and what
//! mends share their findings, so that neither sees what the other does not.
//!
//! Nothing here deletes a result, read or unread, or a session.

mod files;
mod logs;
mod processes;
mod sessions;
mod worktrees;

use std::path::PathBuf;

use brigade_core::text::line::size as amount;
use brigade_os::paths::Dirs;
use brigade_protocol::gc::{Fate, Finding, FindingKind, Gc, GcReport};
use brigade_store::{OpenError, StoreError, StorePaths, Stray};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use crate::engine::Engine;

/// How many small results are taken back at the same time.
const TOGETHER: usize = 32;
/// How many bytes such a one has at most.
const SMALL: u64 = 1024 * 1024;

/// One thing that was found.
pub(crate) enum Thing {
    /// Between store and artifacts.
    Stray(Stray),
    /// A log nobody needs any more.
    Log(logs::Old),
    /// A child session that nothing needs.
    Session(sessions::Dangling),
    /// A process that nobody looks after.
    Process(processes::Lost),
    /// A worktree that fits no record, or is needed no more.
    Worktree(worktrees::Found),
    /// The store's file, which can always do with some upkeep.
    Store { path: PathBuf, size: u64 },
}

/// Where to look.
pub(crate) struct Places {
    /// The folder of store and logs.
    pub(crate) data: PathBuf,
    /// The folder of the logs.
    pub(crate) logs: PathBuf,
}

/// What came of mending a thing.
pub(crate) struct Mended {
    fate: Fate,
    action: String,
    freed: u64,
}

impl Mended {
    fn done(action: impl Into<String>) -> Self {
        Self {
            fate: Fate::Done,
            action: action.into(),
            freed: 0,
        }
    }

    fn left(action: impl Into<String>) -> Self {
        Self {
            fate: Fate::Left,
            ..Self::done(action)
        }
    }

    fn failed(error: &dyn std::error::Error) -> Self {
        Self {
            fate: Fate::Failed,
            ..Self::done(error.to_string())
        }
    }
}

/// Looks and, unless it is only to be looked, mends.
///
/// # Errors
/// When the store can't be read; nothing was done then.
pub(crate) async fn run(
    engine: &Engine,
    places: &Places,
    request: &Gc,
) -> Result<GcReport, StoreError> {
    let mut report = GcReport {
        dry_run: request.dry_run,
        ..GcReport::default()
    };
    let (things, notes) = find(engine, places, request.processes).await?;
    report.notes = notes;
    // One after the other, since a folder is empty only once the files in it are gone; but small results
    // may share the store's transactions.
    for group in things.chunk_by(|one, next| one.is_small_result() && next.is_small_result()) {
        let dealing: Vec<BoxFuture<'_, (Finding, u64)>> = group
            .iter()
            .map(|thing| deal_with(engine, thing, request.dry_run).boxed())
            .collect();
        let mut dealt = stream::iter(dealing).buffered(TOGETHER);
        while let Some((finding, freed)) = dealt.next().await {
            report.findings.push(finding);
            report.freed += freed;
        }
    }
    Ok(report)
}

/// Mends a thing that can be mended, unless it is only to be looked; says what became of it, and how many
/// bytes that has freed.
async fn deal_with(engine: &Engine, thing: &Thing, dry_run: bool) -> (Finding, u64) {
    let mut finding = thing.finding();
    if dry_run || finding.fate != Fate::Planned {
        return (finding, 0);
    }
    let mended = mend(engine, thing).await;
    tracing::info!(kind = ?finding.kind, subject = %finding.subject, fate = ?mended.fate, action = %mended.action, "cleared up");
    finding.fate = mended.fate;
    finding.action = mended.action;
    (finding, mended.freed)
}

/// What is found where no daemon runs, by looking alone. None where the store has to be brought up to date
/// by a daemon first.
///
/// # Errors
/// When the store can't be read.
pub fn look(dirs: &Dirs) -> Result<Option<Vec<Finding>>, OpenError> {
    let running = processes::running(&dirs.data);
    let logs = logs::all(&dirs.logs());
    let Some(found) = brigade_store::inspect_files(&store_paths(dirs))? else {
        return Ok(None);
    };
    let logs = logs::old(&logs, &found.servers);
    let servers = processes::servers(running, &found.servers, None);
    let left = processes::left_behind(&dirs.data, false);
    let things = found
        .strays
        .into_iter()
        .map(Thing::Stray)
        .chain(servers.into_iter().chain(left).map(Thing::Process))
        .chain(logs.into_iter().map(Thing::Log));
    Ok(Some(things.map(|thing| thing.finding()).collect()))
}

/// Where the store and its files lie.
pub(crate) fn store_paths(dirs: &Dirs) -> StorePaths {
    StorePaths {
        db: dirs.store(),
        artifacts: dirs.opencode_data.join("delegations"),
        predecessor: dirs.home.join(".local/share/opencode/delegations"),
    }
}

async fn find(
    engine: &Engine,
    places: &Places,
    end: bool,
) -> Result<(Vec<Thing>, Vec<String>), StoreError> {
    let store = engine.store();
    let mut things: Vec<Thing> = store
        .strays()
        .await?
        .into_iter()
        .map(Thing::Stray)
        .collect();
    let (sessions, notes) = sessions::dangling(engine).await?;
    things.extend(sessions.into_iter().map(Thing::Session));
    let running = processes::running(&places.data);
    let logs = logs::all(&places.logs);
    let servers: Vec<String> = store
        .servers()
        .await?
        .into_iter()
        .map(|server| server.id)
        .collect();
    let lost = processes::servers(running, &servers, Some(engine.hub()));
    let left = processes::left_behind(&places.data, end);
    things.extend(lost.into_iter().chain(left).map(Thing::Process));
    things.extend(logs::old(&logs, &servers).into_iter().map(Thing::Log));
    let worktrees = worktrees::look(engine).await?;
    things.extend(worktrees.into_iter().map(Thing::Worktree));
    things.push(Thing::Store {
        path: store.path().to_owned(),
        size: store.size().await,
    });
    Ok((things, notes))
}

impl Thing {
    /// Whether it is a result to be taken back of which several fit into memory.
    fn is_small_result(&self) -> bool {
        let Thing::Stray(Stray::Unrecorded(place)) = self else {
            return false;
        };
        std::fs::metadata(&place.path).is_ok_and(|meta| meta.len() <= SMALL)
    }

    /// The finding, with what is going to be done.
    fn finding(&self) -> Finding {
        match self {
            Thing::Stray(stray) => files::finding(stray),
            Thing::Log(log) => log.finding(),
            Thing::Session(session) => session.finding(),
            Thing::Process(process) => process.finding(),
            Thing::Worktree(found) => found.finding(),
            Thing::Store { path, size } => Finding {
                kind: FindingKind::Store,
                subject: path.display().to_string(),
                what: format!("{} with its log", amount(*size)),
                fate: Fate::Planned,
                action: "fold its log in, merge the search index".to_owned(),
            },
        }
    }
}

async fn mend(engine: &Engine, thing: &Thing) -> Mended {
    match thing {
        Thing::Stray(stray) => files::mend(engine, stray).await,
        Thing::Session(session) => session.stop(engine).await,
        Thing::Process(process) => process.end(engine).await,
        Thing::Worktree(found) => found.mend(engine).await,
        Thing::Log(log) => files::remove(log.path.clone(), log.size).await,
        Thing::Store { size, .. } => match engine.store().tend().await {
            Ok(tended) => Mended {
                freed: size.saturating_sub(tended.after),
                ..Mended::done(format!(
                    "{}, search index merged; {} now",
                    if tended.folded {
                        "log folded in"
                    } else {
                        "log in use, folded in as far as that allows"
                    },
                    amount(tended.after)
                ))
            },
            Err(error) => Mended::failed(&error),
        },
    }
}
