//! When a token ends, by what the server says of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::date;
use super::scalar::Scalar;
use crate::runtime::Timestamp;
use crate::token::Lifetime;

const LONGEST_CREDIBLE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Entra's tokens live for 28 hours at most. What claims to live longer is
/// asked for again after two days.
const LONGEST_USED: Duration = Duration::from_secs(48 * 3600);

/// How far the server's clock may be from this machine's before `expires_on`
/// is taken to mean something else than `expires_in` does.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(15 * 60);

/// 2001-01-01. Microsoft's client for .NET takes a number in `expires_on` below
/// it for seconds from now. No host is known to send such a number, and a wrong
/// guess is a token that is used long after its end, so here it is no point in
/// time at all.
const FIRST_CREDIBLE_MOMENT: f64 = 978_307_200.0;

/// The lifetime that `expires_in` and `expires_on` give together, both as
/// number or as text, the empty text being none; `expires_on` also as a date.
///
/// `expires_in` counts on the monotonic clock from before the request was sent,
/// so it holds even if the clocks differ. `expires_on` wins only if it is
/// earlier by more than clocks usually differ, as it is for tokens from a cache
/// of the server whose `expires_in` was that of a new one, and still to come:
/// a moment that has passed shows that the clocks differ after all. One that
/// cannot be read is passed over where there is an `expires_in`.
///
/// # Errors
///
/// Text that says what is wrong with the token.
#[allow(clippy::similar_names, reason = "they are the protocol's names")]
pub(in crate::azure) fn lifetime(
    expires_in: &Scalar,
    expires_on: &Scalar,
    asked: Timestamp,
) -> Result<Lifetime, &'static str> {
    let life = seconds(expires_in)
        .map_err(|Unreadable| "whose expires_in is no number")?
        .map(duration)
        .transpose()?;
    let end = match point_in_time(expires_on) {
        Ok(given) => given.map(moment).transpose()?,
        Err(Unreadable) if life.is_some() => None,
        Err(Unreadable) => return Err("whose expires_on is no point in time"),
    };
    match (life, end) {
        (Some(life), Some(end)) if is_much_earlier(end, life, asked) && end > asked.wall => {
            still_to_come(end, asked)
        }
        (Some(life), _) => Ok(Lifetime::In(life.min(LONGEST_USED))),
        (None, Some(end)) => still_to_come(end, asked),
        (None, None) => Err("that does not say when it ends"),
    }
}

/// When the server wishes the token to be refreshed. It is a wish: one that
/// cannot be read or kept is passed over.
pub(super) fn refresh_in(value: &Scalar, life: Duration) -> Option<Duration> {
    duration(seconds(value).ok()??)
        .ok()
        .filter(|refresh| *refresh < life)
}

struct Unreadable;

fn seconds(value: &Scalar) -> Result<Option<f64>, Unreadable> {
    match value {
        Scalar::Absent => Ok(None),
        Scalar::Number(number) => Ok(Some(*number)),
        Scalar::Text(text) if text.trim().is_empty() => Ok(None),
        Scalar::Text(text) => text.trim().parse().map(Some).map_err(|_| Unreadable),
        Scalar::Other => Err(Unreadable),
    }
}

/// Seconds since 1970.
fn point_in_time(value: &Scalar) -> Result<Option<f64>, Unreadable> {
    let given = match value {
        Scalar::Text(text) => match date::seconds(text.trim()) {
            Some(moment) => Some(moment),
            None => seconds(value)?,
        },
        _ => seconds(value)?,
    };
    match given {
        Some(moment) if moment.is_nan() || moment < FIRST_CREDIBLE_MOMENT => Err(Unreadable),
        given => Ok(given),
    }
}

fn duration(seconds: f64) -> Result<Duration, &'static str> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(life) if life.is_zero() => Err("that has expired already"),
        Ok(life) if life <= LONGEST_CREDIBLE => Ok(life),
        Err(_) if seconds < 0.0 => Err("that has expired already"),
        _ => Err("with a lifetime that cannot be true"),
    }
}

fn moment(seconds: f64) -> Result<SystemTime, &'static str> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since_epoch| UNIX_EPOCH.checked_add(since_epoch))
        .ok_or("with a lifetime that cannot be true")
}

fn is_much_earlier(end: SystemTime, life: Duration, asked: Timestamp) -> bool {
    match (
        end.checked_add(CLOCK_DIFFERENCE),
        asked.wall.checked_add(life),
    ) {
        (Some(latest), Some(by_life)) => latest < by_life,
        _ => false,
    }
}

fn still_to_come(end: SystemTime, asked: Timestamp) -> Result<Lifetime, &'static str> {
    match end.duration_since(asked.wall) {
        Ok(life) if life > LONGEST_CREDIBLE => Err("with a lifetime that cannot be true"),
        Ok(life) if life > LONGEST_USED => Ok(Lifetime::In(LONGEST_USED)),
        Ok(life) if !life.is_zero() => Ok(Lifetime::On(end)),
        _ => Err("that has expired already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_750_000_000;

    fn asked() -> Timestamp {
        Timestamp::new(
            Duration::from_secs(5),
            UNIX_EPOCH + Duration::from_secs(NOW),
        )
    }

    /// Seconds from now, and whether on the monotonic clock.
    #[allow(clippy::similar_names, reason = "they are the protocol's names")]
    fn read(expires_in: &str, expires_on: &str) -> Result<(u64, bool), &'static str> {
        let scalar = |json: &str| serde_json::from_str::<Scalar>(json).unwrap();
        lifetime(&scalar(expires_in), &scalar(expires_on), asked()).map(|life| match life {
            Lifetime::In(life) => (life.as_secs(), true),
            Lifetime::On(end) => (end.duration_since(asked().wall).unwrap().as_secs(), false),
        })
    }

    #[test]
    fn every_form_that_servers_send_is_read() {
        for (expires_in, expires_on, expected) in [
            ("3599", "null", (3599, true)),
            ("\"3599\"", "null", (3599, true)),
            ("3599.5", "null", (3599, true)),
            ("\"3599.5\"", "\"\"", (3599, true)),
            ("\"\"", "\"1750003600\"", (3600, false)),
            ("null", "1750003600", (3600, false)),
            ("null", "1750003600.25", (3600, false)),
            ("null", "\"1750003600.0\"", (3600, false)),
            ("null", "\"06/15/2025 16:06:40 +00:00\"", (3600, false)),
            ("null", "\"6/15/2025 5:06:40 PM +00:00\"", (7200, false)),
            ("null", "\"2025-06-15T15:06:41Z\"", (1, false)),
            ("3599", "\"06/15/2025 16:06:40 +00:00\"", (3599, true)),
        ] {
            assert_eq!(
                read(expires_in, expires_on),
                Ok(expected),
                "{expires_in} {expires_on}"
            );
        }
    }

    #[test]
    fn expires_in_wins_unless_expires_on_is_much_earlier() {
        let from_now = |seconds: i64| (i64::try_from(NOW).unwrap() + seconds).to_string();
        for (expires_on, expected) in [
            (from_now(3600), (3600, true)),
            (from_now(3600 + 7200), (3600, true)),
            (from_now(3600 - 15 * 60), (3600, true)),
            (from_now(3600 - 15 * 60 - 1), (3600 - 15 * 60 - 1, false)),
            (from_now(60), (60, false)),
            // No moment of this century: passed over.
            ("600".to_owned(), (3600, true)),
            // This machine's clock is two hours ahead (R31).
            (from_now(-7200), (3600, true)),
            ("\"soon\"".to_owned(), (3600, true)),
        ] {
            assert_eq!(read("3600", &expires_on), Ok(expected), "{expires_on}");
        }
        assert!(read("null", &from_now(-7200)).is_err());
    }

    #[test]
    fn r19_absurd_lifetimes_are_refused_and_long_ones_cut() {
        for absurd in [
            "0",
            "-1",
            "\"-3600\"",
            "9223372036854775807",
            "\"9223372036854775808\"",
            "1e300",
            "\"NaN\"",
            "\"inf\"",
            "\"-inf\"",
            "31536001",
            "true",
            "[3600]",
            "{}",
            "\"soon\"",
        ] {
            assert!(read(absurd, "null").is_err(), "expires_in {absurd}");
        }
        for absurd in [
            "0",
            "-1",
            "3600",
            "\"3600\"",
            "\"1/1/2000 0:00:00 +00:00\"",
            "\"6/15/2025 3:06:40 +00:00\"",
            "\"15/6/2025 16:06:40 +00:00\"",
            "1749999999",
            "1781536001",
            "1e300",
            "\"NaN\"",
            "[]",
            "\"later\"",
        ] {
            assert!(read("null", absurd).is_err(), "expires_on {absurd}");
        }
        assert!(read("null", "null").is_err());
        let two_days = 48 * 3600;
        assert_eq!(read("172801", "null"), Ok((two_days, true)));
        assert_eq!(read("31536000", "null"), Ok((two_days, true)));
        assert_eq!(read("null", "1750172801"), Ok((two_days, true)));
    }

    #[test]
    fn refresh_in_is_kept_to_if_it_makes_sense() {
        let life = Duration::from_secs(86_400);
        let read = |json: &str| refresh_in(&serde_json::from_str(json).unwrap(), life);
        assert_eq!(read("43200"), Some(Duration::from_secs(43_200)));
        assert_eq!(read("\"43200\""), Some(Duration::from_secs(43_200)));
        for odd in ["null", "0", "-5", "86400", "90000", "\"x\"", "[]", "1e300"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec!["null", "true", "[1]", "{}", "\"\"", "1e308", "-1e308"])
                .prop_map(str::to_owned),
            any::<f64>().prop_map(|n| serde_json::json!(n).to_string()),
            any::<f64>().prop_map(|n| serde_json::json!(n.to_string()).to_string()),
            any::<i128>().prop_map(|n| n.to_string()),
            any::<i128>().prop_map(|n| format!("\"{n}\"")),
            (0_u8..15, 0_u8..33, 0_u8..26).prop_map(|(month, day, hour)| {
                format!("\"{month}/{day}/2025 {hour}:06:40 +00:00\"")
            }),
            (0_i64..4_000_000_000).prop_map(|n| n.to_string()),
            ".{0,12}".prop_map(|text| serde_json::json!(text).to_string()),
        ]
    }

    proptest! {
        #[test]
        fn t19_no_lifetime_panics_or_is_out_of_bounds(
            expires_in in any_json(),
            expires_on in any_json(),
        ) {
            let scalar = |json: &str| serde_json::from_str::<Scalar>(json).unwrap();
            let (expires_in, expires_on) = (scalar(&expires_in), scalar(&expires_on));
            let life = match lifetime(&expires_in, &expires_on, asked()) {
                Ok(Lifetime::In(life)) => life,
                Ok(Lifetime::On(end)) => end.duration_since(asked().wall).unwrap(),
                Err(_) => return Ok(()),
            };
            prop_assert!(!life.is_zero() && life <= LONGEST_USED);
            if let Some(refresh) = refresh_in(&expires_on, life) {
                prop_assert!(refresh < life);
            }
        }
    }
}
