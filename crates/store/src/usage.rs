//! What delegations have used: days, sums.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The local day in the daemon's time zone, as it is stored.
pub(crate) fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).date().to_string()
}

/// A number as it is stored; what is beyond the store's range is not worth telling apart.
pub(crate) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
