//! The servers that requests are for: the inner service of the layer.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use tower::Service;
use tower_bearer::{BoxError, BoxFuture, Timestamp};

use crate::executor::{Sleep, WORLD};
use crate::faults::HostFault;
use crate::ledger::{Answer, READYING};
use crate::oracle::TokenId;
use crate::places::challenge;
use crate::provider::token_id;
use crate::trace::Event;
use crate::world::{Shared, World};

pub type Body = BoxBody<Bytes, std::convert::Infallible>;

/// Which of the users' requests a request is.
#[derive(Clone, Copy)]
pub struct RequestId(pub u64);

/// A client's connection to all servers. Must be polled ready before each
/// call, as tower has it.
pub struct Server {
    world: Weak<World>,
    readying: Option<Pin<Box<Sleep>>>,
    ready: bool,
}

impl Server {
    pub fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::downgrade(world),
            readying: None,
            ready: false,
        }
    }
}

impl Clone for Server {
    fn clone(&self) -> Self {
        Self {
            world: Weak::clone(&self.world),
            readying: None,
            ready: false,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        if self.readying.is_none() {
            let Some(world) = self.world.upgrade() else {
                return Poll::Pending;
            };
            let wait = world.with(|shared, _| {
                let busy = shared.random.percent(3);
                busy.then(|| shared.random.up_to(READYING))
            });
            self.readying = wait.map(|wait| Box::pin(world.executor.sleep(WORLD, wait)));
        }
        if let Some(readying) = &mut self.readying {
            ready!(readying.as_mut().poll(cx));
        }
        self.readying = None;
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let world = self.world.upgrade().unwrap();
        let RequestId(id) = *request.extensions().get().unwrap();
        let token = request.headers().get(AUTHORIZATION).map(|value| {
            let secret = value.to_str().unwrap().strip_prefix("Bearer ").unwrap();
            token_id(secret)
        });
        let was_ready = std::mem::take(&mut self.ready);
        let (reply, wait) = world.with(|shared, now| {
            if !was_ready {
                shared
                    .oracle
                    .violate("R24", format!("request {id} came to an unready service"));
            }
            shared.ledger.arrived(id, token, &mut shared.oracle, now);
            shared.answer(id, token, now)
        });
        let sleep = world.sleep(wait);
        drop(world);
        let world = Weak::clone(&self.world);
        Box::pin(async move {
            sleep.await;
            let Some(reply) = reply else {
                return Err("connection reset".into());
            };
            if let Some(world) = world.upgrade() {
                world.with(|shared, now| {
                    let answer = Answer {
                        at: now.monotonic,
                        ..reply.answer
                    };
                    shared.ledger.answered(id, answer);
                });
            }
            let mut response = Response::builder().status(reply.answer.status);
            if let Some(challenge) = reply.challenge {
                response = response.header(WWW_AUTHENTICATE, challenge);
            }
            Ok(response.body(()).unwrap())
        })
    }
}

struct Reply {
    answer: Answer,
    challenge: Option<String>,
}

impl Shared {
    /// What the server makes of request `id`, and how long it takes to say so;
    /// no answer at all if the connection breaks.
    fn answer(
        &mut self,
        id: u64,
        token: Option<TokenId>,
        now: Timestamp,
    ) -> (Option<Reply>, Duration) {
        let host = self.ledger.ticket(id).host;
        let fault = self.faults.of_host(host, now);
        let mut wait = self
            .random
            .between(Duration::from_millis(1), Duration::from_millis(300));
        if fault == Some(HostFault::Sluggish) {
            wait += self.random.up_to(Duration::from_secs(20));
        }
        if fault == Some(HostFault::Resetting) && self.random.percent(70) {
            self.oracle.trouble_at(host, now);
            self.trace.record(now, Event::Reset { request: id });
            return (None, wait);
        }
        let whatever = match fault {
            Some(HostFault::Refusing) => Some(401),
            Some(HostFault::Alternating) if self.random.percent(50) => Some(401),
            Some(HostFault::Forbidding) => Some(403),
            _ => None,
        };
        let wanted = token.and_then(|token| {
            let key = self.oracle.tokens[token].key;
            self.faults.refusal(host, token, key)
        });
        let status = match (whatever, wanted) {
            (Some(status), _) => status,
            (None, Some(_)) => 401,
            (None, None) => 200,
        };
        if status == 401 {
            self.figures.refusals += 1;
            self.oracle.tokens[token.unwrap()].refused = true;
            if fault == Some(HostFault::LateRefusals) {
                wait += self.random.up_to(Duration::from_secs(120));
            }
            if whatever.is_some() {
                self.oracle.trouble_at(host, now);
            }
        } else if let (Some(token), 200) = (token, status) {
            self.oracle.tokens[token].accepted = true;
        }
        let event = Event::Arrived {
            request: id,
            token,
            status,
            answered_in: wait,
        };
        self.trace.record(now, event);
        let answer = Answer {
            token,
            status,
            whatever: whatever.is_some(),
            asked: wanted.is_some_and(|wanted| wanted.tenant + wanted.claims > 0),
            at: now.monotonic,
        };
        let challenge = wanted.filter(|_| status == 401).map(challenge);
        (Some(Reply { answer, challenge }), wait)
    }
}
