//! Points in time that are written as dates.

/// From the 1st of March of the year 0.
const DAYS_TO_1970: i64 = 719_468;

/// Seconds since 1970 of a date and time with its offset from UTC: RFC 3339, or
/// one of the two forms that App Service has in version 2017-09-01:
/// `06/20/2019 02:57:58 +00:00` on Linux and `6/20/2019 2:57:58 AM +00:00` on
/// Windows. The order of month and day is fixed; no language and no time zone of
/// this machine comes into it.
pub(super) fn seconds(text: &str) -> Option<f64> {
    if text.contains('/') {
        american(text)
    } else {
        rfc3339(text)
    }
}

/// RFC 3339 section 5.6. A blank may stand for the `T`.
fn rfc3339(text: &str) -> Option<f64> {
    if !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let mut date = date.split('-');
    let (year, month, day) = (
        digits(date.next()?, 4..=4)?,
        digits(date.next()?, 2..=2)?,
        digits(date.next()?, 2..=2)?,
    );
    let [hour, minute, second] = clock(time, 2..=2)?;
    let zone_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (fraction, zone) = rest.split_at(zone_at);
    let fraction = match fraction.strip_prefix('.') {
        None if fraction.is_empty() => 0.0,
        // Ten digits are more than any clock has.
        Some(digits) if (1..=10).contains(&digits.len()) && !digits.contains('.') => {
            fraction.parse::<f64>().ok()?
        }
        _ => return None,
    };
    let whole = moment([year, month, day], [hour, minute, second])? - offset(zone)?;
    Some(whole as f64 + fraction)
}

/// Month, day, year; then a clock of 24 hours, or of 12 with `AM` or `PM`.
fn american(text: &str) -> Option<f64> {
    let mut parts = text.split(' ');
    let (date, time, next) = (parts.next()?, parts.next()?, parts.next()?);
    let (half, zone) = match parts.next() {
        Some(zone) => (Some(next), zone),
        None => (None, next),
    };
    if parts.next().is_some() {
        return None;
    }
    let mut date = date.split('/');
    let (month, day, year) = (
        digits(date.next()?, 1..=2)?,
        digits(date.next()?, 1..=2)?,
        digits(date.next()?, 4..=4)?,
    );
    if date.next().is_some() {
        return None;
    }
    let [hour, minute, second] = clock(time, 1..=2)?;
    let hour = match half {
        None => hour,
        Some(half) => {
            let from_noon_or_midnight = match hour {
                12 => 0,
                1..=11 => hour,
                _ => return None,
            };
            match half {
                "AM" => from_noon_or_midnight,
                "PM" => from_noon_or_midnight + 12,
                _ => return None,
            }
        }
    };
    let whole = moment([year, month, day], [hour, minute, second])? - offset(zone)?;
    Some(whole as f64)
}

fn clock(text: &str, hour_digits: std::ops::RangeInclusive<usize>) -> Option<[i64; 3]> {
    let mut parts = text.split(':');
    let time = [
        digits(parts.next()?, hour_digits)?,
        digits(parts.next()?, 2..=2)?,
        digits(parts.next()?, 2..=2)?,
    ];
    parts.next().is_none().then_some(time)
}

/// `Z` or `+hh:mm`, in seconds.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2..=2)?, digits(minutes, 2..=2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let sound = length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

fn moment([year, month, day]: [i64; 3], [hour, minute, second]: [i64; 3]) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    // A leap second has the number 60.
    let sound = (1..=last_day).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !sound {
        return None;
    }
    // A year that begins in March has its leap day at its end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days_before_month = (153 * month + 2) / 5;
    let days = 365 * year + leap_days + days_before_month + day - 1;
    Some((days - DAYS_TO_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_app_service_and_rfc_3339_is_read() {
        for (text, expected) in [
            ("06/20/2019 02:57:58 +00:00", 1_560_999_478.0),
            ("6/20/2019 2:57:58 AM +00:00", 1_560_999_478.0),
            ("11/17/2019 9:33:31 PM +00:00", 1_574_026_411.0),
            ("2/16/2019 8:46:00 AM +00:00", 1_550_306_760.0),
            ("11/17/2019 12:00:00 AM +00:00", 1_573_948_800.0),
            ("11/17/2019 12:00:00 PM +00:00", 1_573_992_000.0),
            ("11/17/2019 21:33:31 +00:00", 1_574_026_411.0),
            ("11/17/2019 21:33:31 +01:30", 1_574_021_011.0),
            ("2019-11-17T21:33:31Z", 1_574_026_411.0),
            ("2019-11-17t21:33:31z", 1_574_026_411.0),
            ("2019-11-17 21:33:31+00:00", 1_574_026_411.0),
            ("2019-11-17T21:33:31.25Z", 1_574_026_411.25),
            ("2019-11-17T21:33:31.1234567-08:00", 1_574_055_211.123_456_7),
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T00:00:00Z", 951_782_400.0),
            ("2100-03-01T00:00:00Z", 4_107_542_400.0),
            ("1900-01-01T00:00:00Z", -2_208_988_800.0),
            ("2016-12-31T23:59:60Z", 1_483_228_800.0),
        ] {
            let read = seconds(text).unwrap();
            assert!((read - expected).abs() < 1e-6, "{text}: {read}");
        }
    }

    #[test]
    fn what_is_no_date_or_could_mean_two_is_not_guessed() {
        for text in [
            "",
            "soon",
            "2019-11-17",
            "2019-11-17T21:33:31",
            "2019-11-17T21:33Z",
            "2019-11-17T21:33:31.Z",
            "2019-11-17T21:33:31..5Z",
            "2019-11-17T21:33:31.12345678901Z",
            "2019-11-17T21:33:31+0000",
            "2019-11-17T21:33:31+24:00",
            "2019-13-01T00:00:00Z",
            "2019-00-01T00:00:00Z",
            "2019-02-29T00:00:00Z",
            "2019-02-00T00:00:00Z",
            "2019-11-17T24:00:00Z",
            "2019-11-17T21:60:00Z",
            "+019-11-17T21:33:31Z",
            "2019-11-17T21:33:31Zé",
            "11/17/2019 21:33:31",
            "11/17/2019 9:33:31 PM",
            "17/11/2019 21:33:31 +00:00",
            "11/17/19 21:33:31 +00:00",
            "11/17/2019 13:00:00 PM +00:00",
            "11/17/2019 0:00:00 PM +00:00",
            "11/17/2019 9:33:31 pm +00:00",
            "11/17/2019 9:33:31 nachm. +00:00",
            "11/17/2019 9:33 PM +00:00",
            "11/17/2019  9:33:31 PM +00:00",
            "11/17/2019 9:33:31 PM +00:00 x",
            "11/17/2019/1 9:33:31 PM +00:00",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,40}", american in "[0-9/: APM+-]{0,40}") {
            let _ = (seconds(&text), seconds(&american));
        }

        #[test]
        fn each_day_is_a_day_after_the_one_before(
            year in 1601_i64..3000, month in 1_i64..=12, day in 1_i64..=31,
        ) {
            let start = moment([year, month, day], [0, 0, 0]);
            prop_assume!(start.is_some());
            let next = [[year, month, day + 1], [year, month + 1, 1], [year + 1, 1, 1]]
                .into_iter()
                .find_map(|date| moment(date, [0, 0, 0]));
            prop_assert_eq!(next, start.map(|start| start + 86_400));
        }
    }
}
