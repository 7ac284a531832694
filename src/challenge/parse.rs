//! The grammar of `WWW-Authenticate` (RFC 9110 sections 11.2 to 11.6.1), and
//! what servers make of it.
//!
//! No byte is looked at more than twice, so the time is linear in the length of
//! the line.

use super::Challenge;

/// A line breaks the grammar here. What is wrong in it is nobody's concern.
struct Malformed;

/// Adds the challenges on one header line to `found`, until there are `most`.
///
/// A challenge that breaks the grammar is left out, with all that may have been
/// meant to belong to it: the next one starts after a comma, at a scheme.
pub(super) fn parse_line(line: &[u8], found: &mut Vec<Challenge>, most: usize) {
    let mut reader = Reader {
        rest: line,
        current: None,
        found,
    };
    loop {
        reader.skip(|b| is_blank(b) || b == b',');
        if reader.rest.is_empty() || reader.found.len() >= most {
            break;
        }
        if reader.element().is_err() {
            if let Some(draft) = &mut reader.current {
                draft.sound = false;
            }
            reader.skip_element();
        }
    }
    if reader.found.len() < most {
        reader.finish();
    }
}

struct Draft {
    challenge: Challenge,
    sound: bool,
}

struct Reader<'a> {
    rest: &'a [u8],
    current: Option<Draft>,
    found: &'a mut Vec<Challenge>,
}

impl<'a> Reader<'a> {
    fn finish(&mut self) {
        if let Some(draft) = self.current.take().filter(|draft| draft.sound) {
            self.found.push(draft.challenge);
        }
    }

    /// What stands between two commas: a scheme and what follows it, or a
    /// further parameter of the scheme before.
    fn element(&mut self) -> Result<(), Malformed> {
        let name = self.token()?;
        let gap = self.skip(is_blank);
        if self.eat(b'=') {
            return self.params(name);
        }
        self.finish();
        let draft = self.current.insert(Draft {
            challenge: Challenge::new(text(name)),
            sound: true,
        });
        if at_comma_or_end(self.rest) {
            return Ok(());
        }
        if gap == 0 {
            return Err(Malformed);
        }
        if let Some((token68, rest)) = token68(self.rest) {
            draft.challenge.token68 = Some(text(token68));
            self.rest = rest;
            return Ok(());
        }
        let name = self.name()?;
        self.params(name)
    }

    /// The value of the parameter `name`, whose `=` has been read, and all
    /// parameters that follow after blanks only, as Azure Storage has them.
    fn params(&mut self, mut name: &'a [u8]) -> Result<(), Malformed> {
        loop {
            self.skip(is_blank);
            let value = self.value()?;
            // One without a scheme before it belongs to a challenge that could
            // not be read.
            if let Some(draft) = &mut self.current {
                draft.sound &= draft.challenge.add(text(name), value);
            }
            let gap = self.skip(is_blank);
            if at_comma_or_end(self.rest) {
                return Ok(());
            }
            if gap == 0 {
                return Err(Malformed);
            }
            name = self.name()?;
        }
    }

    fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let name = self.token()?;
        self.skip(is_blank);
        if self.eat(b'=') {
            Ok(name)
        } else {
            Err(Malformed)
        }
    }

    fn value(&mut self) -> Result<String, Malformed> {
        if self.eat(b'"') {
            return self.quoted();
        }
        // More than a token: URLs and base64 stand here without quotes.
        let value = self.take(|b| b.is_ascii_graphic() && b != b',' && b != b'"');
        if value.is_empty() {
            return Err(Malformed);
        }
        Ok(text(value))
    }

    /// The rest of a quoted string. If it has no end, neither has what it is
    /// in, and the line is read to its end.
    fn quoted(&mut self) -> Result<String, Malformed> {
        let mut value = Vec::new();
        let mut bytes = self.rest.iter();
        while let Some(&byte) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = bytes.as_slice();
                    return Ok(text(&value));
                }
                b'\\' => match bytes.next() {
                    Some(&escaped) => value.push(escaped),
                    None => break,
                },
                other => value.push(other),
            }
        }
        self.rest = &[];
        Err(Malformed)
    }

    /// To the next comma that is not in a quoted string.
    fn skip_element(&mut self) {
        loop {
            self.skip(|b| b != b',' && b != b'"');
            if !self.eat(b'"') || self.quoted().is_err() {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let token = self.take(is_token);
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    fn take(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let (taken, rest) = split(self.rest, accept);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, accept: impl Fn(u8) -> bool) -> usize {
        self.take(accept).len()
    }

    fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

/// `token68`, if that is all there is up to the next comma.
fn token68(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (run, rest) = split(input, |b| {
        b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)
    });
    let (padding, rest) = split(rest, |b| b == b'=');
    let (_, after) = split(rest, is_blank);
    let token = input.get(..run.len() + padding.len())?;
    (!run.is_empty() && at_comma_or_end(after)).then_some((token, after))
}

fn split(input: &[u8], accept: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = input
        .iter()
        .position(|b| !accept(*b))
        .unwrap_or(input.len());
    input.split_at(end)
}

fn at_comma_or_end(input: &[u8]) -> bool {
    matches!(input.first(), None | Some(b','))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Header values may hold any byte above 127 (RFC 9110 section 5.5).
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
