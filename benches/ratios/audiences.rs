//! An audience for each host: what finding its token takes, beside a plain
//! hash map.
//!
//! Keys are made before the time that is taken and freed after it. The map
//! hashes a `&str`; `TokenCache::token` clones an `Audience` and hashes that, or
//! first makes one of a `&str`, as most who call it by hand do.
//!
//! By hand, a request takes one look-up, from its host to the value. The layer
//! takes two, from the host to the audience, in a map of the resolver's own,
//! and from there to the token; and it sees to it that the host may have one.

use std::collections::HashMap;
use std::future::Future as _;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
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
use crate::rounds::{BATCH, Case, Rounds, nanoseconds, print_table};

const ROUNDS: usize = 400;

type ByHost<T> = HashMap<String, T, RandomState>;

fn host(number: usize) -> String {
    format!("tenant-{number}.api.example.com")
}

fn uri(number: usize) -> Uri {
    format!("https://{}/orders", host(number)).parse().unwrap()
}

fn audience(number: usize) -> String {
    format!("https://{}", host(number))
}

/// What users write who have an audience for each of many hosts.
#[derive(Clone)]
struct PerHost(Arc<ByHost<Audience>>);

impl PerHost {
    fn of(size: usize) -> Self {
        let audiences = (0..size).map(|number| (host(number), audience(number).into()));
        Self(Arc::new(audiences.collect()))
    }
}

impl ResolveAudience for PerHost {
    fn resolve(&self, origin: &Origin<'_>) -> Result<Option<Audience>, Error> {
        origin.resolve_secure(|host| self.0.get(host).cloned())
    }
}

/// What users write by hand who have a token for each host.
#[derive(Clone)]
struct MapByHand<'a>(&'a ByHost<HeaderValue>);

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

/// A cache that has a token for each of these audiences.
fn cache(audiences: &ByHost<Audience>) -> TokenCache {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let credential = credential_fn(|_| async {
        AccessToken::expiring_in(&token(), Duration::from_secs(86_400))
    });
    let tokens = TokenCache::builder(credential)
        .max_keys(2 * audiences.len())
        .build();
    runtime.block_on(async {
        for audience in audiences.values() {
            tokens.token(audience).await.unwrap();
        }
    });
    tokens
}

/// The token that is at hand, through what the cache has for everybody.
fn read(tokens: &TokenCache, audience: impl Into<Audience>) -> HeaderValue {
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

/// Nanoseconds for finding one value. Which key comes next hangs on the value
/// before: a processor that ran ahead would look up several at once, as no
/// request can.
fn one_by_one<T>(keys: &[T], find: impl Fn(&T) -> HeaderValue) -> f64 {
    let mut skipped = 0;
    nanoseconds((0..keys.len()).collect(), |index| {
        let value = find(&keys[index + skipped]);
        skipped = usize::from(black_box(value).is_empty());
    })
}

fn request_to(number: usize) -> Request<Body> {
    let mut request = request(8);
    *request.uri_mut() = uri(number);
    request
}

/// So many hosts with an audience each, as users keep them.
struct Hosts {
    size: usize,
    values: ByHost<HeaderValue>,
    resolver: PerHost,
    tokens: TokenCache,
}

impl Hosts {
    fn new(size: usize) -> Self {
        let values = (0..size).map(|number| {
            let value = header_value();
            // Its first clone makes it shareable, as the cache's is.
            drop(value.clone());
            (host(number), value)
        });
        let resolver = PerHost::of(size);
        Self {
            size,
            values: values.collect(),
            tokens: cache(&resolver.0),
            resolver,
        }
    }

    /// The map, and the cache by a kept `Audience` and by a `&str`.
    fn look_ups<'a>(&'a self, rounds: &mut Rounds<'a>) -> [Case; 3] {
        let mut hosts = batch(self.size, 0, host);
        let map =
            rounds.case(move || one_by_one(&hosts(), |host| self.values[host.as_str()].clone()));
        let mut audiences = batch(self.size, 1, |number| Audience::from(audience(number)));
        let by_audience =
            rounds.case(move || one_by_one(&audiences(), |audience| read(&self.tokens, audience)));
        let mut texts = batch(self.size, 2, audience);
        let by_text =
            rounds.case(move || one_by_one(&texts(), |text| read(&self.tokens, text.as_str())));
        [map, by_audience, by_text]
    }

    /// The inner service alone, the map by hand, and the layer without and with
    /// a resend.
    fn services<'a>(&'a self, rounds: &mut Rounds<'a>) -> [Case; 4] {
        let mut case = |order, mut send: Box<dyn FnMut(Request<Body>) + 'a>| {
            let mut requests = batch(self.size, order, request_to);
            rounds.case(move || nanoseconds(requests(), &mut send))
        };
        let layer = BearerAuthLayer::new(self.tokens.clone(), self.resolver.clone());
        let mut by_hand = MapByHand(&self.values);
        let mut sent_once = layer.clone().replay(SendOnce).layer(Inner);
        let mut armed = layer.layer(Inner);
        [
            case(3, Box::new(|request| once(&mut Inner, request))),
            case(4, Box::new(move |request| once(&mut by_hand, request))),
            case(5, Box::new(move |request| once(&mut sent_once, request))),
            case(6, Box::new(move |request| once(&mut armed, request))),
        ]
    }
}

pub(crate) fn print() {
    let sizes: Vec<_> = crate::sizes()
        .iter()
        .map(|size| Hosts::new(*size))
        .collect();
    let mut rounds = Rounds::new();
    let cases: Vec<_> = sizes
        .iter()
        .map(|hosts| {
            (
                hosts.size,
                hosts.look_ups(&mut rounds),
                hosts.services(&mut rounds),
            )
        })
        .collect();
    let samples = rounds.run(ROUNDS);

    let look_ups = cases.iter().map(|&(size, [map, by_audience, by_text], _)| {
        vec![
            size.to_string(),
            format!("{:.0}", samples.of(map).median),
            format!("{:.0}", samples.of(by_audience).median),
            format!("{:.2}", samples.ratio(by_audience, map).median),
            format!("{:.0}", samples.of(by_text).median),
            format!("{:.2}", samples.ratio(by_text, map).median),
        ]
    });
    let services = cases
        .iter()
        .map(|&(size, _, [floor, by_hand, sent_once, armed])| {
            let added = |case| samples.added(case, floor).median;
            vec![
                size.to_string(),
                format!("{:.0}", added(by_hand)),
                format!("{:.0}", added(sent_once)),
                format!("{:.2}", added(sent_once) / added(by_hand)),
                format!("{:.0}", added(armed)),
                format!("{:.2}", added(armed) / added(by_hand)),
            ]
        });
    print_table(
        "Looking up a token, random order (target: ≤ 1.2 × the map)",
        &[
            "audiences",
            "map, `get(&str)`: ns",
            "`token(&Audience)`, a clone: ns",
            "× the map",
            "`token(&str)`, makes an `Audience`: ns",
            "× the map",
        ],
        &look_ups.collect::<Vec<_>>(),
    );
    print_table(
        "An audience for each host, random order (by hand one look-up, the layer two)",
        &[
            "hosts",
            "map by hand: added ns",
            "layer, sent once",
            "× by hand",
            "layer, resend armed",
            "× by hand",
        ],
        &services.collect::<Vec<_>>(),
    );
}
