//! The identity provider: issues tokens, and fails as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tower_bearer::{AccessToken, Credential, Error, ErrorKind, Timestamp, TokenRequest};

use crate::faults::ProviderFault;
use crate::oracle::{Abort, CacheId, Fetch, Promise, Token, TokenId};
use crate::places::{ARCHIVE, AUDIENCES, BRIEF, Key, METADATA};
use crate::random::Random;
use crate::trace::Event;
use crate::world::{CANARY, Shared, World};

/// One cache's credential.
pub struct Provider {
    // Weak, since the world keeps the cache.
    pub world: Weak<World>,
    pub cache: CacheId,
}

/// Thrown by credentials that are told to panic.
pub struct ScriptedPanic;

/// How tokens of each audience are made.
pub struct Issuer {
    manners: [Manner; AUDIENCES.len()],
    /// What managed identity keeps.
    kept: BTreeMap<Key, Kept>,
}

#[derive(Clone, Copy)]
pub struct Manner {
    pub life: Duration,
    pub absolute: bool,
    /// As a part of the life, in percent.
    pub refresh_in: Option<u32>,
}

#[derive(Clone, Copy)]
struct Kept {
    token: TokenId,
    ends: SystemTime,
    life: Duration,
}

impl Issuer {
    pub fn new(random: &mut Random) -> Self {
        let mut manners = [(); AUDIENCES.len()].map(|()| Manner {
            life: Duration::from_secs(random.pick(&[3599, 3599, 4200, 5400, 86_399])),
            absolute: random.percent(20),
            refresh_in: random.percent(30).then_some(50),
        });
        manners[METADATA].life = Duration::from_secs(random.pick(&[28_800, 86_400]));
        manners[BRIEF].life = Duration::from_secs(random.pick(&[60, 120, 300, 660]));
        manners[ARCHIVE].absolute = true;
        Self {
            manners,
            kept: BTreeMap::new(),
        }
    }
}

impl Shared {
    fn issue(&mut self, key: Key, odd: Option<Manner>, true_time: SystemTime) -> Issued {
        let manner = odd.unwrap_or(self.issuer.manners[key.audience]);
        let kept = self.issuer.kept.get(&key).copied();
        let kept = kept.filter(|kept| {
            let left = kept.ends.duration_since(true_time).unwrap_or_default();
            key.audience == METADATA && odd.is_none() && left > kept.life / 2
        });
        let (token, ends) = kept.map_or_else(
            || {
                let token = self.oracle.tokens.len();
                self.oracle.tokens.push(Token::new(key));
                let ends = true_time + manner.life;
                let life = manner.life;
                self.issuer.kept.insert(key, Kept { token, ends, life });
                (token, ends)
            },
            |kept| (kept.token, kept.ends),
        );
        let left = ends.duration_since(true_time).unwrap_or_default();
        Issued {
            token,
            promise: if manner.absolute {
                Promise::On(ends)
            } else {
                Promise::In(left)
            },
            refresh_in: manner.refresh_in.map(|percent| left / 100 * percent),
        }
    }
}

struct Issued {
    token: TokenId,
    promise: Promise,
    refresh_in: Option<Duration>,
}

impl Issued {
    fn to_token(&self) -> Result<AccessToken, Error> {
        let secret = format!("{CANARY}{}", self.token);
        let token = match self.promise {
            Promise::In(life) => AccessToken::expiring_in(&secret, life),
            Promise::On(end) => AccessToken::expiring_on(&secret, end),
        }?;
        Ok(match self.refresh_in {
            Some(wait) => token.with_refresh_in(wait),
            None => token,
        })
    }
}

/// The number of a token that was issued here.
pub fn token_id(secret: &str) -> TokenId {
    secret.strip_prefix(CANARY).unwrap().parse().unwrap()
}

impl Credential for Provider {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, Error> {
        let Some(world) = self.world.upgrade() else {
            return Err(Error::new(ErrorKind::Unreachable, "the world has ended"));
        };
        let key = Key::of(request);
        let refused = request.refused().map(|token| token_id(token.secret()));
        let (call, fault, there, back) = world.with(|shared, now| {
            let fetch = shared.oracle.fetch_started(self.cache, key, refused, now);
            shared.figures.fetches += 1;
            let event = Event::Fetch {
                fetch: fetch.number,
                cache: self.cache,
                key,
                refused,
            };
            shared.trace.record(now, event);
            let fault = shared.faults.of_provider(key, now, &mut shared.random);
            let random = &mut shared.random;
            let there = random.between(Duration::from_millis(5), Duration::from_millis(200));
            let back = random.between(Duration::from_millis(5), Duration::from_millis(200));
            let call = Call {
                world: Arc::clone(&world),
                fetch: Some(fetch),
            };
            (call, fault, there, back)
        });
        let there = match fault {
            Some(ProviderFault::Slow(by)) => there + by,
            _ => there,
        };
        world.executor.sleep(call.group(), there).await;
        let answer = match fault {
            Some(ProviderFault::Hang) => std::future::pending().await,
            Some(ProviderFault::Panic) => std::panic::resume_unwind(Box::new(ScriptedPanic)),
            Some(ProviderFault::Fail(kind, wait)) => {
                let error = Error::new(kind, "scripted");
                Err(match wait {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                })
            }
            // What reads it complains of it.
            Some(ProviderFault::Garbage) => Err(AccessToken::expiring_in(
                &format!("{CANARY}<html>"),
                Duration::ZERO,
            )
            .unwrap_err()),
            Some(ProviderFault::Odd(manner)) => Ok(Some(manner)),
            None | Some(ProviderFault::Slow(_)) => Ok(None),
        };
        let answer = answer.map(|odd| {
            let true_time = world.executor.true_time();
            world.with(|shared, _| shared.issue(key, odd, true_time))
        });
        world.executor.sleep(call.group(), back).await;
        call.finish(answer)
    }
}

/// A call that is under way. However it ends, the oracle hears of it.
struct Call {
    world: Arc<World>,
    fetch: Option<Fetch>,
}

impl Call {
    fn group(&self) -> u32 {
        self.fetch
            .as_ref()
            .map_or(0, |fetch| crate::world::flights(fetch.cache))
    }

    fn finish(mut self, answer: Result<Issued, Error>) -> Result<AccessToken, Error> {
        let fetch = self.fetch.take().unwrap();
        let number = fetch.number;
        self.world.with(|shared, now| match &answer {
            Ok(issued) => {
                let good_for =
                    shared
                        .oracle
                        .fetch_brought(&fetch, issued.token, issued.promise, now);
                shared.figures.brought += u64::from(!good_for.is_zero());
                let event = Event::Brought {
                    fetch: number,
                    token: issued.token,
                    good_for,
                };
                shared.trace.record(now, event);
            }
            Err(error) => {
                let kind = error.kind();
                shared
                    .oracle
                    .fetch_failed(&fetch, kind, error.retry_after(), now);
                let event = Event::BroughtNothing {
                    fetch: number,
                    kind,
                };
                shared.trace.record(now, event);
            }
        });
        answer?.to_token()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(fetch) = self.fetch.take() else {
            return;
        };
        let now: Timestamp = self.world.executor.now();
        self.world.with(|shared, _| {
            let abort = if std::thread::panicking() {
                Abort::Panicked
            } else if shared.killing {
                Abort::Killed
            } else {
                Abort::Dropped
            };
            let event = Event::Aborted {
                fetch: fetch.number,
            };
            shared.trace.record(now, event);
            shared.oracle.fetch_aborted(&fetch, abort, now);
        });
    }
}
