//! All hosts there are, scripted.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

/// Every host there is, in one service.
#[derive(Clone, Default)]
pub(crate) struct Net {
    pages: Arc<Mutex<HashMap<String, Page>>>,
    seen: Arc<Mutex<Vec<Hop>>>,
}

/// Where a request went and its `Authorization`, empty if there was none.
pub(crate) type Hop = (String, String);

/// Says 401 to all other tokens, then redirects.
#[derive(Clone, Default)]
struct Page {
    wanted: Option<(String, String)>,
    redirect: Option<(StatusCode, String)>,
}

impl Net {
    pub(crate) fn redirect(&self, from: &str, status: StatusCode, to: &str) {
        let mut pages = self.pages.lock().unwrap();
        pages.entry(from.to_owned()).or_default().redirect = Some((status, to.to_owned()));
    }

    /// Answers 401 with `challenge` unless the token is `token`.
    pub(crate) fn want(&self, at: &str, token: &str, challenge: &str) {
        let mut pages = self.pages.lock().unwrap();
        let wanted = (format!("Bearer {token}"), challenge.to_owned());
        pages.entry(at.to_owned()).or_default().wanted = Some(wanted);
    }

    /// `from` leads to the first hop, and each of them to the next.
    pub(crate) fn chain(from: &str, status: StatusCode, hops: &[&str]) -> Self {
        let net = Self::default();
        let mut from = url::Url::parse(from).unwrap();
        for hop in hops {
            net.redirect(from.as_str(), status, hop);
            from = from.join(hop).unwrap();
        }
        net.pages.lock().unwrap().entry(from.into()).or_default();
        net
    }

    pub(crate) fn uris(&self) -> Vec<String> {
        self.pages.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn seen(&self) -> Vec<Hop> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests with a token that their host has no rule for.
    pub(crate) fn leaks(&self) -> Vec<Hop> {
        let mut hops = self.seen();
        hops.retain(|(uri, token)| {
            let own = match &*origin(uri) {
                "https://a.example.com" => "Bearer a-",
                "https://b.example.com" => "Bearer b-",
                _ => return !token.is_empty(),
            };
            !token.is_empty() && !token.starts_with(own)
        });
        hops
    }
}

impl Service<Request<Full<Bytes>>> for Net {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let uri = request.uri().to_string();
        let values = request.headers().get_all(AUTHORIZATION);
        let values: Vec<_> = values.iter().map(|v| v.to_str().unwrap()).collect();
        let sent = values.join(", ");
        let page = self.pages.lock().unwrap().get(&uri).cloned();
        let page = page.unwrap_or_default();
        let response = match (page.wanted, page.redirect) {
            (Some((token, challenge)), _) if sent != token => Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(WWW_AUTHENTICATE, challenge),
            (_, Some((status, to))) => Response::builder().status(status).header(LOCATION, to),
            _ => Response::builder(),
        };
        self.seen.lock().unwrap().push((uri, sent));
        ready(Ok(response.body(Full::default()).unwrap()))
    }
}

/// As a browser would see it.
pub(crate) fn origin(uri: &str) -> String {
    let uri = url::Url::parse(uri).unwrap();
    uri.origin().ascii_serialization()
}

/// A request with this token, or with none if it is empty.
pub(crate) fn hop(uri: &str, token: &str) -> Hop {
    let token = match token {
        "" => String::new(),
        token => format!("Bearer {token}"),
    };
    (uri.to_owned(), token)
}
