//! Strings from their parts.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::identity::{DeveloperTool, RunAs};
use super::key::{Key, Name};
use super::lexer::Pair;
use super::warning::ConnectionStringWarningKind;
use super::{ConnectionString, wrong};
use crate::Error;

/// Makes a [`ConnectionString`] from its parts, so that nobody has to think of
/// quotes.
///
/// ```
/// use tower_bearer::azure::ConnectionStringBuilder;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let string = ConnectionStringBuilder::managed_identity()
///     .client_id("11111111-2222-3333-4444-555555555555")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConnectionStringBuilder {
    pairs: Vec<Pair>,
}

/// The identities.
impl ConnectionStringBuilder {
    /// Who is signed in with `tool` on this machine.
    pub fn developer(tool: DeveloperTool) -> Self {
        Self::new(RunAs::Developer).with(Key::DeveloperTool, tool.name())
    }

    /// The managed identity of this machine; a user-assigned one if its
    /// [`client_id`](Self::client_id) is given.
    pub fn managed_identity() -> Self {
        Self::new(RunAs::App)
    }

    /// An application with a secret.
    pub fn client_secret(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        Self::new(RunAs::App)
            .tenant(tenant)
            .client_id(client_id)
            .with(Key::AppKey, secret)
    }

    /// An application with a certificate from a PEM or PFX file, whose path has
    /// to be Unicode.
    pub fn client_certificate(
        tenant: impl Into<String>,
        client_id: impl Into<String>,
        path: impl AsRef<Path>,
    ) -> Self {
        Self::new(RunAs::App)
            .tenant(tenant)
            .client_id(client_id)
            .with_path(Key::CertificatePath, path.as_ref())
    }

    /// An application with a certificate that Key Vault has under the URL
    /// `secret_identifier`.
    pub fn key_vault_certificate(
        client_id: impl Into<String>,
        secret_identifier: impl Into<String>,
    ) -> Self {
        Self::new(RunAs::App)
            .client_id(client_id)
            .with(Key::VaultCertificateSecretIdentifier, secret_identifier)
    }

    /// A workload identity: tenant, client id and token file are what the
    /// environment says, unless they are given.
    pub fn workload_identity() -> Self {
        Self::new(RunAs::Workload)
    }
}

/// What else can be said of some of them.
impl ConnectionStringBuilder {
    /// The tenant, where the identity has not named it yet.
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        self.with(Key::TenantId, tenant)
    }

    /// The client id, where the identity has not named it yet.
    pub fn client_id(self, client_id: impl Into<String>) -> Self {
        self.with(Key::AppId, client_id)
    }

    /// The password of a certificate's file.
    pub fn certificate_password(self, password: impl Into<String>) -> Self {
        self.with(Key::CertificatePassword, password)
    }

    /// The client id of the user-assigned managed identity that reads the vault
    /// of a certificate.
    pub fn vault_identity(self, client_id: impl Into<String>) -> Self {
        self.with(Key::VaultUserAssignedManagedIdentityId, client_id)
    }

    /// How long a managed identity is tried: in whole seconds, and with zero
    /// for no limit.
    pub fn retry_timeout(self, limit: Duration) -> Self {
        let more = u64::from(limit.subsec_nanos() > 0);
        let whole = limit.as_secs().saturating_add(more);
        self.with(Key::MsiRetryTimeout, whole.to_string())
    }

    /// The file with the token of a workload identity, whose path has to be
    /// Unicode.
    pub fn token_file(self, path: impl AsRef<Path>) -> Self {
        self.with_path(Key::TokenFile, path.as_ref())
    }

    /// Makes the string.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when a
    /// part is missing, cannot be used or written, or means nothing for the
    /// identity.
    pub fn build(self) -> Result<ConnectionString, Error> {
        for pair in &self.pairs {
            if pair.value.contains('\0') {
                let error = wrong(
                    None,
                    format_args!("the value of {} has a NUL character", pair.name),
                );
                return Err(error.with_advice("no connection string can have one"));
            }
        }
        // Read again, for the positions that errors and warnings name.
        let string = ConnectionString::parse(&write(&self.pairs))?;
        let unused = string
            .warnings()
            .iter()
            .find(|warning| warning.kind() == ConnectionStringWarningKind::UnusedKey);
        match unused {
            Some(unused) => Err(wrong(None, format_args!("{unused}"))),
            None => Ok(string),
        }
    }

    fn new(run_as: RunAs) -> Self {
        Self { pairs: Vec::new() }.with(Key::RunAs, run_as.name())
    }

    fn with_path(self, key: Key, path: &Path) -> Self {
        // What cannot be written is refused when the string is built.
        self.with(key, path.to_str().unwrap_or("\0"))
    }

    /// The last value of a key is the one that counts.
    fn with(mut self, key: Key, value: impl Into<String>) -> Self {
        self.pairs.retain(|pair| pair.name.key() != Some(key));
        self.pairs.push(Pair {
            name: Name::Known(key),
            value: Zeroizing::new(value.into()),
            position: 0,
            value_position: 0,
            quoted: false,
        });
        self
    }
}

impl fmt::Debug for ConnectionStringBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self
            .pairs
            .iter()
            .filter_map(|pair| pair.name.key())
            .collect();
        f.debug_struct("ConnectionStringBuilder")
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

/// The known ones of `pairs` as a string.
pub(super) fn write(pairs: &[Pair]) -> Zeroizing<String> {
    // Enough for all quotes to be doubled: a string that grows leaves its old
    // bytes behind.
    let room = pairs
        .iter()
        .map(|pair| 64 + 2 * pair.value.len())
        .sum::<usize>();
    let mut text = Zeroizing::new(String::with_capacity(room));
    for pair in pairs {
        let Some(key) = pair.name.key() else {
            continue;
        };
        if !text.is_empty() {
            text.push(';');
        }
        text.push_str(key.name());
        text.push('=');
        if is_plain(&pair.value) {
            text.push_str(&pair.value);
            continue;
        }
        text.push('"');
        for c in pair.value.chars() {
            if c == '"' {
                text.push('"');
            }
            text.push(c);
        }
        text.push('"');
    }
    text
}

/// Whether a value needs no quotes, in any reading of the grammar.
fn is_plain(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~/:@+".contains(&b))
}
