//! What is not wrong by the grammar, but most likely not meant.

use std::fmt;

use super::identity::Identity;
use super::key::{Key, Name};
use super::lexer::Pair;

/// What a [`ConnectionStringWarning`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStringWarningKind {
    /// A key or a value is in typographic quotes, which quote nothing.
    TypographicQuotes,
    /// A value has a typographic dash where a hyphen belongs.
    TypographicDash,
    /// There is an invisible character in a key or a value.
    InvisibleCharacter,
    /// A key is none that there is, but much like one.
    MisspeltKey,
    /// A key is none that there is, and is ignored.
    UnknownKey,
    /// A key has no meaning for the identity that the string selects.
    UnusedKey,
    /// A secret probably goes on after the `;` that ended it.
    SecretCut,
    /// There is no `=` between two `;`, which makes one key of what is on both
    /// sides of the second.
    SeparatorInKey,
    /// A value is still in the brackets of the documentation that it comes from.
    Placeholder,
}

/// Something in a connection string that is most likely not meant.
///
/// Its text says where it is, what it does, and what to do about it. It holds
/// no value.
///
/// ```
/// use tower_bearer::azure::{ConnectionString, ConnectionStringWarningKind};
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let string = ConnectionString::parse("RunAs=App;AppId=abc;TenantId=contoso.com")?;
/// let warning = &string.warnings()[0];
/// assert_eq!(warning.kind(), ConnectionStringWarningKind::UnusedKey);
/// assert_eq!(warning.key(), Some("TenantId"));
/// assert_eq!(warning.position(), 21);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStringWarning {
    kind: ConnectionStringWarningKind,
    key: Option<Key>,
    position: usize,
    text: String,
}

impl ConnectionStringWarning {
    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> ConnectionStringWarningKind {
        self.kind
    }

    /// The key that it is about, or that was probably meant. None for keys that
    /// are like none that there is: they may be part of a secret.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        self.key.map(Key::name)
    }

    /// Where in the string: the number of a character, from 1.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for ConnectionStringWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.position, self.text)
    }
}

/// What can be said of the pairs before it is known what they select.
pub(super) fn of_pairs(pairs: &[Pair]) -> Vec<ConnectionStringWarning> {
    let mut warnings = Vec::new();
    let mut last: Option<&Pair> = None;
    for pair in pairs {
        match &pair.name {
            Name::Known(key) => warnings.extend(of_value(*key, pair)),
            Name::Unknown { text, .. } => warnings.push(of_unknown_key(text, pair, last)),
        }
        last = Some(pair);
    }
    warnings
}

/// Keys that have no meaning for `identity`.
pub(super) fn of_unused_keys(pairs: &[Pair], identity: &Identity) -> Vec<ConnectionStringWarning> {
    let known = pairs
        .iter()
        .filter_map(|pair| Some((pair, pair.name.key()?)));
    known
        .filter(|(_, key)| !identity.uses(*key))
        .map(|(pair, key)| ConnectionStringWarning {
            kind: ConnectionStringWarningKind::UnusedKey,
            key: Some(key),
            position: pair.position,
            text: format!(
                "{key} is ignored, for this string selects {}: take it out",
                identity.description()
            ),
        })
        .collect()
}

fn of_unknown_key(text: &str, pair: &Pair, last: Option<&Pair>) -> ConnectionStringWarning {
    use ConnectionStringWarningKind as Kind;

    let name = &pair.name;
    let warning = |kind, key, text| ConnectionStringWarning {
        kind,
        key,
        position: pair.position,
        text,
    };
    let bare = text.trim_matches(|c| is_invisible(c) || is_typographic_quote(c));
    let meant = Key::meant_by(bare);
    if let (Some(meant), true) = (meant, bare.len() < text.len()) {
        let key = meant.key;
        return if text.contains(is_invisible) {
            warning(
                Kind::InvisibleCharacter,
                Some(key),
                format!(
                    "an invisible character beside {key} keeps it from being read: \
                     delete it, and write the key anew"
                ),
            )
        } else {
            warning(
                Kind::TypographicQuotes,
                Some(key),
                format!("{key} is in typographic quotes, so it is not read: take them away"),
            )
        };
    }
    // What holds a `;` is not one word that somebody misspelt.
    if let (Some(meant), false) = (meant, text.contains(';')) {
        let key = meant.key;
        let written = meant
            .written
            .map_or_else(|| name.to_string(), str::to_owned);
        return warning(
            Kind::MisspeltKey,
            Some(key),
            format!("{written} is not a key and is ignored: write {key}, if that is meant"),
        );
    }
    let secret = last
        .filter(|last| !last.quoted)
        .and_then(|last| last.name.key())
        .filter(|key| key.is_secret());
    if let Some(secret) = secret {
        return warning(
            Kind::SecretCut,
            Some(secret),
            format!(
                "the value of {secret} ends at the ; before this, and what follows is not a \
                 key: if it belongs to the value, put that in quotes, {secret}=\"…\""
            ),
        );
    }
    if let Some((_, behind)) = text.rsplit_once(';') {
        let swallowed = Name::new(zeroize::Zeroizing::new(behind.trim().to_owned()), true).key();
        let what = swallowed.map_or_else(String::new, |key| format!(", so {key} is not read"));
        return warning(
            Kind::SeparatorInKey,
            swallowed,
            format!("there is no = before the next ;{what}: add what is missing"),
        );
    }
    warning(
        Kind::UnknownKey,
        None,
        format!("{name} is not a key that there is, and is ignored: take it out"),
    )
}

fn of_value(key: Key, pair: &Pair) -> Vec<ConnectionStringWarning> {
    use ConnectionStringWarningKind as Kind;

    let value = pair.value.trim();
    // What is in a path or a name is the user's to choose.
    let is_plain = !matches!(
        key,
        Key::CertificatePath
            | Key::CertificatePassword
            | Key::CertificateSubjectName
            | Key::TokenFile
    );
    let invisible = value.chars().find(|c| is_invisible(*c));
    let in_brackets = |open: &str, close: &str| value.starts_with(open) && value.ends_with(close);
    let mut found = Vec::new();
    if value.starts_with(is_typographic_quote) || value.ends_with(is_typographic_quote) {
        found.push((
            Kind::TypographicQuotes,
            format!("the value of {key} has typographic quotes, which quote nothing: use \" or '"),
        ));
    }
    if is_plain && value.contains(is_typographic_dash) {
        found.push((
            Kind::TypographicDash,
            format!("the value of {key} has a typographic dash: use the hyphen, -"),
        ));
    }
    if let (true, Some(c)) = (is_plain, invisible) {
        found.push((
            Kind::InvisibleCharacter,
            format!(
                "the value of {key} has an invisible character (U+{:04X}): delete it",
                u32::from(c)
            ),
        ));
    }
    if in_brackets("<", ">") || in_brackets("{", "}") || in_brackets("${", "}") {
        found.push((
            Kind::Placeholder,
            format!("the value of {key} is in brackets: put the real one there, without them"),
        ));
    }
    found
        .into_iter()
        .map(|(kind, text)| ConnectionStringWarning {
            kind,
            key: Some(key),
            position: pair.value_position,
            text,
        })
        .collect()
}

fn is_typographic_quote(c: char) -> bool {
    matches!(
        c,
        '\u{2018}'
            ..='\u{201f}'
                | '\u{2032}'
                | '\u{2033}'
                | '\u{2039}'
                | '\u{203a}'
                | '\u{ab}'
                | '\u{bb}'
                | '\u{b4}'
                | '`'
                | '\u{ff02}'
                | '\u{ff07}'
    )
}

fn is_typographic_dash(c: char) -> bool {
    matches!(
        c,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
    )
}

/// Characters of format, which come along from documents and web pages.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}
