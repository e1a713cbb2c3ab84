//! A clock that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use brigade_core::clock::Clock;
use jiff::Timestamp;

/// A clock that stands still until a test moves it. Cheap to clone; all clones show the same time.
#[derive(Debug, Clone)]
pub struct FakeClock(Arc<AtomicI64>);

impl FakeClock {
    /// A clock that shows this time, in milliseconds since 1970.
    #[must_use]
    pub fn at(ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(ms)))
    }

    /// The time it shows, in milliseconds since 1970.
    #[must_use]
    pub fn millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Shows this time from now on, in milliseconds since 1970; it may be an earlier one.
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    /// Moves it, by a negative number backwards.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.millis()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_only_when_it_is_moved_and_in_both_directions() {
        let clock = FakeClock::at(10_000);
        let other = clock.clone();
        assert_eq!(clock.now(), clock.now());
        other.advance(-4_000);
        assert_eq!(clock.now().as_millisecond(), 6_000);
        clock.set(7_000);
        assert_eq!(other.millis(), 7_000);
    }
}
