//! What the command line says.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use http::uri::Authority;

use super::routes::{Route, Routes};

pub(crate) const USAGE: &str = "\
usage: proxy --route PREFIX=URL [options]

  --route PREFIX=URL        send requests below PREFIX to URL, without the prefix
                            (again for more); https://, http:// on loopback, or
                            h2c:// for HTTP/2 without TLS on loopback
  --audience PREFIX=URI     whom tokens for that route are for, where Azure's own
                            table does not say it
  --listen ADDRESS:PORT     where to listen (127.0.0.1:8080; port 0: any)
  --allow-remote            listen on other than loopback: whoever can reach the
                            proxy then acts with its identity
  --host NAME               answer to this name too, beside localhost and loopback
                            addresses, or with --allow-remote all addresses (again
                            for more)

  --connections N           connections at the same time (400; each takes two file
                            descriptors); others wait
  --max-header BYTES        size of a request's head (65536, at least 8192)
  --max-body BYTES          size of a request's body (104857600)
  --header-timeout SECONDS  for a request's head, and for idle connections (30)
  --connect-timeout SECONDS for a TCP connection to an upstream, and for a sign of
                            life on one that is waited for (5)
  --response-timeout SECONDS
                            until the head of the answer, TLS handshake and upload
                            included (60); the token gets half of it
  --grace SECONDS           for what is under way, after SIGINT or SIGTERM (10); a
                            second one ends it at once

  --without-token           send no token, for comparison
  --fixed-token VARIABLE    send the token in this environment variable and never
                            another, for comparison
  --help                    this text

The credential is taken from the environment: AZURE_TENANT_ID, AZURE_CLIENT_ID
and AZURE_CLIENT_SECRET, else a managed identity, user-assigned if
AZURE_CLIENT_ID alone is set.";

/// The least that the HTTP/1 parser can work with.
const LEAST_HEADER: usize = 8192;

#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Box<Settings>),
    Help,
}

/// What is fixed when the proxy starts.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) routes: Routes,
    pub(crate) hosts: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) token: TokenSource,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) header: usize,
    pub(crate) body: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Below half of 1024, which is how many descriptors a process mostly
            // has: one to the program, one to the upstream.
            connections: 400,
            header: 64 << 10,
            body: 100 << 20,
            header_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// A credential from the environment.
    Environment,
    /// The variable of this name.
    Fixed(String),
    Nothing,
}

impl Settings {
    pub(crate) fn parse(
        given: impl Iterator<Item = impl Into<OsString>>,
    ) -> Result<Parsed, String> {
        let given: Result<Vec<_>, _> = given.map(|text| text.into().into_string()).collect();
        let given = given.map_err(|_| "an argument is not Unicode".to_owned())?;
        let mut given = given.into_iter();
        let mut settings = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            routes: Routes::default(),
            hosts: Vec::new(),
            limits: Limits::default(),
            token: TokenSource::Environment,
        };
        let limits = &mut settings.limits;
        let mut audiences = Vec::new();
        let mut allow_remote = false;
        while let Some(option) = given.next() {
            let mut value = || {
                let value = given.next().filter(|value| !value.is_empty());
                value.ok_or_else(|| format!("{option} needs a value"))
            };
            match option.as_str() {
                "--help" | "-h" => return Ok(Parsed::Help),
                "--route" => settings.routes.add(Route::parse(&value()?)?)?,
                "--audience" => audiences.push(value()?),
                "--listen" => settings.listen = address(&value()?)?,
                "--allow-remote" => allow_remote = true,
                "--host" => settings.hosts.push(host(&value()?)?),
                "--connections" => limits.connections = number(&option, &value()?, &1)?,
                "--max-header" => limits.header = number(&option, &value()?, &LEAST_HEADER)?,
                "--max-body" => limits.body = number(&option, &value()?, &0)?,
                "--header-timeout" => limits.header_timeout = seconds(&option, &value()?)?,
                "--connect-timeout" => limits.connect_timeout = seconds(&option, &value()?)?,
                "--response-timeout" => limits.response_timeout = seconds(&option, &value()?)?,
                "--grace" => limits.grace = seconds(&option, &value()?)?,
                "--without-token" => settings.token = TokenSource::Nothing,
                "--fixed-token" => settings.token = TokenSource::Fixed(value()?),
                _ => {
                    // Not what comes after, for it may hold a password.
                    let name = option
                        .split('=')
                        .next()
                        .filter(|name| name.starts_with('-'));
                    let name = name.unwrap_or("without a dash in front");
                    return Err(format!("there is no option {name}"));
                }
            }
        }
        for audience in &audiences {
            let (prefix, uri) = pair("--audience", audience)?;
            settings.routes.set_audience(prefix, uri)?;
        }
        settings.check(allow_remote)?;
        Ok(Parsed::Run(Box::new(settings)))
    }

    fn check(&self, allow_remote: bool) -> Result<(), String> {
        if self.routes.iter().next().is_none() {
            return Err(
                "there is no route: --route /kv=https://myvault.vault.azure.net".to_owned(),
            );
        }
        if !self.listen.ip().is_loopback() && !allow_remote {
            return Err(format!(
                "{} is not loopback, and whoever reaches the proxy acts with its identity: \
                 --allow-remote if that is meant",
                self.listen
            ));
        }
        Ok(())
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "that is no address to listen on, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
    })
}

/// As it stands in a request without its port.
fn host(text: &str) -> Result<String, String> {
    let authority = text.parse::<Authority>().ok();
    authority
        .filter(|authority| authority.host() == text)
        .map(|_| text.to_ascii_lowercase())
        .ok_or_else(|| "--host wants a name or an address without a port".to_owned())
}

/// `PREFIX=VALUE`. What is wrong with the value is said without it, here and
/// elsewhere, for it may hold a password.
pub(crate) fn pair<'a>(option: &str, text: &'a str) -> Result<(&'a str, &'a str), String> {
    text.split_once('=')
        .filter(|(prefix, value)| prefix.starts_with('/') && !value.is_empty())
        .ok_or_else(|| format!("{option} wants /PREFIX=VALUE"))
}

fn number<N: FromStr + PartialOrd + std::fmt::Display>(
    option: &str,
    text: &str,
    least: &N,
) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| number >= least);
    number.ok_or_else(|| format!("{option} wants a number of at least {least}, not {text:?}"))
}

fn seconds(option: &str, text: &str) -> Result<Duration, String> {
    // More than a day is a slip of the keyboard, and far more would overflow
    // the timer.
    let seconds = number(option, text, &1).ok().filter(|n| *n <= 86_400);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{option} wants seconds, from 1 to 86400, not {text:?}"))
}
