//! The users: quiet nights, busy days, bursts, and sieges of one host.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::{Service as _, ServiceExt as _};
use tower_bearer::{BearerAuthError, TokenCache};

use crate::executor::WORLD;
use crate::ledger::End;
use crate::places::{AUDIENCES, HOSTS, Key, RULED};
use crate::provider::token_id;
use crate::server::{Body, RequestId};
use crate::trace::Event;
use crate::world::{CANARY, Client, World, users};

/// Until the end: requests, at the pace of the hour.
pub async fn play(world: Arc<World>) {
    loop {
        let gap = Duration::from_secs(match hour(&world) {
            0..6 => 900,
            6..8 | 19..24 => 240,
            _ => 90,
        });
        let (wait, crowd) = world.with(|shared, _| {
            let crowd = match shared.random.below(100) {
                0 => 80,
                1..4 => 12,
                _ => 1,
            };
            (shared.random.around(gap), crowd)
        });
        world.sleep(wait).await;
        if world.is_over() {
            return;
        }
        let host = world.with(|shared, _| shared.random.below(RULED));
        for _ in 0..crowd {
            send(&world, (crowd > 1).then_some(host));
        }
    }
}

fn hour(world: &World) -> u64 {
    let since = world
        .executor
        .true_time()
        .duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs() / 3600 % 24
}

/// Requests to `host`, or to all, one after the other. How long it goes on.
pub fn siege(world: &Arc<World>, host: Option<usize>) -> Duration {
    let (requests, gap) = world.with(|shared, _| {
        let millis = shared.random.pick(&[50, 300, 1000, 3000]);
        let requests = shared.random.pick(&[20, 60, 200]);
        (requests, Duration::from_millis(millis))
    });
    let besieged = Arc::clone(world);
    world.executor.spawn(WORLD, async move {
        for _ in 0..requests {
            let wait = besieged.with(|shared, _| shared.random.around(gap));
            besieged.sleep(wait).await;
            if besieged.is_over() {
                return;
            }
            send(&besieged, host);
        }
    });
    gap * requests / 2
}

/// One user's request, on a task of its own.
fn send(world: &Arc<World>, host: Option<usize>) {
    let plan = world.with(|shared, now| {
        let random = &mut shared.random;
        let host = match host {
            Some(host) if random.percent(85) => host,
            _ if random.percent(2) => RULED + random.below(HOSTS.len() - RULED),
            _ => random.below(RULED),
        };
        let direct = random.percent(4) && host < RULED;
        let resendable = random.percent(80);
        let patience = random.percent(6).then(|| {
            let least = Duration::from_millis(1);
            random.between(least, Duration::from_secs(60))
        });
        let clients = shared.clients.as_ref()?;
        let client = clients.services[random.below(clients.services.len())].clone();
        let tokens = direct.then(|| clients.tokens.clone());
        let id = shared.ledger.open(
            client.cache,
            host,
            resendable,
            if direct {
                shared.oracle.flight_limit(client.cache)
            } else {
                client.limit
            },
            &shared.oracle,
            now,
        );
        shared.figures.requests += 1;
        let event = Event::Called {
            request: id,
            cache: client.cache,
            host,
        };
        shared.trace.record(now, event);
        Some((id, host, client, tokens, resendable, patience))
    });
    let Some((id, host, client, tokens, resendable, patience)) = plan else {
        return;
    };
    let task = Arc::clone(world);
    let group = users(client.cache);
    world.executor.spawn(group, async move {
        let end = match tokens {
            Some(tokens) => within(&task, patience, ask(&task, id, host, tokens)).await,
            None => {
                let request = request(id, host, resendable);
                within(
                    &task,
                    patience,
                    call(&task, id, host, client.clone(), request),
                )
                .await
            }
        };
        finish(&task, id, end);
        drop(client);
    });
}

fn request(id: u64, host: usize, resendable: bool) -> Request<Body> {
    let body = if resendable {
        Body::default()
    } else {
        Full::new(Bytes::from_static(b"once")).boxed()
    };
    Request::post(HOSTS[host].origin)
        .extension(RequestId(id))
        .body(body)
        .unwrap()
}

async fn call(
    world: &World,
    id: u64,
    host: usize,
    mut client: Client,
    request: Request<Body>,
) -> Result<Response<()>, BearerAuthError> {
    let service = client.service.ready().await?;
    let at_hand = world.with(|shared, now| {
        shared.ledger.called(id, now);
        let at_hand = shared.oracle.at_hand(client.cache, host, now);
        if !at_hand && shared.oracle.is_warm(client.cache, host, now) {
            shared
                .oracle
                .violate("warm", format!("request {id} finds no token"));
        }
        at_hand
    });
    let response = service.call(request);
    world.with(|shared, _| {
        let sends = shared.ledger.ticket(id).sends;
        if at_hand && sends != 1 {
            shared
                .oracle
                .violate("I4", format!("request {id} waits, with a token at hand"));
        }
        shared.figures.waits += u64::from(sends == 0);
    });
    response.await
}

/// Asks the cache itself, as a database pool does.
async fn ask(
    world: &World,
    id: u64,
    host: usize,
    tokens: TokenCache,
) -> Result<Response<()>, BearerAuthError> {
    let audience = HOSTS[host].audience.unwrap();
    let token = tokens
        .token(AUDIENCES[audience])
        .await
        .map_err(BearerAuthError::Token)?;
    world.with(|shared, now| {
        let token = token_id(token.secret());
        let cache = shared.ledger.ticket(id).cache;
        if shared.oracle.tokens[token].key != Key::plain(audience) {
            shared
                .oracle
                .violate("I2", format!("request {id} got token {token}"));
        }
        shared.oracle.sent(cache, host, token, now);
        shared.ledger.took(id, now);
    });
    Ok(Response::new(()))
}

/// What `future` brings, unless its caller loses patience and drops it.
async fn within<F: Future>(
    world: &Arc<World>,
    patience: Option<Duration>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut patience = patience.map(|patience| Box::pin(world.sleep(patience)));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match &mut patience {
            Some(patience) => patience.as_mut().poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

fn finish(world: &World, id: u64, end: Option<Result<Response<()>, BearerAuthError>>) {
    let shown = match &end {
        Some(Err(error)) => format!("{error} {error:?}"),
        _ => String::new(),
    };
    world.with(|shared, now| {
        if shown.contains(CANARY) {
            shared.oracle.violate("I10", shown);
        }
        let end = match end {
            None => {
                shared.figures.cancelled += 1;
                shared.ledger.forget(id);
                shared.trace.record(now, Event::Cancelled { request: id });
                return;
            }
            Some(Ok(response)) => End::Answered(response.status().as_u16()),
            Some(Err(BearerAuthError::Token(error))) => End::NoToken(error),
            Some(Err(_)) => End::Reset,
        };
        let event = match &end {
            End::Answered(status) => Event::Finished {
                request: id,
                status: *status,
            },
            End::NoToken(error) => Event::Failed {
                request: id,
                kind: error.kind(),
            },
            End::Reset => Event::Finished {
                request: id,
                status: 0,
            },
        };
        shared.trace.record(now, event);
        let told = shared.ledger.finish(id, &end, &mut shared.oracle, now);
        shared.figures.failed += u64::from(matches!(end, End::NoToken(_)));
        shared.figures.resends += u64::from(told.sends > 1);
        shared.figures.slowest_wait = shared.figures.slowest_wait.max(told.waited);
    });
}
