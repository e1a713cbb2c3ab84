//! Durations as people write them: `90s`, `15m`, `1h30m`, `0` for none.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A limit: a duration, or none for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit(pub(super) Option<Duration>);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map(Limit).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no duration: write \"90s\", \"15m\", \"1h30m\", or \"0\" for no limit"
            ))
        })
    }
}

/// Reads a duration; `Some(None)` for `0`.
fn parse(text: &str) -> Option<Option<Duration>> {
    let text = text.trim();
    if text == "0" {
        return Some(None);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let number: u32 = number.parse().ok()?;
        let letters = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit.trim() {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "d" => Duration::from_hours(24),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = tail;
    }
    (total > Duration::ZERO).then_some(Some(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let seconds = |text: &str| parse(text).map(|limit| limit.map(|d| d.as_secs_f64()));
        assert_eq!(seconds("90s"), Some(Some(90.0)));
        assert_eq!(seconds("15m"), Some(Some(900.0)));
        assert_eq!(seconds("1h30m"), Some(Some(5_400.0)));
        assert_eq!(seconds("1h 30m"), Some(Some(5_400.0)));
        assert_eq!(seconds("250ms"), Some(Some(0.25)));
        assert_eq!(seconds("0"), Some(None));
        for bad in [
            "",
            "15",
            "m",
            "-5m",
            "1.5h",
            "15 parsecs",
            "0s",
            "99999999999h",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
