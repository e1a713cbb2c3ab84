//! `brigade apply`

use brigade_client::ClientError;
use brigade_core::text::line::one_line;
use brigade_protocol::changes::{Apply as Request, ApplyOutcome, ApplyReport, Conflict};

use crate::args::Apply;
use crate::changes::Found;
use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::format::count;
use crate::output::{Output, Tone, harmless, patiently};

/// So many files are listed; `--json` has all.
const FILES: usize = 60;
/// Of so many files the conflicts are shown, and of each so many.
const SHOWN: usize = 5;
/// So many lines of a conflict are shown, and so many around it.
const LINES: usize = 24;
const AROUND: usize = 2;

pub(crate) async fn run(args: Apply, context: &mut Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let found = Found::look(&client, &args.id, args.all).await?;
    let paths = found.paths(&args.paths)?;
    found.changes()?;
    let id = found.id();
    let here = found.here.as_ref();
    let request = Request {
        directory: found.scope.directory.clone(),
        to: here.map(|here| here.to_string_lossy().into_owned()),
        paths,
        markers: args.markers,
        undo: args.undo,
        dry_run: args.dry_run,
    };
    let applying = client.apply(id, &request);
    let report = patiently("still at it; Ctrl-C takes back what is written", applying)
        .await
        .map_err(|error| cut_off(error, id))?;
    if args.json.json {
        context.out.json(&report)?;
    } else {
        print(&mut context.out, &report, &request)?;
    }
    if stands_in_the_way(&report, &request) {
        return Err(CliError::told(Kind::Failed));
    }
    Ok(())
}

/// A daemon that has gone has taken back what it was writing, or does so when it is there again.
fn cut_off(error: ClientError, id: &str) -> CliError {
    let lost = matches!(error, ClientError::Lost { .. });
    let error = CliError::from(error);
    if lost {
        error.hint(format!(
            "an apply that is cut off is taken back, never finished later: brigade show {id} says how it stands"
        ))
    } else {
        error
    }
}

/// Whether conflicts have kept it, or would keep it, from being written.
fn stands_in_the_way(report: &ApplyReport, asked: &Request) -> bool {
    match report.outcome {
        ApplyOutcome::Conflicts => true,
        ApplyOutcome::DryRun => !report.conflicts.is_empty() && !asked.markers,
        ApplyOutcome::Applied | ApplyOutcome::Undone | ApplyOutcome::Nothing => false,
    }
}

fn print(out: &mut Output, report: &ApplyReport, asked: &Request) -> Result<(), CliError> {
    let (tone, what) = told(report, asked);
    let name = out.paint(tone, report.id.as_str());
    out.line(&format!("{name}  {what}"))?;
    for file in report.files.iter().take(FILES) {
        let tone = match file.kind.as_str() {
            "added" => Tone::Good,
            "deleted" => Tone::Removed,
            _ => Tone::Plain,
        };
        let kind = out.paint(tone, &format!("{:<8}", line(&file.kind)));
        out.line(&format!("  {kind}  {}", line(&file.path)))?;
    }
    more(out, report.files.len(), FILES, "file")?;
    for left_out in &report.left_out {
        out.line(&format!(
            "  {}  {}",
            out.paint(Tone::Warn, "left out"),
            line(left_out)
        ))?;
    }
    conflicts(out, &report.conflicts)?;
    let advice = advice(report, asked);
    if !advice.is_empty() {
        out.line("")?;
    }
    for text in advice {
        out.line(&text)?;
    }
    Ok(())
}

/// What came of it, in words.
fn told(report: &ApplyReport, asked: &Request) -> (Tone, String) {
    let top = line(&report.top);
    let marked = !report.conflicts.is_empty();
    match report.outcome {
        ApplyOutcome::Applied if marked => (
            Tone::Warn,
            format!("applied to {top}, with both sides marked where they conflict"),
        ),
        ApplyOutcome::Applied => (Tone::Good, format!("applied to {top}")),
        ApplyOutcome::Undone => (Tone::Good, format!("taken out of {top} again")),
        ApplyOutcome::Conflicts if asked.undo => (
            Tone::Bad,
            format!("can't be taken out of {top}, which has changed since; nothing is written"),
        ),
        ApplyOutcome::Conflicts => (
            Tone::Bad,
            format!(
                "conflicts with {top} in {}; nothing is written",
                count(amount(report.conflicts.len()), "file")
            ),
        ),
        ApplyOutcome::Nothing if asked.undo => (
            Tone::Faint,
            format!("nothing of it is in {top} to be taken out"),
        ),
        ApplyOutcome::Nothing => (Tone::Faint, format!("nothing to do: {top} has all of it")),
        ApplyOutcome::DryRun => {
            let what = if asked.undo {
                "would be taken out of"
            } else {
                "would be applied to"
            };
            let but = match (marked, asked.markers) {
                (true, true) => ", with both sides marked where they conflict",
                (true, false) => ", but there are conflicts",
                (false, _) => "",
            };
            (Tone::Busy, format!("{what} {top}{but}; nothing is written"))
        }
    }
}

fn conflicts(out: &mut Output, conflicts: &[Conflict]) -> Result<(), CliError> {
    for (number, conflict) in conflicts.iter().enumerate() {
        out.line("")?;
        let path = out.paint(Tone::Head, &line(&conflict.path));
        out.line(&format!("  {path}: {}", line(&conflict.what)))?;
        let Some(text) = conflict.text.as_deref().filter(|_| number < SHOWN) else {
            continue;
        };
        let hunks = hunks(text);
        for hunk in hunks.iter().take(SHOWN) {
            for (tone, text) in hunk.iter().take(LINES) {
                let text = out.paint(*tone, &harmless(text.trim_end_matches('\r')));
                out.line(format!("    {text}").trim_end())?;
            }
            more(out, hunk.len(), LINES, "line")?;
        }
        more(out, hunks.len(), SHOWN, "conflict")?;
    }
    Ok(())
}

/// Says how many are not shown.
fn more(out: &mut Output, all: usize, shown: usize, noun: &str) -> Result<(), CliError> {
    let Some(rest) = all.checked_sub(shown).filter(|rest| *rest > 0) else {
        return Ok(());
    };
    let s = if rest == 1 { "" } else { "s" };
    let text = format!("    … and {rest} more {noun}{s}");
    let text = out.paint(Tone::Faint, &text);
    out.line(&text)
}

/// The marked places of a file with some lines around each.
fn hunks(text: &str) -> Vec<Vec<(Tone, &str)>> {
    let lines: Vec<_> = text.lines().collect();
    let is = |line: &str, mark: &str| {
        let rest = line.strip_prefix(mark);
        rest.is_some_and(|rest| rest.trim_end().is_empty() || rest.starts_with(' '))
    };
    let mut hunks: Vec<Vec<(Tone, &str)>> = Vec::new();
    let (mut at, mut shown) = (0, 0);
    while let Some(start) = (at..lines.len()).find(|n| is(lines[*n], "<<<<<<<")) {
        let before = start.saturating_sub(AROUND).max(shown);
        let mut hunk: Vec<_> = lines[before..start]
            .iter()
            .map(|l| (Tone::Plain, *l))
            .collect();
        let (mut side, mut end) = (Tone::Busy, start);
        for line in &lines[start..] {
            end += 1;
            let mark = if is(line, "|||||||") {
                Some(Tone::Faint)
            } else if is(line, "=======") {
                Some(Tone::Good)
            } else {
                None
            };
            let closes = is(line, ">>>>>>>");
            if end == start + 1 || closes || mark.is_some() {
                hunk.push((Tone::Warn, line));
            } else {
                hunk.push((side, line));
            }
            side = mark.unwrap_or(side);
            if closes {
                break;
            }
        }
        at = end;
        shown = (at..lines.len().min(at + AROUND))
            .find(|n| is(lines[*n], "<<<<<<<"))
            .unwrap_or(lines.len().min(at + AROUND));
        hunk.extend(lines[at..shown].iter().map(|l| (Tone::Plain, *l)));
        hunks.push(hunk);
    }
    hunks
}

/// What the person can do now.
fn advice(report: &ApplyReport, asked: &Request) -> Vec<String> {
    let id = &report.id;
    let mut advice = Vec::new();
    if stands_in_the_way(report, asked) && asked.undo {
        advice.push(format!(
            "Take your own edits out of these files and try again; brigade diff {id} shows what it has changed."
        ));
    } else if stands_in_the_way(report, asked) && asked.markers {
        advice.push(format!(
            "Not all of it can be marked: move what is in the way, or name what is to be written: brigade apply {id} PATH…"
        ));
    } else if stands_in_the_way(report, asked) {
        advice.push(format!(
            "What you can do:\n  \
             brigade apply {id} --markers   writes all of it, with both sides marked where they conflict\n  \
             brigade apply {id} PATH…       writes only the files and folders that you name\n  \
             Or make your files fit by hand, and apply again."
        ));
    } else if report.outcome == ApplyOutcome::Applied {
        if !report.conflicts.is_empty() {
            advice.push("Resolve the marked places; your side comes first.".to_owned());
        }
        // What is left out for good has been named.
        if !asked.paths.is_empty() && !report.whole {
            advice.push(format!(
                "Not all of its changes are in the tree: brigade apply {id} brings in the rest."
            ));
        }
        advice.push(format!(
            "This is outside OpenCode's /undo; brigade apply --undo {id} takes it back."
        ));
    }
    advice
}

fn amount(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn line(text: &str) -> String {
    one_line(&harmless(text), 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_protocol::changes::AppliedFile;

    const MARKED: &str = "one\ntwo\nthree\n<<<<<<< yours\nfour\u{1b}[2J\n=======\n4\n>>>>>>> agile-red-fox\nfive\n\
        <<<<<<< yours\nsix\n||||||| before\n6\n=======\nVI\n>>>>>>> agile-red-fox\nseven\neight\nnine\n";

    fn report(outcome: ApplyOutcome, conflicts: Vec<Conflict>) -> ApplyReport {
        let file = |path: &str, kind: &str| AppliedFile {
            path: path.into(),
            kind: kind.into(),
        };
        ApplyReport {
            id: "agile-red-fox".parse().unwrap(),
            outcome,
            top: "/home/x/project".into(),
            files: match outcome {
                ApplyOutcome::Nothing => vec![],
                _ => vec![
                    file("docs/login.md", "added"),
                    file("logo.png", "deleted"),
                    file("src/a\u{1b}[2J.rs", "modified"),
                ],
            },
            conflicts,
            left_out: vec![],
            whole: true,
        }
    }

    fn conflict() -> Conflict {
        Conflict {
            path: "src/lock.rs".into(),
            what: "both have changed it".into(),
            text: Some(MARKED.into()),
        }
    }

    fn shown(report: &ApplyReport, asked: &Request) -> String {
        let (mut out, printed) = Output::memory(None);
        print(&mut out, report, asked).unwrap();
        printed()
    }

    #[test]
    fn what_was_written_and_how_to_take_it_back_is_told() {
        let mut part = report(ApplyOutcome::Applied, vec![]);
        part.whole = false;
        part.left_out = vec!["vendor/x: a submodule's commit".into()];
        let asked = Request::default();
        let undo = Request {
            undo: true,
            ..asked.clone()
        };
        let some = Request {
            paths: vec!["docs".into(), "src".into()],
            ..asked.clone()
        };
        let all = [
            shown(&part, &some),
            shown(&report(ApplyOutcome::Undone, vec![]), &undo),
            shown(&report(ApplyOutcome::Nothing, vec![]), &asked),
            shown(&report(ApplyOutcome::Nothing, vec![]), &undo),
            shown(&report(ApplyOutcome::DryRun, vec![]), &asked),
        ];
        insta::assert_snapshot!(all.join("---\n"));
    }

    #[test]
    fn conflicts_show_both_sides_and_what_to_do() {
        let gone = Conflict {
            path: "old.txt".into(),
            what: "you have changed it, the delegation has deleted it".into(),
            text: None,
        };
        let mut report = report(ApplyOutcome::Conflicts, vec![conflict(), gone]);
        report.files.clear();
        insta::assert_snapshot!(shown(&report, &Request::default()));
        assert!(stands_in_the_way(&report, &Request::default()));
        let markers = Request {
            markers: true,
            ..Request::default()
        };
        report.outcome = ApplyOutcome::Applied;
        let said = shown(&report, &markers);
        assert!(said.contains("with both sides marked") && said.contains("Resolve the marked"));
        assert!(!stands_in_the_way(&report, &markers));
        report.outcome = ApplyOutcome::DryRun;
        assert!(!stands_in_the_way(&report, &markers));
        // What is in the way can't be marked.
        report.outcome = ApplyOutcome::Conflicts;
        let said = shown(&report, &markers);
        assert!(
            said.contains("move what is in the way") && !said.contains("--markers"),
            "{said}"
        );
    }

    #[test]
    fn what_can_not_be_taken_out_says_so() {
        let mut report = report(ApplyOutcome::Conflicts, vec![conflict()]);
        report.files.clear();
        let undo = Request {
            undo: true,
            ..Request::default()
        };
        let said = shown(&report, &undo);
        assert!(
            said.contains("can't be taken out of /home/x/project"),
            "{said}"
        );
        assert!(!said.contains("--markers"), "{said}");
    }

    #[test]
    fn long_conflicts_are_cut() {
        let long = format!("<<<<<<< a\n{}=======\nb\n>>>>>>> b\n", "line\n".repeat(100));
        let many = long.repeat(8);
        let conflict = Conflict {
            text: Some(many),
            ..conflict()
        };
        let mut report = report(ApplyOutcome::Conflicts, vec![conflict]);
        report.files.clear();
        let said = shown(&report, &Request::default());
        assert!(said.contains("… and 3 more conflicts"), "{said}");
        assert!(said.contains("… and 80 more lines"), "{said}");
        assert!(said.lines().count() < 150);
    }
}
