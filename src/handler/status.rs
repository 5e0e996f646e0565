//! What answers over HTTP mean, for every handler that speaks it.

use std::fmt;

use crate::clock::Timestamp;

/// The longest pause that a target can ask for, in milliseconds: a day. Longer is a mistaken header.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3600 * 1000;

/// The contract's classes of what is no success.
pub(super) fn class_of(status: u16) -> &'static str {
    match status {
        408 | 504 => "timeout",
        429 => "rate_limit",
        502 | 503 => "temporary_failure",
        400..=499 => "http_4xx",
        500.. => "http_5xx",
        _ => "http_3xx",
    }
}

/// The text of a `Retry-After`, in seconds or as a date.
pub(super) fn retry_after_ms(text: &str, now: Timestamp) -> Option<u64> {
    let text = text.trim();
    let asked = if let Ok(seconds) = text.parse::<u64>() {
        seconds.saturating_mul(1_000)
    } else {
        let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
        u64::try_from(Timestamp(at.timestamp_millis()).since(now)).ok()?
    };
    Some(asked.min(RETRY_AFTER_MS_MAX))
}

/// An error and all its causes in one line.
pub(super) struct Chain<'a>(pub(super) &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(inner) = cause {
            let words = inner.to_string();
            // Many an error repeats its cause.
            if !said.ends_with(&words) {
                write!(f, ": {words}")?;
            }
            said = words;
            cause = inner.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_the_contracts() {
        let expected = [
            (301, "http_3xx"),
            (400, "http_4xx"),
            (404, "http_4xx"),
            (408, "timeout"),
            (429, "rate_limit"),
            (500, "http_5xx"),
            (502, "temporary_failure"),
            (503, "temporary_failure"),
            (504, "timeout"),
            (599, "http_5xx"),
        ];
        for (status, class) in expected {
            assert_eq!(class_of(status), class, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &str| retry_after_ms(text, Timestamp::parse("1994-11-06T08:49:30Z").unwrap());
        assert_eq!(read("2"), Some(2_000));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7_000));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(read("99999999999999999999"), None);
        assert_eq!(read("999999999"), Some(RETRY_AFTER_MS_MAX));
        assert_eq!(read("soon"), None);
    }
}
