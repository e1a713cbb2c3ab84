//! `brigade diff`

use brigade_client::Patch;
use brigade_core::delegation::{Changes, FileChange};
use brigade_core::text::changes::diffstat;
use brigade_core::text::line::one_line;
use brigade_protocol::changes::DiffQuery;

use crate::args::Diff;
use crate::changes::Found;
use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::output::{Output, remark};
use crate::pager::Pager;
use crate::patch::{Painter, painted_stat};

pub(crate) async fn run(args: Diff, context: &mut Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let found = Found::look(&client, &args.id, args.all).await?;
    let paths = found.paths(&args.paths)?;
    let changes = found.changes()?;
    let id = found.id();
    if changes.is_empty() {
        remark(&format!("({id} has changed nothing)"));
    } else if args.stat {
        let stat = diffstat(&only(changes, &paths));
        let stat = painted_stat(&context.out, &stat);
        context.out.raw(stat.as_bytes())?;
        if !paths.is_empty() && changes.files > count(&changes.shown) {
            remark(&format!(
                "(of {} changed files the first {} were looked at; without --stat all are)",
                changes.files,
                changes.shown.len()
            ));
        }
    } else {
        if let Some(odd) = paths.iter().find(|path| path.contains('\n')) {
            let message = format!("{odd:?} has a line break and can't be named here");
            return Err(CliError::new(Kind::Usage, message).hint("name its folder"));
        }
        let query = DiffQuery {
            directory: found.scope.directory.clone(),
            paths: (!paths.is_empty()).then(|| paths.join("\n")),
        };
        let patch = client.diff(id, &query).await?;
        let nothing = if context.out.terminal {
            show(patch, &context.out, Pager::open()).await?
        } else {
            pass_on(patch, &mut context.out).await?
        };
        if nothing {
            remark(&format!("({id} has changed nothing there)"));
        }
    }
    for beside in &changes.beside {
        remark(&format!("(not in the patch: {})", one_line(beside, 300)));
    }
    Ok(())
}

/// The changes in these files and folders; all of them where none are named.
fn only(changes: &Changes, paths: &[String]) -> Changes {
    if paths.is_empty() {
        return changes.clone();
    }
    let within = |file: &FileChange| {
        paths.iter().any(|path| {
            let rest = file.path.strip_prefix(path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let shown: Vec<_> = changes.shown.iter().filter(|file| within(file)).collect();
    let lines = |side: fn((u64, u64)) -> u64| shown.iter().filter_map(|f| f.lines).map(side).sum();
    Changes {
        files: u64::try_from(shown.len()).unwrap_or(u64::MAX),
        added: lines(|(added, _)| added),
        removed: lines(|(_, removed)| removed),
        shown: shown.iter().copied().cloned().collect(),
        ..changes.clone()
    }
}

fn count(files: &[FileChange]) -> u64 {
    u64::try_from(files.len()).unwrap_or(u64::MAX)
}

/// The bytes as they are, so that they can be applied. Says whether there were none.
async fn pass_on(mut patch: Patch, out: &mut Output) -> Result<bool, CliError> {
    let mut nothing = true;
    while let Some(piece) = patch.next().await? {
        nothing &= piece.is_empty();
        out.raw(&piece)?;
    }
    Ok(nothing)
}

/// The patch for a person's eyes. Says whether it was empty.
async fn show(mut patch: Patch, out: &Output, mut pager: Option<Pager>) -> Result<bool, CliError> {
    let mut nothing = true;
    let mut painter = Painter::default();
    let mut direct = std::io::stdout();
    let mut print = |text: &str, pager: &mut Option<Pager>| match pager {
        Some(pager) => pager.show(text),
        None => std::io::Write::write_all(&mut direct, text.as_bytes()),
    };
    let mut shown = Ok(());
    // A pager that is left early is no failure, and a daemon that breaks off must not leave the pager behind.
    let broken = loop {
        match patch.next().await {
            Ok(Some(piece)) => {
                nothing &= piece.is_empty();
                shown = print(&painter.take(out, &piece), &mut pager);
            }
            Ok(None) => {
                shown = print(&painter.end(out), &mut pager);
                break None;
            }
            Err(error) => break Some(error),
        }
        if shown.is_err() {
            break None;
        }
    };
    let closed = pager.map_or(Ok(()), Pager::close);
    if let Some(error) = broken {
        return Err(error.into());
    }
    shown.and(closed)?;
    Ok(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::tests::three_changes;

    #[test]
    fn the_stat_of_some_paths_sums_those() {
        let stat = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
            diffstat(&only(&three_changes(), &paths))
        };
        assert_eq!(
            stat(&["src", "logo.png"]),
            " logo.png    | binary (deleted)\n src/lock.rs | +1 -3\n 2 files changed, +1 -3\n"
        );
        assert_eq!(stat(&["doc"]), " no changes\n");
        assert_eq!(stat(&[]).lines().count(), 4);
    }
}
