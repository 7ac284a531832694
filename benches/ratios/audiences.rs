//! An audience for each host: what finding its token takes, beside a plain
//! hash map.

use std::collections::HashMap;
use std::future::Future as _;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::fast::RandomState;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Uri};
use tower::{Layer as _, Service};
use tower_bearer::{
    AccessToken, Audience, BearerAuthLayer, Error, Origin, ResolveAudience, TokenCache,
    credential_fn,
};

use crate::random::Random;
use crate::request::{Body, Inner, SendOnce, header_value, once, request, token};
use crate::rounds::{BATCH, Rounds, nanoseconds, print_table};

const ROUNDS: usize = 400;

type Values = HashMap<String, HeaderValue, RandomState>;

fn host(number: usize) -> String {
    format!("tenant-{number}.api.example.com")
}

fn uri(number: usize) -> Uri {
    format!("https://{}/orders", host(number)).parse().unwrap()
}

fn audience(number: usize) -> Audience {
    Audience::from(format!("https://{}", host(number)))
}

/// An audience of its own for each host.
#[derive(Clone)]
struct PerHost;

impl ResolveAudience for PerHost {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        origin.resolve_secure(|host| Some(Audience::from(format!("https://{host}"))))
    }
}

/// What users write by hand who have a token for each host.
#[derive(Clone)]
struct MapByHand<'a>(&'a Values);

impl Service<Request<Body>> for MapByHand<'_> {
    type Response = <Inner as Service<Request<Body>>>::Response;
    type Error = <Inner as Service<Request<Body>>>::Error;
    type Future = <Inner as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let value = request.uri().host().and_then(|host| self.0.get(host));
        let value = value.unwrap().clone();
        request.headers_mut().insert(AUTHORIZATION, value);
        Inner.call(request)
    }
}

/// A cache that has a token for each of so many audiences.
fn cache(size: usize) -> TokenCache {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let credential = credential_fn(|_| async {
        AccessToken::expiring_in(&token(), Duration::from_secs(86_400))
    });
    let tokens = TokenCache::builder(credential).max_keys(2 * size).build();
    runtime.block_on(async {
        for number in 0..size {
            tokens.token(audience(number)).await.unwrap();
        }
    });
    tokens
}

/// The token that is at hand, through what the cache has for everybody.
fn read(tokens: &TokenCache, audience: Audience) -> HeaderValue {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(tokens.token(audience)).poll(&mut cx) {
        Poll::Ready(token) => token.unwrap().header_value().clone(),
        Poll::Pending => unreachable!("every token is at hand"),
    }
}

/// One batch of what `make` gives for random numbers below `size`. `order` is
/// another for each case: who comes second must not find in the processor's
/// caches what the first has read.
fn batch<T>(size: usize, order: u64, make: impl Fn(usize) -> T) -> impl FnMut() -> Vec<T> {
    let mut random = Random::with_seed(order);
    move || (0..BATCH).map(|_| make(random.below(size))).collect()
}

fn request_to(number: usize) -> Request<Body> {
    let mut request = request(8);
    *request.uri_mut() = uri(number);
    request
}

pub(crate) fn print() {
    let sizes = crate::sizes();
    let stores: Vec<(Values, TokenCache)> = sizes
        .iter()
        .map(|size| {
            let values = (0..*size).map(|number| {
                let value = header_value();
                // Its first clone makes it shareable, as the cache's is.
                drop(value.clone());
                (host(number), value)
            });
            (values.collect(), cache(*size))
        })
        .collect();

    let mut rounds = Rounds::new();
    let cases: Vec<_> = sizes
        .iter()
        .zip(&stores)
        .map(|(size, (values, tokens))| {
            let mut uris = batch(*size, 0, uri);
            let map = rounds.case(move || {
                nanoseconds(uris(), |uri| {
                    let value = uri.host().and_then(|host| values.get(host));
                    drop(black_box(value.unwrap().clone()));
                })
            });
            let mut audiences = batch(*size, 1, audience);
            let cache = rounds.case(move || {
                nanoseconds(audiences(), |audience| {
                    drop(black_box(read(tokens, audience)));
                })
            });
            let layer = BearerAuthLayer::new(tokens.clone(), PerHost);
            let mut case = |order, mut send: Box<dyn FnMut(Request<Body>)>| {
                let mut requests = batch(*size, order, request_to);
                rounds.case(move || nanoseconds(requests(), &mut send))
            };
            let floor = case(2, Box::new(|request| once(&mut Inner, request)));
            let mut once_layer = layer.clone().replay(SendOnce).layer(Inner);
            let sent_once = case(3, Box::new(move |request| once(&mut once_layer, request)));
            let mut armed_layer = layer.layer(Inner);
            let armed = case(4, Box::new(move |request| once(&mut armed_layer, request)));
            let mut service = MapByHand(values);
            let by_hand = case(5, Box::new(move |request| once(&mut service, request)));
            (*size, map, cache, floor, by_hand, sent_once, armed)
        })
        .collect();
    let samples = rounds.run(ROUNDS);

    let rows: Vec<_> = cases
        .iter()
        .map(|&(size, map, cache, floor, by_hand, sent_once, armed)| {
            let added = |case| samples.added(case, floor).median;
            vec![
                size.to_string(),
                format!("{:.0}", samples.of(map).median),
                format!("{:.0}", samples.of(cache).median),
                format!("{:.2}", samples.of(cache).median / samples.of(map).median),
                format!("{:.0}", added(by_hand)),
                format!("{:.0}", added(sent_once)),
                format!("{:.2}", added(sent_once) / added(by_hand)),
                format!("{:.0}", added(armed)),
                format!("{:.2}", added(armed) / added(by_hand)),
            ]
        })
        .collect();
    print_table(
        "An audience for each host, random order (target: ≤ 1.2 × the map)",
        &[
            "audiences",
            "map: ns",
            "`TokenCache::token`: ns",
            "× the map",
            "map by hand in a service: added ns",
            "layer, sent once",
            "× by hand",
            "layer, resend armed",
            "× by hand",
        ],
        &rows,
    );
}
