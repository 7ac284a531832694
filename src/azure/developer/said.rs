//! What a tool said instead of giving a token: read to find out what is wrong,
//! and shown only in part and without what could be a secret.

use zeroize::Zeroizing;

use crate::azure::answer::aadsts;
use crate::error::printable;

/// Words of letters and digits mixed that are at least so long may be secrets.
const MIXED: usize = 16;

/// So long is no word of any language.
const LONG: usize = 40;

const HIDDEN: &str = "***";

/// What may stand between a label and its value, besides the sign.
const IN_FRONT: [char; 4] = ['"', '\'', ' ', '\\'];

/// All that a tool said, in lower case for looking up, and as it was for
/// showing.
pub(super) struct Said {
    text: Zeroizing<String>,
    lower_case: Zeroizing<String>,
}

impl Said {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: Zeroizing::new(text.to_owned()),
            lower_case: Zeroizing::new(text.to_ascii_lowercase()),
        }
    }

    /// Bytes that need not be UTF-8.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self::new(&Zeroizing::new(String::from_utf8_lossy(bytes).into_owned()))
    }

    /// Whether it says one of `phrases`, which are in lower case.
    pub(super) fn says(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .any(|phrase| self.lower_case.contains(phrase))
    }

    pub(super) fn aadsts_codes(&self) -> Vec<u32> {
        const MAX_CODES: usize = 16;
        let mut codes = Vec::new();
        for code in aadsts::codes_in(&self.text) {
            if codes.len() < MAX_CODES && !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }

    pub(super) fn correlation_id(&self) -> Option<String> {
        ["correlation id: ", "correlation_id\":\""]
            .iter()
            .find_map(|label| {
                let (_, rest) = self.lower_case.split_once(label)?;
                let id = rest.get(..36)?;
                is_guid(id).then(|| id.to_owned())
            })
    }

    /// The line that says most, fit to be shown.
    pub(super) fn line(&self) -> Option<String> {
        const CODE: &str = "AADSTS";
        let lines = || {
            self.text
                .lines()
                .map(|line| line.trim().trim_start_matches("ERROR:").trim_start())
                // What the Azure CLI writes before the error that it was.
                .filter(|line| !line.is_empty() && !line.ends_with("the traceback:"))
        };
        let first = || lines().find(|line| !line.starts_with("WARNING"));
        let line = lines()
            .find_map(|line| line.get(line.find(CODE)?..))
            // Python says where it was before it says what happened.
            .or_else(|| match first()? {
                line if line.starts_with("Traceback (most recent") => lines().next_back(),
                line => Some(line),
            })
            .or_else(|| lines().next())?;
        let line = line.split(" Trace ID:").next().unwrap_or(line);
        let line = line.trim_end_matches(['.', ':', ' ']);
        Some(printable(&without_secrets(line)))
    }
}

/// `text` with everything hidden that could be a token, a secret or a key:
/// which it is, nobody says.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_labelled = !IN_FRONT.contains(&c) && is_labelled(&shown);
        let end = if is_labelled {
            end_of_value(rest, shown.chars().next_back())
        } else if is_of_words(c) {
            rest.find(|c| !is_of_words(c)).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        let (part, after) = rest.split_at(end);
        if is_labelled || (is_of_words(c) && is_scheme_before(&shown)) {
            shown.push_str(HIDDEN);
        } else if is_of_words(c) {
            push_word(part, &mut shown);
        } else {
            shown.push_str(part);
        }
        rest = after;
    }
    shown
}

/// Where the value ends that `text` begins with: at the quote that `before` it
/// is one of, else where something else begins.
fn end_of_value(text: &str, before: Option<char>) -> usize {
    let quote = before.filter(|c| matches!(c, '"' | '\''));
    let is_end = |c: char| match quote {
        Some(quote) => c == quote,
        None => c.is_whitespace() || matches!(c, ',' | ';' | '&' | '"' | '\''),
    };
    let end = text.find(is_end).unwrap_or(text.len());
    end.max(text.chars().next().map_or(0, char::len_utf8))
}

/// What tokens are made of, but for the `=` at their end: RFC 6750 section 2.1.
fn is_of_words(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/%".contains(c)
}

fn push_word(word: &str, shown: &mut String) {
    // The end of a sentence is none of its last word.
    let (word, end) = word.split_at(word.trim_end_matches('.').len());
    if word.contains('/') && is_path(word) {
        for (at, part) in word.split('/').enumerate() {
            if at > 0 {
                shown.push('/');
            }
            shown.push_str(if may_be_secret(part) { HIDDEN } else { part });
        }
    } else {
        shown.push_str(if may_be_secret(word) { HIDDEN } else { word });
    }
    shown.push_str(end);
}

/// A path, or a URL without its scheme.
fn is_path(word: &str) -> bool {
    word.starts_with('/') || word.starts_with("./") || word.starts_with("../")
}

fn may_be_secret(word: &str) -> bool {
    if is_guid(word) {
        return false;
    }
    let has = |is: fn(&u8) -> bool| word.bytes().any(|b| is(&b));
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    word.len() >= LONG
        || (word.len() >= MIXED && is_mixed)
        || (word.len() >= 10 && word.starts_with("eyJ"))
}

fn is_guid(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Whether what comes next is the value of something secret: `accessToken": "`.
fn is_labelled(before: &str) -> bool {
    let before = before.trim_end_matches(IN_FRONT);
    let Some(label) = before.strip_suffix([':', '=']) else {
        return false;
    };
    let label = label.trim_end_matches(IN_FRONT);
    ["token", "secret", "password", "assertion", "key", "code"]
        .iter()
        .any(|name| ends_with_ignoring_case(label, name))
}

fn is_scheme_before(before: &str) -> bool {
    before.ends_with(' ') && ends_with_ignoring_case(before.trim_end(), "bearer")
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    text.len() >= end.len()
        && text
            .get(text.len() - end.len()..)
            .is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn t13_the_line_that_says_most_is_shown() {
        let line = |text: &str| Said::new(text).line();
        assert_eq!(
            line("WARNING: 2 updates\n\nERROR: Please run 'az login' to setup account.\n").unwrap(),
            "Please run 'az login' to setup account"
        );
        assert_eq!(
            line("ERROR: it failed\nx AADSTS700082: expired. Trace ID: 1 Correlation ID: 2")
                .unwrap(),
            "AADSTS700082: expired"
        );
        assert_eq!(
            line("ERROR: It failed. Here is the traceback:\nERROR: no route\nTraceback\n").unwrap(),
            "no route"
        );
        assert_eq!(line("WARNING: only this").unwrap(), "WARNING: only this");
        assert_eq!(
            line("Traceback (most recent call last):\n  File \"a.py\", line 1\n    a()\nOSError: no room\n")
                .unwrap(),
            "OSError: no room"
        );
        assert_eq!(
            line("\u{1b}[31mTraceback (most recent call last)").unwrap(),
            " [31mTraceback (most recent call last)"
        );
        assert_eq!(line(" \n\t\n"), None);
    }

    #[test]
    fn t14_what_could_be_a_secret_is_not_shown() {
        let jwt = format!("eyJ0eXAi.{}.c2ln", "a".repeat(60));
        for (text, expected) in [
            (format!("got {jwt} from it"), "got *** from it"),
            ("token=hunter2, then".to_owned(), "token=***, then"),
            (
                r#"{"accessToken": "short", "x": 1}"#.to_owned(),
                r#"{"accessToken": "***", "x": 1}"#,
            ),
            ("Authorization: Bearer abc".to_owned(), "Authorization: Bearer ***"),
            ("secret 0.AXoAbc123def456gh78".to_owned(), "secret ***"),
            ("client_secret='a b'; c".to_owned(), "client_secret='***'; c"),
            ("password: !a#b$ c".to_owned(), "password: *** c"),
            (r#""key" = "a\"b", c"#.to_owned(), r#""key" = "***"b", c"#),
            ("token=".to_owned(), "token="),
            ("secret=é;x".to_owned(), "secret=***;x"),
            (
                "not 72f988bf-86f1-41af-91ab-2d7cd011db47. Nor abcdefgh01234567...".to_owned(),
                "not 72f988bf-86f1-41af-91ab-2d7cd011db47. Nor ***...",
            ),
            ("a1/b2+c3/d4/e5f6g7h8==".to_owned(), "***=="),
            (
                "see https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0"
                    .to_owned(),
                "see https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0",
            ),
            (
                "/home/me/.azure/a1b2c3d4e5f6a7b8c9d0/x".to_owned(),
                "/home/me/.azure/***/x",
            ),
            (
                "AADSTS7000222: The provided keys are expired".to_owned(),
                "AADSTS7000222: The provided keys are expired",
            ),
        ] {
            assert_eq!(without_secrets(&text), expected);
        }
    }

    proptest! {
        #[test]
        fn t14_no_jwt_is_shown_wherever_it_stands(
            before in "\\PC{0,20}",
            head in "eyJ[A-Za-z0-9_-]{20,40}",
            body in "[A-Za-z0-9_-]{40,80}",
            after in "\\PC{0,20}",
        ) {
            let text = format!("{before}{head}.{body}.{body}{after}");
            let shown = without_secrets(&text);
            prop_assert!(!shown.contains(&body), "{}", shown);
        }
    }

    #[test]
    fn codes_and_ids_are_data() {
        let said = Said::new(
            "AADSTS50076: MFA. (AADSTS50076) AADSTS65001 Correlation ID: 72F988BF-86f1-41af-91ab-2d7cd011db47 Timestamp",
        );
        assert_eq!(said.aadsts_codes(), [50_076, 65_001]);
        assert_eq!(
            said.correlation_id().unwrap(),
            "72f988bf-86f1-41af-91ab-2d7cd011db47"
        );
        assert!(said.says(&["nothing", "mfa"]));
        let said = Said::new(r#"{"correlation_id":"72f988bf-86f1-41af-91ab-2d7cd011db47","a":1}"#);
        assert!(said.correlation_id().is_some());
        assert_eq!(Said::new("Correlation ID: é").correlation_id(), None);
    }
}
