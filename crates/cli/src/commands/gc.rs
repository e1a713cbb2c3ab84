//! `brigade gc`

use brigade_core::text::line::{one_line, size};
use brigade_protocol::gc::{Fate, Gc as Request, GcReport};

use crate::args::Gc;
use crate::context::Context;
use crate::error::{CliError, Kind};
use crate::output::{Output, Tone, harmless, patiently};

pub(crate) async fn run(args: Gc, context: &mut Context) -> Result<(), CliError> {
    let request = Request {
        dry_run: args.dry_run,
        processes: args.processes,
    };
    let client = context.client().await?;
    let what = if args.dry_run {
        "looking"
    } else {
        "clearing up"
    };
    let report = patiently(what, client.gc(&request)).await?;
    if args.json.json {
        context.out.json(&report)?;
    } else {
        print(&mut context.out, &report)?;
    }
    if report
        .findings
        .iter()
        .any(|finding| finding.fate == Fate::Failed)
    {
        return Err(CliError::told(Kind::Failed));
    }
    Ok(())
}

fn print(out: &mut Output, report: &GcReport) -> Result<(), CliError> {
    for finding in &report.findings {
        let fate = match finding.fate {
            Fate::Planned => out.paint(Tone::Busy, "plan"),
            Fate::Done => out.paint(Tone::Good, "done"),
            Fate::Left => out.paint(Tone::Warn, "left"),
            Fate::Failed => out.paint(Tone::Bad, "FAIL"),
        };
        let subject = out.paint(Tone::Head, &line(&finding.subject));
        out.line(&format!("{fate}  {subject}: {}", line(&finding.what)))?;
        let arrow = out.paint(Tone::Head, "→");
        out.line(&format!("      {arrow} {}", line(&finding.action)))?;
    }
    for note in &report.notes {
        let note = out.paint(Tone::Faint, &format!("note  {}", line(note)));
        out.line(&note)?;
    }
    out.line("")?;
    out.line(&sum(report))
}

fn line(text: &str) -> String {
    one_line(&harmless(text), usize::MAX)
}

/// What it comes to.
fn sum(report: &GcReport) -> String {
    let number = |fate| {
        report
            .findings
            .iter()
            .filter(|finding| finding.fate == fate)
            .count()
    };
    let parts = [
        (number(Fate::Planned), "to do"),
        (number(Fate::Done), "done"),
        (number(Fate::Left), "left"),
        (number(Fate::Failed), "failed"),
    ];
    let mut text = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect::<Vec<_>>()
        .join(", ");
    if text.is_empty() {
        text.push_str("nothing found");
    }
    if !report.dry_run {
        text.push_str(&format!("; {} freed", size(report.freed)));
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_protocol::gc::{Finding, FindingKind};

    pub(crate) fn finding(kind: FindingKind, subject: &str, fate: Fate) -> Finding {
        Finding {
            kind,
            subject: subject.into(),
            what: "something is\nwrong \u{1b}[1m".into(),
            fate,
            action: "see to it".into(),
        }
    }

    #[test]
    fn each_finding_says_what_becomes_of_it() {
        let report = GcReport {
            dry_run: false,
            findings: vec![
                finding(FindingKind::UnrecordedArtifact, "/a.md", Fate::Done),
                finding(
                    FindingKind::MissingArtifact,
                    "brave-amber-otter",
                    Fate::Failed,
                ),
                finding(FindingKind::UnfitArtifact, "/b.md", Fate::Left),
            ],
            freed: 1_500_000,
            notes: vec!["no host is connected".into()],
        };
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &report).unwrap();
        insta::assert_snapshot!(printed());
        let planned = GcReport {
            dry_run: true,
            findings: vec![finding(FindingKind::OldLog, "/x.log", Fate::Planned)],
            ..GcReport::default()
        };
        assert_eq!(sum(&planned), "1 to do.");
        assert_eq!(sum(&GcReport::default()), "nothing found; 0 bytes freed.");
    }
}
