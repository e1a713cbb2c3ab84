//! Beginnings of a time, as people type them: `7d`, `12h`, `2026-03-01`.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::context::Now;

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long ago.
    Ago(SignedDuration),
    /// So many days, today included.
    Days(i32),
    /// The beginning of a day.
    Day(Date),
    /// A moment.
    Moment(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no time: use 30m, 12h, 7d, 2w, a day like 2026-03-01, or a time like 2026-03-01T12:00:00Z"
            )
        };
        let number = |digits: &str| digits.parse::<u16>().ok();
        if let Some(n) = text.strip_suffix('m').and_then(number) {
            return Ok(Self::Ago(SignedDuration::from_mins(n.into())));
        }
        if let Some(n) = text.strip_suffix('h').and_then(number) {
            return Ok(Self::Ago(SignedDuration::from_hours(n.into())));
        }
        for (unit, days) in [('d', 1), ('w', 7)] {
            if let Some(n) = text.strip_suffix(unit).and_then(number).filter(|n| *n > 0) {
                return Ok(Self::Days(i32::from(n) * days));
            }
        }
        if let Ok(day) = text.parse() {
            // A date with a time is read as its date, too: that is not what was meant.
            if text.len() <= 10 {
                return Ok(Self::Day(day));
            }
        }
        text.parse().map(Self::Moment).map_err(|_| wrong())
    }
}

impl Since {
    /// The moment.
    pub(crate) fn moment(self, now: &Now) -> Timestamp {
        let ago = |span: SignedDuration| now.at.checked_sub(span).unwrap_or(Timestamp::MIN);
        match self {
            Self::Ago(span) => ago(span),
            Self::Days(days) => ago(SignedDuration::from_hours(24 * i64::from(days))),
            Self::Day(day) => day
                .to_zoned(now.zone.clone())
                .map_or(Timestamp::MIN, |zoned| zoned.timestamp()),
            Self::Moment(at) => at,
        }
    }

    /// The first day: of so many days today is one.
    pub(crate) fn day(self, now: &Now) -> Date {
        match self {
            Self::Days(days) => {
                let today = now.at.to_zoned(now.zone.clone()).date();
                today.checked_sub((days - 1).days()).unwrap_or(Date::MIN)
            }
            Self::Day(day) => day,
            Self::Ago(_) | Self::Moment(_) => self.moment(now).to_zoned(now.zone.clone()).date(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    #[test]
    fn times_are_read_as_people_mean_them() {
        let now = Now {
            at: "2026-03-10T01:30:00Z".parse().unwrap(),
            zone: TimeZone::UTC,
        };
        let both = |text: &str| {
            let since: Since = text.parse().unwrap();
            (since.moment(&now).to_string(), since.day(&now).to_string())
        };
        let pair = |moment: &str, day: &str| (moment.to_owned(), day.to_owned());
        assert_eq!(both("2h"), pair("2026-03-09T23:30:00Z", "2026-03-09"));
        assert_eq!(both("1d"), pair("2026-03-09T01:30:00Z", "2026-03-10"));
        assert_eq!(both("1w"), pair("2026-03-03T01:30:00Z", "2026-03-04"));
        assert_eq!(
            both("2026-03-01"),
            pair("2026-03-01T00:00:00Z", "2026-03-01")
        );
        assert_eq!(
            both("2026-03-01T12:00:00Z"),
            pair("2026-03-01T12:00:00Z", "2026-03-01")
        );
        for wrong in ["", "7", "0d", "d", "yesterday", "-1d", "2026-13-01"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }
}
