//! `brigade discard`

use brigade_client::ClientError;
use brigade_core::text::line::{one_line, size};
use brigade_protocol::changes::{Discard as Request, Discarded};

use crate::args::Discard;
use crate::context::{Context, scope};
use crate::error::{CliError, Kind};
use crate::output::{Output, Tone, harmless, patiently};

pub(crate) async fn run(args: Discard, context: &mut Context) -> Result<(), CliError> {
    let request = Request {
        directory: scope(args.all)?.directory,
        force: args.force,
    };
    let client = context.client().await?;
    let discarding = client.discard(&args.id, &request);
    let discarded = patiently("looking whether it holds what is in no patch", discarding)
        .await
        .map_err(cut_off)?;
    if args.json.json {
        context.out.json(&discarded)?;
    } else {
        print(&mut context.out, &discarded)?;
    }
    if discarded.gone {
        Ok(())
    } else {
        Err(CliError::told(Kind::Refused))
    }
}

fn cut_off(error: ClientError) -> CliError {
    let lost = matches!(error, ClientError::Lost { .. });
    let error = CliError::from(error);
    if lost {
        error.hint("ask again: what is gone is gone, and nothing else was touched")
    } else {
        error
    }
}

fn print(out: &mut Output, discarded: &Discarded) -> Result<(), CliError> {
    let id = &discarded.id;
    if discarded.gone {
        let name = out.paint(Tone::Good, id.as_str());
        out.line(&format!(
            "{name}  its worktree is gone, {} freed",
            size(discarded.freed)
        ))?;
    } else {
        let name = out.paint(Tone::Warn, id.as_str());
        out.line(&format!(
            "{name}  its worktree stays: it holds what is in no patch"
        ))?;
        for what in &discarded.held {
            out.line(&format!("  {}", one_line(&harmless(what), 300)))?;
        }
    }
    if let Some(patch) = &discarded.patch {
        let patch = one_line(&harmless(patch), usize::MAX);
        out.line(&format!("The patch stays: {patch}"))?;
    }
    if discarded.gone {
        return Ok(());
    }
    out.line(&format!(
        "brigade discard --force {id} throws it away with all of that; brigade show {id} says where it lies."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_stays_is_told() {
        let (mut out, printed) = Output::memory(None);
        let discarded = |gone, held: &[&str]| Discarded {
            id: "agile-red-fox".parse().unwrap(),
            gone,
            held: held.iter().map(ToString::to_string).collect(),
            freed: if gone { 12_300_000 } else { 0 },
            patch: Some("/home/x/results/agile-red-fox.patch".into()),
        };
        print(&mut out, &discarded(true, &[])).unwrap();
        out.line("").unwrap();
        let held = [
            "a repository at vendor/x\u{1b}[2J",
            "notes.md was edited after the end",
        ];
        print(&mut out, &discarded(false, &held)).unwrap();
        insta::assert_snapshot!(printed());
    }
}
