//! `cargo xtask test`: all tests, whichever runner they need.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use brigade_testkit::Sandbox;

use crate::error::{Error, Result, io};
use crate::steps::{Steps, cargo, cargo_has, run as run_command, watch};
use crate::{block_on, root, say};

/// Tests kill the daemon at named points, which are compiled in for them alone, and hear its traces.
pub(crate) const FEATURES: &str = "--features=brigade/failpoints,brigade/otel";

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Runs all tests.
///
/// # Errors
/// When one fails, or something can't be built or fetched.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::default();
    let total = Mutex::new(Count::default());
    // Built first: tests with a real daemon and a real host start this binary.
    steps.step("build", || {
        run_command(cargo(&["build", "--package", "brigade", FEATURES]))
    });
    steps.step("fetch OpenCode", || {
        // Making a sandbox puts it into the cache, once, before many tests ask for it at a time.
        block_on(async {
            Sandbox::new().await?;
            Ok(())
        })
    });
    steps.step("tests in Rust", || {
        // What an earlier run has counted must not be told as this one's.
        match fs::remove_dir_all(figures_folder()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io("forget earlier figures")(error));
            }
            _ => {}
        }
        let args: &[&str] = if cargo_has("nextest") {
            &["nextest", "run", "--workspace", FEATURES, "--no-fail-fast"]
        } else {
            say("cargo-nextest is not installed; cargo test does the same, only slower.");
            &[
                "test",
                "--workspace",
                FEATURES,
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
            ]
        };
        suite(cargo(args), &total)
    });
    steps.step("kills survived", figures);
    steps.step("examples in the docs", || {
        suite(cargo(&["test", "--workspace", FEATURES, "--doc"]), &total)
    });
    steps.step("tests of the bridge", || {
        let mut command = Command::new("node");
        command
            .args(["--test", "--test-reporter=spec"])
            .args(bridge_tests()?);
        command.current_dir(root().join("bridges/opencode"));
        suite(command, &total)
    });
    let verdict = steps.finish();
    let Count { passed, failed } = *total
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    say(&format!("{passed} tests passed, {failed} failed"));
    verdict
}

/// Where the tests that kill processes leave what they have counted.
fn figures_folder() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("tmp/chaos")
}

/// Says what the tests that kill processes have counted.
fn figures() -> Result<()> {
    let folder = figures_folder();
    let shown = format!("list {}", folder.display());
    let mut said = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io(shown.clone()))? {
        let path = entry.map_err(io(shown.clone()))?.path();
        let read = fs::read_to_string(&path).map_err(io(format!("read {}", path.display())));
        said.push(read?.trim_end().to_owned());
    }
    said.sort();
    for line in said {
        say(&line);
    }
    Ok(())
}

fn suite(command: Command, total: &Mutex<Count>) -> Result<()> {
    let count = Mutex::new(Count::default());
    let add = |to: &Mutex<Count>, more: Count| {
        let mut to = to.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        to.passed += more.passed;
        to.failed += more.failed;
    };
    let succeeded = watch(command, |line| {
        if let Some(more) = counted(line) {
            add(&count, more);
        }
    })?;
    let count = count
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    add(total, count);
    match (succeeded, count.failed) {
        (true, _) => Ok(()),
        (false, 0) => Err(Error::Wrong("the tests could not be run".to_owned())),
        (false, failed) => Err(Error::Wrong(format!("{failed} tests failed"))),
    }
}

/// The bridge's test files, named one by one: what `node --test` makes of a folder differs between
/// Node's versions.
fn bridge_tests() -> Result<Vec<String>> {
    let folder = root().join("bridges/opencode/test");
    let shown = format!("list {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io(shown.clone()))? {
        let name = entry
            .map_err(io(shown.clone()))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(".test.js") {
            files.push(format!("test/{name}"));
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Wrong(format!("no tests in {}", folder.display())));
    }
    Ok(files)
}

/// Reads the line in which nextest, cargo test or Node says how its tests went.
fn counted(line: &str) -> Option<Count> {
    let whole = without_colours(line);
    let plain = whole.trim();
    let before = |word: &str| -> Option<u64> {
        plain.split([',', ';', ':', '.']).find_map(|part| {
            let (number, rest) = part.trim().split_once(' ')?;
            // Nextest notes slow ones in brackets behind the word.
            let rest = rest.split(" (").next().unwrap_or(rest);
            (rest == word).then(|| number.parse().ok())?
        })
    };
    if plain.starts_with("Summary [") {
        let failed: u64 = ["failed", "timed out", "exec failed"]
            .iter()
            .filter_map(|word| before(word))
            .sum();
        return Some(Count {
            passed: before("passed")?,
            failed,
        });
    }
    // Indented it is what nextest repeats of a test that failed, and counted by nextest itself.
    if whole.starts_with("test result: ") {
        // After `ok.` and `FAILED.` comes the first number.
        return Some(Count {
            passed: before("passed")?,
            failed: before("failed")?,
        });
    }
    let number = |word: &str| {
        let rest = plain.strip_prefix(['ℹ', '#'])?.trim_start();
        rest.strip_prefix(word)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    };
    if let Some(passed) = number("pass") {
        return Some(Count { passed, failed: 0 });
    }
    number("fail").map(|failed| Count { passed: 0, failed })
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            // A colour ends with its first letter.
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(char);
        }
    }
    plain
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_runners_count_is_read() {
        for (line, passed, failed) in [
            (
                "     Summary [   1.381s] 6 tests run: 4 passed (1 slow), 2 failed, 3 skipped",
                4,
                2,
            ),
            (
                "     Summary [   1.381s] 6 tests run: 6 passed, 0 skipped",
                6,
                0,
            ),
            (
                "     Summary [  61.0s] 6 tests run: 4 passed, 1 failed, 1 timed out, 0 skipped",
                4,
                2,
            ),
            (
                "\u{1b}[32m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped",
                2,
                0,
            ),
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.05s",
                12,
                0,
            ),
            (
                "test result: FAILED. 11 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s",
                11,
                1,
            ),
            ("ℹ pass 28", 28, 0),
            ("# fail 3", 0, 3),
        ] {
            assert_eq!(counted(line), Some(Count { passed, failed }), "{line}");
        }
        let repeated = "    test result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.05s";
        assert_eq!(counted(repeated), None);
        for line in [
            "ℹ duration_ms 12",
            "ok 3 - passed",
            "  Summary of all",
            "# Subtest: pass 3",
        ] {
            assert_eq!(counted(line), None, "{line}");
        }
    }
}
