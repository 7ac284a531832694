//! The token, and for whom it was issued.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::runtime::{Runtime as _, Timestamp, TokioRuntime};
use crate::{Error, ErrorKind};

const SCHEME: &str = "Bearer ";

/// A bearer token, when it ends, and for whom it was issued.
///
/// Cheap to clone. The header value is made once, marked sensitive (so that
/// HTTP/2 never puts it into a compression table and `Debug` never prints it)
/// and then shared.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::AccessToken;
///
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let token = AccessToken::expiring_in("s3cr3t", Duration::from_secs(3600))?;
/// assert_eq!(token.secret(), "s3cr3t");
/// assert!(!format!("{token:?}").contains("s3cr3t"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AccessToken(Arc<Issued>);

#[derive(Clone)]
struct Issued {
    header: HeaderValue,
    lifetime: Lifetime,
    anchor: Option<Timestamp>,
    expires_on: SystemTime,
    refresh_in: Option<Duration>,
    principal: Principal,
    credential: Cow<'static, str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lifetime {
    In(Duration),
    On(SystemTime),
}

impl AccessToken {
    /// A token that ends `expires_in` after it was asked for.
    ///
    /// Prefer this to [`expiring_on`](Self::expiring_on) where the server says
    /// both: it holds even if the clocks of server and client differ.
    ///
    /// # Errors
    ///
    /// When `secret` is empty or has characters that a bearer token cannot
    /// have (RFC 6750 section 2.1).
    pub fn expiring_in(secret: &str, expires_in: Duration) -> Result<Self, Error> {
        let expires_on = TokioRuntime::new().now().wall.checked_add(expires_in);
        Self::new(secret, Lifetime::In(expires_in), expires_on)
    }

    /// A token that ends at `expires_on` by the wall clock.
    ///
    /// # Errors
    ///
    /// When `secret` is empty or has characters that a bearer token cannot
    /// have (RFC 6750 section 2.1).
    pub fn expiring_on(secret: &str, expires_on: SystemTime) -> Result<Self, Error> {
        Self::new(secret, Lifetime::On(expires_on), Some(expires_on))
    }

    fn new(
        secret: &str,
        lifetime: Lifetime,
        expires_on: Option<SystemTime>,
    ) -> Result<Self, Error> {
        let Some(expires_on) = expires_on else {
            return Err(Error::new(
                ErrorKind::InvalidResponse,
                "the token's lifetime is longer than time can be told",
            ));
        };
        let mut header = bearer(secret)?;
        header.set_sensitive(true);
        // The first clone of a value makes its bytes shareable, which costs an
        // allocation; made here, it is no request's.
        drop(header.clone());
        Ok(Self(Arc::new(Issued {
            header,
            lifetime,
            anchor: None,
            expires_on,
            refresh_in: None,
            principal: Principal::from_token(secret),
            credential: Cow::Borrowed(""),
        })))
    }

    fn with(mut self, change: impl FnOnce(&mut Issued)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The moment just before the request that brought this token was sent,
    /// which is what a relative lifetime counts from. Without it the cache
    /// counts from when it asked the credential.
    #[must_use]
    pub fn requested_at(self, moment: Timestamp) -> Self {
        self.with(|issued| {
            issued.anchor = Some(moment);
            if let Lifetime::In(life) = issued.lifetime {
                if let Some(end) = moment.wall.checked_add(life) {
                    issued.expires_on = end;
                }
            }
        })
    }

    /// When the server wishes the token to be refreshed, counted like the
    /// lifetime (Entra's `refresh_in`).
    #[must_use]
    pub fn with_refresh_in(self, refresh_in: Duration) -> Self {
        self.with(|issued| issued.refresh_in = Some(refresh_in))
    }

    /// For whom the token was issued, where the credential knows better than
    /// the token's own claims.
    #[must_use]
    pub fn with_principal(self, principal: Principal) -> Self {
        self.with(|issued| issued.principal = principal)
    }

    /// The name of the credential that got the token.
    #[must_use]
    pub fn with_credential(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(|issued| issued.credential = name.into())
    }

    /// The token itself. Do not print it, do not log it.
    #[must_use]
    pub fn secret(&self) -> &str {
        // The value was made from visible ASCII in `bearer`.
        self.0
            .header
            .to_str()
            .map_or("", |text| &text[SCHEME.len()..])
    }

    /// `Bearer …`, marked sensitive, for the `Authorization` header.
    #[must_use]
    #[inline]
    pub fn header_value(&self) -> &HeaderValue {
        &self.0.header
    }

    /// When the token ends by the wall clock.
    #[must_use]
    pub fn expires_on(&self) -> SystemTime {
        self.0.expires_on
    }

    /// For whom the token was issued.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.0.principal
    }

    /// The name of the credential that got the token; empty if it gave none.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.0.credential
    }

    pub(crate) fn lifetime(&self) -> Lifetime {
        self.0.lifetime
    }

    pub(crate) fn anchor(&self) -> Option<Timestamp> {
        self.0.anchor
    }

    pub(crate) fn refresh_in(&self) -> Option<Duration> {
        self.0.refresh_in
    }

    pub(crate) fn same_secret(&self, other: &Self) -> bool {
        self.0.header == other.0.header
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("expires_on", &self.0.expires_on)
            .field("principal", &self.0.principal)
            .field("credential", &self.0.credential)
            .finish_non_exhaustive()
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`, RFC 6750
/// section 2.1. A [`HeaderValue`] alone would let blanks, commas and bytes
/// above ASCII through.
fn bearer(secret: &str) -> Result<HeaderValue, Error> {
    let body = secret.trim_end_matches('=');
    let sound = !body.is_empty()
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b));
    let value = if sound {
        HeaderValue::try_from(format!("{SCHEME}{secret}")).ok()
    } else {
        None
    };
    value.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidResponse,
            if secret.is_empty() {
                "the token is empty"
            } else {
                "the token has characters that a bearer token cannot have"
            },
        )
        .with_advice("see what issues the token: RFC 6750 section 2.1 allows A-Z a-z 0-9 -._~+/ and = at the end")
    })
}

/// Whether a token speaks for an application or for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrincipalType {
    /// An application: a service principal or a managed identity.
    App,
    /// A person.
    User,
}

impl fmt::Display for PrincipalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "App",
            Self::User => "User",
        })
    }
}

/// For whom a token was issued, as far as that can be known.
///
/// Read from the token's claims where it has readable ones, completed by what
/// the credential knows. It is for people to look at: nothing is allowed or
/// refused by it.
///
/// `Display` gives the fields in the order that users of AppAuthentication's
/// `Principal.ToString()` know:
///
/// ```
/// use tower_bearer::{Principal, PrincipalType};
///
/// let principal = Principal::new()
///     .with_type(PrincipalType::App)
///     .with_app_id("11111111-2222-3333-4444-555555555555")
///     .with_tenant_id("contoso");
/// assert_eq!(
///     principal.to_string(),
///     "IsAuthenticated:True Type:App AppId:11111111-2222-3333-4444-555555555555 TenantId:contoso",
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Principal {
    kind: Option<PrincipalType>,
    app_id: Option<String>,
    tenant_id: Option<String>,
    user_principal_name: Option<String>,
    object_id: Option<String>,
    certificate_thumbprint: Option<String>,
}

impl Principal {
    /// A principal of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what the claims of `token` say. A token that is no JWT gives an
    /// empty principal. The signature is not checked: that is the business of
    /// the service that the token is for.
    fn from_token(token: &str) -> Self {
        let claims = token
            .split('.')
            .nth(1)
            .and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok())
            .and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
        let Some(claims) = claims else {
            return Self::default();
        };
        let text = |name: &str| {
            let value = claims.get(name)?.as_str()?;
            (!value.is_empty()).then(|| crate::error::printable(value))
        };
        let user_principal_name = text("upn").or_else(|| text("email"));
        let kind = match text("idtyp").as_deref() {
            Some("app") => Some(PrincipalType::App),
            Some("user") => Some(PrincipalType::User),
            _ if user_principal_name.is_some() || claims.get("scp").is_some() => {
                Some(PrincipalType::User)
            }
            _ if claims.get("appid").is_some() || claims.get("azp").is_some() => {
                Some(PrincipalType::App)
            }
            _ => None,
        };
        Self {
            kind,
            app_id: text("appid").or_else(|| text("azp")),
            tenant_id: text("tid"),
            user_principal_name,
            object_id: text("oid"),
            certificate_thumbprint: None,
        }
    }

    /// Whether it is an application or a person.
    #[must_use]
    pub fn principal_type(&self) -> Option<PrincipalType> {
        self.kind
    }

    /// The application (client) id.
    #[must_use]
    pub fn app_id(&self) -> Option<&str> {
        self.app_id.as_deref()
    }

    /// The directory that issued the token.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&str> {
        self.tenant_id.as_deref()
    }

    /// The sign-in name of a person.
    #[must_use]
    pub fn user_principal_name(&self) -> Option<&str> {
        self.user_principal_name.as_deref()
    }

    /// The object id in the directory.
    #[must_use]
    pub fn object_id(&self) -> Option<&str> {
        self.object_id.as_deref()
    }

    /// The SHA-1 thumbprint of the certificate that was used to sign in.
    #[must_use]
    pub fn certificate_thumbprint(&self) -> Option<&str> {
        self.certificate_thumbprint.as_deref()
    }

    /// Sets the type.
    #[must_use]
    pub fn with_type(mut self, principal_type: PrincipalType) -> Self {
        self.kind = Some(principal_type);
        self
    }

    /// Sets the application (client) id.
    #[must_use]
    pub fn with_app_id(mut self, id: impl Into<String>) -> Self {
        self.app_id = Some(id.into());
        self
    }

    /// Sets the directory.
    #[must_use]
    pub fn with_tenant_id(mut self, id: impl Into<String>) -> Self {
        self.tenant_id = Some(id.into());
        self
    }

    /// Sets the sign-in name of a person.
    #[must_use]
    pub fn with_user_principal_name(mut self, name: impl Into<String>) -> Self {
        self.user_principal_name = Some(name.into());
        self
    }

    /// Sets the object id in the directory.
    #[must_use]
    pub fn with_object_id(mut self, id: impl Into<String>) -> Self {
        self.object_id = Some(id.into());
        self
    }

    /// Sets the certificate's thumbprint.
    #[must_use]
    pub fn with_certificate_thumbprint(mut self, thumbprint: impl Into<String>) -> Self {
        self.certificate_thumbprint = Some(thumbprint.into());
        self
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IsAuthenticated:True")?;
        if let Some(principal_type) = self.kind {
            write!(f, " Type:{principal_type}")?;
        }
        for (name, value) in [
            ("AppId", &self.app_id),
            ("TenantId", &self.tenant_id),
            ("UserPrincipalName", &self.user_principal_name),
            ("CertificateThumbprint", &self.certificate_thumbprint),
        ] {
            if let Some(value) = value {
                write!(f, " {name}:{value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn t17_only_bearer_characters_are_taken() {
        let life = Duration::from_secs(60);
        for byte in 0..=255_u8 {
            let Ok(text) = String::from_utf8(vec![b'a', byte, b'b']) else {
                continue;
            };
            let allowed = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(
                AccessToken::expiring_in(&text, life).is_ok(),
                allowed,
                "byte {byte}"
            );
        }
        assert!(AccessToken::expiring_in("", life).is_err());
        assert!(AccessToken::expiring_in("==", life).is_err());
        assert!(AccessToken::expiring_in("abc==", life).is_ok());
        assert!(AccessToken::expiring_in("tökén", life).is_err());
    }

    #[test]
    fn i10_debug_shows_no_secret() {
        let token = AccessToken::expiring_in("canary", Duration::from_secs(1)).unwrap();
        assert!(!format!("{token:?} {:?}", token.header_value()).contains("canary"));
        assert!(token.header_value().is_sensitive());
    }

    #[test]
    fn principal_is_read_from_claims() {
        let app = jwt(r#"{"appid":"a","tid":"t","oid":"o","idtyp":"app"}"#);
        let token = AccessToken::expiring_in(&app, Duration::from_secs(1)).unwrap();
        assert_eq!(
            token.principal().to_string(),
            "IsAuthenticated:True Type:App AppId:a TenantId:t"
        );
        assert_eq!(token.principal().object_id(), Some("o"));

        let user = jwt(r#"{"appid":"a","tid":"t","upn":"me@contoso.com"}"#);
        assert_eq!(
            Principal::from_token(&user).to_string(),
            "IsAuthenticated:True Type:User AppId:a TenantId:t UserPrincipalName:me@contoso.com"
        );
    }

    #[test]
    fn the_name_of_a_person_is_the_upn_else_the_address() {
        for (claims, name) in [
            (r#"{"upn":"a@b","email":"c@d"}"#, "a@b"),
            (r#"{"upn":"","email":"c@d"}"#, "c@d"),
            (r#"{"email":"c@d"}"#, "c@d"),
        ] {
            let principal = Principal::from_token(&jwt(claims));
            assert_eq!(principal.user_principal_name(), Some(name), "{claims}");
        }
    }

    /// All fields, in the order in which .NET has them.
    #[test]
    fn a_principal_is_shown_as_by_dot_net() {
        let principal = Principal::new()
            .with_certificate_thumbprint("F1")
            .with_object_id("o")
            .with_user_principal_name("me@contoso.com")
            .with_tenant_id("t")
            .with_app_id("a")
            .with_type(PrincipalType::User);
        assert_eq!(
            principal.to_string(),
            "IsAuthenticated:True Type:User AppId:a TenantId:t \
             UserPrincipalName:me@contoso.com CertificateThumbprint:F1"
        );
        assert_eq!(Principal::new().to_string(), "IsAuthenticated:True");
    }

    /// Version 1 of the tokens has `appid`, version 2 `azp`.
    #[test]
    fn an_application_is_told_from_a_person_in_either_version_of_the_claims() {
        for (claims, expected) in [
            (r#"{"appid":"a","oid":"o"}"#, Some(PrincipalType::App)),
            (r#"{"azp":"a","oid":"o"}"#, Some(PrincipalType::App)),
            (r#"{"appid":"a","scp":"x"}"#, Some(PrincipalType::User)),
            (r#"{"azp":"a","scp":"x"}"#, Some(PrincipalType::User)),
            (r#"{"azp":"a","email":"me@b"}"#, Some(PrincipalType::User)),
            (r#"{"azp":"a","idtyp":"user"}"#, Some(PrincipalType::User)),
            (r#"{"idtyp":"app"}"#, Some(PrincipalType::App)),
            (r#"{"oid":"o"}"#, None),
        ] {
            let principal = Principal::from_token(&jwt(claims));
            assert_eq!(principal.principal_type(), expected, "{claims}");
        }
    }

    #[test]
    fn opaque_and_odd_tokens_have_an_empty_principal() {
        for token in ["opaque", "a.b.c", "..", &jwt("[]"), &jwt(r#"{"appid":7}"#)] {
            let principal = Principal::from_token(token);
            assert_eq!(principal.app_id(), None, "{token}");
            assert_eq!(principal.tenant_id(), None, "{token}");
        }
    }
}
