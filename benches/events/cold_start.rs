//! A thousand callers at once, before there is a token; the credential answers
//! at once.

#![allow(clippy::disallowed_methods, reason = "it measures time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::task::JoinSet;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_bearer::{AccessToken, BearerAuthLayer, TokenCache, azure, credential_fn};

use crate::request::{Body, Inner, request, token, tokens};
use crate::rounds::{Rounds, lid, print_table};

const ROUNDS: usize = 100;
const CALLERS: usize = 1000;

/// Nanoseconds for each of the callers that send these requests.
type Case<'a> = Box<dyn FnMut(Vec<Request<Body>>) -> f64 + 'a>;

/// From the first start to the last answer, divided among the callers.
async fn all_at_once<S>(service: S, requests: Vec<Request<Body>>) -> f64
where
    S: Service<Request<Body>, Response = Response<()>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for request in requests {
        callers.spawn(service.clone().oneshot(request));
    }
    while let Some(answered) = callers.join_next().await {
        assert!(answered.unwrap().is_ok());
    }
    start.elapsed().as_nanos() as f64 / CALLERS as f64
}

pub(crate) fn print() {
    let runtime = &crate::runtime();
    let at_hand = BearerAuthLayer::new(tokens(), azure::Audiences::new()).layer(Inner);
    let cold = |requests| {
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        let tokens = TokenCache::new(credential_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { AccessToken::expiring_in(&token(), Duration::from_secs(86_400)) }
        }));
        let service = BearerAuthLayer::new(tokens, azure::Audiences::new()).layer(Inner);
        let nanoseconds = runtime.block_on(all_at_once(service, requests));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        nanoseconds
    };
    let mut cases: [(&str, Case); 3] = [
        (
            "inner service alone",
            Box::new(|requests| runtime.block_on(all_at_once(Inner, requests))),
        ),
        (
            "BearerAuthLayer, token at hand",
            Box::new(move |requests| runtime.block_on(all_at_once(at_hand.clone(), requests))),
        ),
        ("BearerAuthLayer, no token yet", Box::new(cold)),
    ];
    let requests = || (0..CALLERS).map(|_| request(8)).collect();
    let allocations = cases.each_mut().map(|(_, case)| {
        case(requests());
        let requests = requests();
        let counted = allocation_counter::measure(|| {
            case(requests);
        });
        crate::each(&counted, CALLERS)
    });
    let mut rounds = Rounds::new();
    let cases = cases.map(|(name, mut case)| {
        (
            name,
            rounds.case(move || {
                let requests = requests();
                let _lid = lid();
                case(requests)
            }),
        )
    });
    let (_, floor) = cases[0];
    let samples = rounds.run(ROUNDS);
    let rows: Vec<_> = cases
        .iter()
        .zip(allocations)
        .map(|((name, case), [count, bytes])| {
            vec![
                (*name).to_owned(),
                format!("{:.0}", samples.of(*case).median),
                format!("{:.0}", samples.added(*case, floor).median),
                format!("{:.2}", samples.ratio(*case, floor).median),
                count,
                bytes,
            ]
        })
        .collect();
    print_table(
        "1,000 callers at once, each on a task of its own, one fetch that answers at once",
        &[
            "",
            "ns per caller",
            "added ns",
            "× inner service",
            "allocations per caller",
            "bytes per caller",
        ],
        &rows,
    );
}
