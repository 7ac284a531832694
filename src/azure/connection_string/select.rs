//! Which identity a string selects, from which keys.

use std::path::PathBuf;
use std::time::Duration;

use super::identity::{DeveloperTool, Identity, RetryTimeout, RunAs, StoreLocation};
use super::key::Key;
use super::lexer::Pair;
use super::wrong;
use crate::{Error, TenantId};

/// Selects the identity as AppAuthentication does; what is new here has keys
/// of its own, which it passes over.
pub(super) fn select(pairs: &[Pair]) -> Result<Identity, Error> {
    let settings = Settings(pairs);
    let run_as = settings.required(Key::RunAs, "every connection string needs it")?;
    match one_of(run_as, &RunAs::ALL, RunAs::name)? {
        RunAs::Developer => settings.developer(),
        RunAs::CurrentUser => Ok(Identity::CurrentUser),
        RunAs::App => settings.app(),
        RunAs::Workload => Ok(Identity::Workload {
            tenant: settings.tenant()?,
            client_id: settings.id(Key::AppId)?,
            token_file: settings.text(Key::TokenFile).map(PathBuf::from),
        }),
    }
}

struct Settings<'a>(&'a [Pair]);

impl<'a> Settings<'a> {
    fn pair(&self, key: Key) -> Option<&'a Pair> {
        self.0.iter().find(|pair| pair.name.key() == Some(key))
    }

    fn has(&self, key: Key) -> bool {
        self.pair(key).is_some()
    }

    /// The value of a key that may be left out, or left blank.
    fn text(&self, key: Key) -> Option<&'a str> {
        let value = self.pair(key)?.value.as_str();
        (!value.trim().is_empty()).then_some(value)
    }

    fn required(&self, key: Key, why: &'static str) -> Result<&'a Pair, Error> {
        let error = match self.pair(key) {
            Some(pair) if !pair.value.trim().is_empty() => return Ok(pair),
            Some(pair) => wrong(Some(pair.position), format_args!("{key} is empty")),
            None => wrong(None, format_args!("{key} is missing")),
        };
        Err(error.with_advice(format!("{why}: {key}=…")))
    }

    fn id(&self, key: Key) -> Result<Option<String>, Error> {
        let Some(pair) = self.pair(key).filter(|pair| !pair.value.trim().is_empty()) else {
            return Ok(None);
        };
        let id = pair.value.trim();
        if !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong(
                Some(pair.value_position),
                format_args!("{key} has characters that no client id has"),
            )
            .with_advice("give the application (client) id, a GUID"));
        }
        Ok(Some(id.to_owned()))
    }

    fn tenant(&self) -> Result<Option<TenantId>, Error> {
        let Some(pair) = self
            .pair(Key::TenantId)
            .filter(|pair| !pair.value.trim().is_empty())
        else {
            return Ok(None);
        };
        // The cause would repeat the value.
        TenantId::new(pair.value.trim()).map(Some).map_err(|_| {
            wrong(
                Some(pair.value_position),
                format_args!("TenantId is no tenant id"),
            )
            .with_advice("give the directory's GUID or one of its domain names")
        })
    }

    fn required_tenant(&self, why: &'static str) -> Result<TenantId, Error> {
        self.required(Key::TenantId, why)?;
        let missing = || wrong(None, format_args!("TenantId is missing"));
        self.tenant()?.ok_or_else(missing)
    }

    fn retry_timeout(&self) -> Result<Option<RetryTimeout>, Error> {
        let Some(pair) = self.pair(Key::MsiRetryTimeout) else {
            return Ok(None);
        };
        // Blanks and signs are what .NET takes.
        let seconds = pair.value.trim().parse::<i32>().ok();
        match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(0) => Ok(Some(RetryTimeout::Unlimited)),
            Some(seconds) => Ok(Some(RetryTimeout::After(Duration::from_secs(seconds)))),
            None => Err(wrong(
                Some(pair.value_position),
                format_args!("MsiRetryTimeout is not a number of seconds"),
            )
            .with_advice("give whole seconds, 0 for no limit")),
        }
    }

    fn developer(&self) -> Result<Identity, Error> {
        let tool = self.required(
            Key::DeveloperTool,
            "RunAs=Developer needs to know which tool",
        )?;
        Ok(Identity::Developer {
            tool: one_of(tool, &DeveloperTool::ALL, DeveloperTool::name)?,
            tenant: self.tenant()?,
        })
    }

    fn app(&self) -> Result<Identity, Error> {
        if !self.has(Key::AppId) {
            return self.system_assigned();
        }
        self.required(Key::AppId, "RunAs=App has it only with a client id")?;
        let client_id = self.id(Key::AppId)?.unwrap_or_default();
        if self.has(Key::CertificatePath) {
            return self.certificate_file(client_id);
        }
        if self.has(Key::CertificateStoreLocation) {
            return self.store_certificate();
        }
        for key in [Key::CertificateThumbprint, Key::CertificateSubjectName] {
            if let Some(pair) = self.pair(key) {
                return Err(wrong(
                    Some(pair.position),
                    format_args!("{key} is given without CertificateStoreLocation"),
                )
                .with_advice(
                    "add CertificateStoreLocation=CurrentUser or LocalMachine, or name a file \
                     with CertificatePath instead",
                ));
            }
        }
        if self.has(Key::VaultCertificateSecretIdentifier) {
            let identifier = self.required(
                Key::VaultCertificateSecretIdentifier,
                "give the URL of the certificate's secret",
            )?;
            return Ok(Identity::VaultCertificate {
                secret_identifier: identifier.value.trim().to_owned(),
                client_id,
                tenant: self.tenant()?,
                vault_identity: self.id(Key::VaultUserAssignedManagedIdentityId)?,
                retry_timeout: self.retry_timeout()?,
            });
        }
        if self.has(Key::AppKey) {
            let secret = self.required(Key::AppKey, "give the application's secret")?;
            return Ok(Identity::Secret {
                tenant: self.required_tenant("an application with a secret needs it")?,
                client_id,
                secret: secret.value.clone(),
            });
        }
        Ok(Identity::ManagedIdentity {
            client_id: Some(client_id),
            retry_timeout: self.retry_timeout()?,
        })
    }

    /// AppAuthentication passes over all that only an application has, so that
    /// a misspelt `AppId` signs in as somebody else.
    fn system_assigned(&self) -> Result<Identity, Error> {
        let belongs_to_an_application = |key: Key| {
            !matches!(
                key,
                Key::RunAs | Key::DeveloperTool | Key::MsiRetryTimeout | Key::TokenFile
            )
        };
        for pair in self.0 {
            if let Some(key) = pair
                .name
                .key()
                .filter(|key| belongs_to_an_application(*key))
            {
                return Err(wrong(
                    Some(pair.position),
                    format_args!("{key} is given without AppId"),
                )
                .with_advice(format!(
                    "add AppId=…; for the system-assigned managed identity take {key} out"
                )));
            }
        }
        Ok(Identity::ManagedIdentity {
            client_id: None,
            retry_timeout: self.retry_timeout()?,
        })
    }

    fn certificate_file(&self, client_id: String) -> Result<Identity, Error> {
        let path = self.required(Key::CertificatePath, "give the path of a PEM or PFX file")?;
        Ok(Identity::CertificateFile {
            tenant: self.required_tenant("an application with a certificate needs it")?,
            client_id,
            path: PathBuf::from(path.value.as_str()),
            password: self
                .pair(Key::CertificatePassword)
                .map(|pair| pair.value.clone())
                .filter(|password| !password.is_empty()),
        })
    }

    fn store_certificate(&self) -> Result<Identity, Error> {
        // An empty thumbprint still goes before a subject name.
        let certificate = if self.has(Key::CertificateThumbprint) {
            Key::CertificateThumbprint
        } else if self.has(Key::CertificateSubjectName) {
            Key::CertificateSubjectName
        } else {
            return Err(wrong(
                None,
                format_args!(
                    "CertificateStoreLocation is given with neither CertificateThumbprint nor \
                     CertificateSubjectName"
                ),
            )
            .with_advice("add one of them"));
        };
        let location = self.required(
            Key::CertificateStoreLocation,
            "a certificate from the store needs it",
        )?;
        let location = one_of(location, &StoreLocation::ALL, StoreLocation::name)?;
        self.required_tenant("an application with a certificate needs it")?;
        self.required(certificate, "say which certificate of the store")?;
        Ok(Identity::StoreCertificate { location })
    }
}

/// Which of `all` the value names, in any case. The value itself is not told:
/// what stands in the wrong place may be a secret.
fn one_of<T: Copy>(pair: &Pair, all: &[T], name: fn(T) -> &'static str) -> Result<T, Error> {
    let is_meant = |one: &T| name(*one).eq_ignore_ascii_case(&pair.value);
    all.iter().copied().find(is_meant).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
        wrong(
            Some(pair.value_position),
            format_args!("the value of {} is none of those that there are", pair.name),
        )
        .with_advice(format!("allowed are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::ConnectionString;

    const ID: &str = "f0b1f84a-ec74-4cef-8034-adbad168ce33";

    fn identity(text: &str) -> Identity {
        ConnectionString::parse(text).unwrap().identity().clone()
    }

    #[test]
    fn developer_tools_are_selected_with_or_without_a_tenant() {
        for (name, expected) in [
            ("AzureCLI", DeveloperTool::AzureCli),
            ("azurecli", DeveloperTool::AzureCli),
            ("VISUALSTUDIO", DeveloperTool::VisualStudio),
            ("AzureDeveloperCLI", DeveloperTool::AzureDeveloperCli),
            ("AzurePowerShell", DeveloperTool::AzurePowerShell),
        ] {
            let text = format!("RunAs=Developer; DeveloperTool={name}");
            let Identity::Developer { tool, tenant } = identity(&text) else {
                panic!("{text}");
            };
            assert_eq!((tool, tenant), (expected, None), "{text}");
            let Identity::Developer { tenant, .. } = identity(&format!("{text};TenantId=a.com"))
            else {
                panic!("{text}");
            };
            assert_eq!(tenant.unwrap().as_str(), "a.com");
        }
    }

    #[test]
    fn managed_identities_are_selected_with_or_without_a_client_id_and_a_timeout() {
        let seconds = |number| Some(RetryTimeout::After(Duration::from_secs(number)));
        for (text, id, timeout) in [
            ("RunAs=App", None, None),
            ("RunAs=App;AppId=a", Some("a"), None),
            ("RunAs=App;AppId=' a '", Some("a"), None),
            ("RunAs=App;AppId=a;TenantId=b.com", Some("a"), None),
            (
                "RunAs=App;MsiRetryTimeout=0",
                None,
                Some(RetryTimeout::Unlimited),
            ),
            ("RunAs=App;MsiRetryTimeout=+5", None, seconds(5)),
            (
                "RunAs=App;AppId=a;MsiRetryTimeout=' 2147483647 '",
                Some("a"),
                seconds(2_147_483_647),
            ),
        ] {
            let Identity::ManagedIdentity {
                client_id,
                retry_timeout,
            } = identity(text)
            else {
                panic!("{text}");
            };
            assert_eq!(client_id.as_deref(), id, "{text}");
            assert_eq!(retry_timeout, timeout, "{text}");
        }
    }

    #[test]
    fn an_application_with_a_secret_has_it_as_it_was_written() {
        for (written, expected) in [
            ("s=1", "s=1"),
            ("\"a;b\"", "a;b"),
            ("' a''b '", " a'b "),
            ("=a", "=a"),
        ] {
            let text = format!("AppKey= {written} ;TenantId={ID};AppId={ID};runas=APP");
            let Identity::Secret {
                tenant,
                client_id,
                secret,
            } = identity(&text)
            else {
                panic!("{text}");
            };
            assert_eq!(secret.as_str(), expected);
            assert_eq!((tenant.as_str(), client_id.as_str()), (ID, ID));
        }
    }

    #[test]
    fn a_certificate_from_a_file_goes_before_all_others() {
        let text = format!(
            "RunAs=App;AppId={ID};TenantId=a.com;AppKey=s;CertificateThumbprint=12;\
             CertificateStoreLocation=CurrentUser;KeyVaultCertificateSecretIdentifier=u;\
             CertificatePath=/a b/c.pem;CertificatePassword=' p'"
        );
        let Identity::CertificateFile {
            tenant,
            client_id,
            path,
            password,
        } = identity(&text)
        else {
            panic!();
        };
        assert_eq!((tenant.as_str(), client_id.as_str()), ("a.com", ID));
        assert_eq!(path, PathBuf::from("/a b/c.pem"));
        assert_eq!(password.unwrap().as_str(), " p");
    }

    #[test]
    fn the_store_goes_before_the_vault_and_the_vault_before_a_secret() {
        let app = format!("RunAs=App;AppId={ID};TenantId=a.com;AppKey=s;");
        let vault =
            format!("{app}KeyVaultCertificateSecretIdentifier= https://v.example/secrets/c;");
        let store =
            format!("{vault}CertificateStoreLocation=localmachine;CertificateSubjectName=CN=c");
        assert!(matches!(
            identity(&store),
            Identity::StoreCertificate {
                location: StoreLocation::LocalMachine
            }
        ));
        let Identity::VaultCertificate {
            secret_identifier,
            client_id,
            tenant,
            vault_identity,
            retry_timeout,
        } = identity(&format!(
            "{vault}KeyVaultUserAssignedManagedIdentityId=i;MsiRetryTimeout=3"
        ))
        else {
            panic!();
        };
        assert_eq!(secret_identifier, "https://v.example/secrets/c");
        assert_eq!(client_id, ID);
        assert_eq!(tenant.unwrap().as_str(), "a.com");
        assert_eq!(vault_identity.unwrap(), "i");
        assert_eq!(
            retry_timeout,
            Some(RetryTimeout::After(Duration::from_secs(3)))
        );
        assert!(matches!(identity(&app), Identity::Secret { .. }));
    }

    #[test]
    fn what_a_vault_certificate_may_do_without_may_be_blank() {
        let Identity::VaultCertificate {
            tenant,
            vault_identity,
            retry_timeout,
            ..
        } = identity(
            "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=u;TenantId=;\
             KeyVaultUserAssignedManagedIdentityId=' '",
        )
        else {
            panic!();
        };
        assert!(tenant.is_none() && vault_identity.is_none() && retry_timeout.is_none());
    }

    #[test]
    fn a_workload_identity_needs_nothing_more() {
        let Identity::Workload {
            tenant,
            client_id,
            token_file,
        } = identity("RunAs=Workload")
        else {
            panic!();
        };
        assert!(tenant.is_none() && client_id.is_none() && token_file.is_none());
        let Identity::Workload {
            tenant,
            client_id,
            token_file,
        } = identity("RunAs=workload;TenantId=a.com;AppId=b;TokenFile=/var/run/t")
        else {
            panic!();
        };
        assert_eq!(tenant.unwrap().as_str(), "a.com");
        assert_eq!(client_id.unwrap(), "b");
        assert_eq!(token_file.unwrap(), PathBuf::from("/var/run/t"));
    }

    #[test]
    fn the_store_of_windows_and_its_user_are_read_but_not_supported() {
        for (text, what) in [
            ("RunAs=CurrentUser;", "az"),
            (
                "RunAs=App;AppId=a;TenantId=b.com;CertificateThumbprint=123;\
                 CertificateStoreLocation=CurrentUser",
                "CertificatePath",
            ),
        ] {
            let error = identity(text).unsupported().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Configuration);
            assert!(
                error
                    .advice()
                    .unwrap()
                    .to_lowercase()
                    .contains(&what.to_lowercase())
            );
        }
        assert!(identity("RunAs=App").unsupported().is_none());
    }
}
