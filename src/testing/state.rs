//! What the parts of the embedded Azure share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::app_service::AppService;
use super::azure_arc::AzureArc;
use super::directory::Directory;
use super::federation::Volume;
use super::imds::Imds;
use super::record::Record;
use super::service_fabric::ServiceFabric;
use super::switches::{Switches, lock};
use super::tokens::Issuer;
use super::vault::VaultState;
use super::wire::epoch_seconds;
use crate::runtime::Runtime;
use crate::uuid::uuid;

pub(super) struct State {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) issuer: Issuer,
    pub(super) directory: Mutex<Directory>,
    pub(super) imds: Imds,
    pub(super) app_service: AppService,
    pub(super) arc: AzureArc,
    pub(super) volume: Volume,
    pub(super) service_fabric: ServiceFabric,
    pub(super) token_switches: Arc<Switches>,
    pub(super) record: Record,
    pub(super) tenant: String,
    /// What tokens for the vaults must be for, such as `https://vault.azure.net`.
    pub(super) vault_audience: String,
    pub(super) default_vault: Arc<VaultState>,
    pub(super) vaults: Mutex<BTreeMap<String, Arc<VaultState>>>,
    pub(super) lifetime: Mutex<Option<Duration>>,
    pub(super) tls_port: u16,
    pub(super) imds_port: u16,
}

impl State {
    /// Seconds since 1970.
    pub(super) fn now(&self) -> u64 {
        epoch_seconds(self.runtime.now().wall)
    }

    /// The lifetime of new tokens in seconds, unless a test has set another.
    pub(super) fn lifetime_or(&self, default: u64) -> u64 {
        lock(&self.lifetime).map_or(default, |lifetime| lifetime.as_secs())
    }

    pub(super) fn random_uuid(&self) -> String {
        uuid(self.runtime.random(), self.runtime.random())
    }

    /// The suffix of the vaults' hosts, such as `vault.azure.net`.
    pub(super) fn vault_suffix(&self) -> &str {
        self.vault_audience.trim_start_matches("https://")
    }

    pub(super) fn vault(&self, name: &str) -> Option<Arc<VaultState>> {
        if name == self.default_vault.name {
            return Some(Arc::clone(&self.default_vault));
        }
        lock(&self.vaults).get(name).cloned()
    }
}

/// The next number of a splitmix64 sequence.
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_reference_sequence() {
        let mut state = 1_234_567;
        assert_eq!(splitmix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(splitmix(&mut state), 3_203_168_211_198_807_973);
    }
}
