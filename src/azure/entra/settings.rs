//! What all credentials that sign in at Entra can be told.

use std::time::Duration;

use super::Application;
use super::tenants::{Tenants, is_ad_fs};
use crate::azure::cloud::{Authority, Cloud};
use crate::environment::Environment;
use crate::transport::{RetryBudget, Schedule, Transport};
use crate::{Error, ErrorKind};

const TIMEOUT: Duration = Duration::from_secs(60);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
const AUTHORITY_VARIABLE: &str = "AZURE_AUTHORITY_HOST";

#[derive(Clone, Debug)]
pub(in crate::azure) struct Settings {
    pub(in crate::azure) cloud: Option<Cloud>,
    pub(in crate::azure) authority_host: Option<String>,
    pub(super) http_to_loopback: bool,
    pub(in crate::azure) additionally_allowed_tenants: Vec<String>,
    pub(super) continuous_access_evaluation: bool,
    pub(in crate::azure) transport: Option<Transport>,
    pub(super) timeout: Duration,
    pub(in crate::azure) attempt_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cloud: None,
            authority_host: None,
            http_to_loopback: false,
            additionally_allowed_tenants: Vec::new(),
            continuous_access_evaluation: false,
            transport: None,
            timeout: TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
        }
    }
}

impl Settings {
    /// With the tenants that the environment allows besides.
    pub(super) fn with_tenants_of(mut self, environment: &Environment) -> Result<Self, Error> {
        let list = environment.text("AZURE_ADDITIONALLY_ALLOWED_TENANTS")?;
        self.additionally_allowed_tenants.extend(
            list.iter()
                .flat_map(|list| list.split(';'))
                .map(str::trim)
                .filter(|tenant| !tenant.is_empty())
                .map(str::to_owned),
        );
        Ok(self)
    }

    /// How what failed is tried again.
    pub(in crate::azure) fn schedule(&self) -> Schedule {
        Schedule {
            tries: 3,
            base: Duration::from_millis(800),
            longest: Duration::from_secs(10),
            budget: self.timeout,
        }
    }

    pub(super) fn application(
        self,
        tenant: &str,
        client_id: &str,
        environment: &Environment,
    ) -> Result<Application, Error> {
        let client_id = client_id.trim();
        if client_id.is_empty() || !client_id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::Configuration,
                if client_id.is_empty() {
                    "the client id is empty"
                } else {
                    "the client id has characters that no client id has"
                },
            )
            .with_advice("give the application (client) id of the app registration"));
        }
        let tenants = Tenants::new(tenant, &self.additionally_allowed_tenants, environment)?;
        let authority = self.authority(environment)?;
        if is_ad_fs(tenants.own()) && authority.is_entra() {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("the tenant adfs is that of AD FS, and {authority} is none"),
            )
            .with_advice("give the host of the AD FS server as authority_host"));
        }
        let schedule = self.schedule();
        let transport = match self.transport {
            Some(transport) => transport,
            None if self.http_to_loopback => Transport::builder().allow_http_loopback().build()?,
            None => Transport::builder().build()?,
        };
        Ok(Application {
            client_id: client_id.to_owned(),
            tenants,
            authority,
            transport,
            schedule,
            retry_budget: RetryBudget::default(),
            attempt_timeout: self.attempt_timeout,
            continuous_access_evaluation: self.continuous_access_evaluation,
        })
    }

    fn authority(&self, environment: &Environment) -> Result<Authority, Error> {
        match (self.cloud, &self.authority_host) {
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::Configuration,
                "both a cloud and an authority host are given",
            )
            .with_advice("give one of them: the cloud implies its host")),
            (Some(cloud), None) => Ok(cloud.into()),
            (None, Some(host)) => {
                Authority::parse(host, "the authority host", self.http_to_loopback)
            }
            (None, None) => match environment.text(AUTHORITY_VARIABLE)? {
                Some(host) => Authority::parse(&host, AUTHORITY_VARIABLE, self.http_to_loopback),
                None => Ok(Cloud::Public.into()),
            },
        }
    }
}

/// The settings of every builder, and how it is handed those of another.
macro_rules! sign_in_settings {
    () => {
        /// Signs in at the authority of `cloud`, whatever the environment says.
        pub fn cloud(mut self, cloud: crate::azure::Cloud) -> Self {
            self.settings.cloud = Some(cloud);
            self
        }

        /// Signs in at another authority: a host, with or without `https://`,
        /// and a port if need be. What the application proves itself by is sent
        /// there. Default: what the variable `AZURE_AUTHORITY_HOST` names, else
        /// the public cloud's.
        pub fn authority_host(mut self, host: impl Into<String>) -> Self {
            self.settings.authority_host = Some(host.into());
            self
        }

        /// Also accepts an authority on loopback that speaks plain HTTP: for
        /// emulators. Default: HTTPS only.
        pub fn allow_http_loopback(mut self) -> Self {
            self.settings.http_to_loopback = true;
            self
        }

        /// Tenants that may be asked for a token besides the credential's own,
        /// when a request or a server's challenge names one; `*` allows every
        /// tenant. Default: none, so that no server can have the application
        /// sign in to a tenant of its choice.
        pub fn additionally_allowed_tenants<T: Into<String>>(
            mut self,
            tenants: impl IntoIterator<Item = T>,
        ) -> Self {
            self.settings
                .additionally_allowed_tenants
                .extend(tenants.into_iter().map(Into::into));
            self
        }

        /// Tells Entra that this client answers claims challenges (`CP1`) with
        /// every request, not only with those that follow a challenge.
        ///
        /// Default: off. With it tokens live for a day or more and are revoked
        /// by 401 answers with a challenge. That is for users whose every
        /// request goes through the [layer of this crate](crate), not for those
        /// who hand tokens to something else, such as a database driver, that
        /// answers no challenge.
        pub fn continuous_access_evaluation(mut self, on: bool) -> Self {
            self.settings.continuous_access_evaluation = on;
            self
        }

        /// Sends through `transport`. Default: the
        /// [built-in one](crate::Transport::builder).
        pub fn transport(mut self, transport: crate::Transport) -> Self {
            self.settings.transport = Some(transport);
            self
        }

        /// How long it may take to get a token, with all attempts and waits.
        /// Default: 60 seconds.
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.settings.timeout = limit;
            self
        }

        /// How long one attempt may take, with the whole of its answer.
        /// Default: 15 seconds.
        pub fn attempt_timeout(mut self, limit: std::time::Duration) -> Self {
            self.settings.attempt_timeout = limit;
            self
        }

        pub(in crate::azure) fn with_settings(
            mut self,
            settings: crate::azure::entra::Settings,
        ) -> Self {
            self.settings = settings;
            self
        }
    };
}

pub(super) use sign_in_settings;

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(settings: &Settings, variable: &str) -> Result<String, Error> {
        settings
            .authority(&Environment::of(&[(AUTHORITY_VARIABLE, variable)]))
            .map(|authority| authority.to_string())
    }

    #[test]
    fn the_authority_is_an_option_or_the_variable_or_the_public_one() {
        let none = Settings::default();
        assert_eq!(authority(&none, "").unwrap(), "login.microsoftonline.com");
        assert_eq!(
            authority(&none, "https://login.microsoftonline.us/").unwrap(),
            "login.microsoftonline.us"
        );
        assert!(authority(&none, "http://login.microsoftonline.us/").is_err());

        let cloud = Settings {
            cloud: Some(Cloud::China),
            ..Settings::default()
        };
        assert_eq!(
            authority(&cloud, "login.microsoftonline.us").unwrap(),
            "login.partner.microsoftonline.cn"
        );
        let both = Settings {
            authority_host: Some("login.example".to_owned()),
            ..cloud
        };
        assert_eq!(
            authority(&both, "").unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
