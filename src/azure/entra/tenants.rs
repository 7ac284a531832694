//! Which tenants a credential may ask for tokens.

use std::sync::OnceLock;

use crate::environment::Environment;
use crate::{Error, ErrorKind, TenantId};

/// The tenant of a credential and those that it may ask instead.
#[derive(Clone, Debug)]
pub(in crate::azure) struct Tenants {
    own: TenantId,
    /// The own tenant's GUID, where `own` is a domain name: services name
    /// tenants by it.
    own_id: OnceLock<TenantId>,
    allowed: Allowed,
}

#[derive(Clone, Debug)]
enum Allowed {
    /// The own tenant is asked, whatever a request says.
    OwnWhateverIsAsked,
    Any,
    These(Vec<TenantId>),
}

impl Tenants {
    pub(in crate::azure) fn new(
        own: &str,
        additionally_allowed: &[String],
        environment: &Environment,
    ) -> Result<Self, Error> {
        let own = TenantId::new(own.trim())?;
        if is_shared(&own) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "an application cannot sign in to the tenant {own:?}",
                    own = own.as_str()
                ),
            )
            .with_advice("give the directory's GUID or one of its domain names"));
        }
        let allowed = if is_ad_fs(&own) || is_multi_tenant_disabled(environment)? {
            Allowed::OwnWhateverIsAsked
        } else if additionally_allowed
            .iter()
            .any(|tenant| tenant.trim() == "*")
        {
            Allowed::Any
        } else {
            let tenants = additionally_allowed
                .iter()
                .map(|tenant| TenantId::new(tenant.trim()))
                .collect::<Result<_, _>>()?;
            Allowed::These(tenants)
        };
        Ok(Self {
            own,
            own_id: OnceLock::new(),
            allowed,
        })
    }

    pub(in crate::azure) fn own(&self) -> &TenantId {
        &self.own
    }

    /// Takes in which tenant issued a token when `tenant` was asked.
    pub(in crate::azure) fn issued_by(&self, tenant: &TenantId, id: Option<&str>) {
        let id = id.and_then(|id| TenantId::new(id).ok());
        if let (true, Some(id)) = (tenant == &self.own, id) {
            self.own_id.get_or_init(|| id);
        }
    }

    fn is_own(&self, asked: &TenantId) -> bool {
        asked.is(self.own.as_str()) || self.own_id.get().is_some_and(|id| asked.is(id.as_str()))
    }

    /// The tenant to ask instead of the own one, if a request is for `asked`.
    pub(in crate::azure) fn other(&self, asked: &TenantId) -> Option<TenantId> {
        match self.select(Some(asked)) {
            Ok(selected) if selected == &self.own => None,
            // One that is not allowed: asking for it says so.
            _ => Some(asked.clone()),
        }
    }

    /// The tenant to ask, if a request is for `asked`.
    pub(in crate::azure) fn select<'a>(
        &'a self,
        asked: Option<&'a TenantId>,
    ) -> Result<&'a TenantId, Error> {
        let Some(asked) = asked else {
            return Ok(&self.own);
        };
        // A challenge that names no tenant in particular names one of these.
        if is_shared(asked) || self.is_own(asked) {
            return Ok(&self.own);
        }
        let allowed = match &self.allowed {
            Allowed::OwnWhateverIsAsked => return Ok(&self.own),
            Allowed::Any => true,
            Allowed::These(tenants) => tenants.iter().any(|tenant| tenant.is(asked.as_str())),
        };
        if allowed {
            return Ok(asked);
        }
        Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "a token of tenant {asked} is asked for, but the credential is for tenant {}",
                self.own
            ),
        )
        .with_advice(
            "if that tenant may be asked, add it to additionally_allowed_tenants (\"*\" allows every one)",
        ))
    }
}

/// Whether the own tenant is to be asked, whatever a request says.
pub(in crate::azure) fn is_multi_tenant_disabled(environment: &Environment) -> Result<bool, Error> {
    let value = environment.text("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH")?;
    Ok(value.is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")))
}

/// Whether `tenant` is what AD FS calls itself. It has no tenants.
pub(in crate::azure) fn is_ad_fs(tenant: &TenantId) -> bool {
    tenant.is("adfs")
}

/// Whether `tenant` is a name for any tenant.
pub(in crate::azure) fn is_shared(tenant: &TenantId) -> bool {
    ["common", "organizations", "consumers"]
        .iter()
        .any(|name| tenant.is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(own: &str, allowed: &[&str], disabled: &str) -> Result<Tenants, Error> {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        let environment = Environment::of(&[("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH", disabled)]);
        Tenants::new(own, &allowed, &environment)
    }

    #[test]
    fn only_tenants_that_are_allowed_are_asked() {
        let select = |allowed: &[&str], disabled: &str, asked: &str| {
            let asked = TenantId::new(asked).unwrap();
            tenants("own.com", allowed, disabled)
                .unwrap()
                .select(Some(&asked))
                .map(ToString::to_string)
        };
        assert_eq!(select(&[], "", "OWN.com").unwrap(), "own.com");
        assert_eq!(select(&[], "", "common").unwrap(), "own.com");
        assert_eq!(
            select(&["other.com"], "", "Other.com").unwrap(),
            "Other.com"
        );
        assert_eq!(select(&["*"], "", "other.com").unwrap(), "other.com");
        assert_eq!(select(&[], "true", "other.com").unwrap(), "own.com");
        let error = select(&["third.com"], "", "other.com").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("additionally_allowed_tenants"));
    }

    #[test]
    fn ad_fs_is_asked_whatever_tenant_a_request_is_for() {
        let asked = TenantId::new("other.com").unwrap();
        let tenants = tenants("adfs", &["third.com"], "").unwrap();
        assert_eq!(tenants.select(Some(&asked)).unwrap().as_str(), "adfs");
        assert_eq!(tenants.other(&asked), None);
    }

    #[test]
    fn tenants_that_an_application_cannot_sign_in_to_are_refused() {
        for own in ["", "common", "Organizations", "consumers", "a/b"] {
            let error = tenants(own, &[], "").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{own}");
        }
        assert!(tenants("own.com", &["a b"], "").is_err());
    }

    #[test]
    fn r35_the_guid_of_a_tenant_that_was_given_by_domain_is_learned_from_its_tokens() {
        let guid = TenantId::new("72f988bf-86f1-41af-91ab-2d7cd011db47").unwrap();
        let other = TenantId::new("00000000-86f1-41af-91ab-2d7cd011db47").unwrap();
        let tenants = tenants("own.com", &["partner.com"], "").unwrap();
        assert_eq!(tenants.other(&guid), Some(guid.clone()));
        // What another tenant issued teaches nothing.
        let partner = TenantId::new("partner.com").unwrap();
        tenants.issued_by(&partner, Some(other.as_str()));
        tenants.issued_by(tenants.own(), Some(guid.as_str()));
        assert_eq!(tenants.other(&guid), None);
        assert_eq!(tenants.select(Some(&guid)).unwrap().as_str(), "own.com");
        assert_eq!(tenants.other(&other), Some(other));
    }
}
