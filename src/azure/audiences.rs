//! Which audience an Azure host wants, by a table that is built in.

use std::sync::LazyLock;

use hashbrown::HashMap;

use crate::audience::{Pattern, label_suffixes, refused, unusable};
use crate::{Audience, Error, Origin, ResolveAudience};
use http::uri::Scheme;

/// The audiences of Azure's services, by host, in all clouds.
///
/// ```
/// use tower_bearer::azure::Audiences;
/// use tower_bearer::{Audience, Origin, ResolveAudience};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let audiences = Audiences::new().hint("orders.servicebus.windows.net", "https://servicebus.azure.net")?;
/// let uri = "https://myvault.vault.azure.net/secrets/db".parse()?;
/// let audience = audiences.resolve(&Origin::of(&uri)?)?;
/// assert_eq!(audience, Some(Audience::from("https://vault.azure.net")));
/// # Ok(())
/// # }
/// ```
///
/// The longest suffix at a label border decides, and nothing is guessed: a
/// host that the table does not know has no audience. Requests to known hosts
/// over plain HTTP, to a port other than 443 or with user information in the
/// URL are refused.
///
/// # What the table is not
///
/// It answers "which audience", not "may I". The services it knows are
/// Azure's, but anybody can own a storage account or a database behind them,
/// and a stranger's host gets the same token as one's own. A program that takes
/// URLs from its users needs a list of its own hosts: [`Hosts`](crate::Hosts).
///
/// Domains in which customers run code of their own (`azurewebsites.net`,
/// `cloudapp.azure.com`, `azurefd.net`, `trafficmanager.net`,
/// `azurecontainerapps.io` and their like) are left out on purpose.
///
/// # Hosts that need a hint
///
/// Some suffixes are shared by services with different audiences, or by hosts
/// whose owners can read the token that is sent to them. They are refused until
/// [`hint`](Self::hint) says which audience is meant.
///
/// # Narrower tokens for storage
///
/// A token for `https://storage.azure.com` opens every storage account that the
/// identity may use. Blob storage also takes tokens for one account:
///
/// ```
/// # use tower_bearer::{azure::Audiences, Hosts, ResolveAudience};
/// # fn main() -> Result<(), tower_bearer::Error> {
/// let audiences = Hosts::new()
///     .allow("acct.blob.core.windows.net", "https://acct.blob.core.windows.net")?
///     .or(Audiences::new());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Audiences {
    hints: HashMap<String, Audience>,
}

impl Audiences {
    /// The whole table: all clouds, no hints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says which audience is meant by `host`, and by all names below it, where
    /// the table has more than one or leaves the choice to the owner of the
    /// host.
    ///
    /// `host` is a suffix of the table (`servicebus.windows.net`), or better the
    /// one host that is meant (`orders.servicebus.windows.net`): on some of
    /// these suffixes strangers can receive what is sent to their hosts. The
    /// longest hint that fits decides.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) when `host`
    /// is no host name, has a port, has a hint already or is not under a suffix
    /// that needs one, and when `audience` cannot be one.
    pub fn hint(mut self, host: &str, audience: impl Into<Audience>) -> Result<Self, Error> {
        let pattern = Pattern::parse(host, &Scheme::HTTPS)?;
        if pattern.below || pattern.port != 443 {
            return Err(unusable(
                host,
                "a hint is for a host, without asterisk or port",
                "give the host alone; a hint covers the names below it",
            ));
        }
        if !matches!(find(&pattern.host), Some((_, Service::Ambiguous(_)))) {
            return Err(unusable(
                host,
                "Azure's table needs no hint for it",
                "put a Hosts rule before the table: Hosts::new().allow(host, audience)?.or(Audiences::new())",
            ));
        }
        let audience = audience.into();
        audience.check()?;
        if self.hints.insert(pattern.host, audience).is_some() {
            return Err(unusable(host, "it has a hint already", "keep one of them"));
        }
        Ok(self)
    }

    /// The audience that the table names for `host`, whatever hints there are.
    pub(super) fn by_table(host: &str) -> Option<Audience> {
        match find(host)? {
            (_, Service::Fixed(audience)) => Some(audience.clone()),
            (_, Service::PerHost) => Some(per_host(host)),
            (_, Service::Ambiguous(_)) => None,
        }
    }

    fn hinted(&self, host: &str) -> Option<&Audience> {
        label_suffixes(host).find_map(|suffix| self.hints.get(suffix))
    }
}

impl ResolveAudience for Audiences {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        let Some(host) = origin.domain_key() else {
            return Ok(None);
        };
        let Some((suffix, service)) = find(&host) else {
            return Ok(None);
        };
        origin.require_secure(&host)?;
        // Account names have no hyphen, so this is an exported managed disk.
        if suffix.starts_with("blob.") && host.starts_with("md-") {
            return Err(refused(
                &host,
                "it is an exported managed disk, which has not the audience of storage",
                "put a Hosts rule with the audience https://disk.azure.com/ before the table",
            ));
        }
        match service {
            Service::Fixed(audience) => Ok(Some(audience.clone())),
            Service::PerHost => Ok(Some(per_host(&host))),
            Service::Ambiguous(candidates) => match self.hinted(&host) {
                Some(audience) => Ok(Some(audience.clone())),
                None => Err(ambiguous(&host, candidates)),
            },
        }
    }
}

fn per_host(host: &str) -> Audience {
    Audience::from(format!("https://{host}"))
}

fn ambiguous(host: &str, candidates: &[Candidate]) -> Error {
    let list: Vec<_> = candidates
        .iter()
        .map(|candidate| format!("{} ({})", candidate.audience, candidate.service))
        .collect();
    let example = candidates.first().map_or("", |first| first.audience);
    refused(
        host,
        &format!(
            "its name does not say which audience it wants; known ones are {}",
            list.join(", ")
        ),
        format!("say which with Audiences::hint, such as hint({host:?}, {example:?})"),
    )
}

static TABLE: LazyLock<HashMap<&'static str, Service>> = LazyLock::new(|| {
    // A row that cannot be read is no rule: no token. A test sees to it that
    // there is none.
    rows().filter_map(Result::ok).collect()
});

/// The row with the longest suffix of `host`.
fn find(host: &str) -> Option<(&str, &'static Service)> {
    label_suffixes(host).find_map(|suffix| Some((suffix, TABLE.get(suffix)?)))
}

#[derive(Debug)]
enum Service {
    Fixed(Audience),
    PerHost,
    Ambiguous(Vec<Candidate>),
}

#[derive(Debug)]
struct Candidate {
    audience: &'static str,
    service: &'static str,
}

fn rows() -> impl Iterator<Item = Result<(&'static str, Service), &'static str>> {
    include_str!("../../data/azure_audiences.tsv")
        .lines()
        .skip(1)
        .map(|line| read_row(line).ok_or(line))
}

fn read_row(line: &'static str) -> Option<(&'static str, Service)> {
    let mut columns = line.split('\t');
    let suffix = columns.next().filter(|suffix| is_normal_domain(suffix))?;
    let audience = columns.next()?;
    let _cloud = columns.next()?;
    let service = columns.next()?;
    let kind = columns.next()?;
    let _source = columns.next()?;
    let service = match kind {
        "fixed" => Service::Fixed(read_audience(audience)?),
        "app-id" if audience.len() == 36 => Service::Fixed(read_audience(audience)?),
        "per-host" if audience == "https://{host}" => Service::PerHost,
        "ambiguous" => {
            let candidates: Vec<_> = audience
                .split('|')
                .zip(service.split('|'))
                .map(|(audience, service)| Candidate { audience, service })
                .collect();
            let complete = audience.split('|').count() == candidates.len()
                && service.split('|').count() == candidates.len();
            complete.then_some(Service::Ambiguous(candidates))?
        }
        _ => return None,
    };
    columns.next().is_none().then_some((suffix, service))
}

fn read_audience(text: &str) -> Option<Audience> {
    let audience = Audience::from(text);
    (audience.check().is_ok() && !text.contains(['|', '{', '}'])).then_some(audience)
}

fn is_normal_domain(suffix: &str) -> bool {
    Pattern::parse(suffix, &Scheme::HTTPS).is_ok_and(|pattern| pattern.host == suffix)
        && suffix.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_can_be_read_and_none_is_there_twice() {
        let mut count = 0;
        for row in rows() {
            assert!(row.is_ok(), "{row:?}");
            count += 1;
        }
        assert_eq!(count, 260);
        assert_eq!(TABLE.len(), count);
    }

    #[test]
    fn t3_no_row_is_as_wide_as_a_domain_that_many_services_share() {
        for wide in [
            "azure.com",
            "azure.net",
            "azure.us",
            "azure.cn",
            "windows.net",
            "core.windows.net",
            "microsoft.com",
            "fabric.microsoft.com",
            "monitor.azure.com",
            "dynamics.com",
            "usgovcloudapi.net",
            "chinacloudapi.cn",
            "sovcloud-api.fr",
        ] {
            assert!(find(wide).is_none(), "{wide}");
        }
    }
}
