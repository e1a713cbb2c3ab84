//! Processes that nobody looks after: servers of Brigade's own that are not on record, and what the shells
//! of children have left running when their host died. Only those that belong to this daemon's data folder.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use brigade_agents::opencode::{SESSION_MARK, WORKER};
use brigade_os::paths::Dirs;
use brigade_os::process::{End, Marked, ProcessId, marked};
use brigade_protocol::gc::{Fate, Finding, FindingKind};
use brigade_store::StoreError;

use super::Mended;
use crate::engine::Engine;
use crate::hosts::Hub;

/// What the shells of children have in their environment beside the child session: their host's process ID.
const HOST: &str = "BRIGADE_HOST";
/// How long a process may take to end when it was asked to.
const GRACE: Duration = Duration::from_secs(3);
/// How much of a command is told.
const COMMAND: usize = 120;

/// A process that nobody looks after.
pub(crate) struct Lost {
    kind: Kind,
    id: ProcessId,
    command: String,
    /// What keeps it from being ended.
    left: Option<String>,
}

enum Kind {
    /// A server by this name.
    Server(String),
    /// Left behind by a host, from the shell of this session.
    Left { session: String, host: u32 },
}

/// The processes that are servers of Brigade's own. To be called before the record is read: a server is on
/// record before it is begun, so that none that was seen here is missing there by chance.
pub(super) fn running(data: &Path) -> Vec<Marked> {
    let own = std::process::id();
    let mut first: BTreeMap<String, Marked> = BTreeMap::new();
    for process in marked(WORKER)
        .into_iter()
        // Whoever looks may have been started inside a server.
        .filter(|found| found.id.pid != own && is_ours(found, data))
        // The shells of a server's children inherit its mark, and outlive it.
        .filter(|found| found.id.variable(SESSION_MARK).is_none())
    {
        // What a server has started carries its mark too; it is older than all of that.
        match first.get(&process.value) {
            Some(known) if known.id.start <= process.id.start => {}
            _ => {
                first.insert(process.value.clone(), process);
            }
        }
    }
    first.into_values().collect()
}

/// The servers that are not on record. A hub says that a daemon runs, so that what is on record is looked after;
/// else those on record are told too, for the next daemon to take over.
pub(super) fn servers(running: Vec<Marked>, on_record: &[String], hub: Option<&Hub>) -> Vec<Lost> {
    running
        .into_iter()
        .filter_map(|process| {
            let known = on_record.contains(&process.value);
            let left = match hub {
                Some(_) if known => return None,
                Some(hub) => hub.of_process(&process.id).map(|_| {
                    "it is connected, and ends by itself once nothing needs it".to_owned()
                }),
                None if known => {
                    Some("the next daemon takes it over; without one it ends by itself".to_owned())
                }
                None => None,
            };
            Some(Lost {
                kind: Kind::Server(process.value),
                id: process.id,
                command: process.command,
                left,
            })
        })
        .collect()
}

/// What dead hosts have left behind. `end` says that the person wants it ended.
pub(super) fn left_behind(data: &Path, end: bool) -> Vec<Lost> {
    let own = std::process::id();
    marked(SESSION_MARK)
        .into_iter()
        // A daemon that was started from such a shell carries its mark.
        .filter(|found| found.id.pid != own && is_ours(found, data))
        .filter_map(|found| {
            let host = found.id.variable(HOST)?.to_str()?.parse().ok()?;
            // Whoever bears that number now and is younger is another process.
            let lives = ProcessId::of(host).is_some_and(|host| host.start <= found.id.start);
            (!lives).then_some(Lost {
                kind: Kind::Left {
                    session: found.value,
                    host,
                },
                id: found.id,
                command: found.command,
                left: (!end).then(|| "brigade gc --processes ends it".to_owned()),
            })
        })
        .collect()
}

/// Whether a process was started with places that lead to this data folder.
fn is_ours(process: &Marked, data: &Path) -> bool {
    let lookup = |name: &str| process.id.variable(name);
    Dirs::from_lookup(lookup, None, brigade_os::user_id()).is_ok_and(|dirs| {
        dirs.data == data
            || matches!((dirs.data.canonicalize(), data.canonicalize()), (Ok(its), Ok(own)) if its == own)
    })
}

impl Lost {
    pub(super) fn finding(&self) -> Finding {
        let command = brigade_core::text::line::one_line(&self.command, COMMAND);
        let (kind, what) = match &self.kind {
            Kind::Server(name) => (
                FindingKind::Server,
                format!("server {name} of Brigade's own, and no daemon looks after it: {command}"),
            ),
            Kind::Left { session, host } => (
                FindingKind::Process,
                format!(
                    "left from a shell of session {session} when its host (process {host}) died: {command}"
                ),
            ),
        };
        Finding {
            kind,
            subject: format!("process {}", self.id.pid),
            what,
            fate: match self.left {
                Some(_) => Fate::Left,
                None => Fate::Planned,
            },
            action: self.left.clone().unwrap_or_else(|| "end it".to_owned()),
        }
    }

    /// Whether it is looked after, as things are now and not as they were when it was found.
    async fn is_looked_after(&self, engine: &Engine) -> Result<bool, StoreError> {
        let Kind::Server(name) = &self.kind else {
            return Ok(false);
        };
        if engine.servers().knows(&self.id) || engine.hub().of_process(&self.id).is_some() {
            return Ok(true);
        }
        let on_record = engine.store().servers().await?;
        Ok(on_record.iter().any(|server| server.id == *name))
    }

    /// Asks the process to end, and kills it if it does not.
    pub(super) async fn end(&self, engine: &Engine) -> Mended {
        match self.is_looked_after(engine).await {
            Ok(false) => {}
            Ok(true) => return Mended::left("it is looked after by now"),
            Err(error) => return Mended::failed(&error),
        }
        match self.try_end().await {
            Ok(action) => Mended::done(action),
            Err(error) => Mended::failed(&error),
        }
    }

    async fn try_end(&self) -> io::Result<&'static str> {
        self.id.end(End::Ask)?;
        let ended = tokio::time::timeout(GRACE, self.id.wait_exit()).await;
        match ended {
            Ok(ended) => ended.map(|()| "ended"),
            Err(_) => {
                self.id.end(End::Kill)?;
                self.id.wait_exit().await?;
                Ok("did not end when it was asked to, and was killed")
            }
        }
    }
}
