//! What those that find an identity by themselves can be told.

/// Settings of builders with the fields `entra`, `probe_timeout` and
/// `environment`.
macro_rules! identity_settings {
    () => {
        /// Signs applications in at the authority of `cloud`, whatever the
        /// environment says. Managed identities and developer tools know their
        /// own.
        pub fn cloud(mut self, cloud: crate::azure::Cloud) -> Self {
            self.entra.cloud = Some(cloud);
            self
        }

        /// Signs applications in at another authority: a host, with or without
        /// `https://`, and a port if need be. Default: what the variable
        /// `AZURE_AUTHORITY_HOST` names, else the public cloud's.
        pub fn authority_host(mut self, host: impl Into<String>) -> Self {
            self.entra.authority_host = Some(host.into());
            self
        }

        /// Tenants that may be asked for a token when a request or a server's
        /// challenge names one, besides an application's own and one that was
        /// named for a developer tool; `*` allows every tenant. Default: none.
        /// A tool for which no tenant was named may be asked for any.
        pub fn additionally_allowed_tenants<T: Into<String>>(
            mut self,
            tenants: impl IntoIterator<Item = T>,
        ) -> Self {
            self.entra
                .additionally_allowed_tenants
                .extend(tenants.into_iter().map(Into::into));
            self
        }

        /// Sends to Entra and Key Vault through `transport`. Default: the
        /// [built-in one](crate::Transport::builder). Managed identities have
        /// one of their own, which uses no proxy.
        pub fn transport(mut self, transport: crate::Transport) -> Self {
            self.entra.transport = Some(transport);
            self
        }

        /// How long to look for a managed identity before the next credential
        /// is tried. Default: 1 second.
        pub fn probe_timeout(mut self, limit: std::time::Duration) -> Self {
            self.probe_timeout = Some(limit);
            self
        }

        /// Takes `variables` for the environment, in place of the process's
        /// own, and no others.
        #[cfg(feature = "test-util")]
        pub fn environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
        where
            N: Into<String>,
            V: Into<std::ffi::OsString>,
        {
            self.environment = Some(crate::environment::Environment::of_variables(
                variables
                    .into_iter()
                    .map(|(name, value)| (name.into(), value.into())),
            ));
            self
        }
    };
}

pub(in crate::azure) use identity_settings;
