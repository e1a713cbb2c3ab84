//! Where the time comes from, for whoever has to ask: injected, so that a test decides what it is.

use jiff::Timestamp;

/// A clock. Only wall-clock time is asked of it; durations are measured on a monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}
