//! Real processes killed in the real OpenCode: the daemon at each of its fail points, daemon, OpenCode and
//! own servers at moments drawn by a seed. Whatever dies, each delegation ends with its answer and each parent
//! is told of it once.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures, and the logs of a test that fails"
)]

mod figures;
mod five;
mod left;
mod points;
mod rig;
mod rounds;
mod servers;
mod worktrees;

#[path = "../e2e_loop/stage.rs"]
#[expect(
    dead_code,
    reason = "what the tests of the loop share; not all is needed here"
)]
mod stage;
