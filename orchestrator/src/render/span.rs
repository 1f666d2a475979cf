//! Times as people say them.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A stretch of time in its two largest units, rounded up to the smaller one: `7s`, `5m`, `3h 20m`,
/// `1d`, `6d 4h`.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let rounded = |unit: u64| seconds.div_ceil(unit) * unit;
    let (seconds, large, small) = match seconds {
        0..MINUTE => return format!("{seconds}s"),
        MINUTE..HOUR if rounded(MINUTE) < HOUR => (rounded(MINUTE), (MINUTE, "m"), None),
        MINUTE..DAY if rounded(MINUTE) < DAY => (rounded(MINUTE), (HOUR, "h"), Some((MINUTE, "m"))),
        _ => (rounded(HOUR), (DAY, "d"), Some((HOUR, "h"))),
    };
    let many = |(unit, name): (u64, &str), of: u64| format!("{}{name}", of / unit);
    let rest = seconds % large.0;
    match small {
        Some(small) if rest > 0 => format!("{} {}", many(large, seconds), many(small, rest)),
        _ => many(large, seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most_and_none_of_them_zero() {
        for (seconds, said) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "2m"),
            (3541, "1h"),
            (3600, "1h"),
            (12_000, "3h 20m"),
            (86_399, "1d"),
            (86_400, "1d"),
            (86_401, "1d 1h"),
            (604_800, "7d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), said, "{seconds}");
        }
    }
}
