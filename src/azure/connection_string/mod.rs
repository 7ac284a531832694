//! Connection strings: which identity to use, as AppAuthentication's users
//! write it.

mod builder;
mod explain;
mod identity;
mod key;
mod lexer;
#[cfg(test)]
mod oracle;
mod select;
mod warning;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

pub use self::builder::ConnectionStringBuilder;
pub use self::identity::DeveloperTool;
pub(in crate::azure) use self::identity::{Identity, RetryTimeout};
use self::key::Name;
use self::lexer::{Malformed, Pair, Reason};
pub use self::warning::{ConnectionStringWarning, ConnectionStringWarningKind};
use crate::{Error, ErrorKind};

/// Which identity to sign in as, in the words that users of .NET's
/// `AzureServiceTokenProvider` know.
///
/// ```
/// use tower_bearer::azure::ConnectionString;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let string = ConnectionString::parse(
///     "RunAs=App; AppId=11111111-2222-3333-4444-555555555555; \
///      TenantId=contoso.onmicrosoft.com; AppKey=\"a;b=c\"",
/// )?
/// .deny_warnings()?;
/// # Ok(())
/// # }
/// ```
///
/// # What can be written
///
/// | identity | string |
/// | --- | --- |
/// | the managed identity of this machine | `RunAs=App` |
/// | a user-assigned managed identity | `RunAs=App;AppId=…` |
/// | an application with a secret | `RunAs=App;AppId=…;TenantId=…;AppKey=…` |
/// | an application with a certificate from a PEM or PFX file | `RunAs=App;AppId=…;TenantId=…;CertificatePath=…`, and `CertificatePassword=…` if it has one |
/// | an application with a certificate from Key Vault | `RunAs=App;AppId=…;KeyVaultCertificateSecretIdentifier=https://…`, and `TenantId=…` if the vault's is another. `KeyVaultUserAssignedManagedIdentityId=…` names the managed identity that reads the vault |
/// | a workload identity | `RunAs=Workload`, with `AppId=…`, `TenantId=…` and `TokenFile=…` where the variables of the environment do not say them |
/// | who is signed in with a tool | `RunAs=Developer;DeveloperTool=AzureCLI`, or `AzureDeveloperCLI`, `AzurePowerShell`, `VisualStudio`; and `TenantId=…` for another tenant than the tool's |
///
/// `MsiRetryTimeout=…` limits for how many seconds a managed identity is tried,
/// with 0 for no limit.
///
/// `CertificatePath`, `CertificatePassword`, `TokenFile`, `RunAs=Workload`, the
/// tools beside `AzureCLI` and `VisualStudio`, and `TenantId` for tools are
/// additions of this crate. `RunAs=CurrentUser` and certificates of the Windows
/// store (`CertificateStoreLocation` with `CertificateThumbprint` or
/// `CertificateSubjectName`) are read, but cannot be signed in with. A string
/// that has `CertificatePath` beside those of the store works with both
/// libraries.
///
/// # How it is written
///
/// `key=value`, in any order, with `;` between them. Keys, and the values of
/// `RunAs`, `DeveloperTool` and `CertificateStoreLocation`, may be in any case.
/// Blanks around keys and values are dropped. A value that has a `;`, begins or
/// ends with a quote or a blank, or begins with `=` goes in quotes, `"` or `'`;
/// a quote of that kind inside is doubled. In a key `==` stands for `=`. A key
/// may come only once. There are no escapes.
///
/// # How it behaves
///
/// - Where the string breaks these rules the error says so by the number of the
///   character, from 1, and by the key. It never repeats a value, nor do
///   `Debug` and the warnings. Nor a key that is none that there is, if it may
///   be part of a secret.
/// - A key that is unknown or not used is no error, as in .NET, but
///   [warned of](Self::warnings). Other than in .NET, a `RunAs=App` that has
///   keys of an application but no `AppId` is one: .NET signs in as the machine.
/// - Secrets are wiped from memory with the last copy of the string, of what was
///   made from it, and of the text that it was read from, which is the caller's.
#[derive(Clone)]
pub struct ConnectionString {
    pairs: Vec<Pair>,
    identity: Identity,
    warnings: Vec<ConnectionStringWarning>,
}

impl ConnectionString {
    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] when it does not follow the grammar, has a
    /// key twice, lacks one, or has a value that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let pairs = read(text)?;
        Self::from_pairs(pairs)
    }

    fn from_pairs(pairs: Vec<Pair>) -> Result<Self, Error> {
        let mut warnings = warning::of_pairs(&pairs);
        let identity =
            select::select(&pairs).map_err(|error| with_what_led_to_it(error, &warnings))?;
        warnings.extend(warning::of_unused_keys(&pairs, &identity));
        warnings.sort_by_key(ConnectionStringWarning::position);
        Ok(Self {
            pairs,
            identity,
            warnings,
        })
    }

    /// What is most likely not meant, in the order of the string.
    #[must_use]
    pub fn warnings(&self) -> &[ConnectionStringWarning] {
        &self.warnings
    }

    /// Takes only a string without [warnings](Self::warnings).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] with the warnings.
    pub fn deny_warnings(self) -> Result<Self, Error> {
        if self.warnings.is_empty() {
            return Ok(self);
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!("connection string, {}", listed(self.warnings.iter())),
        ))
    }

    /// How `text` is read, for people: the identity or what is wrong, each key,
    /// whether it is used, and what is warned of. Values are hidden, except
    /// those that are a GUID, a domain name, a thumbprint or one of the words
    /// and numbers that there are, in the place where such a one belongs.
    ///
    /// ```
    /// use tower_bearer::azure::ConnectionString;
    ///
    /// println!("{}", ConnectionString::explain("RunAs=App;AppKey=abc"));
    /// ```
    #[must_use]
    pub fn explain(text: &str) -> String {
        explain::explain(text)
    }

    /// The string again, in one plain spelling and without keys that there are
    /// not. It holds the secret, if there is one.
    ///
    /// ```
    /// use tower_bearer::azure::{ConnectionString, ConnectionStringBuilder};
    ///
    /// # fn main() -> Result<(), tower_bearer::Error> {
    /// let string = ConnectionStringBuilder::client_secret("contoso.com", "app", "a;b").build()?;
    /// assert_eq!(
    ///     *string.to_string_with_secrets(),
    ///     "RunAs=App;TenantId=contoso.com;AppId=app;AppKey=\"a;b\""
    /// );
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to_string_with_secrets(&self) -> Zeroizing<String> {
        builder::write(&self.pairs)
    }

    /// What the string selects.
    pub(in crate::azure) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What to look at when that identity gets no token; none where the string
    /// gives no reason to doubt it.
    pub(in crate::azure) fn doubts(&self) -> Option<String> {
        (!self.warnings.is_empty()).then(|| {
            format!(
                "the connection string was taken for that of {}, but look at {}",
                self.identity.description(),
                listed(self.warnings.iter())
            )
        })
    }
}

impl FromStr for ConnectionString {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Hidden<'a>(&'a Pair);

        impl fmt::Debug for Hidden<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}=({})", self.0.name, self.0.value.chars().count())
            }
        }

        let pairs: Vec<_> = self.pairs.iter().map(Hidden).collect();
        f.debug_struct("ConnectionString")
            .field("identity", &self.identity.description())
            .field("keys", &pairs)
            .finish_non_exhaustive()
    }
}

/// The pairs of `text`, each key once.
fn read(text: &str) -> Result<Vec<Pair>, Error> {
    if text.trim().is_empty() {
        return Err(wrong(None, format_args!("it is empty"))
            .with_advice("write RunAs=App for the managed identity of this machine"));
    }
    let pairs = lexer::pairs(text).map_err(|malformed| explained(&malformed, text))?;
    let folded: Vec<_> = pairs.iter().map(|pair| pair.name.folded()).collect();
    let mut seen = HashSet::new();
    for (pair, folded) in pairs.iter().zip(&folded) {
        if !seen.insert(folded.as_str()) {
            return Err(wrong(
                Some(pair.position),
                format_args!("{} is there for the second time", pair.name),
            )
            .with_advice("take one of them out"));
        }
    }
    Ok(pairs)
}

fn explained(malformed: &Malformed, text: &str) -> Error {
    let Malformed {
        position,
        reason,
        name,
    } = malformed;
    let quotes = ['"', '\''];
    let text = text.trim();
    let name = name.as_ref().map(Name::to_string);
    let name = name.as_deref().unwrap_or("the value");
    let error = wrong(Some(*position), format_args!("{reason}"));
    if text.starts_with(quotes) && text.ends_with(quotes) {
        return error.with_advice("take the quotes around the whole string away");
    }
    match reason {
        Reason::NoKey => error.with_advice("write key=value; in a key == stands for ="),
        Reason::NoEquals if *position > 1 => error.with_advice(format!(
            "write key=value; if the ; before this belongs to the value of {name}, put that in \
             quotes"
        )),
        Reason::NoEquals => error.with_advice("write key=value"),
        Reason::ControlInKey => error.with_advice("take it out"),
        Reason::ControlInValue => error.with_advice(format!("put the value of {name} in quotes")),
        Reason::QuoteAtTheEnd => error.with_advice(format!(
            "put the value of {name} in quotes of the other kind"
        )),
        Reason::QuoteNotClosed => error.with_advice(format!(
            "close it, or put the value of {name} in quotes of the other kind; a quote inside is \
             doubled"
        )),
        Reason::NulInQuotes => error.with_advice("no value can have one"),
        Reason::MoreAfterQuote => error.with_advice(format!(
            "double each quote that is part of the value of {name}"
        )),
    }
}

/// An error of the string, without anything of its values.
fn wrong(position: Option<usize>, what: fmt::Arguments<'_>) -> Error {
    let message = match position {
        Some(position) => format!("connection string, character {position}: {what}"),
        None => format!("connection string: {what}"),
    };
    Error::new(ErrorKind::Configuration, message)
}

/// A key may be missing because another was misspelt.
fn with_what_led_to_it(error: Error, warnings: &[ConnectionStringWarning]) -> Error {
    let likely: Vec<_> = warnings
        .iter()
        .filter(|warning| warning.kind() != ConnectionStringWarningKind::UnknownKey)
        .collect();
    if likely.is_empty() {
        return error;
    }
    let advice = error.advice().unwrap_or_default();
    let advice = format!("{advice}. Also, {}", listed(likely.into_iter()));
    error.with_advice(advice)
}

fn listed<'a>(warnings: impl ExactSizeIterator<Item = &'a ConnectionStringWarning>) -> String {
    const SHOWN: usize = 5;
    let more = warnings.len().saturating_sub(SHOWN);
    let mut shown: Vec<_> = warnings.take(SHOWN).map(ToString::to_string).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join("; ")
}
