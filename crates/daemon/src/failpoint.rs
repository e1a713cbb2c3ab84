//! Named places where a test has the daemon die as a crash would: on the spot, by SIGKILL. They are compiled
//! in with the feature `failpoints`, which tests alone build with; without it [`pass`] is nothing.
//!
//! `BRIGADE_FAILPOINTS` names a folder. As long as it holds a file with the name of a point, the daemon dies
//! there at the Nth pass, N being what the file says. Before it dies it renames the file to `NAME.died`: the
//! next daemon, which has the same environment, passes, and the test can tell that the point was reached. So
//! one host can see a daemon die at any number of points, one after the other.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("fail points are for tests: the feature `failpoints` may not be in a release build");

/// All points, in the order in which a delegation passes them.
pub const POINTS: &[&str] = &[
    "registered",
    "before-commit",
    "after-commit",
    "child-created",
    "prompt-posted",
    "run-ended",
    "outcome-decided",
    "artifact-written",
    "ended",
    "notice-planned",
    "notice-sent",
    "notice-recorded",
    "waking-planned",
    "waking-sent",
    "offer-leased",
    "offer-taken",
    "recovering",
    "interrupted",
    "server-planned",
    "server-launched",
    "server-recorded",
    "server-begun",
    "server-up",
    "snapshot-vault",
    "snapshot-index",
    "snapshot-objects",
    "snapshot-tree",
    "snapshot-record",
    "build-cleared",
    "build-files",
    "build-repository",
    "worktree-built",
    "worktree-set-up",
    "collect-objects",
    "collect-tree",
    "collect-packed",
    "collect-commits",
    "collect-patch",
    "changes-collected",
    "patch-written",
    "changes-recorded",
    "plan-target",
    "plan-merged",
    "plan-kept",
    "apply-recorded",
    "apply-contents",
    "apply-journal",
    "apply-file",
    "apply-done",
    "rollback-file",
    "rollback-done",
    "apply-written",
    "undo-written",
    "worktree-unneeded",
    "worktree-claimed",
    "remove-tree",
    "remove-all",
    "worktree-removed",
];

/// Passes a point, or dies at it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn pass(_point: &'static str) {}

/// Passes a point, or dies at it.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(point: &'static str) {
    use std::sync::{Mutex, PoisonError};

    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    debug_assert!(POINTS.contains(&point), "{point} is not in the list");
    let Some(folder) = std::env::var_os("BRIGADE_FAILPOINTS") else {
        return;
    };
    let file = std::path::Path::new(&folder).join(point);
    let _counting = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(left) = std::fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
    else {
        return;
    };
    let counted = if left > 1 {
        std::fs::write(&file, (left - 1).to_string())
    } else {
        std::fs::rename(&file, file.with_extension("died"))
    };
    match counted {
        Ok(()) if left <= 1 => brigade_os::process::die(),
        Ok(()) => {}
        // A test that waits for the point fails, and this is why.
        Err(error) => tracing::error!(point, %error, "a fail point could not be counted"),
    }
}
