//! What `diff`, `apply` and `discard` have in common: the delegation that is meant, and what is to be said of one
//! that has changed nothing.

use std::path::{Component, Path, PathBuf};

use brigade_client::{Client, ClientError};
use brigade_core::delegation::Changes;
use brigade_protocol::ErrorCode;
use brigade_protocol::delegations::{Details, Scope};

use crate::context::{directory, scope};
use crate::error::{CliError, Kind};
use crate::host::project_top;

/// A delegation, and where its files and folders are named from.
#[derive(Debug)]
pub(crate) struct Found {
    /// Everything about it.
    pub(crate) details: Details,
    /// The project in which it was found; none for any.
    pub(crate) scope: Scope,
    /// The current directory, where that belongs to the delegation's project.
    pub(crate) here: Option<PathBuf>,
}

impl Found {
    /// Looks in the current directory's project first, and in the others only where it is to.
    pub(crate) async fn look(client: &Client, id: &str, all: bool) -> Result<Self, CliError> {
        let here = scope(false)?;
        match client.show(id, &here).await {
            Ok(details) => Ok(Self {
                details,
                scope: here,
                here: Some(directory()?),
            }),
            Err(ClientError::Api(body)) if all && body.code == ErrorCode::NotFound => {
                let anywhere = scope(true)?;
                Ok(Self {
                    details: client.show(id, &anywhere).await?,
                    scope: anywhere,
                    here: None,
                })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Its whole ID.
    pub(crate) fn id(&self) -> &str {
        self.details.summary.id.as_str()
    }

    /// What it has changed.
    pub(crate) fn changes(&self) -> Result<&Changes, CliError> {
        changes(&self.details)
    }

    /// Files and folders as the person names them, from the top of the working tree; none for all of it.
    pub(crate) fn paths(&self, paths: &[PathBuf]) -> Result<Vec<String>, CliError> {
        match &self.here {
            Some(here) => from_top(paths, here, &project_top(here)),
            // In another project's tree nothing is relative to where the person is.
            None => from_top(paths, Path::new("/"), Path::new("/")),
        }
    }
}

fn changes(details: &Details) -> Result<&Changes, CliError> {
    let id = &details.summary.id;
    let refused = |message: String, hint: String| {
        Err(CliError::new(Kind::Refused, format!("{id} {message}")).hint(hint))
    };
    let Some(worktree) = &details.worktree else {
        return refused(
            "was read-only: it has changed nothing".into(),
            format!("its result is text: brigade read {id}"),
        );
    };
    match &worktree.changes {
        Some(changes) => Ok(changes),
        None if !details.summary.state.is_terminal() => refused(
            format!(
                "is {}: what it changes is known once it has ended",
                details.summary.state
            ),
            format!("follow it with: brigade read {id} --follow"),
        ),
        None => refused(
            format!(
                "ended ({}) with no changes on record",
                details.summary.state
            ),
            format!("see what became of its worktree: brigade show {id}"),
        ),
    }
}

fn from_top(paths: &[PathBuf], here: &Path, top: &Path) -> Result<Vec<String>, CliError> {
    let mut named = Vec::new();
    for path in paths {
        let usage = |why: String| {
            let message = format!("{} {why}; nothing was done", path.display());
            CliError::new(Kind::Usage, message)
        };
        let outside = || usage(format!("is outside of {}", top.display()));
        let whole = plain(&here.join(path)).ok_or_else(outside)?;
        let rest = whole.strip_prefix(top).map_err(|_| outside())?;
        if rest.as_os_str().is_empty() {
            return Ok(Vec::new());
        }
        let Some(rest) = rest.to_str() else {
            return Err(usage("is no UTF-8 and can't be named here".into()));
        };
        named.push(rest.to_owned());
    }
    Ok(named)
}

/// The path without `.` and `..`, as it is written: what a file is, now or in the patch, plays no part. None where it
/// climbs above the root.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !whole.pop() => return None,
            Component::ParentDir => {}
            part => whole.push(part),
        }
    }
    Some(whole)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::commands::show::tests::details;
    use brigade_core::delegation::{ChangeKind, FileChange, State};

    /// Three changed files.
    pub(crate) fn three_changes() -> Changes {
        let file = |path: &str, kind, lines| FileChange {
            path: path.into(),
            kind,
            lines,
        };
        Changes {
            tree: "t".into(),
            files: 3,
            added: 9,
            removed: 3,
            shown: vec![
                file("docs/login.md", ChangeKind::Added, Some((8, 0))),
                file("logo.png", ChangeKind::Deleted, None),
                file("src/lock.rs", ChangeKind::Modified, Some((1, 3))),
            ],
            patch: Some("/home/x/results/agile-red-fox.patch".into()),
            beside: vec!["a repository at vendor/x".into()],
        }
    }

    #[test]
    fn paths_are_named_from_the_top() {
        let (here, top) = (Path::new("/p/src/auth"), Path::new("/p"));
        let named = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
            from_top(&paths, here, top)
        };
        assert_eq!(
            named(&["x.rs", "../lib.rs", "./../../docs/", "/p/README.md"]).unwrap(),
            ["src/auth/x.rs", "src/lib.rs", "docs", "README.md"]
        );
        assert!(named(&["x.rs", "../.."]).unwrap().is_empty());
        for outside in ["../../../q", "/etc/passwd", "/p2/x"] {
            assert_eq!(
                named(&[outside]).unwrap_err().kind,
                Kind::Usage,
                "{outside}"
            );
        }
        let elsewhere = |path: &str| from_top(&[path.into()], Path::new("/"), Path::new("/"));
        assert_eq!(elsewhere("src/./x.rs").unwrap(), ["src/x.rs"]);
        assert!(elsewhere("../x").is_err());
    }

    #[test]
    fn what_has_no_changes_says_why() {
        let said = |state, worktree| {
            let mut details = details(state);
            details.worktree = worktree;
            let error = changes(&details).unwrap_err();
            assert_eq!(error.kind, Kind::Refused);
            error.message
        };
        let worktree = details(State::Complete).worktree;
        let unknown = worktree.map(|worktree| brigade_protocol::changes::WorktreeDetails {
            changes: None,
            ..worktree
        });
        assert!(said(State::Complete, None).contains("was read-only"));
        assert!(said(State::Running, unknown.clone()).contains("is running"));
        assert!(said(State::Error, unknown).contains("ended (error)"));
        assert_eq!(changes(&details(State::Complete)).unwrap().files, 3);
    }
}
