//! What is logged: read from a text, and changed while the daemon runs.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::hosts::lock;

/// What is accepted, for whoever wrote something else.
pub(crate) const ACCEPTED: &str = "one of off, error, warn, info, debug, trace, or directives such as \"info,brigade_daemon::delivery=debug\"";
/// Where changes of the level are logged, whatever the level: a log that falls silent must say why.
const ALWAYS: &str = "brigade::log=info";
/// Longest text that is read, in bytes.
const LONGEST: usize = 2_000;

/// Why what was asked for is not logged. What is logged was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LevelError {
    /// It is no level and no list of directives.
    #[error("{text:?} is no log level{why}; accepted is {ACCEPTED}")]
    Unknown { text: String, why: String },
    /// The log belongs to another daemon in this process.
    #[error("this daemon's log belongs to the program around it and was not changed")]
    NotOurs,
}

/// Reads a level or directives.
///
/// # Errors
/// Where it is neither.
pub(crate) fn filter(text: &str) -> Result<EnvFilter, LevelError> {
    let unknown = |why: String| LevelError::Unknown {
        text: text.chars().take(60).collect(),
        why,
    };
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return Err(unknown(String::new()));
    }
    // A lone word is taken by the library for a target of which everything is logged: a mistyped level would be heard
    // as "nothing but that".
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    for part in &parts {
        let whole = part.contains(['=', '[', ']', ':', '}']);
        if part.is_empty() || (!whole && part.parse::<LevelFilter>().is_err()) {
            let why = match parts.len() {
                1 => String::new(),
                _ => format!(" ({part:?} is none)"),
            };
            return Err(unknown(why));
        }
    }
    let read = |text: &str| EnvFilter::builder().with_regex(false).parse(text);
    let always = ALWAYS
        .parse()
        .map_err(|error: ParseError| unknown(format!(" ({error})")))?;
    // The library has parts alone silence all others, their errors included.
    let named = parts.iter().any(|part| part.parse::<LevelFilter>().is_ok());
    let mut parts = parts;
    if !named {
        parts.insert(0, "warn");
    }
    let filter = read(&parts.join(",")).map_err(|error| unknown(format!(" ({error})")))?;
    Ok(filter.add_directive(always))
}

/// What is logged now, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Present {
    /// What is logged.
    pub(crate) directives: String,
    /// Until then; none for until the daemon ends.
    pub(crate) until: Option<Timestamp>,
    /// What is logged after that.
    pub(crate) then: String,
}

#[derive(Debug)]
struct State {
    present: Present,
    /// Counts the changes: a passing one ends by itself only while it is the latest.
    change: u64,
}

/// The log's level in a running daemon. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogLevel(Arc<Inner>);

struct Inner {
    handle: Option<reload::Handle<EnvFilter, Registry>>,
    setting: String,
    state: Mutex<State>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevel").field(&self.0.state).finish()
    }
}

impl LogLevel {
    /// `setting` is logged now, as the configuration says; without a handle nothing can be changed.
    pub(crate) fn new(handle: Option<reload::Handle<EnvFilter, Registry>>, setting: &str) -> Self {
        let present = Present {
            directives: setting.to_owned(),
            until: None,
            then: setting.to_owned(),
        };
        Self(Arc::new(Inner {
            handle,
            setting: setting.to_owned(),
            state: Mutex::new(State { present, change: 0 }),
        }))
    }

    /// What the configuration says.
    pub(crate) fn setting(&self) -> &str {
        &self.0.setting
    }

    /// What is logged now.
    pub(crate) fn present(&self) -> Present {
        lock(&self.0.state).present.clone()
    }

    /// Logs this from now on. With a duration `revert` has to be awaited beside, with what is returned.
    ///
    /// # Errors
    /// Where it is no level, or the log is not ours. Nothing was changed then.
    pub(crate) fn set(
        &self,
        directives: &str,
        passing: Option<(Duration, Timestamp)>,
    ) -> Result<u64, LevelError> {
        let directives = directives.trim();
        let filter = filter(directives)?;
        let mut state = lock(&self.0.state);
        self.reload(filter)?;
        state.change += 1;
        let until = passing.and_then(|(length, now)| {
            let length = SignedDuration::try_from(length).ok()?;
            now.checked_add(length).ok()
        });
        let then = match until {
            Some(_) => state.present.then.clone(),
            None => directives.to_owned(),
        };
        state.present = Present {
            directives: directives.to_owned(),
            until,
            then,
        };
        match until {
            Some(until) => {
                tracing::info!(target: "brigade::log", level = directives, %until, "what is logged was changed for a while");
            }
            None => {
                tracing::info!(target: "brigade::log", level = directives, "what is logged was changed");
            }
        }
        Ok(state.change)
    }

    /// Waits for the end of a passing change, and logs again what was logged before it, unless it was changed since.
    pub(crate) async fn revert(&self, change: u64, after: Duration) {
        tokio::time::sleep(after).await;
        let mut state = lock(&self.0.state);
        if state.change != change {
            return;
        }
        let before = state.present.then.clone();
        let reverted = filter(&before).and_then(|filter| self.reload(filter));
        if let Err(error) = reverted {
            tracing::warn!(target: "brigade::log", %error, "what is logged stays as it is");
            return;
        }
        tracing::info!(target: "brigade::log", level = before, "what is logged is again as before");
        state.present = Present {
            directives: before.clone(),
            until: None,
            then: before,
        };
    }

    fn reload(&self, filter: EnvFilter) -> Result<(), LevelError> {
        let handle = self.0.handle.as_ref().ok_or(LevelError::NotOurs)?;
        handle.reload(filter).map_err(|_| LevelError::NotOurs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_read_and_nothing_else() {
        for good in [
            "off",
            "INFO",
            " debug ",
            "info,brigade_daemon::delivery=debug",
            "warn, brigade_store=trace",
            "brigade_daemon::delivery",
            "info,brigade_daemon[{id=brave-amber-otter}]=trace",
        ] {
            assert!(filter(good).is_ok(), "{good}");
        }
        let long = "info,".repeat(1_000);
        for bad in [
            "",
            " ",
            "verbose",
            "info,debgu",
            "brigade_daemon=loud",
            "info,,debug",
            &long,
        ] {
            let error = filter(bad).unwrap_err().to_string();
            assert!(error.contains(ACCEPTED), "{bad}: {error}");
            assert!(error.len() < 400, "{error}");
        }
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_change_ends_by_itself_unless_it_was_changed_since() {
        let (_layer, handle) = reload::Layer::new(filter("info").unwrap());
        let level = LogLevel::new(Some(handle.clone()), "info");
        let used = || handle.with_current(ToString::to_string).unwrap();
        let minute = Duration::from_mins(1);

        level.set("warn", None).unwrap();
        let change = level.set("debug", Some((minute, now()))).unwrap();
        assert!(used().contains("debug"), "{}", used());
        assert_eq!(
            level.present().until,
            now().checked_add(SignedDuration::from_mins(1)).ok()
        );
        level.revert(change, minute).await;
        assert!(
            used().contains("warn") && !used().contains("debug"),
            "{}",
            used()
        );
        assert_eq!(
            (level.present().directives.as_str(), level.present().until),
            ("warn", None)
        );

        let passing = level.set("debug", Some((minute, now()))).unwrap();
        let second = level.set("trace", Some((minute * 2, now()))).unwrap();
        level.revert(passing, minute).await;
        assert_eq!(level.present().directives, "trace", "the later one holds");
        level.revert(second, minute).await;
        assert_eq!(
            level.present().directives,
            "warn",
            "a passing one is no state to go back to"
        );
        assert!(level.set("loud", None).is_err());
        assert_eq!(level.present().directives, "warn");
        assert_eq!(level.setting(), "info");
    }

    #[test]
    fn the_log_of_the_program_around_is_left_alone() {
        let level = LogLevel::new(None, "info");
        assert!(matches!(level.set("debug", None), Err(LevelError::NotOurs)));
        assert_eq!(level.present().directives, "info");
    }
}
