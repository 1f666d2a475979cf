//! How long a provider asked us to stay away: in a header, or in the middle of a sentence.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Reads `retry-after-ms`, else `retry-after` (seconds, or a date that is compared with `now`).
pub(crate) fn told_by_headers<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    now: Timestamp,
) -> Option<Duration> {
    let number = |name: &str| header(name)?.trim().parse::<f64>().ok();
    if let Some(delay) = number("retry-after-ms").and_then(|ms| seconds(ms / 1000.0)) {
        return Some(delay);
    }
    if let Some(delay) = number("retry-after").and_then(seconds) {
        return Some(delay);
    }
    let date = DateTimeParser::new()
        .parse_timestamp(header("retry-after")?.trim())
        .ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Finds "try again in 1.5s" (also `20ms`, `1m30s`, `2 seconds`) in a message.
pub(crate) fn told_delay(message: &str) -> Option<Duration> {
    const LEAD: &str = "try again in ";
    let message = message.to_ascii_lowercase();
    let mut rest = &message[message.find(LEAD)? + LEAD.len()..];
    let mut total = None;
    while let Some((delay, after)) = quantity(rest) {
        total = Some(total.unwrap_or(Duration::ZERO).checked_add(delay)?);
        rest = after;
    }
    total
}

/// A number and its unit at the start of `text`, and what follows them.
fn quantity(text: &str) -> Option<(Duration, &str)> {
    let text = text.trim_start();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..digits].parse().ok()?;
    let text = text[digits..].trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let factor = match &text[..end] {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hour" | "hours" => 3600.0,
        _ => return None,
    };
    Some((seconds(number * factor)?, &text[end..]))
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Option<Duration> {
        let now = "2026-11-20T12:00:00Z".parse().unwrap();
        let find = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        told_by_headers(find, now)
    }

    #[test]
    fn a_delay_is_found_inside_a_sentence() {
        let found = |text| told_delay(text).map(|delay| delay.as_millis());
        assert_eq!(
            found("Rate limit reached. Please try again in 1.5s."),
            Some(1500)
        );
        assert_eq!(found("Try again in 20ms"), Some(20));
        assert_eq!(found("try again in 6m0s. Visit us."), Some(360_000));
        assert_eq!(found("try again in 1h2m3s"), Some(3_723_000));
        assert_eq!(found("Please try again in 2 seconds"), Some(2000));
        assert_eq!(found("try again in 0.4s."), Some(400));
    }

    #[test]
    fn a_sentence_without_a_delay_has_none() {
        let cases = [
            "",
            "try again in ",
            "try again in a while",
            "try again in 5",
            "in 5s",
        ];
        for text in cases
            .into_iter()
            .chain(["try again in 5 parsecs", "try again in 1.2.3s"])
        {
            assert_eq!(told_delay(text), None, "{text}");
        }
        assert_eq!(
            told_delay(&format!("try again in {}h", "9".repeat(300))),
            None
        );
    }

    #[test]
    fn headers_tell_seconds_milliseconds_or_a_date() {
        assert_eq!(
            headers(&[("retry-after", "1")]),
            Some(Duration::from_secs(1))
        );
        assert_eq!(
            headers(&[("retry-after", " 1.5 ")]),
            Some(Duration::from_millis(1500))
        );
        let both = headers(&[("retry-after", "1"), ("retry-after-ms", "250")]);
        assert_eq!(both, Some(Duration::from_millis(250)));
        let date = headers(&[("retry-after", "Fri, 20 Nov 2026 12:00:30 GMT")]);
        assert_eq!(date, Some(Duration::from_secs(30)));
        let past = headers(&[("retry-after", "Fri, 20 Nov 2026 11:00:00 GMT")]);
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(headers(&[("retry-after", "soon")]), None);
        assert_eq!(headers(&[("retry-after", "-1")]), None);
        assert_eq!(headers(&[]), None);
    }
}
