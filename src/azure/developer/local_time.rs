//! Dates as tools write them: `2026-01-31 13:50:47.114324` in the time zone of
//! the machine, or with an offset as RFC 3339 has it.

use tz::{DateTime, TimeZone, UtcDateTime};

use crate::environment::Environment;

/// A point in time, as seconds since 1970, or what the clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    At(i64),
    Local(Civil),
}

/// Year to second. Fractions are left out: they make no token live longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    year: i32,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// Reads date and time, separated by a blank or a `T`, and an offset if there is
/// one; `None` if `text` is something else.
pub(super) fn parse(text: &str) -> Option<Moment> {
    let text = text.trim();
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.split('-');
    let (year, month, day) = (date.next()?, date.next()?, date.next()?);
    let time = time.trim_start();
    let zone_at = time.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'));
    let (time, zone) = time.split_at(zone_at.unwrap_or(time.len()));
    let whole = match time.split_once('.') {
        Some((_, fraction)) if fraction.is_empty() || fraction.contains([':', '.']) => return None,
        Some((whole, _)) => whole,
        None => time,
    };
    let mut parts = whole.split(':');
    let (hour, minute) = (parts.next()?, parts.next()?);
    let second = parts.next().unwrap_or("00");
    if date.next().is_some() || parts.next().is_some() || year.len() != 4 {
        return None;
    }
    let civil = Civil {
        year: digits(year, 4)?,
        month: digits(month, 2)?,
        day: digits(day, 2)?,
        hour: digits(hour, 2)?,
        minute: digits(minute, 2)?,
        second: digits(second, 2)?,
    };
    let as_utc = civil.as_utc()?;
    match zone.trim() {
        "" => Some(Moment::Local(civil)),
        "Z" | "z" => Some(Moment::At(as_utc)),
        offset => as_utc.checked_sub(seconds_east(offset)?).map(Moment::At),
    }
}

/// `+01:00` or `-0330`.
fn seconds_east(offset: &str) -> Option<i64> {
    let sign = match offset.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let rest = &offset[1..];
    let (hours, minutes) = match rest.split_once(':') {
        Some(both) => both,
        None if rest.is_ascii() && rest.len() == 4 => rest.split_at(2),
        None => return None,
    };
    let (hours, minutes): (i64, i64) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits<N: std::str::FromStr>(text: &str, at_most: usize) -> Option<N> {
    let sound = text.len() <= at_most && text.bytes().all(|b| b.is_ascii_digit());
    sound.then(|| text.parse().ok())?
}

impl Civil {
    fn as_utc(self) -> Option<i64> {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        UtcDateTime::new(year, month, day, hour, minute, second, 0)
            .ok()
            .map(|moment| moment.unix_time())
    }
}

/// The time zone of this machine, which a tool that it starts is in too.
#[derive(Clone, Debug)]
pub(super) struct LocalZone {
    /// `TZ`, as the C library reads it: set to nothing means UTC.
    #[cfg_attr(not(unix), allow(dead_code, reason = "no zone can be read there"))]
    variable: Option<String>,
}

impl LocalZone {
    pub(super) fn of(environment: &Environment) -> Self {
        let variable = if environment.is_set_to_nothing("TZ") {
            Some("UTC0".to_owned())
        } else {
            environment
                .raw("TZ")
                .map(|value| value.to_string_lossy().into_owned())
        };
        Self { variable }
    }

    /// When the clock on the wall shows `civil`: the first time, where it does
    /// so twice because it is set back, since a token that is thought to end
    /// too early does no harm.
    ///
    /// `None` where the zone cannot be known, as it cannot on Windows. Reads a
    /// file, so it may block.
    pub(super) fn first(&self, civil: Civil) -> Option<i64> {
        let zone = self.read()?;
        let Civil {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = civil;
        DateTime::find(year, month, day, hour, minute, second, 0, zone.as_ref())
            .ok()?
            .earliest()
            .map(|moment| moment.unix_time())
    }

    #[cfg(unix)]
    fn read(&self) -> Option<TimeZone> {
        use crate::azure::secret_file;
        use tz::TimeZoneSettings;

        const FILE: &str = "/etc/localtime";
        const BOUNDS: secret_file::Bounds = secret_file::Bounds {
            max_bytes: 1 << 20,
            follow_links: true,
        };
        let settings = TimeZoneSettings::new(TimeZoneSettings::DEFAULT_DIRECTORIES, |path| {
            let bytes = secret_file::read_now(path.as_ref(), BOUNDS)
                .map_err(|problem| problem.to_string())?;
            Ok(bytes.to_vec())
        });
        match &self.variable {
            Some(variable) => settings.parse_posix_tz(variable).ok(),
            // Where there is no such file, the C library takes UTC.
            None if !std::path::Path::new(FILE).exists() => Some(TimeZone::utc()),
            None => settings.parse_local().ok(),
        }
    }

    #[cfg(not(unix))]
    fn read(&self) -> Option<TimeZone> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(tz: &str) -> LocalZone {
        LocalZone::of(&Environment::of(&[("TZ", tz)]))
    }

    fn local(text: &str) -> Civil {
        match parse(text) {
            Some(Moment::Local(civil)) => civil,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_date_is_read() {
        for (text, expected) in [
            ("2026-01-31T13:50:47Z", 1_769_867_447),
            ("2026-01-31t13:50:47z", 1_769_867_447),
            ("2026-01-31 13:50:47.114324Z", 1_769_867_447),
            ("2026-01-31T13:50:47.1234567+00:00", 1_769_867_447),
            ("2026-01-31T13:50:47+01:00", 1_769_863_847),
            ("2026-01-31T13:50:47-0330", 1_769_880_047),
            ("2026-01-31 13:50:47 +00:00", 1_769_867_447),
            ("2026-01-31T13:50Z", 1_769_867_400),
        ] {
            assert_eq!(parse(text), Some(Moment::At(expected)), "{text}");
        }
        for text in ["2026-01-31 13:50:47.114324", " 2026-01-31T13:50:47 "] {
            assert_eq!(zone("UTC0").first(local(text)), Some(1_769_867_447));
        }
        for odd in [
            "",
            "soon",
            "2026-01-31",
            "2026-13-31T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31T13:50:47X",
            "2026-01-31T13:50:47+1",
            "2026-01-31T13:50:47+24:00",
            "2026-01-31T13:50:47.",
            "26-01-31T13:50:47Z",
            "2026-01-31-01T13:50:47Z",
            "2026-01-31T13:50:47:00Z",
            "2026-01-31T+3:50:47Z",
            "2026-01-31T13:50:47+é0",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn local_time_is_read_across_daylight_saving() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let new_york = "EST5EDT,M3.2.0,M11.1.0";
        for (tz, text, expected) in [
            (berlin, "2026-01-31 13:50:47", "2026-01-31T12:50:47Z"),
            (berlin, "2026-07-31 13:50:47", "2026-07-31T11:50:47Z"),
            // Set back at 3 to 2: half past two comes twice, and the first one
            // is meant.
            (berlin, "2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
            (berlin, "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
            (berlin, "2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
            // Set forward at 2 to 3: half past two never comes.
            (berlin, "2026-03-29 02:30:00", "2026-03-29T01:00:00Z"),
            (new_york, "2026-11-01 01:30:00", "2026-11-01T05:30:00Z"),
            (new_york, "2026-11-01 02:00:00", "2026-11-01T07:00:00Z"),
            ("", "2026-01-31 13:50:47", "2026-01-31T13:50:47Z"),
        ] {
            let Some(Moment::At(expected)) = parse(expected) else {
                panic!("{expected}");
            };
            assert_eq!(zone(tz).first(local(text)), Some(expected), "{tz} {text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_zone_that_cannot_be_read_is_not_guessed() {
        for odd in ["Nowhere/Atall", ":/dev/zero", ":/", "é"] {
            assert_eq!(zone(odd).first(local("2026-01-31 13:50:47")), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", date in "[0-9TZ:. +-]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&date);
        }
    }
}
