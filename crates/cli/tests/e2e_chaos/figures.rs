//! What the rig counts. Printed, and left in a file for whoever runs all tests.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// The figures of a test.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Processes killed.
    pub(crate) kills: usize,
    /// Delegations that ended with their answer and were told.
    pub(crate) survived: usize,
    /// From a kill to the next model request of the run that it interrupted.
    pub(crate) running_again: Vec<Duration>,
    /// From a kill of the daemon to the next one that answers.
    pub(crate) daemon_again: Vec<Duration>,
}

impl Figures {
    /// Says them; only what was asserted before is told, so nothing was lost or doubled.
    pub(crate) fn tell(&self, of: &str) {
        let line = format!("chaos, {of}: {self}");
        println!("{line}");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join(of.split(',').next().unwrap().replace(' ', "-")),
            line + "\n",
        )
        .unwrap();
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kills, survived, ..
        } = self;
        write!(
            out,
            "{kills} kills, {survived} delegations survived, 0 lost, 0 doubled"
        )?;
        for (what, times) in [
            ("running again", &self.running_again),
            ("next daemon", &self.daemon_again),
        ] {
            let mut times = times.clone();
            times.sort();
            if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
                write!(
                    out,
                    "; {what} after {:.1} s (median), {:.1} s (worst of {})",
                    median.as_secs_f64(),
                    worst.as_secs_f64(),
                    times.len()
                )?;
            }
        }
        Ok(())
    }
}
