//! A slot whose flights wait until they are flown, by whichever thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use loom::thread::{self, JoinHandle};
use tokio::sync::oneshot::error::TryRecvError;

use super::lock;
use crate::cache::{Acquired, Entry, Key, Slot, Source, TokenCache};
use crate::runtime::{BoxFuture, Runtime, Timestamp};
use crate::{AccessToken, Audience, Error, credential_fn};

const HOUR: Duration = Duration::from_secs(3600);

/// Longer than fetches for one key must be apart.
pub(super) const A_WHILE: Duration = Duration::from_secs(5);

/// Time stands still until it is moved, and a task waits until it is flown.
#[derive(Default)]
struct Hand {
    now: Duration,
    waiting: VecDeque<BoxFuture<'static, ()>>,
    launched: usize,
}

#[derive(Clone, Default)]
struct HandRuntime(Arc<Mutex<Hand>>);

impl std::fmt::Debug for HandRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandRuntime").finish_non_exhaustive()
    }
}

impl Runtime for HandRuntime {
    fn now(&self) -> Timestamp {
        let now = lock(&self.0).now;
        Timestamp::new(now, UNIX_EPOCH + now)
    }

    /// The pause between two fetches is over at once; no deadline ever comes.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration < A_WHILE {
            Box::pin(std::future::ready(()))
        } else {
            Box::pin(std::future::pending())
        }
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        let mut hand = lock(&self.0);
        hand.launched += 1;
        hand.waiting.push_back(task);
        Ok(())
    }

    fn random(&self) -> u64 {
        0
    }
}

pub(super) fn token(number: usize) -> Result<AccessToken, Error> {
    AccessToken::expiring_in(&format!("token-{number}"), HOUR)
}

/// One slot whose credential answers: with `token-1`, `token-2`, or as
/// a model wishes.
pub(super) struct Bench {
    cache: TokenCache,
    pub(super) slot: Arc<Slot>,
    runtime: HandRuntime,
}

impl Bench {
    pub(super) fn new() -> Arc<Self> {
        Self::answering(token)
    }

    pub(super) fn answering(
        answer: impl Fn(usize) -> Result<AccessToken, Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let runtime = HandRuntime::default();
        let asked = Mutex::new(0);
        let credential = credential_fn(move |_| {
            let number = {
                let mut asked = lock(&asked);
                *asked += 1;
                *asked
            };
            let mut sent = None;
            let mut answer = Some(answer(number));
            // The first poll sends, the second one receives.
            std::future::poll_fn(move |_| match sent.replace(()) {
                None => Poll::Pending,
                Some(()) => Poll::Ready(answer.take().expect("polled to its end")),
            })
        });
        Arc::new(Self {
            cache: TokenCache::builder(credential)
                .runtime(runtime.clone())
                .build(),
            slot: Arc::new(Slot::new(Key {
                audience: Audience::from("api://a"),
                tenant: None,
                claims: None,
            })),
            runtime,
        })
    }

    /// One that holds `token-1`.
    pub(super) fn with_token() -> Arc<Self> {
        let bench = Self::new();
        assert!(matches!(bench.acquire(), Acquired::Wait(_)));
        bench.fly();
        bench
    }

    fn source(&self) -> &Arc<Source> {
        self.cache.source()
    }

    pub(super) fn advance(&self, by: Duration) {
        lock(&self.runtime.0).now += by;
    }

    pub(super) fn current(&self) -> Option<Arc<Entry>> {
        self.slot.current(self.source(), self.cache.now())
    }

    pub(super) fn acquire(&self) -> Acquired {
        self.slot.acquire(self.source(), self.cache.now(), None)
    }

    pub(super) fn renew(&self, refused: &Entry) -> Acquired {
        self.slot.renew(self.source(), refused, self.cache.now())
    }

    /// How many flights there have been.
    pub(super) fn launched(&self) -> usize {
        lock(&self.runtime.0).launched
    }

    pub(super) fn next_task(&self) -> BoxFuture<'static, ()> {
        let task = lock(&self.runtime.0).waiting.pop_front();
        task.expect("a flight is under way")
    }

    /// Lets the oldest flight ask the credential, without an answer as yet. The
    /// pause before the next fetch counts from here.
    pub(super) fn depart(&self) {
        let mut task = self.next_task();
        assert!(poll(&mut task).is_pending());
        lock(&self.runtime.0).waiting.push_front(task);
    }

    /// Lets the oldest flight land.
    pub(super) fn fly(&self) {
        let mut task = self.next_task();
        let landed = poll(&mut task).is_ready() || poll(&mut task).is_ready();
        assert!(landed, "the credential answers at once");
    }

    pub(super) fn fly_all(&self) {
        while !lock(&self.runtime.0).waiting.is_empty() {
            self.fly();
        }
    }

    /// What a caller gets in the end that was given `acquired`. Whoever learns
    /// that a flight was abandoned asks again; whoever learns nothing although
    /// no flight is left was forgotten.
    pub(super) fn settle(&self, acquired: Acquired) -> Result<Arc<Entry>, Error> {
        match acquired {
            Acquired::Ready(entry) => Ok(entry),
            Acquired::Failed(error) => Err(error),
            Acquired::Wait(mut outcome) => match outcome.try_recv() {
                Ok(outcome) => outcome,
                Err(TryRecvError::Empty) => panic!("a waiter was forgotten"),
                Err(TryRecvError::Closed) => {
                    let again = self.acquire();
                    self.fly_all();
                    self.settle(again)
                }
            },
        }
    }
}

fn poll(task: &mut BoxFuture<'static, ()>) -> Poll<()> {
    task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

pub(super) fn in_thread<T: 'static>(
    bench: &Arc<Bench>,
    work: impl FnOnce(&Bench) -> T + 'static,
) -> JoinHandle<T> {
    let bench = Arc::clone(bench);
    thread::spawn(move || work(&bench))
}
