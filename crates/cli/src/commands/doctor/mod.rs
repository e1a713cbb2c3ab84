//! `brigade doctor`: what is wrong, and how to mend it.

mod daemon;
mod files;
mod host;
mod left;
mod panel;

use serde::Serialize;

use crate::args::Json;
use crate::commands::install::Folders;
use crate::context::{Context, directory};
use crate::error::{CliError, Kind};
use crate::format::count;
use crate::output::{Output, Tone, harmless, patiently};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or not for long.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: &'static str,
    /// How it came out.
    pub(crate) level: Level,
    /// What was found.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            level: Level::Ok,
            message: message.into(),
            mend: None,
        }
    }

    pub(crate) fn warn(
        name: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warn,
            mend: Some(mend.into()),
            ..Self::ok(name, message)
        }
    }

    pub(crate) fn fail(
        name: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Fail,
            ..Self::warn(name, message, mend)
        }
    }
}

/// All checks, as `--json` prints them.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether nothing failed.
    ok: bool,
    checks: Vec<Check>,
}

pub(crate) async fn run(args: Json, context: &mut Context) -> Result<(), CliError> {
    let directory = directory()?;
    let folders = Folders::of(&context.dirs, &directory);
    let work = async {
        let status = daemon::ask(&context.dirs).await;
        let mut checks = vec![files::binary(), files::config(&context.dirs, &directory)];
        checks.extend(files::traces(&context.dirs));
        checks.extend(files::data(&context.dirs));
        checks.push(daemon::store(&context.dirs, &status));
        checks.push(files::runtime(&context.dirs, daemon::answered(&status)));
        checks.push(daemon::running(&status));
        let path = std::env::var_os("PATH");
        checks.push(host::opencode(path.as_deref()).await);
        checks.extend(host::bridge(&folders, path.as_deref()));
        checks.extend(panel::installed(&folders));
        checks.extend(panel::seen(&status));
        checks.extend(host::predecessor(&folders));
        checks.extend(daemon::hosts(&status));
        checks.extend(left::checks(&context.dirs, status.is_ok()).await);
        checks
    };
    let checks = patiently("looking", work).await;
    let ok = checks.iter().all(|check| check.level != Level::Fail);
    if args.json {
        context.out.json(&Report { ok, checks })?;
    } else {
        print(&mut context.out, &checks)?;
    }
    if ok {
        Ok(())
    } else {
        Err(CliError::told(Kind::Failed))
    }
}

fn print(out: &mut Output, checks: &[Check]) -> Result<(), CliError> {
    let widest = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let level = match check.level {
            Level::Ok => out.paint(Tone::Good, "ok  "),
            Level::Warn => out.paint(Tone::Warn, "warn"),
            Level::Fail => out.paint(Tone::Bad, "FAIL"),
        };
        let message = harmless(&check.message);
        let mut lines = message.lines();
        let first = lines.next().unwrap_or_default();
        out.line(&format!("{level}  {:<widest$}  {first}", check.name))?;
        for line in lines {
            out.line(&format!("      {:<widest$}  {line}", ""))?;
        }
        if let Some(mend) = &check.mend {
            let arrow = out.paint(Tone::Head, "→");
            out.line(&format!(
                "      {:<widest$}  {arrow} {}",
                "",
                harmless(mend)
            ))?;
        }
    }
    let number = |level| checks.iter().filter(|check| check.level == level).count() as u64;
    let (failed, warned) = (number(Level::Fail), number(Level::Warn));
    out.line("")?;
    out.line(&match (failed, warned) {
        (0, 0) => "All is well.".to_owned(),
        (0, _) => format!("Brigade works; {}.", count(warned, "warning")),
        _ => format!(
            "{}, {}.",
            count(failed, "problem"),
            count(warned, "warning")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_its_mend_beside_it() {
        let checks = [
            Check::ok("binary", "brigade 0.1.0"),
            Check::warn("opencode", "not found", "install it"),
            Check::fail("agents", "two\nlines \u{1b}[1m", "mend it"),
        ];
        let (mut out, printed) = Output::memory(None);
        print(&mut out, &checks).unwrap();
        insta::assert_snapshot!(printed());
        let (mut out, printed) = Output::memory(None);
        out.json(&Report {
            ok: false,
            checks: checks.to_vec(),
        })
        .unwrap();
        insta::assert_snapshot!(printed());
    }
}
