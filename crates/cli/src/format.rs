//! Times, spans and amounts as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How long ago, in one unit: `12s`, `5m`, `3h`, `2d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment in the person's time zone.
pub(crate) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// The time of day with tenths, for timelines.
pub(crate) fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%H:%M:%S%.1f")
        .to_string()
}

/// A count with its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A large number in three digits or so: `950`, `12.3k`, `1.25M`.
pub(crate) fn amount(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown in a few digits")]
    let n = number as f64;
    let (n, unit) = match number {
        0..1_000 => return number.to_string(),
        1_000..999_950 => (n / 1e3, "k"),
        999_950..999_950_000 => (n / 1e6, "M"),
        _ => (n / 1e9, "G"),
    };
    if n < 99.95 {
        format!("{n:.1}{unit}")
    } else {
        format!("{n:.0}{unit}")
    }
}

/// US dollars: cents, and of less than a dollar what tells small sums apart.
pub(crate) fn dollars(cost: f64) -> String {
    if cost >= 0.995 || cost == 0.0 {
        format!("${cost:.2}")
    } else {
        format!("${cost:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |seconds: i64| age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
        assert_eq!(
            [
                ago(-5),
                ago(0),
                ago(59),
                ago(60),
                ago(3_599),
                ago(3_600),
                ago(86_399),
                ago(200_000)
            ],
            ["0s", "0s", "59s", "1m", "59m", "1h", "23h", "2d"]
        );
        assert_eq!(moment(now, &TimeZone::UTC), "1970-01-12 13:46:40");
    }
    #[test]
    fn amounts_are_short() {
        let shown = [
            0,
            999,
            1_000,
            12_345,
            123_456,
            999_960,
            1_250_000,
            7_000_000_000,
        ]
        .map(amount);
        assert_eq!(
            shown,
            ["0", "999", "1.0k", "12.3k", "123k", "1.0M", "1.2M", "7.0G"]
        );
        assert_eq!(
            [0.0, 0.01234, 0.996, 12.345].map(dollars),
            ["$0.00", "$0.0123", "$1.00", "$12.35"]
        );
    }
}
