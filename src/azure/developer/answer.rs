//! The JSON that a tool gives a token in, found among whatever else it writes.

use serde::Deserialize;

use super::local_time::{self, Civil, Moment};
use crate::azure::answer::scalar::Scalar;

/// Braces that are looked at before it is taken for granted that no answer is
/// there.
const MAX_TRIES: usize = 16;

/// The fields of all tools together; each has its own name for the token.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    #[serde(alias = "accessToken", alias = "token")]
    access_token: Scalar,
    #[serde(alias = "tokenType")]
    token_type: Scalar,
    /// Seconds since 1970, or a date.
    expires_on: Scalar,
    /// A date: of the Azure CLI without a time zone.
    #[serde(rename = "expiresOn")]
    expires_on_date: Scalar,
    tenant: Scalar,
}

/// When a token ends, as far as it can be said without the time zone of this
/// machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    At(f64),
    Local(Civil),
    Unknown,
}

impl Answer {
    /// The first object in `bytes` that holds a token.
    ///
    /// # Errors
    ///
    /// Text that says what is wrong, without any of what was read.
    pub(super) fn find(bytes: &[u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let mut problem = None;
        for _ in 0..MAX_TRIES {
            let Some(start) = rest.iter().position(|b| *b == b'{') else {
                break;
            };
            rest = &rest[start..];
            let mut objects = serde_json::Deserializer::from_slice(rest).into_iter::<Self>();
            match objects.next() {
                Some(Ok(answer)) if !matches!(answer.access_token, Scalar::Absent) => {
                    return Ok(answer);
                }
                Some(Ok(_)) => {
                    problem = Some("an answer without a token".to_owned());
                    rest = &rest[objects.byte_offset()..];
                }
                Some(Err(cause)) => {
                    problem.get_or_insert_with(|| no_json(&cause));
                    rest = &rest[1..];
                }
                None => break,
            }
        }
        Err(problem.unwrap_or_else(|| {
            if bytes.trim_ascii().is_empty() {
                "nothing".to_owned()
            } else {
                "no JSON".to_owned()
            }
        }))
    }

    pub(super) fn secret(&self) -> Result<&str, &'static str> {
        match &self.token_type {
            Scalar::Absent => {}
            Scalar::Text(kind) if kind.eq_ignore_ascii_case("Bearer") => {}
            _ => return Err("a token that is no bearer token"),
        }
        match &self.access_token {
            Scalar::Text(text) if !text.is_empty() => Ok(text),
            Scalar::Text(_) => Err("an empty token"),
            _ => Err("a token that is no string"),
        }
    }

    /// `expires_on` if it can be read: it needs no time zone.
    pub(super) fn end(&self) -> End {
        match end(&self.expires_on) {
            End::Unknown => end(&self.expires_on_date),
            known => known,
        }
    }

    pub(super) fn tenant(&self) -> Option<&str> {
        self.tenant.text()
    }
}

fn end(value: &Scalar) -> End {
    let text = match value {
        Scalar::Number(seconds) => return End::At(*seconds),
        Scalar::Text(text) => text.trim(),
        Scalar::Absent | Scalar::Other => return End::Unknown,
    };
    if let Ok(seconds) = text.parse() {
        return End::At(seconds);
    }
    match local_time::parse(text) {
        Some(Moment::At(seconds)) => End::At(seconds as f64),
        Some(Moment::Local(civil)) => End::Local(civil),
        None => End::Unknown,
    }
}

/// Where the JSON is wrong and how. The parser's own words may hold parts of
/// what it read.
fn no_json(cause: &serde_json::Error) -> String {
    let class = if cause.is_eof() {
        "JSON that is cut off"
    } else {
        "what is no JSON"
    };
    format!("{class} (line {}, column {})", cause.line(), cause.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (String, End) {
        let answer = Answer::find(text.as_bytes()).unwrap();
        (answer.secret().unwrap().to_owned(), answer.end())
    }

    #[test]
    fn every_tool_s_answer_is_read() {
        for text in [
            // Azure CLI from 2.54 on
            r#"{"accessToken":"t","expiresOn":"2026-01-31 13:50:47.114324","expires_on":1769867447,"subscription":"s","tenant":"T","tokenType":"Bearer"}"#,
            // Azure Developer CLI
            r#"{"token":"t","expiresOn":"2026-01-31T13:50:47Z"}"#,
            // Visual Studio
            r#"{"access_token":"t","expires_on":"2026-01-31T13:50:47+00:00","resource":"r","token_type":"Bearer"}"#,
            r#"{"access_token":"t","expires_on":"1769867447","token_type":"bearer"}"#,
        ] {
            assert_eq!(read(text), ("t".to_owned(), End::At(1_769_867_447.0)));
        }
        let (_, end) = read(r#"{"accessToken":"t","expiresOn":"2026-01-31 13:50:47.114324"}"#);
        assert!(matches!(end, End::Local(_)), "{end:?}");
        let (_, end) = read(r#"{"token":"t","expires_on":"soon","expiresOn":"2026-01-31T13:50Z"}"#);
        assert_eq!(end, End::At(1_769_867_400.0));
        assert_eq!(read(r#"{"token":"t","expiresOn":[]}"#).1, End::Unknown);
    }

    #[test]
    fn t13_the_answer_is_found_among_noise() {
        for text in [
            "\u{feff}{\"token\":\"t\",\"expires_on\":1}",
            "You have {2} updates\n{\"token\":\"t\",\"expires_on\":1}\nThank you {bye}",
            "{\"type\":\"consoleMessage\",\"data\":{\"message\":\"hi\"}}\n{\"token\":\"t\",\"expires_on\":1}",
        ] {
            assert_eq!(read(text), ("t".to_owned(), End::At(1.0)), "{text}");
        }
        let with_other_bytes = b"\xff\xfe{\xff{\"token\":\"t\",\"expires_on\":1}\xff";
        assert!(Answer::find(with_other_bytes).is_ok());
    }

    #[test]
    fn what_is_no_token_is_told_without_its_content() {
        let problem = |text: &str| match Answer::find(text.as_bytes()) {
            Ok(answer) => answer.secret().unwrap_err().to_owned(),
            Err(problem) => problem,
        };
        assert_eq!(problem(" \n"), "nothing");
        assert_eq!(problem("canary"), "no JSON");
        assert_eq!(problem(r#"["canary"]"#), "no JSON");
        assert_eq!(problem(r#"{"a":"canary"}"#), "an answer without a token");
        assert_eq!(problem(r#"{"token":null}"#), "an answer without a token");
        assert_eq!(problem(r#"{"token":""}"#), "an empty token");
        assert_eq!(problem(r#"{"token":7}"#), "a token that is no string");
        assert_eq!(
            problem(r#"{"token":"canary","token_type":"pop"}"#),
            "a token that is no bearer token"
        );
        assert_eq!(
            problem(r#"{"token":"canary"#),
            "JSON that is cut off (line 1, column 16)"
        );
        assert_eq!(problem("{canary}"), "what is no JSON (line 1, column 2)");
    }

    proptest! {
        #[test]
        fn t13_no_output_makes_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            braces in "[{}\":,a-z\\[\\]]{0,200}",
        ) {
            let _ = Answer::find(&bytes);
            let _ = Answer::find(braces.as_bytes());
        }
    }
}
