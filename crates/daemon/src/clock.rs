//! Time, injected, so that tests decide what it is.

use jiff::Timestamp;

/// Where the daemon takes the wall-clock time from. Durations are measured on tokio's clock, which
/// stands still while the machine sleeps.
pub(crate) trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
