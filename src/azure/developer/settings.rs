//! What all developer tools can be told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::executable::Places;
use super::kind::Kind;
use super::local_time::LocalZone;
use super::tenant::TenantChoice;
use super::tool::Tool;
use crate::Error;
use crate::environment::Environment;

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tenant: Option<String>,
    pub(super) additionally_allowed_tenants: Vec<String>,
    pub(super) executable: Option<PathBuf>,
    pub(super) timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tenant: None,
            additionally_allowed_tenants: Vec::new(),
            executable: None,
            timeout: TIMEOUT,
        }
    }
}

impl Settings {
    pub(super) fn tenants(&self, environment: &Environment) -> Result<TenantChoice, Error> {
        TenantChoice::new(
            self.tenant.as_deref(),
            &self.additionally_allowed_tenants,
            environment,
        )
    }

    /// The tool that goes by one of `names`, in the directories that
    /// `variables` list.
    pub(super) fn tool(
        self,
        kind: &'static Kind,
        names: &'static [&'static str],
        variables: &[&str],
        environment: &Environment,
    ) -> Result<Tool, Error> {
        let tenants = self.tenants(environment)?;
        let places = Places::new(names, self.executable, variables, environment)?;
        Ok(Tool {
            kind,
            places: Arc::new(places),
            found: Mutex::new(None),
            tenants,
            zone: LocalZone::of(environment),
            timeout: self.timeout,
        })
    }
}

/// The settings of every builder: `tenant` and `additionally_allowed_tenants`.
macro_rules! tenant_settings {
    () => {
        /// Asks for tokens of this tenant: a GUID or a domain name. Default:
        /// the one that the developer has signed in to.
        pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
            self.settings.tenant = Some(tenant.into());
            self
        }

        /// Tenants that may be asked for a token besides the one that
        /// [`tenant`](Self::tenant) names, when a request or a server's
        /// challenge names one; `*` allows every tenant. Where no tenant is
        /// set, any may be asked.
        pub fn additionally_allowed_tenants<T: Into<String>>(
            mut self,
            tenants: impl IntoIterator<Item = T>,
        ) -> Self {
            self.settings
                .additionally_allowed_tenants
                .extend(tenants.into_iter().map(Into::into));
            self
        }
    };
}

/// The settings of a tool that is found by its name.
macro_rules! executable_settings {
    () => {
        /// Runs the tool at this absolute path, whoever may write there.
        /// Default: it is looked for, as the credential's documentation says.
        pub fn executable(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.settings.executable = Some(path.into());
            self
        }

        /// How long the tool may run, and how long it may be waited for while
        /// it gets other tokens. Default: 10 seconds.
        pub fn timeout(mut self, limit: std::time::Duration) -> Self {
            self.settings.timeout = limit;
            self
        }
    };
}

pub(super) use {executable_settings, tenant_settings};
