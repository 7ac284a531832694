//! The grammar: pairs of key and value, as .NET's `DbConnectionOptions` has
//! them.
//!
//! ```text
//! string   = *( [ pair ] ";" ) [ pair ] *( NUL / blank )
//! pair     = key "=" value
//! key      = visible characters and blanks between them; "==" stands for "="
//! value    = quoted / unquoted
//! quoted   = '"' … '"' or "'" … "'", the same quote being doubled inside
//! unquoted = anything but ";" and control characters; neither begins nor ends
//!            with a quote or a blank, and does not begin with "="
//! ```
//!
//! Blanks around all of these mean nothing. What may surprise: a key may hold
//! `;`, so in `a=b;c;d=e` the second key is `c;d`.

use std::fmt;

use zeroize::Zeroizing;

use super::key::{Key, Name};

/// One key and its value.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) name: Name,
    pub(super) value: Zeroizing<String>,
    /// Where the key begins: the number of its first character, from 1.
    pub(super) position: usize,
    /// Where the value begins.
    pub(super) value_position: usize,
    pub(super) quoted: bool,
}

impl Pair {
    /// Whether the next key may be the rest of this value.
    fn may_go_on_in_the_next(&self) -> bool {
        !self.quoted && self.name.key().is_none_or(Key::is_secret)
    }
}

/// Why a string does not follow the grammar, without anything of it.
pub(super) struct Malformed {
    pub(super) position: usize,
    pub(super) reason: Reason,
    /// Whose value it is about, or comes after.
    pub(super) name: Option<Name>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    NoKey,
    NoEquals,
    ControlInKey,
    ControlInValue,
    QuoteAtTheEnd,
    QuoteNotClosed,
    NulInQuotes,
    MoreAfterQuote,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKey => "there is no key before =",
            Self::NoEquals => "no = follows the key that begins here",
            Self::ControlInKey => "there is a control character in a key",
            Self::ControlInValue => "there is a control character in a value without quotes",
            Self::QuoteAtTheEnd => "a value ends with a quote, but does not begin with one",
            Self::QuoteNotClosed => "the quote that begins here is not closed",
            Self::NulInQuotes => "there is a NUL character in a value",
            Self::MoreAfterQuote => "after a closing quote there is something other than ;",
        })
    }
}

/// Reads `text` to its end.
pub(super) fn pairs(text: &str) -> Result<Vec<Pair>, Malformed> {
    let mut scanner = Scanner {
        text,
        at: 0,
        counted: (0, 1),
    };
    let mut pairs: Vec<Pair> = Vec::new();
    while !scanner.at_end() {
        let pair = scanner.pair(pairs.last())?;
        pairs.push(pair);
    }
    Ok(pairs)
}

struct Scanner<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    /// A place in bytes and in characters, so that each is counted once.
    counted: (usize, usize),
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, may_be_skipped: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(may_be_skipped).len();
    }

    /// Which character is the next, from 1.
    fn position(&mut self) -> usize {
        let (byte, character) = self.counted;
        let more = self.text.get(byte..self.at).unwrap_or_default();
        self.counted = (self.at, character + more.chars().count());
        self.counted.1
    }

    fn at_end(&mut self) -> bool {
        self.skip(|c| c.is_whitespace() || c == ';');
        self.only_filler_is_left()
    }

    fn only_filler_is_left(&self) -> bool {
        self.rest().chars().all(|c| c.is_whitespace() || c == '\0')
    }

    fn malformed(&mut self, reason: Reason, name: Option<Name>) -> Malformed {
        Malformed {
            position: self.position(),
            reason,
            name,
        }
    }

    fn pair(&mut self, last: Option<&Pair>) -> Result<Pair, Malformed> {
        let may_be_secret = last.is_some_and(Pair::may_go_on_in_the_next);
        let position = self.position();
        let key = match self.key() {
            Ok(key) => key,
            Err(reason @ (Reason::NoEquals | Reason::NoKey)) => {
                return Err(Malformed {
                    position,
                    reason,
                    name: last.map(|pair| pair.name.clone()),
                });
            }
            Err(reason) => return Err(self.malformed(reason, None)),
        };
        let name = Name::new(key, may_be_secret);
        self.skip(char::is_whitespace);
        let value_position = self.position();
        let opening = self.peek().filter(|c| matches!(c, '"' | '\''));
        let value = match opening {
            Some(quote) => self.quoted(quote),
            None => self.unquoted(),
        };
        match value.and_then(|value| self.end_of_pair(opening.is_some()).map(|()| value)) {
            Ok(value) => Ok(Pair {
                name,
                value,
                position,
                value_position,
                quoted: opening.is_some(),
            }),
            Err(Reason::QuoteNotClosed) => Err(Malformed {
                position: value_position,
                reason: Reason::QuoteNotClosed,
                name: Some(name),
            }),
            Err(reason) => Err(self.malformed(reason, Some(name))),
        }
    }

    /// Takes a key and the equals sign after it.
    fn key(&mut self) -> Result<Zeroizing<String>, Reason> {
        let rest = self.rest();
        let mut key = Zeroizing::new(String::with_capacity(rest.find('=').unwrap_or(0)));
        let mut chars = rest.char_indices().peekable();
        // Blanks count only if something of the key comes after them.
        let mut blanks_from = None;
        while let Some((at, c)) = chars.next() {
            let doubled = chars.peek().is_some_and(|(_, next)| *next == '=');
            if c == '=' && !doubled {
                self.at += at + 1;
                return if key.is_empty() {
                    Err(Reason::NoKey)
                } else {
                    Ok(key)
                };
            }
            if c.is_whitespace() {
                blanks_from.get_or_insert(at);
                continue;
            }
            if c.is_control() {
                self.at += at;
                return Err(Reason::ControlInKey);
            }
            if let Some(from) = blanks_from.take() {
                push(&mut key, rest.get(from..at).unwrap_or_default());
            }
            push(
                &mut key,
                rest.get(at..at + c.len_utf8()).unwrap_or_default(),
            );
            if c == '=' {
                chars.next();
            }
        }
        Err(Reason::NoEquals)
    }

    fn quoted(&mut self, quote: char) -> Result<Zeroizing<String>, Reason> {
        self.at += 1;
        let rest = self.rest();
        let mut value = Zeroizing::new(String::new());
        let mut chars = rest.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\0' {
                self.at += at;
                return Err(Reason::NulInQuotes);
            }
            if c != quote {
                continue;
            }
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
                continue;
            }
            let inside = rest.get(..at).unwrap_or_default();
            value.reserve_exact(inside.len());
            let mut last = None;
            for c in inside.chars() {
                if c == quote && last == Some(quote) {
                    last = None;
                } else {
                    value.push(c);
                    last = Some(c);
                }
            }
            self.at += at + 1;
            return Ok(value);
        }
        Err(Reason::QuoteNotClosed)
    }

    fn unquoted(&mut self) -> Result<Zeroizing<String>, Reason> {
        let rest = self.rest();
        let ends = |c: char| c == ';' || (c.is_control() && !c.is_whitespace());
        let value = rest.split(ends).next().unwrap_or_default().trim_end();
        self.at += value.len();
        if value.ends_with(['"', '\'']) {
            return Err(Reason::QuoteAtTheEnd);
        }
        Ok(Zeroizing::new(value.to_owned()))
    }

    fn end_of_pair(&mut self, quoted: bool) -> Result<(), Reason> {
        self.skip(char::is_whitespace);
        if self.peek() == Some(';') {
            self.at += 1;
            Ok(())
        } else if self.only_filler_is_left() {
            self.at = self.text.len();
            Ok(())
        } else if quoted {
            Err(Reason::MoreAfterQuote)
        } else {
            Err(Reason::ControlInValue)
        }
    }
}

/// Appends to a string that may be part of a secret: one that grows leaves its
/// old bytes behind, so they are wiped.
fn push(string: &mut Zeroizing<String>, more: &str) {
    if string.capacity() - string.len() < more.len() {
        let mut grown = Zeroizing::new(String::with_capacity(
            (string.len() + more.len()).saturating_mul(2),
        ));
        grown.push_str(string);
        *string = grown;
    }
    string.push_str(more);
}
