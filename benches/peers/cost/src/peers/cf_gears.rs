//! The one other crate with a `BearerAuthLayer`.

use toolkit_auth::{
    BearerAuthAutoRefreshLayer, BearerAuthLayer, OAuthClientConfig, SecretString, TokenProvider,
};
use toolkit_http::HttpClientConfig;
use tower::Layer as _;

use crate::cases::subject;
use crate::client::Tower;
use crate::fallible::Fallible;
use crate::{Case, block_on, token_server};

pub(super) fn cases() -> [Case; 2] {
    let case = |name, make| Case::library("cf-gears-toolkit-auth", name, make);
    [
        case("BearerAuthLayer", || {
            subject(Tower(
                BearerAuthLayer::new(provider()).layer(Fallible::new()),
            ))
        }),
        case("BearerAuthAutoRefreshLayer, resend armed", || {
            let layer = BearerAuthAutoRefreshLayer::new(provider());
            subject(Tower(layer.layer(Fallible::new())))
        }),
    ]
}

fn provider() -> TokenProvider {
    let endpoint = format!("{}/token", token_server::start());
    let provider = TokenProvider::new(OAuthClientConfig {
        token_endpoint: Some(endpoint.parse().unwrap()),
        client_id: "client".into(),
        client_secret: SecretString::new("secret"),
        // Which may speak plain HTTP, to loopback.
        http_config: Some(HttpClientConfig::for_testing()),
        ..OAuthClientConfig::default()
    })
    .unwrap();
    block_on(provider.get()).unwrap();
    provider
}
