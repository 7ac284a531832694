//! Everything that the simulated parties share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower::Layer as _;
use tower_bearer::{BearerAuth, BearerAuthLayer, Timestamp, TokenCache};

use crate::executor::{Executor, Group, GroupRuntime, Sleep, WORLD, Which};
use crate::faults::Faults;
use crate::figures::Figures;
use crate::ledger::Ledger;
use crate::oracle::{CacheId, Oracle, Settings};
use crate::places::{AUDIENCES, Follow, rules};
use crate::provider::{Issuer, Provider};
use crate::random::Random;
use crate::server::Server;
use crate::trace::{Event, Trace};

/// In every token, and nowhere else.
pub const CANARY: &str = "canary-";

pub struct World {
    pub executor: Arc<Executor>,
    pub end: Duration,
    shared: Mutex<Shared>,
}

pub struct Shared {
    pub random: Random,
    pub trace: Trace,
    pub oracle: Oracle,
    pub ledger: Ledger,
    pub faults: Faults,
    pub issuer: Issuer,
    pub figures: Figures,
    pub clients: Option<Clients>,
    /// Caches that have been let go of, to be looked at.
    pub retired: Vec<CacheId>,
    /// Tasks are being killed, so that fetches may end as well.
    pub killing: bool,
    caches: CacheId,
}

/// The layers of one cache, as a program would hold them.
pub struct Clients {
    pub cache: CacheId,
    pub tokens: TokenCache,
    pub services: Vec<Client>,
}

#[derive(Clone)]
pub struct Client {
    pub service: BearerAuth<Server>,
    pub cache: CacheId,
    pub limit: Duration,
    /// Dropped last, so that the cache is never thought to be held when it is
    /// not.
    _handle: Arc<()>,
}

/// The fetches of a cache.
pub fn flights(cache: CacheId) -> Group {
    2 * cache
}

/// The requests of a cache's clients.
pub fn users(cache: CacheId) -> Group {
    2 * cache + 1
}

impl Shared {
    pub fn fault(&mut self, now: Timestamp, name: &'static str, place: usize, lasts: Duration) {
        self.figures.count_fault(name);
        self.trace.record(now, Event::Fault { name, place, lasts });
    }
}

impl World {
    pub fn new(seed: u64, days: u64, whole_trace: bool) -> Arc<Self> {
        let executor = Executor::new(seed);
        let mut random = Random::new(seed, 3);
        let issuer = Issuer::new(&mut random);
        let end = executor.now().monotonic + Duration::from_secs(days * 86_400);
        let world = Arc::new(Self {
            executor,
            end,
            shared: Mutex::new(Shared {
                random,
                trace: Trace::new(whole_trace),
                oracle: Oracle::default(),
                ledger: Ledger::default(),
                faults: Faults::default(),
                issuer,
                figures: Figures {
                    days,
                    ..Figures::default()
                },
                clients: None,
                retired: Vec::new(),
                killing: false,
                caches: 0,
            }),
        });
        world.open_cache();
        world
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Shared, Timestamp) -> T) -> T {
        let now = self.executor.now();
        look(&mut self.shared.lock().unwrap(), now)
    }

    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.executor.sleep(WORLD, duration)
    }

    pub fn is_over(&self) -> bool {
        self.executor.now().monotonic >= self.end
    }

    /// Puts a new cache, and clients on it, in the place of the ones before.
    pub fn open_cache(self: &Arc<Self>) {
        let (cache, settings) = self.with(|shared, now| {
            shared.caches += 1;
            shared.figures.caches += 1;
            let cache = shared.caches;
            shared.trace.record(now, Event::NewCache { cache });
            (cache, Settings::new(&mut shared.random))
        });
        let provider = Provider {
            world: Arc::downgrade(self),
            cache,
        };
        let tokens = TokenCache::builder(provider)
            .runtime(GroupRuntime {
                executor: Arc::clone(&self.executor),
                group: flights(cache),
            })
            .fetch_timeout(settings.fetch_timeout)
            .max_concurrency(settings.most)
            .build();
        let handles = Arc::new(());
        let longest = settings.fetch_timeout + Duration::from_secs(5);
        let patience = Duration::from_secs(5);
        let layer =
            |tokens: &TokenCache| BearerAuthLayer::new(tokens.clone(), rules()).challenges(Follow);
        let patient = layer(&tokens).layer(Server::new(self));
        let hasty = layer(&tokens)
            .token_timeout(patience)
            .layer(Server::new(self));
        let client = |service: &BearerAuth<Server>, limit| Client {
            service: service.clone(),
            cache,
            limit,
            _handle: Arc::clone(&handles),
        };
        let services = vec![
            client(&patient, longest),
            client(&patient, longest),
            client(&hasty, patience),
        ];
        let warm = tokens.clone();
        let clients = Clients {
            cache,
            tokens,
            services,
        };
        let former = self.with(|shared, now| {
            shared.oracle.cache_opened(cache, settings, handles, now);
            shared.clients.replace(clients)
        });
        for (audience, kept) in AUDIENCES.iter().zip(settings.warm) {
            if kept {
                warm.keep_warm(*audience).unwrap();
            }
        }
        drop(warm);
        self.retire(former);
    }

    /// What the cache says of itself.
    pub fn check_status(&self) {
        self.with(|shared, now| {
            let Some(clients) = &shared.clients else {
                return;
            };
            let status = clients.tokens.status();
            shared.oracle.check_status(clients.cache, &status, now);
        });
    }

    /// Lets go of the last clients.
    pub fn close_cache(&self) {
        let former = self.with(|shared, _| shared.clients.take());
        self.retire(former);
    }

    fn retire(&self, former: Option<Clients>) {
        let Some(former) = former else { return };
        let status = former.tokens.status();
        let shown = format!(
            "{:?} {:?} {status:?}",
            former.tokens, former.services[0].service
        );
        self.with(|shared, now| {
            shared.oracle.check_status(former.cache, &status, now);
            if shown.contains(CANARY) {
                shared.oracle.violate("I10", shown);
            }
            shared.retired.push(former.cache);
        });
        drop(former);
    }

    /// Drops every request that waits on a client of `cache`.
    pub fn cancel_all(&self, cache: CacheId) {
        self.executor.kill(users(cache), Which::All);
        self.with(|shared, _| shared.ledger.forget_all_of(cache));
    }

    /// Nothing more can happen now: what nobody holds must have ended.
    pub fn check_retired(&self) {
        let retired = self.with(|shared, _| std::mem::take(&mut shared.retired));
        let mut kept = Vec::new();
        for cache in retired {
            let left = self.executor.left_of(flights(cache));
            let held = self.with(|shared, _| shared.oracle.is_held(cache));
            if held || left.frozen > 0 {
                kept.push(cache);
                continue;
            }
            self.with(|shared, _| {
                if left.tasks + left.timers > 0 {
                    shared
                        .oracle
                        .violate("I7", format!("nobody holds cache {cache}, and {left:?}"));
                }
                shared.oracle.cache_closed(cache);
            });
        }
        self.with(|shared, _| shared.retired.extend(kept));
    }
}
