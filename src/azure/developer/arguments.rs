//! What may stand on a tool's command line.
//!
//! No shell reads it, but batch files and PowerShell do, and a tool takes for
//! an option what begins with a dash. So there are lists of what is allowed.

use crate::error::printable;
use crate::{Audience, Error, ErrorKind, TenantId};

const MAX_BYTES: usize = 1024;

/// The resource that a token for `audience` is asked for by.
pub(super) fn resource(audience: &Audience) -> Result<&str, Error> {
    audience.check()?;
    let resource = crate::azure::resource(audience);
    if is_sound(resource, |b| b".-_:/".contains(&b)) {
        return Ok(resource);
    }
    Err(refused("audience", resource).with_advice(
        "give an application id URI of letters, digits and .-_:/ that does not begin with a dash; other audiences need another credential than a developer tool",
    ))
}

pub(super) fn tenant(tenant: &TenantId) -> Result<(), Error> {
    if is_sound(tenant.as_str(), |b| b".-".contains(&b)) {
        return Ok(());
    }
    Err(refused("tenant", tenant.as_str())
        .with_advice("give the directory's GUID or one of its domain names"))
}

/// An id or a name.
pub(super) fn subscription(subscription: &str) -> Result<(), Error> {
    let is_blank = subscription.trim() != subscription;
    if !is_blank && is_sound(subscription, |b| b".-_ ".contains(&b)) {
        return Ok(());
    }
    Err(refused("subscription", subscription).with_advice(
        "give the subscription's id, or a name of letters, digits, blanks and .-_ that does not begin with a dash",
    ))
}

fn is_sound(text: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty()
        && text.len() <= MAX_BYTES
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || is_allowed(b))
}

fn refused(what: &str, text: &str) -> Error {
    Error::new(
        ErrorKind::Configuration,
        format!(
            "the {what} {:?} may not stand on a command line",
            printable(text)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOSTILE: &[&str] = &[
        "", " ", "-", "--debug", "-o", "a;b", "a&b", "a|b", "a`b`", "$(b)", "%PATH%", "a\nb",
        "a\0b", "a'b", "a\"b", "a\\b", "a>b", "a^b", "a!b", "a{b}", "ä", "@file", "a,b", "a=b",
        "a*b", "~", "a#b",
    ];

    #[test]
    fn t11_what_a_command_line_could_take_for_something_else_is_refused() {
        for hostile in HOSTILE {
            let audience = Audience::from(*hostile);
            let error = resource(&audience).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{hostile:?}");
            assert!(subscription(hostile).is_err(), "{hostile:?}");
            if let Ok(id) = TenantId::new(hostile) {
                assert!(tenant(&id).is_err(), "{hostile:?}");
            }
        }
        assert!(tenant(&TenantId::new("-x").unwrap()).is_err());
        assert!(subscription(&"x".repeat(MAX_BYTES + 1)).is_err());
        assert!(resource(&Audience::from("https://a b")).is_err());
    }

    #[test]
    fn what_azure_knows_is_accepted() {
        for (audience, expected) in [
            ("https://vault.azure.net", "https://vault.azure.net"),
            (
                "https://management.azure.com//.default",
                "https://management.azure.com/",
            ),
            (
                "api://11111111-2222-3333-4444-555555555555/.default",
                "api://11111111-2222-3333-4444-555555555555",
            ),
            (
                "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
                "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
            ),
            (
                "https://a.example/under_score",
                "https://a.example/under_score",
            ),
        ] {
            assert_eq!(resource(&Audience::from(audience)).unwrap(), expected);
        }
        assert!(subscription("Visual Studio Enterprise_1.0").is_ok());
        assert!(tenant(&TenantId::new("contoso.onmicrosoft.com").unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn t11_nothing_that_is_accepted_has_a_meaning_to_a_shell(text in any::<String>()) {
            let meaningful = |text: &str| {
                text.starts_with('-')
                    || text.bytes().any(|b| {
                        b.is_ascii_control()
                            || !b.is_ascii()
                            || b"\"'`$\\&|;<>()[]{}*?!^%~#=,@+".contains(&b)
                    })
            };
            if let Ok(accepted) = resource(&Audience::from(text.as_str())) {
                prop_assert!(!meaningful(accepted) && !accepted.contains(' '));
            }
            if subscription(&text).is_ok() {
                prop_assert!(!meaningful(&text));
            }
        }
    }
}
