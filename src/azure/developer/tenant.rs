//! Which tenant a tool is asked for a token of.

use arc_swap::ArcSwapOption;

use std::sync::Arc;

use super::arguments;
use crate::azure::entra::tenants::{Tenants, is_ad_fs, is_multi_tenant_disabled, is_shared};
use crate::environment::Environment;
use crate::{Error, ErrorKind, TenantId};

/// The tenant that was chosen, or whichever the developer has signed in to.
#[derive(Debug)]
pub(super) enum TenantChoice {
    Chosen(Tenants),
    AsSignedIn {
        /// Whether other tenants may be asked for.
        others: bool,
        /// The one that issued the last token that was asked of no tenant in
        /// particular.
        last: ArcSwapOption<TenantId>,
    },
}

impl TenantChoice {
    pub(super) fn new(
        own: Option<&str>,
        additionally_allowed: &[String],
        environment: &Environment,
    ) -> Result<Self, Error> {
        let Some(own) = own else {
            return Ok(Self::AsSignedIn {
                others: !is_multi_tenant_disabled(environment)?,
                last: ArcSwapOption::empty(),
            });
        };
        let tenants = Tenants::new(own, additionally_allowed, environment)?;
        if is_ad_fs(tenants.own()) {
            return Err(Error::new(
                ErrorKind::Configuration,
                "developer tools do not sign in to AD FS",
            )
            .with_advice("give the directory's GUID or one of its domain names"));
        }
        arguments::tenant(tenants.own())?;
        Ok(Self::Chosen(tenants))
    }

    /// What to tell the tool when `asked` is asked for; `None` for nothing.
    pub(super) fn select(&self, asked: Option<&TenantId>) -> Result<Option<TenantId>, Error> {
        let tenant = match self {
            Self::Chosen(tenants) => Some(tenants.select(asked)?.clone()),
            Self::AsSignedIn { others, .. } => {
                asked.filter(|asked| *others && !is_shared(asked)).cloned()
            }
        };
        if let Some(tenant) = &tenant {
            arguments::tenant(tenant)?;
        }
        Ok(tenant)
    }

    /// The tenant to ask instead of the own one, if a request is for `asked`.
    pub(super) fn other(&self, asked: &TenantId) -> Option<TenantId> {
        match self {
            Self::Chosen(tenants) => tenants.other(asked),
            Self::AsSignedIn { others, last } => {
                let is_own = last
                    .load()
                    .as_ref()
                    .is_some_and(|last| last.is(asked.as_str()));
                (*others && !is_own && !is_shared(asked)).then(|| asked.clone())
            }
        }
    }

    /// Takes in which tenant issued a token when the tool was told `told`.
    pub(super) fn issued_by(&self, told: Option<&TenantId>, issuer: Option<&str>) {
        match (self, told) {
            (Self::Chosen(tenants), Some(told)) => tenants.issued_by(told, issuer),
            (Self::AsSignedIn { last, .. }, None) => {
                let issuer = issuer.and_then(|id| TenantId::new(id).ok());
                last.store(issuer.map(Arc::new));
            }
            _ => {}
        }
    }

    pub(super) fn own(&self) -> Option<&TenantId> {
        match self {
            Self::Chosen(tenants) => Some(tenants.own()),
            Self::AsSignedIn { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    #[test]
    fn r35_the_tenant_that_is_signed_in_to_is_known_from_its_tokens() {
        let choice = TenantChoice::new(None, &[], &Environment::of(&[])).unwrap();
        assert_eq!(choice.select(None).unwrap(), None);
        assert_eq!(choice.select(Some(&id("common"))).unwrap(), None);
        assert_eq!(choice.select(Some(&id("a"))).unwrap(), Some(id("a")));
        assert_eq!(choice.other(&id("a")), Some(id("a")));

        choice.issued_by(Some(&id("b")), Some("b"));
        assert_eq!(choice.other(&id("b")), Some(id("b")));
        choice.issued_by(None, Some("A"));
        assert_eq!(choice.other(&id("a")), None);
        // The developer has signed in to another one.
        choice.issued_by(None, Some("b"));
        assert_eq!(choice.other(&id("a")), Some(id("a")));
    }

    #[test]
    fn a_tenant_that_was_chosen_is_asked_and_others_only_if_allowed() {
        let environment = Environment::of(&[]);
        let choice = TenantChoice::new(Some("own"), &["other".to_owned()], &environment).unwrap();
        assert_eq!(choice.select(None).unwrap(), Some(id("own")));
        assert_eq!(
            choice.select(Some(&id("other"))).unwrap(),
            Some(id("other"))
        );
        assert!(choice.select(Some(&id("third"))).is_err());
        assert!(TenantChoice::new(Some("-x"), &[], &environment).is_err());
    }

    #[test]
    fn the_variable_that_disables_other_tenants_is_heeded() {
        let environment = Environment::of(&[("AZURE_IDENTITY_DISABLE_MULTITENANTAUTH", "1")]);
        let choice = TenantChoice::new(None, &[], &environment).unwrap();
        assert_eq!(choice.select(Some(&id("a"))).unwrap(), None);
        assert_eq!(choice.other(&id("a")), None);
    }
}
