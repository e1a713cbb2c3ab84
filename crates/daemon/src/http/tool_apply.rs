//! `POST /v1/tools/apply`: the model brings changes into its person's tree, in a step of its session: so the host's
//! undo knows of them.

use axum::Json;
use axum::extract::State;
use brigade_core::text::replies;
use brigade_protocol::changes::ApplyOutcome;
use brigade_protocol::tools::{Answer, Apply};
use brigade_store::Listed;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Api, Failure, tool};
use crate::worktrees::{ApplyRequest, NotApplied};

pub(super) async fn handle(
    State(api): State<Api>,
    Json(call): Json<Apply>,
) -> Result<Json<Answer>, Failure> {
    let connection = tool::connection(&api, &call.caller)?;
    let plain = |output: String| {
        Ok(Json(Answer {
            title: "delegation_apply".to_owned(),
            output,
            handed: None,
            asks: Vec::new(),
            diff: None,
        }))
    };
    let (id, row) = match tool::find(&api, &call.caller, &call.args).await? {
        Ok(found) => found,
        Err(unknown) => return plain(unknown),
    };
    let Listed::Ours(row) = row else {
        return plain(format!(
            "{id} is an older result, which has changed no files."
        ));
    };
    if call.caller.parent.is_some() {
        return plain(
            "A delegated agent can't apply changes. Say in your answer what is left to do."
                .to_owned(),
        );
    }
    let catalogue = connection.catalogue(&call.caller.directory);
    let caller = call.caller.agent.as_deref();
    if !catalogue.is_some_and(|catalogue| catalogue.may_edit(caller)) {
        return plain(replies::may_not_apply(&id, caller.unwrap_or("the caller")));
    }
    let Some(paths) = strings(call.args.get("paths")) else {
        return plain(
            "paths is no list of files and folders. Call again with that mended.".to_owned(),
        );
    };
    let markers = call.args.get("markers");
    let request = ApplyRequest {
        to: Some(call.caller.directory.clone()),
        paths,
        markers: markers.is_some_and(|value| value == &Value::Bool(true) || value == "true"),
        dry_run: call.allowed.is_none(),
        allowed: call.allowed,
        call: call.call,
        by: "model",
    };
    let cancel = CancellationToken::new();
    // Dropped when the bridge hangs up, as it does when the call is aborted: what is written by then is taken back.
    let hung_up = cancel.clone().drop_guard();
    let applied = api
        .engine
        .apply(row.delegation, request, false, cancel)
        .await;
    hung_up.disarm();
    let applied = match applied {
        Ok(applied) => applied,
        Err(why @ (NotApplied::Refused(_) | NotApplied::Failed(_))) => {
            return plain(format!("{why}. Nothing was changed in this tree."));
        }
        Err(why @ NotApplied::BrokeOff(_)) => {
            return plain(format!(
                "{why}. Look at these files before you go on, and tell the person."
            ));
        }
        Err(NotApplied::Store(error)) => return Err(error.into()),
    };
    let report = applied.report;
    let files = report.files.iter().map(|file| file.path.clone());
    let asks = if report.outcome == ApplyOutcome::DryRun {
        files.collect()
    } else {
        Vec::new()
    };
    Ok(Json(Answer {
        title: format!("apply · {id}"),
        output: told(&report),
        handed: applied.seq.map(|seq| format!("apply:{seq}")),
        asks,
        diff: applied.diff,
    }))
}

fn told(report: &brigade_protocol::changes::ApplyReport) -> String {
    let file =
        |file: &brigade_protocol::changes::AppliedFile| (file.path.clone(), file.kind.clone());
    let files: Vec<_> = report.files.iter().map(file).collect();
    let conflicts: Vec<_> = report
        .conflicts
        .iter()
        .map(|conflict| replies::Conflict {
            path: &conflict.path,
            what: &conflict.what,
            text: conflict.text.as_deref(),
        })
        .collect();
    match report.outcome {
        ApplyOutcome::Conflicts => replies::conflicting(&report.id, &conflicts),
        ApplyOutcome::Nothing => replies::nothing_to_apply(&report.id),
        ApplyOutcome::Applied | ApplyOutcome::Undone | ApplyOutcome::DryRun => {
            replies::applied(&replies::Applied {
                id: &report.id,
                files: &files,
                conflicts: &conflicts,
                left_out: &report.left_out,
                whole: report.whole,
            })
        }
    }
}

/// A list of texts, or one alone; an absent one is empty.
fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    }
}
