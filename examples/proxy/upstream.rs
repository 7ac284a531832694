//! Connections to upstreams.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tower_bearer::BoxError;

use super::body::RequestBody;
use super::routes::{Protocol, Route};
use super::settings::Settings;

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, RequestBody>;

/// A client for each way to speak to an upstream.
pub(crate) struct Clients<S> {
    pub(crate) negotiated: S,
    pub(crate) prior_knowledge: S,
}

impl<S> Clients<S> {
    pub(crate) fn of(&self, protocol: Protocol) -> &S {
        match protocol {
            Protocol::Negotiated => &self.negotiated,
            Protocol::PriorKnowledge => &self.prior_knowledge,
        }
    }

    pub(crate) fn map<T>(self, change: impl Fn(S) -> T) -> Clients<T> {
        Clients {
            negotiated: change(self.negotiated),
            prior_knowledge: change(self.prior_knowledge),
        }
    }
}

/// Clients that trust what the platform trusts, or what `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name.
pub(crate) fn clients(settings: &Settings) -> Result<Clients<HttpClient>, BoxError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let patience = settings.limits.connect_timeout;
    http.set_connect_timeout(Some(patience));
    // Without these, who waits for an upstream that has vanished waits for good.
    http.set_keepalive(Some(patience));
    http.set_keepalive_interval(Some(patience));
    http.set_keepalive_retries(Some(3));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let https = HttpsConnectorBuilder::new();
    let https = if settings.routes.iter().any(Route::is_https) {
        https.with_provider_and_native_roots(provider)?
    } else {
        // A machine without any roots can do without, then.
        let tls = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        https.with_tls_config(tls)
    };
    let https = https
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // All requests to an upstream share one connection, which would
        // otherwise stay the one when nothing comes over it any more.
        .http2_keep_alive_interval(patience)
        .http2_keep_alive_timeout(patience);
    Ok(Clients {
        negotiated: builder.build(https.clone()),
        prior_knowledge: builder.http2_only(true).build(https),
    })
}
