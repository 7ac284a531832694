//! Forward proxies, by the environment variables that other clients know.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::causes::root_cause;
use crate::audience::Origin;
use crate::environment::Environment;
use crate::runtime::BoxFuture;
use crate::{BoxError, Error, ErrorKind};

/// Which hosts are reached through which proxy.
#[derive(Clone)]
pub(super) struct ProxyRules {
    matcher: Arc<Matcher>,
    variable: &'static str,
}

impl ProxyRules {
    /// `HTTPS_PROXY` or else `ALL_PROXY`, except for what `NO_PROXY` names;
    /// each also in lower case. `HTTP_PROXY` is of no interest: nothing is
    /// sent in the clear but to loopback, which no proxy can reach.
    pub(super) fn from_environment(environment: &Environment) -> Result<Option<Self>, Error> {
        let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let Some((variable, value)) = environment.first(&proxies)? else {
            return Ok(None);
        };
        let excluded = environment
            .first(&["NO_PROXY", "no_proxy"])?
            .map_or_else(String::new, |(_, hosts)| hosts);

        // To the matcher it stands for every name, but for no address.
        if excluded.split(',').any(|host| host.trim() == "*") {
            return Ok(None);
        }
        // The matcher drops what it cannot read without a word, and requests
        // would then go around the proxy.
        let readable = Matcher::builder()
            .https(value.as_str())
            .build()
            .intercept(&Uri::from_static("https://proxied.invalid/"))
            .is_some();
        if !readable {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{variable} is not the URL of a proxy"),
            )
            .with_advice("set it to http://host:port, or unset it"));
        }
        Ok(Some(Self {
            matcher: Arc::new(Matcher::builder().https(value).no(excluded).build()),
            variable,
        }))
    }

    /// The proxy on the way to `destination`.
    fn intercept(&self, destination: &Uri) -> Result<Option<Intercept>, Error> {
        if Origin::of(destination)?.is_loopback() {
            return Ok(None);
        }
        let Some(proxy) = self.matcher.intercept(destination) else {
            return Ok(None);
        };
        match proxy.uri().scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => Ok(Some(proxy)),
            scheme => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "{} asks for a proxy that speaks {}, which is not supported",
                    self.variable,
                    scheme.map_or("an unknown protocol", Scheme::as_str),
                ),
            )
            .with_advice(
                "set HTTPS_PROXY to an http:// proxy, name the host in NO_PROXY, or pass a transport of your own",
            )),
        }
    }

    fn no_tunnel(&self, proxy: &Uri, cause: impl Into<BoxError>) -> Error {
        // Host and port alone: whatever else the variable holds may be secret.
        let host = proxy.host().unwrap_or_default();
        let port = proxy.port_u16().unwrap_or(80);
        let cause = cause.into();
        let root = root_cause(&*cause);
        Error::new(
            ErrorKind::Unreachable,
            format!("the proxy {host}:{port} opened no tunnel: {root}"),
        )
        .with_advice(format!(
            "check {} (address, user, password), or name the host in NO_PROXY",
            self.variable
        ))
        .with_source(cause)
    }
}

impl fmt::Debug for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRules")
            .field("variable", &self.variable)
            .finish_non_exhaustive()
    }
}

/// Opens TCP connections, through a `CONNECT` tunnel where the rules say so.
#[derive(Clone, Debug)]
pub(super) struct MaybeProxied {
    direct: HttpConnector,
    rules: Option<ProxyRules>,
}

impl MaybeProxied {
    pub(super) fn new(rules: Option<ProxyRules>) -> Self {
        let mut direct = HttpConnector::new();
        // It opens what TLS then runs over, so its URIs are not http.
        direct.enforce_http(false);
        direct.set_nodelay(true);
        Self { direct, rules }
    }
}

impl Service<Uri> for MaybeProxied {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let direct = self.direct.clone();
        let rules = self.rules.clone();
        Box::pin(async move {
            let Some(rules) = rules else {
                return open(direct, destination).await;
            };
            let Some(proxy) = rules.intercept(&destination)? else {
                return open(direct, destination).await;
            };
            let mut tunnel = Tunnel::new(proxy.uri().clone(), direct);
            if let Some(credentials) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(credentials.clone());
            }
            open(tunnel, destination)
                .await
                .map_err(|cause| rules.no_tunnel(proxy.uri(), cause).into())
        })
    }
}

async fn open<C>(mut connector: C, destination: Uri) -> Result<C::Response, BoxError>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
{
    poll_fn(|cx| connector.poll_ready(cx))
        .await
        .map_err(Into::into)?;
    connector.call(destination).await.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variables: &[(&str, &str)]) -> Result<Option<ProxyRules>, Error> {
        ProxyRules::from_environment(&Environment::of(variables))
    }

    fn proxy_for(variables: &[(&str, &str)], destination: &'static str) -> Option<String> {
        rules(variables)
            .unwrap()?
            .intercept(&Uri::from_static(destination))
            .unwrap()
            .map(|proxy| proxy.uri().to_string())
    }

    const ENTRA: &str = "https://login.microsoftonline.com/";

    #[test]
    fn variables_are_taken_in_order_and_empty_ones_are_passed_over() {
        assert!(rules(&[]).unwrap().is_none());
        assert!(rules(&[("HTTP_PROXY", "http://p:1")]).unwrap().is_none());
        for (variables, expected) in [
            (
                &[("HTTPS_PROXY", "http://a:1"), ("ALL_PROXY", "http://b:2")][..],
                "http://a:1/",
            ),
            (
                &[("HTTPS_PROXY", ""), ("https_proxy", "http://c:3")],
                "http://c:3/",
            ),
            (&[("all_proxy", "d:4")], "http://d:4/"),
        ] {
            assert_eq!(proxy_for(variables, ENTRA).as_deref(), Some(expected));
        }
    }

    #[test]
    fn no_proxy_and_loopback_go_direct() {
        let proxy = ("HTTPS_PROXY", "http://p:1");
        for excluded in [
            "login.microsoftonline.com",
            ".microsoftonline.com",
            "*",
            "a, microsoftonline.com",
        ] {
            assert_eq!(
                proxy_for(&[proxy, ("NO_PROXY", excluded)], ENTRA),
                None,
                "{excluded}"
            );
        }
        assert!(proxy_for(&[proxy, ("no_proxy", "online.com")], ENTRA).is_some());
        for loopback in [
            "https://127.0.0.1:8443/",
            "https://localhost/",
            "https://[::1]/",
        ] {
            assert_eq!(proxy_for(&[proxy], loopback), None, "{loopback}");
        }
    }

    #[test]
    fn a_proxy_that_is_not_supported_is_refused_not_passed_by() {
        for value in ["https://user:canary@p:1", "socks5://user:canary@p:1"] {
            let rules = rules(&[("ALL_PROXY", value)]).unwrap().unwrap();
            let error = rules.intercept(&Uri::from_static(ENTRA)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains("ALL_PROXY"), "{error}");
            assert!(!format!("{error} {error:?} {rules:?}").contains("canary"));
        }
        for value in ["ftp://user:canary@p:1", "http://", "not a url canary"] {
            let error = rules(&[("HTTPS_PROXY", value)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }
}
