//! Redirects: which hop gets which token, with the layer inside of what
//! follows them and outside, and what an answer from elsewhere can bring about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../support/issuer.rs"]
mod issuer;
mod net;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use issuer::{HOUR, issuer};
use net::{Net, hop, origin};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_bearer::{
    AccessToken, BearerAuthError, BearerAuthLayer, ErrorKind, Hosts, TokenCache, TokenRequest,
    UnknownHosts,
};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::SameOrigin;

const A: &str = "https://a.example.com/start";
const B: &str = "https://b.example.com/one";

/// Where a redirect from `A` leads, and with what. Only `a.example.com` and
/// `b.example.com` have rules, each for an audience of its own.
const TARGETS: [(&str, Expected); 13] = [
    ("https://a.example.com/next", Expected::Token("a-1")),
    ("/next", Expected::Token("a-1")),
    ("https://b.example.com/one", Expected::Token("b-1")),
    ("https://evil.test/one", Expected::Unknown),
    ("//evil.test/one", Expected::Unknown),
    ("https://x.a.example.com/one", Expected::Unknown),
    ("https://example.com/one", Expected::Unknown),
    ("https://a.example.com.evil.test/one", Expected::Unknown),
    ("https://a.example.com:8443/one", Expected::Refused),
    ("http://a.example.com/one", Expected::Refused),
    ("http://b.example.com/one", Expected::Refused),
    ("https://a.example.com@evil.test/one", Expected::Unknown),
    ("https://me@a.example.com/one", Expected::Refused),
];

/// What a host gets that is judged by itself.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    Token(&'static str),
    /// No rule: no token, and not even a request unless asked for.
    Unknown,
    /// Not as the rule wants it: no request.
    Refused,
}

/// Redirects to elsewhere and what comes after them.
const CHAINS: [&[&str]; 8] = [
    &["https://b.example.com/1", "https://b.example.com/2"],
    &["https://evil.test/1", "https://evil.test/2"],
    &["https://evil.test/1", "/2", "/3"],
    &["https://evil.test/1", "https://a.example.com/2"],
    &["https://b.example.com/1", "https://a.example.com/2"],
    &["https://evil.test/1", "https://b.example.com/2"],
    &["https://a.example.com/1", "https://evil.test/2", "/3"],
    &["http://evil.test/1", "http://a.example.com/2"],
];

const REDIRECTS: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

type Client = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, BearerAuthError>;

/// What the credential was asked for.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<TokenRequest>>>);

impl Asked {
    fn add(&self, request: TokenRequest) -> usize {
        let mut asked = self.0.lock().unwrap();
        asked.push(request);
        let last = asked.last().unwrap().audience();
        asked
            .iter()
            .filter(|before| before.audience() == last)
            .count()
    }

    /// The claims of each request for `audience`.
    fn of(&self, audience: &str) -> Vec<Option<String>> {
        let asked = self.0.lock().unwrap();
        let of_it = asked
            .iter()
            .filter(|request| request.audience().as_str() == audience);
        of_it
            .map(|request| Some(request.claims()?.as_json().to_owned()))
            .collect()
    }
}

/// A layer whose tokens for `api://a` are called `a-1`, `a-2` and so on.
fn layer() -> (BearerAuthLayer, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let (credential, _) = issuer(move |_, request: TokenRequest| {
        let name = request.audience().as_str().replace("api://", "");
        let token = format!("{name}-{}", log.add(request));
        let token = AccessToken::expiring_in(&token, HOUR);
        async move { token }
    });
    let hosts = Hosts::new()
        .allow("a.example.com", "api://a")
        .and_then(|hosts| hosts.allow("b.example.com", "api://b"))
        .unwrap();
    (
        BearerAuthLayer::new(TokenCache::new(credential), hosts),
        asked,
    )
}

fn inside(layer: BearerAuthLayer, net: &Net) -> Client {
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(layer)
        .service(net.clone());
    BoxCloneService::new(client)
}

fn outside(layer: BearerAuthLayer, net: &Net) -> Client {
    let client = ServiceBuilder::new()
        .layer(layer)
        .layer(FollowRedirectLayer::new())
        .service(net.clone());
    BoxCloneService::new(client)
}

/// Follows redirects only where they stay with the origin.
fn outside_at_home(layer: BearerAuthLayer, net: &Net) -> Client {
    let client = ServiceBuilder::new()
        .layer(layer)
        .layer(FollowRedirectLayer::with_policy(SameOrigin::new()))
        .service(net.clone());
    BoxCloneService::new(client)
}

fn request(method: &Method, uri: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(uri);
    request.body(Full::default()).unwrap()
}

fn claims_challenge(claims: &str) -> String {
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::STANDARD.encode(claims);
    format!(r#"Bearer error="insufficient_claims", claims="{claims}""#)
}

#[tokio::test(start_paused = true)]
async fn t4_inside_each_hop_is_judged_by_its_own_host() {
    let mut hops = 0;
    for status in REDIRECTS {
        for method in [Method::GET, Method::POST] {
            for mode in [UnknownHosts::Refuse, UnknownHosts::PassOn] {
                for (target, expected) in TARGETS {
                    let case = format!("{method} {status} to {target}, {mode:?}");
                    let net = Net::chain(A, status, &[target]);
                    let (layer, _) = layer();
                    let client = inside(layer.unknown_hosts(mode), &net);
                    let result = client.oneshot(request(&method, A)).await;
                    let seen = net.seen();
                    assert_eq!(seen[0], hop(A, "a-1"), "{case}");
                    let second = seen.get(1).map(|(_, token)| token.as_str());
                    let refused = match expected {
                        Expected::Token(token) => {
                            assert_eq!(second, Some(&*format!("Bearer {token}")), "{case}");
                            None
                        }
                        Expected::Unknown if mode == UnknownHosts::PassOn => {
                            assert_eq!(second, Some(""), "{case}");
                            None
                        }
                        Expected::Unknown => Some(ErrorKind::UnknownHost),
                        Expected::Refused => Some(ErrorKind::RefusedHost),
                    };
                    match refused {
                        None => assert_eq!(result.unwrap().status(), StatusCode::OK, "{case}"),
                        Some(kind) => {
                            let error = result.expect_err(&case);
                            assert_eq!(error.token_error().unwrap().kind(), kind, "{case}");
                            assert_eq!(seen.len(), 1, "{case}");
                        }
                    }
                    assert_eq!(net.leaks(), [], "{case}");
                    hops += seen.len();
                }
            }
        }
    }
    // 20 rounds over 13 targets; in one mode 9 are sent, in the other 3.
    assert_eq!(hops, 260 + 10 * (9 + 3));
}

#[tokio::test(start_paused = true)]
async fn t4_inside_a_chain_takes_no_token_along_and_gets_the_right_one_when_it_comes_home() {
    for status in REDIRECTS {
        for mode in [UnknownHosts::Refuse, UnknownHosts::PassOn] {
            for chain in CHAINS {
                let case = format!("{status} to {chain:?}, {mode:?}");
                let net = Net::chain(A, status, chain);
                let (layer, _) = layer();
                let client = inside(layer.unknown_hosts(mode), &net);
                let result = client.oneshot(request(&Method::GET, A)).await;
                assert_eq!(net.leaks(), [], "{case}");
                for (uri, token) in net.seen() {
                    let expected = match uri.split_once(".example.com/") {
                        Some(("https://a", _)) => "Bearer a-1",
                        Some(("https://b", _)) => "Bearer b-1",
                        _ => "",
                    };
                    assert_eq!(token, expected, "{case}: {uri}");
                }
                let refused = result
                    .err()
                    .map(|error| error.token_error().unwrap().kind());
                let evil = chain.iter().any(|hop| hop.contains("evil"));
                let expected = match mode {
                    UnknownHosts::Refuse if evil => Some(ErrorKind::UnknownHost),
                    _ if chain[1].starts_with("http:") => Some(ErrorKind::RefusedHost),
                    _ => None,
                };
                assert_eq!(refused, expected, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t4_outside_a_hop_that_leaves_the_origin_goes_bare_and_one_that_stays_keeps_the_token() {
    for status in REDIRECTS {
        for mode in [UnknownHosts::Refuse, UnknownHosts::PassOn] {
            for (target, expected) in TARGETS {
                let case = format!("{status} to {target}, {mode:?}");
                let net = Net::chain(A, status, &[target]);
                let (layer, asked) = layer();
                let client = outside(layer.unknown_hosts(mode), &net);
                client.oneshot(request(&Method::GET, A)).await.unwrap();
                let seen = net.seen();
                assert_eq!(seen[0], hop(A, "a-1"), "{case}");
                let at_home = expected == Expected::Token("a-1") || target.contains("me@a");
                let token = if at_home { "Bearer a-1" } else { "" };
                assert_eq!((seen.len(), &*seen[1].1), (2, token), "{case}");
                assert_eq!(asked.of("api://b"), [], "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t4_t5_outside_and_following_at_home_only_no_token_and_no_challenge_comes_from_elsewhere() {
    let challenge = claims_challenge(r#"{"chosen":"elsewhere"}"#);
    let targets = TARGETS
        .iter()
        .map(|(target, _)| std::slice::from_ref(target));
    for hops in targets.chain(CHAINS) {
        for status in REDIRECTS {
            for mode in [UnknownHosts::Refuse, UnknownHosts::PassOn] {
                let case = format!("{status} to {hops:?}, {mode:?}");
                let net = Net::chain(A, status, hops);
                let away = |uri: &String| origin(uri) != "https://a.example.com";
                for uri in net.uris().into_iter().filter(away) {
                    net.want(&uri, "none", &challenge);
                }
                let (layer, asked) = layer();
                let client = outside_at_home(layer.unknown_hosts(mode), &net);
                let response = client.oneshot(request(&Method::GET, A)).await.unwrap();
                let seen = net.seen();
                assert!(!seen.iter().any(|(uri, _)| away(uri)), "{case}: {seen:?}");
                assert_eq!(net.leaks(), [], "{case}");
                assert_eq!(asked.of("api://a"), [None], "{case}");
                // What leads elsewhere is given back for the caller to judge.
                let home = seen.len() == hops.len() + 1;
                let expected = if home { StatusCode::OK } else { status };
                assert_eq!(response.status(), expected, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t4_outside_the_policy_of_tower_http_0_6_is_not_enough() {
    for status in REDIRECTS {
        let there = ["https://evil.test/1", "https://evil.test/2"];
        let net = Net::chain(A, status, &there);
        let (layer, _) = layer();
        let client = outside(layer, &net);
        client.oneshot(request(&Method::GET, A)).await.unwrap();
        // The reason for what the layer's documentation says. When this goes
        // red, tower-http no longer hands out what it took off a hop before.
        let expected = [hop(A, "a-1"), hop(there[0], ""), hop(there[1], "a-1")];
        assert_eq!(net.seen(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn t4_i5_inside_a_401_at_the_second_hop_renews_its_own_token_and_is_resent_there() {
    let net = Net::chain(A, StatusCode::FOUND, &[B]);
    net.want(B, "b-2", &claims_challenge(r#"{"chosen":"b"}"#));
    let (layer, asked) = layer();
    let client = inside(layer, &net);
    for _ in 0..2 {
        let response = client.clone().oneshot(request(&Method::GET, A)).await;
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    let (first, refused) = (hop(A, "a-1"), hop(B, "b-1"));
    let (second, accepted) = (hop(A, "a-1"), hop(B, "b-2"));
    let expected = [first, refused, accepted.clone(), second, accepted];
    assert_eq!(net.seen(), expected);
    assert_eq!(asked.of("api://a"), [None]);
    let claims = Some(r#"{"chosen":"b"}"#.to_owned());
    assert_eq!(asked.of("api://b"), [None, claims]);
}

#[tokio::test(start_paused = true)]
async fn t4_inside_a_401_before_the_redirect_is_resent_to_the_first_hop_only() {
    let net = Net::chain(A, StatusCode::TEMPORARY_REDIRECT, &[B]);
    net.want(A, "a-2", "Bearer");
    let (layer, _) = layer();
    let response = inside(layer, &net).oneshot(request(&Method::POST, A)).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    let expected = [hop(A, "a-1"), hop(A, "a-2"), hop(B, "b-1")];
    assert_eq!(net.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn t4_t5_inside_a_host_without_a_rule_can_ask_for_nothing() {
    let there = "https://evil.test/one";
    let net = Net::chain(A, StatusCode::FOUND, &[there]);
    net.want(
        there,
        "none",
        &claims_challenge(r#"{"chosen":"elsewhere"}"#),
    );
    let (layer, asked) = layer();
    let client = inside(layer.unknown_hosts(UnknownHosts::PassOn), &net);
    for _ in 0..10 {
        let response = client.clone().oneshot(request(&Method::GET, A)).await;
        assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(net.seen().len(), 20);
    assert_eq!(net.leaks(), []);
    assert_eq!(asked.of("api://a"), [None]);
}

#[tokio::test(start_paused = true)]
async fn t5_outside_and_following_everywhere_another_host_can_ask_in_the_name_of_the_first() {
    let there = "https://evil.test/one";
    let net = Net::chain(A, StatusCode::FOUND, &[there]);
    let claims = r#"{"chosen":"elsewhere"}"#;
    net.want(there, "none", &claims_challenge(claims));
    let (layer, asked) = layer();
    let response = outside(layer, &net).oneshot(request(&Method::GET, A)).await;
    assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
    // What the layer's documentation warns of. It stays within the audience
    // of the first host, and within I5.
    assert_eq!(asked.of("api://a"), [None, Some(claims.to_owned())]);
    assert_eq!(net.leaks(), []);
    let to_first = net.seen().iter().filter(|(uri, _)| uri == A).count();
    assert_eq!(to_first, 2);
}
