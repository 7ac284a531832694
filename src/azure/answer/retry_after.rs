//! How long a server wants to be left alone.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// Microsoft's own clients keep to no more than that.
const LONGEST: Duration = Duration::from_secs(3600);

/// `retry-after-ms` and `x-ms-retry-after-ms` in milliseconds, `Retry-After`
/// in seconds or as a date (RFC 9110 section 10.2.3).
pub(in crate::azure) fn parse(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"]
        .into_iter()
        .find_map(|name| text(name)?.parse().ok().map(Duration::from_millis));
    let wait = milliseconds.or_else(|| {
        let value = text("retry-after")?;
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    })?;
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn every_form_is_read() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            parse(&headers, now).map(|wait| wait.as_millis())
        };
        assert_eq!(read("retry-after", "7"), Some(7_000));
        assert_eq!(read("retry-after", " 0 "), Some(0));
        assert_eq!(read("retry-after", "86400"), Some(3_600_000));
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"),
            Some(60_000)
        );
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"),
            Some(0)
        );
        assert_eq!(read("retry-after-ms", "250"), Some(250));
        assert_eq!(read("x-ms-retry-after-ms", "1500"), Some(1_500));
        for odd in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(read("retry-after", odd), None, "{odd}");
        }
    }

    #[test]
    fn milliseconds_are_preferred_as_the_finer_word() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", http::HeaderValue::from_static("1"));
        headers.insert("retry-after-ms", http::HeaderValue::from_static("400"));
        assert_eq!(
            parse(&headers, UNIX_EPOCH),
            Some(Duration::from_millis(400))
        );
    }
}
