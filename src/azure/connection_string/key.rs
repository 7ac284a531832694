//! The keys that there are, and what was meant by those that there are not.

use std::fmt;

use zeroize::Zeroizing;

/// A key of a connection string. Written in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::enum_variant_names, reason = "the secret is called that")]
pub(super) enum Key {
    RunAs,
    DeveloperTool,
    AppId,
    TenantId,
    AppKey,
    CertificateThumbprint,
    CertificateSubjectName,
    CertificateStoreLocation,
    CertificatePath,
    CertificatePassword,
    VaultCertificateSecretIdentifier,
    VaultUserAssignedManagedIdentityId,
    MsiRetryTimeout,
    TokenFile,
}

impl Key {
    const ALL: [Self; 14] = [
        Self::RunAs,
        Self::DeveloperTool,
        Self::AppId,
        Self::TenantId,
        Self::AppKey,
        Self::CertificateThumbprint,
        Self::CertificateSubjectName,
        Self::CertificateStoreLocation,
        Self::CertificatePath,
        Self::CertificatePassword,
        Self::VaultCertificateSecretIdentifier,
        Self::VaultUserAssignedManagedIdentityId,
        Self::MsiRetryTimeout,
        Self::TokenFile,
    ];

    /// What other libraries and the portal call the same things.
    const OTHER_NAMES: [(&'static str, Self); 14] = [
        ("ClientId", Self::AppId),
        ("ApplicationId", Self::AppId),
        ("UserId", Self::AppId),
        ("ClientSecret", Self::AppKey),
        ("AppSecret", Self::AppKey),
        ("Secret", Self::AppKey),
        ("Password", Self::AppKey),
        ("DirectoryId", Self::TenantId),
        ("Thumbprint", Self::CertificateThumbprint),
        ("SubjectName", Self::CertificateSubjectName),
        ("StoreLocation", Self::CertificateStoreLocation),
        ("CertificateFile", Self::CertificatePath),
        ("FederatedTokenFile", Self::TokenFile),
        ("KeyVaultAppId", Self::VaultUserAssignedManagedIdentityId),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RunAs => "RunAs",
            Self::DeveloperTool => "DeveloperTool",
            Self::AppId => "AppId",
            Self::TenantId => "TenantId",
            Self::AppKey => "AppKey",
            Self::CertificateThumbprint => "CertificateThumbprint",
            Self::CertificateSubjectName => "CertificateSubjectName",
            Self::CertificateStoreLocation => "CertificateStoreLocation",
            Self::CertificatePath => "CertificatePath",
            Self::CertificatePassword => "CertificatePassword",
            Self::VaultCertificateSecretIdentifier => "KeyVaultCertificateSecretIdentifier",
            Self::VaultUserAssignedManagedIdentityId => "KeyVaultUserAssignedManagedIdentityId",
            Self::MsiRetryTimeout => "MsiRetryTimeout",
            Self::TokenFile => "TokenFile",
        }
    }

    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::AppKey | Self::CertificatePassword)
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|key| key.name().eq_ignore_ascii_case(text))
    }

    /// The key that was probably meant by `text`, which is none.
    pub(super) fn meant_by(text: &str) -> Option<Meant> {
        // None is longer than the longest key with something around it.
        if text.chars().count() > 48 {
            return None;
        }
        let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
        if let Some((name, key)) = Self::OTHER_NAMES
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&plain))
        {
            return Some(Meant {
                key,
                written: Some(name),
            });
        }
        let (distance, key) = Self::ALL
            .into_iter()
            .map(|key| (distance(&plain, key.name()), key))
            .min_by_key(|(distance, _)| *distance)?;
        (distance <= 2).then_some(Meant { key, written: None })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an unknown key probably stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meant {
    pub(super) key: Key,
    /// What it is called elsewhere, if that is what was written.
    pub(super) written: Option<&'static str>,
}

/// How many letters have to be put in, taken out or replaced, upper and lower
/// case being equal.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.bytes().enumerate() {
        let byte = byte.to_ascii_lowercase();
        let mut diagonal = i;
        let mut left = i + 1;
        for (other, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(*other != byte);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// What stands before an equals sign.
#[derive(Clone)]
pub(super) enum Name {
    Known(Key),
    Unknown {
        text: Zeroizing<String>,
        /// Whether it may be shown: it is no part of a secret.
        is_harmless: bool,
    },
}

impl Name {
    /// `may_be_secret` if it may be the rest of a secret that was cut at a `;`.
    pub(super) fn new(text: Zeroizing<String>, may_be_secret: bool) -> Self {
        match Key::from_text(&text) {
            Some(key) => Self::Known(key),
            None => Self::Unknown {
                is_harmless: !may_be_secret && is_word(&text),
                text,
            },
        }
    }

    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Known(key) => Some(*key),
            Self::Unknown { .. } => None,
        }
    }

    /// As it was written, but for the case of a known one.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Known(key) => key.name(),
            Self::Unknown { text, .. } => text,
        }
    }

    /// Equal for names that differ in case alone.
    pub(super) fn folded(&self) -> Zeroizing<String> {
        let text = self.text();
        // A letter may fold to a longer one, and a string that grows leaves its
        // old bytes behind.
        let mut folded = Zeroizing::new(String::with_capacity(text.len().saturating_mul(4)));
        for c in text.chars() {
            let mut upper = c.to_uppercase();
            folded.push(match (upper.next(), upper.next()) {
                (Some(upper), None) => upper,
                _ => c,
            });
        }
        folded
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(key) => write!(f, "{key}"),
            Self::Unknown {
                text,
                is_harmless: true,
            } => write!(f, "{:?}", text.as_str()),
            Self::Unknown { text, .. } => {
                let length = text.chars().count();
                let plural = if length == 1 { "" } else { "s" };
                write!(f, "a key of {length} character{plural}")
            }
        }
    }
}

/// Whether `text` looks like the name of something. A whole secret may stand
/// where a key should, if the string is none.
fn is_word(text: &str) -> bool {
    text.len() <= 40
        && text
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b' ' | b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("appid", "AppId", 0),
            ("ApId", "AppId", 1),
            ("ApppId", "AppId", 1),
            ("ApxId", "AppId", 1),
            ("pAppI", "AppId", 2),
            ("AppKey", "AppId", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn no_key_is_taken_for_another() {
        for key in Key::ALL {
            assert_eq!(Key::from_text(&key.name().to_uppercase()), Some(key));
            for other in Key::ALL {
                assert!(key == other || distance(key.name(), other.name()) > 2);
            }
        }
    }

    #[test]
    fn keys_of_other_libraries_are_understood() {
        for (text, key) in [
            ("client_id", Key::AppId),
            ("CLIENT-ID", Key::AppId),
            ("Tenant", Key::TenantId),
            ("App Key", Key::AppKey),
            ("RunA", Key::RunAs),
            ("\u{feff}RunAs", Key::RunAs),
        ] {
            assert_eq!(Key::meant_by(text).map(|meant| meant.key), Some(key));
        }
        assert_eq!(Key::meant_by("Foo"), None);
        assert_eq!(Key::meant_by(&"AppId".repeat(100_000)), None);
    }
}
