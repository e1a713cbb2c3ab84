//! `cargo xtask ci`: everything that must hold before a change lands.

use crate::error::Result;
use crate::steps::{Steps, cargo, cargo_has, run as run_command};
use crate::{demo, tests, texts};

/// Runs all checks, and goes on where one fails.
///
/// # Errors
/// When one failed.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    steps.step("fmt", || run_command(cargo(&["fmt", "--all", "--check"])));
    // As it is shipped, and as it is tested.
    for (name, features) in [
        ("clippy", None),
        ("clippy, all features", Some(tests::FEATURES)),
    ] {
        steps.step(name, || {
            let mut clippy = cargo(&["clippy", "--workspace", "--all-targets"]);
            clippy.args(features).args(["--", "--deny", "warnings"]);
            run_command(clippy)
        });
    }
    steps.step("texts", || texts::run(&texts::Args { check: true }));
    steps.step("test", tests::run);
    if cargo_has("deny") {
        steps.step("deny", || run_command(cargo(&["deny", "check"])));
    } else {
        steps.skip(
            "deny",
            "cargo-deny is not installed (cargo install cargo-deny)",
        );
    }
    steps.step("demo", || demo::run(&demo::Args::default()));
    steps.finish()
}
