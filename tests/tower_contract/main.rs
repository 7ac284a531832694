//! That the layer keeps tower's contract on every way that a request can go,
//! and gets along with the middleware around it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/issuer.rs"]
mod issuer;
mod paths;
mod probe;
mod same_client;
mod stacks;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::{Service, ServiceExt as _};
use tower_bearer::{BearerAuthLayer, Credential, Hosts, TokenCache};

const KNOWN: &str = "https://a.example.com/";
const UNKNOWN: &str = "https://unknown.test/";

type Body = Full<Bytes>;

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::default()).unwrap()
}

fn layer(credential: impl Credential) -> BearerAuthLayer {
    let hosts = Hosts::new().allow("a.example.com", "api://a").unwrap();
    BearerAuthLayer::new(TokenCache::new(credential), hosts)
}

async fn ready<S: Service<Request<Body>>>(service: &mut S) -> Result<&mut S, S::Error> {
    service.ready().await
}
