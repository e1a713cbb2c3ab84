//! `brigade show`

use brigade_core::delegation::span;
use brigade_core::id::DelegationId;
use brigade_core::text::changes::diffstat;
use brigade_core::text::line::{one_line, size};
use brigade_protocol::changes::{AppliedEntry, WorktreeDetails};
use brigade_protocol::delegations::{AttemptEntry, Details};

use crate::args::Show;
use crate::context::{Context, Now, scope};
use crate::error::CliError;
use crate::format::{clock, count, dollars, moment};
use crate::output::{Output, Tone, harmless};
use crate::patch::painted_stat;

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
    if let Some(worktree) = &details.worktree {
        print_worktree(out, worktree, &summary.id, now)?;
    }
    if !details.attempts.is_empty() {
        section(out, "Attempts")?;
        for attempt in &details.attempts {
            let at = out.paint(Tone::Faint, &clock(attempt.started_at, &now.zone));
            out.line(&format!(
                "  {}  {at}  {}",
                attempt.attempt,
                line(&told(attempt))
            ))?;
        }
    }
    if !details.refusals.is_empty() {
        section(out, "Refused")?;
        for refused in &details.refusals {
            let at = out.paint(Tone::Faint, &clock(refused.at, &now.zone));
            let times = if refused.times > 1 {
                format!("  ({} times)", refused.times)
            } else {
                String::new()
            };
            out.line(&format!("  {at}  {}{times}", line(&refused.what)))?;
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

/// What a write-capable one works in, and what came of it.
fn print_worktree(
    out: &mut Output,
    worktree: &WorktreeDetails,
    id: &DelegationId,
    now: &Now,
) -> Result<(), CliError> {
    section(out, "Worktree")?;
    let state = match worktree.bytes {
        0 => worktree.state.clone(),
        bytes => format!("{}, {}", worktree.state, size(bytes)),
    };
    let single = |name, value: Option<String>| value.map(|value| (name, value));
    let fields = [
        single("State", Some(state)),
        single("Files", Some(worktree.directory.clone())),
        single("Taken from", Some(worktree.top.clone())),
        single(
            "Began with",
            worktree.from.as_ref().map(ToString::to_string),
        ),
        single(
            "Confined",
            worktree.confinement.as_ref().map(ToString::to_string),
        ),
        single("Setup", worktree.setup.clone()),
    ];
    let left_out = worktree
        .left_out
        .iter()
        .map(|what| ("Left out", what.clone()));
    for (name, value) in fields.into_iter().flatten().chain(left_out) {
        let name = out.paint(Tone::Faint, &format!("{name:<10}"));
        out.line(&format!("  {name} {}", line(&value)))?;
    }
    if let Some(changes) = &worktree.changes {
        section(out, "Changes")?;
        for text in painted_stat(out, &diffstat(changes)).lines() {
            out.line(&format!(" {text}"))?;
        }
        for beside in &changes.beside {
            out.line(&format!("  not in the patch: {}", line(beside)))?;
        }
        if !changes.is_empty() {
            let next = format!("  brigade diff {id} shows them, brigade apply {id} brings them in");
            let next = out.paint(Tone::Faint, &next);
            out.line(&next)?;
        }
    }
    if !worktree.applies.is_empty() {
        section(out, "Applied")?;
        for entry in &worktree.applies {
            let at = out.paint(Tone::Faint, &moment(entry.at, &now.zone));
            out.line(&format!("  {at}  {}", line(&applied(entry))))?;
        }
    }
    Ok(())
}

/// An apply in words.
fn applied(entry: &AppliedEntry) -> String {
    let what = match entry.state.as_str() {
        "applied" => "applied",
        "undone" => "applied, and taken out again",
        "rolled_back" => "cut off, and taken back",
        "writing" => "being written",
        other => other,
    };
    let part = if entry.whole { "" } else { ", not all of it" };
    let by = match entry.by.as_str() {
        "model" => "the model",
        "person" => "you",
        other => other,
    };
    format!(
        "{what}: {} in {}{part}, by {by}",
        count(entry.files, "file"),
        entry.top
    )
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
    let tools = (progress.tool_calls > 0).then(|| tools(details));
    let tokens = (progress.tokens_in + progress.tokens_out > 0)
        .then(|| format!("{} in, {} out", progress.tokens_in, progress.tokens_out));
    let cost = (progress.cost > 0.0).then(|| dollars(progress.cost));
    let id = |id: &Option<DelegationId>| id.as_ref().map(ToString::to_string);
    let refused = (progress.refused > 0).then(|| count(progress.refused, "permission ask"));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let origin = summary
        .predecessor
        .then(|| "found: the predecessor wrote it".to_owned());
    [
        ("Reason", summary.reason.clone()),
        ("Continues", id(&details.continues)),
        ("Retries", id(&details.retries)),
        ("Phase", phase),
        ("Agent", some(&summary.agent)),
        ("Model", details.model.clone()),
        ("Access", some(&details.access)),
        ("Withheld", some(&details.withheld.join(", "))),
        ("Directory", some(&details.directory)),
        ("Project", some(&summary.project)),
        ("Session", summary.session.clone()),
        ("Child", details.child.clone()),
        ("Trace", details.trace.clone()),
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
        ("Cost", cost),
        ("Refused", refused),
        ("Notice", some(&details.notice)),
        ("Artifact", summary.artifact.clone()),
        ("Origin", origin),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
    .collect()
}

/// The calls by their tools; where those are not on record, the last one.
fn tools(details: &Details) -> String {
    let progress = &details.summary.progress;
    let calls = count(progress.tool_calls, "call");
    let names: Vec<_> = details
        .tools
        .iter()
        .map(|tool| format!("{} {}", tool.name, tool.calls))
        .collect();
    match &progress.last_tool {
        _ if !names.is_empty() => format!("{calls}: {}", names.join(", ")),
        Some(tool) => format!("{calls}, last {tool}"),
        None => calls,
    }
}

/// An attempt in words.
pub(crate) fn told(attempt: &AttemptEntry) -> String {
    let place = if attempt.own_server {
        "in Brigade's own server"
    } else {
        "in its host"
    };
    let pid = attempt
        .pid
        .map_or(String::new(), |pid| format!(" (process {pid})"));
    let collects = if attempt.collects {
        ", only looking for an answer"
    } else {
        ""
    };
    let ran = if attempt.ran_ms > 0 {
        format!(" ran {}", span(attempt.ran_ms))
    } else {
        String::new()
    };
    let end = attempt.end.as_deref().unwrap_or("under way");
    format!("{place}{pid}{collects}{ran}; {end}")
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
pub(crate) mod tests {
    use super::*;
    use crate::changes::tests::three_changes;
    use crate::commands::list::tests::{at, now, summary};
    use brigade_core::delegation::{Confinement, State};
    use brigade_protocol::delegations::{Refused, TimelineEntry, ToolUse};

    /// Everything about a write-capable one.
    pub(crate) fn details(state: State) -> Details {
        Details {
            worktree: Some(WorktreeDetails {
                directory: "/home/x/worktrees/agile-red-fox/tree".into(),
                top: "/home/x/project".into(),
                state: "ready".into(),
                bytes: 12_300_000,
                from: Some("brave-amber-otter".parse().unwrap()),
                confinement: Some(Confinement::Kernel { abi: 5 }),
                left_out: vec!["vendor/x: a submodule\u{1b}[2J".into()],
                setup: Some("npm ci: done in 12s".into()),
                changes: Some(three_changes()),
                applies: vec![
                    AppliedEntry {
                        at: at(200),
                        top: "/home/x/project".into(),
                        state: "undone".into(),
                        files: 3,
                        whole: true,
                        by: "model".into(),
                    },
                    AppliedEntry {
                        at: at(300),
                        top: "/home/x/project".into(),
                        state: "applied".into(),
                        files: 1,
                        whole: false,
                        by: "person".into(),
                    },
                ],
            }),
            ..read_only(state)
        }
    }

    fn read_only(state: State) -> Details {
        let mut row = summary("agile-red-fox", state);
        row.progress.tokens_in = 12_000;
        row.progress.tokens_out = 800;
        row.progress.cost = 0.0123;
        Details {
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
            continues: Some("brave-amber-otter".parse().unwrap()),
            retries: None,
            worktree: None,
            trace: None,
            attempts: vec![
                AttemptEntry {
                    attempt: 1,
                    collects: false,
                    own_server: false,
                    pid: Some(4711),
                    started_at: at(1),
                    ended_at: Some(at(30)),
                    end: Some("cut off: its process ended".into()),
                    ran_ms: 29_000,
                },
                AttemptEntry {
                    attempt: 2,
                    collects: false,
                    own_server: true,
                    pid: Some(4712),
                    started_at: at(31),
                    ended_at: None,
                    end: None,
                    ran_ms: 60_000,
                },
            ],
            tools: vec![
                ToolUse {
                    name: "grep".into(),
                    calls: 2,
                },
                ToolUse {
                    name: "read\u{1b}".into(),
                    calls: 1,
                },
            ],
            refusals: vec![Refused {
                what: "bash (git push)".into(),
                times: 2,
                at: at(5),
            }],
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
        }
    }

    #[test]
    fn details_show_what_there_is() {
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &read_only(State::Complete), &now()).unwrap();
        insta::assert_snapshot!(printed());
    }

    #[test]
    fn a_worktree_is_shown_with_what_was_changed_and_applied() {
        let details = details(State::Complete);
        let worktree = details.worktree.unwrap();
        let (mut out, printed) = Output::memory(None);
        print_worktree(&mut out, &worktree, &details.summary.id, &now()).unwrap();
        insta::assert_snapshot!(printed());
    }
}
