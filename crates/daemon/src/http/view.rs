//! From rows of the store to what people see.

use brigade_core::delegation::{Delegation, Event, Phase, Sender, Spec, State, span};
use brigade_core::id::DelegationId;
use brigade_core::text::line::one_line;
use brigade_protocol::delegations::{Details, Progress, Refused, Summary, TimelineEntry, ToolUse};
use brigade_store::{EventRow, Foreign, Listed, Row};

use super::attempts;
use crate::engine::{Engine, Entry, Prospect};
use crate::servers::Place;

/// How much of a message stands in the timeline, in characters.
const MESSAGE: usize = 200;

/// How much of the text's last line is shown, in characters.
const LAST_LINE: usize = 200;

/// One row of a list. What runs shows what it is doing this moment, which the store learns only now
/// and then.
pub(super) fn summary(engine: &Engine, row: &Row) -> Summary {
    let record = &row.delegation;
    let progress = match engine.entry(&record.spec.id) {
        Some(entry) => live_progress(&entry, spent(record)),
        None => shown_progress(&row.progress, ran(record, row.ran_ms)),
    };
    Summary {
        id: record.spec.id.clone(),
        project: record.spec.project.to_string(),
        session: Some(record.spec.root.to_string()),
        state: record.state,
        phase: phase(engine, row),
        agent: record.spec.agent.clone(),
        title: row.title.clone(),
        summary: row.summary.clone(),
        unread: record.state.is_terminal() && row.read_at.is_none() && !row.seen,
        attempt: record.attempts(),
        registered_at: record.spec.registered_at,
        started_at: record.started_at,
        ended_at: record.ended_at,
        reason: record.reason_words(),
        artifact: row.artifact.as_ref().map(|path| path.display().to_string()),
        predecessor: false,
        progress,
    }
}

/// A file that the predecessor left.
pub(super) fn foreign(file: &Foreign) -> Summary {
    Summary {
        id: file.id.clone(),
        project: file.project.to_string(),
        session: Some(file.root.to_string()),
        state: file.state,
        phase: "ended".to_owned(),
        agent: file.agent.clone(),
        title: file.title.clone(),
        summary: file.summary.clone(),
        unread: false,
        attempt: 1,
        registered_at: file.started_at,
        started_at: Some(file.started_at),
        ended_at: file.ended_at,
        reason: None,
        artifact: Some(file.path.display().to_string()),
        predecessor: true,
        progress: Progress::default(),
    }
}

/// One of either kind.
pub(super) fn listed(engine: &Engine, row: &Listed) -> Summary {
    match row {
        Listed::Ours(row) => summary(engine, row),
        Listed::Predecessor(file) => foreign(file),
    }
}

fn shown_progress(progress: &brigade_store::Progress, ran_ms: u64) -> Progress {
    Progress {
        tool_calls: progress.tool_calls,
        last_tool: progress.last_tool.clone(),
        tokens_in: progress.tokens_in,
        tokens_out: progress.tokens_out,
        cost: progress.cost,
        heard_at: progress.heard_at,
        refused: progress.refused,
        ran_ms,
        last_line: None,
    }
}

/// The running time before this attempt, and whether this one counts.
pub(super) fn spent(record: &Delegation) -> (u64, bool) {
    (record.spent_ms, record.holds_slot())
}

fn ran(record: &Delegation, now_ms: u64) -> u64 {
    let (spent, counts) = spent(record);
    spent.saturating_add(if counts { now_ms } else { 0 })
}

/// What an active one is doing this moment.
pub(super) fn live_progress(entry: &Entry, (spent, counts): (u64, bool)) -> Progress {
    let live = entry.live();
    let last = live
        .partial
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty());
    let ran_ms = spent.saturating_add(if counts { live.ran_ms } else { 0 });
    Progress {
        last_line: last.map(|line| one_line(line, LAST_LINE)),
        ..shown_progress(&live.progress, ran_ms)
    }
}

/// What a delegation needs for its start besides a slot, if it lacks anything.
fn waits_for(engine: &Engine, record: &Delegation) -> Option<String> {
    let spec = &record.spec;
    let prospect = engine.prospect(record, |spec| engine.place(spec));
    match prospect {
        Prospect::Ready { .. } => None,
        Prospect::HostSilent(process) => Some(format!(
            "waiting for its host, process {}, which lives and is not connected",
            process.pid
        )),
        Prospect::Waiting(place) => Some(match place {
            Place::Coming | Place::Ready(_) => {
                "waiting for Brigade's own server, which is being started".to_owned()
            }
            Place::Full => {
                "waiting for a server of its own: as many run as [server] confined allows"
                    .to_owned()
            }
            Place::Failing(why) => {
                format!("waiting for a host: Brigade's own server can't be started ({why})")
            }
            Place::NoEnvironment if spec.credentials.is_empty() => {
                "waiting for a host: the environment it was asked for in is not known any more; \
                 open OpenCode in its project"
                    .to_owned()
            }
            Place::NoEnvironment => format!(
                "waiting for a host: the environment it was asked for in is not known any more; \
                 open OpenCode in its project with {} set",
                spec.credentials.join(", ")
            ),
            Place::Off => "waiting for a host".to_owned(),
        }),
    }
}

/// As far back the places in the line are told apart.
pub(super) const LINE: usize = 100;

/// Where one stands that waits for nothing but its turn, by the first `LINE + 1` of the line.
pub(super) fn queued(line: &[DelegationId], id: &DelegationId) -> String {
    match line.iter().position(|waiting| waiting == id) {
        // The next, or just about to start.
        Some(0) => "queued".to_owned(),
        None if line.len() <= LINE => "queued".to_owned(),
        Some(before) => format!("queued, {before}{BEFORE}"),
        None => format!("queued, over {LINE}{BEFORE}"),
    }
}

const BEFORE: &str = " before it";

/// Whether that is what these words say.
pub(super) fn is_queued(phase: &str) -> bool {
    phase == "queued" || (phase.starts_with("queued, ") && phase.ends_with(BEFORE))
}

fn phase(engine: &Engine, row: &Row) -> String {
    match &row.delegation.phase {
        Phase::Queued => match waits_for(engine, &row.delegation) {
            Some(what) => format!("queued, {what}"),
            None => queued(&engine.next_in_line(LINE + 1), &row.delegation.spec.id),
        },
        Phase::Waiting { why } => {
            let what = waits_for(engine, &row.delegation);
            let what = what.unwrap_or_else(|| "waiting for a slot".to_owned());
            format!("{what}: {why}")
        }
        Phase::Starting => "starting".to_owned(),
        Phase::Working => {
            let connected = row
                .delegation
                .runner
                .as_ref()
                .and_then(|runner| runner.parse().ok())
                .is_some_and(|process| engine.hub().of_process(&process).is_some());
            if connected {
                "working".to_owned()
            } else {
                "working; its host is not connected at the moment".to_owned()
            }
        }
        Phase::Stopping { .. } => "stopping".to_owned(),
        Phase::Finishing {
            write_error: Some(error),
            ..
        } => format!("finishing: the artifact could not be written yet: {error}"),
        Phase::Finishing { .. } => "finishing".to_owned(),
        Phase::Ended { .. } => "ended".to_owned(),
    }
}

/// Everything about one delegation.
pub(super) fn details(engine: &Engine, row: &Row, events: &[EventRow]) -> Details {
    let record = &row.delegation;
    let spec = &record.spec;
    let progress = engine
        .entry(&spec.id)
        .map_or_else(|| row.progress.clone(), |entry| entry.live().progress);
    let summary = summary(engine, row);
    let mut tools: Vec<_> = progress
        .tools
        .iter()
        .map(|(name, calls)| ToolUse {
            name: name.clone(),
            calls: *calls,
        })
        .collect();
    tools.sort_by_key(|tool| std::cmp::Reverse(tool.calls));
    Details {
        prompt: spec.prompt.clone(),
        child: record.child.as_ref().map(ToString::to_string),
        directory: spec.directory.clone(),
        model: progress
            .model
            .clone()
            .or_else(|| spec.model.as_ref().map(ToString::to_string)),
        access: if spec.access.open.is_empty() {
            "enforced".to_owned()
        } else {
            format!("read-only by rule: {}", spec.access.open.join("; "))
        },
        withheld: spec.access.withheld.clone(),
        ran_ms: summary.progress.ran_ms,
        max_run_ms: spec.max_run_ms,
        notice: row.notice.clone(),
        continues: spec.continues.as_ref().map(|earlier| earlier.id.clone()),
        retries: spec.retries.clone(),
        worktree: None,
        trace: engine.telemetry().trace(spec),
        attempts: attempts::of(events, spec, summary.progress.ran_ms),
        tools,
        refusals: progress
            .refusals
            .iter()
            .map(|refused| Refused {
                what: refused.what.clone(),
                times: refused.times,
                at: refused.at,
            })
            .collect(),
        summary,
        timeline: events
            .iter()
            .map(|row| TimelineEntry {
                at: row.at,
                event: row.event.name().to_owned(),
                detail: detail(&row.event, spec),
            })
            .collect(),
    }
}

fn detail(event: &Event, spec: &Spec) -> String {
    match event {
        Event::Registered => "accepted".to_owned(),
        Event::Started {
            attempt,
            runner,
            own,
            confinement,
        } => {
            let place = if *own {
                "Brigade's own server"
            } else {
                "its host"
            };
            let pid = runner.split(':').next().unwrap_or_default();
            if attempt.0 > spec.max_attempts {
                format!("{place} (process {pid}) looks whether the last attempt left an answer")
            } else {
                let kept = confinement
                    .as_ref()
                    .map(|kept| format!(", kept inside {kept}"));
                let kept = kept.unwrap_or_default();
                format!("attempt {attempt} in {place} (process {pid}){kept}")
            }
        }
        Event::ChildReady { session, .. } => format!("child session {session}"),
        Event::Prompted { attempt } => format!("attempt {attempt}: the host has the prompt"),
        Event::MessageSent {
            number, from, text, ..
        } => {
            let who = match from {
                Sender::Person => "the person",
                Sender::Parent => "the agent that delegated it",
            };
            format!("message {number} from {who}: {}", one_line(text, MESSAGE))
        }
        Event::StopOrdered { cause, .. } => match cause {
            brigade_core::delegation::StopCause::Cancel { by } => by.to_string(),
            brigade_core::delegation::StopCause::TimeLimit { limit_ms } => {
                format!("its time limit of {} is used up", span(*limit_ms))
            }
            brigade_core::delegation::StopCause::Stall { limit_ms } => {
                format!("nothing was heard from it for {}", span(*limit_ms))
            }
        },
        Event::Interrupted {
            attempt,
            why,
            ran_ms,
        } => format!(
            "attempt {attempt} was cut off after {}: {why}",
            span(*ran_ms)
        ),
        Event::Decided {
            outcome, ran_ms, ..
        } => format!(
            "{}: {} (ran {})",
            outcome.state,
            outcome.reason,
            span(*ran_ms)
        ),
        Event::Collected { changes } => changes.to_string(),
        Event::ArtifactFailed { error } => format!("the artifact could not be written: {error}"),
        Event::Ended { outcome } => format!("{}: the artifact is written", outcome.state),
        Event::TakenBack { outcome, .. } => format!(
            "{}: its record was lost and taken back from the artifact",
            outcome.state
        ),
    }
}

/// One of either kind as its parent's model sees it: unread is what has not reached the parent,
/// whoever else has read it.
pub(super) fn listed_for_parent(engine: &Engine, row: &Listed) -> Summary {
    let mut shown = listed(engine, row);
    if let Listed::Ours(row) = row {
        shown.unread = row.delegation.state.is_terminal() && row.read_at.is_none();
    }
    shown
}

/// Whether a row's state is final; what the predecessor wrote always is.
pub(super) fn is_terminal(row: &Listed) -> bool {
    match row {
        Listed::Ours(row) => row.delegation.state.is_terminal(),
        Listed::Predecessor(_) => true,
    }
}

/// The state of either kind.
pub(super) fn state(row: &Listed) -> State {
    match row {
        Listed::Ours(row) => row.delegation.state,
        Listed::Predecessor(file) => file.state,
    }
}
