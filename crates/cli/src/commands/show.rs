//! `brigade show`

use brigade_core::delegation::span;
use brigade_core::text::line::one_line;
use brigade_protocol::delegations::Details;

use crate::args::Show;
use crate::context::{Context, Now, scope};
use crate::error::CliError;
use crate::format::{clock, count, moment};
use crate::output::{Output, Tone, harmless};

pub(crate) async fn run(args: Show, context: &mut Context) -> Result<(), CliError> {
    let scope = scope(args.all)?;
    let details = context.client().await?.show(&args.id, &scope).await?;
    if args.json.json {
        context.out.json(&details)
    } else {
        print(&mut context.out, &details, &Now::system())
    }
}

fn print(out: &mut Output, details: &Details, now: &Now) -> Result<(), CliError> {
    let summary = &details.summary;
    let state = out.paint(Tone::of(summary.state), summary.state.name());
    let unread = if summary.unread { "  unread" } else { "" };
    out.line(&format!(
        "{}  {state}{unread}",
        out.paint(Tone::Head, summary.id.as_str())
    ))?;
    out.line(&line(&summary.title))?;
    if !summary.summary.is_empty() {
        out.line(&line(&summary.summary))?;
    }
    out.line("")?;
    for (name, value) in fields(details, now) {
        let name = out.paint(Tone::Faint, &format!("{name:<10}"));
        out.line(&format!("{name} {}", line(&value)))?;
    }
    if !details.prompt.is_empty() {
        section(out, "Prompt")?;
        for text in harmless(&details.prompt).lines() {
            out.line(format!("  {text}").trim_end())?;
        }
    }
    if !details.timeline.is_empty() {
        section(out, "Timeline")?;
        for entry in &details.timeline {
            let at = out.paint(Tone::Faint, &clock(entry.at, &now.zone));
            let text = format!("  {at}  {:<15} {}", line(&entry.event), line(&entry.detail));
            out.line(text.trim_end())?;
        }
    }
    Ok(())
}

/// The fields that have something to say.
fn fields(details: &Details, now: &Now) -> Vec<(&'static str, String)> {
    let summary = &details.summary;
    let progress = &summary.progress;
    let at = |moment_: Option<jiff::Timestamp>| moment_.map(|at| moment(at, &now.zone));
    let phase = (!summary.state.is_terminal()).then(|| summary.phase.clone());
    let limit = details.max_run_ms.map_or_else(
        || "no limit".to_owned(),
        |ms| format!("of {} allowed", span(ms)),
    );
    let ran = (details.ran_ms > 0).then(|| format!("{} {limit}", span(details.ran_ms)));
    let tools = (progress.tool_calls > 0).then(|| {
        let last = progress
            .last_tool
            .as_ref()
            .map_or(String::new(), |tool| format!(", last {tool}"));
        format!("{}{last}", count(progress.tool_calls, "call"))
    });
    let tokens = (progress.tokens_in + progress.tokens_out > 0).then(|| {
        format!(
            "{} in, {} out, ${:.4}",
            progress.tokens_in, progress.tokens_out, progress.cost
        )
    });
    let refused = (progress.refused > 0).then(|| count(progress.refused, "permission ask"));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let origin = summary
        .predecessor
        .then(|| "found: the predecessor wrote it".to_owned());
    [
        ("Reason", summary.reason.clone()),
        ("Phase", phase),
        ("Agent", some(&summary.agent)),
        ("Model", details.model.clone()),
        ("Access", some(&details.access)),
        ("Withheld", some(&details.withheld.join(", "))),
        ("Directory", some(&details.directory)),
        ("Project", some(&summary.project)),
        ("Session", summary.session.clone()),
        ("Child", details.child.clone()),
        ("Registered", at(Some(summary.registered_at))),
        ("Started", at(summary.started_at)),
        ("Ended", at(summary.ended_at)),
        ("Ran", ran),
        (
            "Attempts",
            (summary.attempt > 1).then(|| summary.attempt.to_string()),
        ),
        ("Tools", tools),
        ("Tokens", tokens),
        ("Refused", refused),
        ("Notice", some(&details.notice)),
        ("Artifact", summary.artifact.clone()),
        ("Origin", origin),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
    .collect()
}

fn section(out: &mut Output, name: &str) -> Result<(), CliError> {
    out.line("")?;
    let name = out.paint(Tone::Head, name);
    out.line(&name)
}

fn line(text: &str) -> String {
    one_line(&harmless(text), usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::list::tests::{at, now, summary};
    use brigade_core::delegation::State;
    use brigade_protocol::delegations::TimelineEntry;

    #[test]
    fn details_show_what_there_is() {
        let mut row = summary("agile-red-fox", State::Complete);
        row.progress.tokens_in = 12_000;
        row.progress.tokens_out = 800;
        row.progress.cost = 0.0123;
        let details = Details {
            summary: row,
            prompt: "Find where tokens are checked.\n\nName files.\u{1b}[31m".into(),
            child: Some("ses_child".into()),
            directory: "/home/x/project".into(),
            model: Some("openai/gpt".into()),
            access: "enforced".into(),
            withheld: vec!["bash".into()],
            ran_ms: 89_000,
            max_run_ms: Some(900_000),
            notice: "delivered".into(),
            timeline: vec![
                TimelineEntry {
                    at: at(0),
                    event: "registered".into(),
                    detail: String::new(),
                },
                TimelineEntry {
                    at: at(1),
                    event: "started".into(),
                    detail: "attempt 1".into(),
                },
            ],
        };
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &details, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }
}
