//! One audience for everything that goes through a client.

use super::origin::refused;
use super::{Audience, Origin, ResolveAudience};
use crate::Error;

/// One audience for **every** https host.
///
/// For a client that talks to one service only and whose URLs the program
/// itself makes. Whoever can choose the URL of a request gets the token: if
/// any URL comes from outside (a link in a page of results, a redirect, a
/// `Location` to poll, user input), list the hosts with [`Hosts`] instead.
///
/// Plain HTTP, URLs with user information and hosts that URL parsers read in
/// different ways are refused.
///
/// ```
/// use tower_bearer::{Audience, FixedAudience, Origin, ResolveAudience};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let orders = FixedAudience::new("api://orders");
/// let uri = "https://orders.example.com/1".parse()?;
/// let audience = orders.resolve(&Origin::of(&uri)?)?;
/// assert_eq!(audience, Some(Audience::from("api://orders")));
/// # Ok(())
/// # }
/// ```
///
/// [`Hosts`]: crate::Hosts
#[derive(Clone, Debug)]
pub struct FixedAudience {
    audience: Audience,
    http_loopback: bool,
}

impl FixedAudience {
    /// Gives every https host a token for `audience`.
    #[must_use]
    pub fn new(audience: impl Into<Audience>) -> Self {
        Self {
            audience: audience.into(),
            http_loopback: false,
        }
    }

    /// Also gives out the token over plain HTTP to `localhost` and to loopback
    /// addresses, for tests and emulators. Off by default: any program on this
    /// machine can listen there.
    #[must_use]
    pub fn allow_http_loopback(mut self) -> Self {
        self.http_loopback = true;
        self
    }
}

impl ResolveAudience for FixedAudience {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        let Some(host) = origin.host_key() else {
            return Err(refused(
                origin.authority().host(),
                "not every parser reads that host in the same way",
                "use a host name of letters, digits and hyphens, or an IP address",
            ));
        };
        origin.require_no_userinfo(&host)?;
        if !(self.http_loopback && origin.is_http_loopback()) {
            origin.require_https(&host)?;
        }
        if origin.port().is_none() {
            return Err(refused(
                &host,
                "the port of the request is no port number",
                "use a port from 1 to 65535",
            ));
        }
        Ok(Some(self.audience.clone()))
    }
}
