//! What becomes of fetches whose runtime is another, stops, or goes away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/issuer.rs"]
mod issuer;
#[path = "support/loopback.rs"]
mod loopback;

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use issuer::{DUE, GRAPH, VAULT, at_once, issuer, settle, token, token_at_once};
use loopback::in_own_process;
use tokio::time::{advance, sleep, timeout};
use tower_bearer::testing::ManualRuntime;
use tower_bearer::{BoxFuture, Error, ErrorKind, Runtime, Timestamp, TokenCache, TokioRuntime};

fn single_threaded() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Runs `test` in the time that a busy machine needs, or fails.
fn without_hanging(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        test();
        done.send(()).unwrap();
    });
    match finished.recv_timeout(Duration::from_secs(60)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        _ => test.join().unwrap(),
    }
}

#[test]
fn r26_a_runtime_that_shuts_down_during_refreshes_harms_nobody() {
    without_hanging(|| {
        const KEYS: usize = 30;
        let key = |kind: &str, number: usize| format!("api://{kind}-{number}");
        let stuck = Arc::new(AtomicBool::new(false));
        let is_stuck = Arc::clone(&stuck);
        let (credential, calls) = issuer(move |number, _| {
            let stuck = is_stuck.load(Ordering::SeqCst);
            async move {
                // Half of them wait, and half are running whenever they can.
                match (stuck, number % 2) {
                    (true, 0) => pending().await,
                    (true, _) => loop {
                        tokio::task::yield_now().await;
                    },
                    _ => token(number),
                }
            }
        });
        let clock = ManualRuntime::new();
        let tokens = TokenCache::builder(credential)
            .runtime(clock.clone())
            .max_concurrency(2 * KEYS)
            .build();
        let doomed = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        doomed.block_on(async {
            for number in 0..KEYS {
                tokens.token(key("due", number)).await.unwrap();
            }
            stuck.store(true, Ordering::SeqCst);
            clock.advance(DUE);
            for number in 0..KEYS {
                assert!(token_at_once(&tokens, &key("due", number)).is_some());
                assert!(at_once(tokens.token(key("new", number))).is_none());
            }
            while calls.count() < 3 * KEYS {
                tokio::task::yield_now().await;
            }
        });
        let other = single_threaded();
        other.block_on(async {
            let waiting: Vec<_> = (0..KEYS)
                .map(|number| {
                    let (tokens, key) = (tokens.clone(), key("new", number));
                    tokio::spawn(async move { tokens.token(key).await })
                })
                .collect();
            settle().await;
            stuck.store(false, Ordering::SeqCst);
            std::thread::spawn(move || drop(doomed)).join().unwrap();
            for number in 0..KEYS {
                assert!(token_at_once(&tokens, &key("due", number)).is_some());
            }
            // Fetches for a key start a second apart.
            clock.run_for(Duration::from_secs(1)).await;
            for caller in waiting {
                assert!(caller.await.unwrap().is_ok());
            }
        });
        assert_eq!(calls.count(), 5 * KEYS);
        assert_eq!(clock.live_tasks(), 0);
    });
}

#[test]
fn r28_threads_with_a_runtime_each_share_one_fetch() {
    without_hanging(|| {
        const THREADS: usize = 8;
        let asked = Arc::new(AtomicUsize::new(0));
        let all_asked = Arc::clone(&asked);
        let (credential, calls) = issuer(move |number, _| {
            let asked = Arc::clone(&all_asked);
            async move {
                while asked.load(Ordering::SeqCst) < THREADS {
                    tokio::task::yield_now().await;
                }
                token(number)
            }
        });
        let tokens = TokenCache::new(credential);
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (tokens, asked) = (tokens.clone(), Arc::clone(&asked));
                std::thread::spawn(move || {
                    single_threaded().block_on(async {
                        let mut waiting = std::pin::pin!(tokens.token(VAULT));
                        assert!(at_once(waiting.as_mut()).is_none());
                        asked.fetch_add(1, Ordering::SeqCst);
                        waiting.await
                    })
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap().secret(), "token-1");
        }
        assert_eq!(calls.count(), 1);
    });
}

#[test]
fn r28_a_fetch_whose_runtime_dies_is_taken_over_by_another_runtime() {
    let (credential, calls) = issuer(|number, _| async move {
        if number == 1 {
            pending::<()>().await;
        }
        token(number)
    });
    let tokens = TokenCache::new(credential);
    let paused = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = paused();
    first.block_on(async {
        let waiting = timeout(Duration::from_millis(1), tokens.token(VAULT)).await;
        assert!(waiting.is_err());
    });
    let second = paused();
    second.block_on(async {
        let waiting = tokio::spawn({
            let tokens = tokens.clone();
            async move { tokens.token(VAULT).await }
        });
        settle().await;
        std::thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().secret(), "token-2");
    });
    assert_eq!(calls.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn r28_a_fetch_on_a_runtime_that_nobody_drives_is_given_up() {
    let (credential, calls) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let parked = std::thread::spawn({
        let tokens = tokens.clone();
        move || {
            let runtime = single_threaded();
            runtime.block_on(async {
                assert!(at_once(tokens.token(VAULT)).is_none());
            });
            runtime
        }
    })
    .join()
    .unwrap();
    advance(Duration::from_secs(130)).await;
    assert!(tokens.token(VAULT).await.is_ok());
    assert_eq!(calls.count(), 1, "the first one never ran");
    parked.shutdown_background();
}

#[test]
fn outside_of_a_runtime_the_error_says_what_to_do() {
    let (credential, _) = issuer(|number, _| async move { token(number) });
    let tokens = TokenCache::new(credential);
    let error = at_once(tokens.token(VAULT))
        .expect("nobody waits")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("Tokio runtime"), "{error}");
}

/// Keeps tasks from running while it is told to.
#[derive(Clone, Debug, Default)]
struct Parking {
    on: Arc<AtomicBool>,
    parked: Arc<Mutex<Vec<ParkedTask>>>,
}

struct ParkedTask(#[allow(dead_code, reason = "held")] Mutex<BoxFuture<'static, ()>>);

impl std::fmt::Debug for ParkedTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ParkedTask")
    }
}

impl Runtime for Parking {
    fn now(&self) -> Timestamp {
        TokioRuntime::new().now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        TokioRuntime::new().sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        if self.on.load(Ordering::SeqCst) {
            let task = ParkedTask(Mutex::new(task));
            self.parked.lock().unwrap().push(task);
            return Ok(());
        }
        TokioRuntime::new().spawn(task)
    }

    fn random(&self) -> u64 {
        TokioRuntime::new().random()
    }
}

#[tokio::test(start_paused = true)]
async fn r28_a_background_refresh_that_nobody_drives_does_not_end_refreshing_ahead() {
    let (credential, _) = issuer(|number, _| async move {
        sleep(Duration::from_secs(1)).await;
        token(number)
    });
    let parking = Parking::default();
    let tokens = TokenCache::builder(credential)
        .runtime(parking.clone())
        .build();
    tokens.token(VAULT).await.unwrap();
    advance(DUE).await;
    parking.on.store(true, Ordering::SeqCst);
    tokens.token(VAULT).await.unwrap();
    assert_eq!(parking.parked.lock().unwrap().len(), 1);
    parking.on.store(false, Ordering::SeqCst);
    for _ in 0..1100 {
        advance(Duration::from_secs(1)).await;
        settle().await;
        assert!(token_at_once(&tokens, VAULT).is_some());
    }
}

#[cfg(unix)]
#[test]
fn r44_a_forked_child_reads_the_cache_and_refreshes_on_a_runtime_of_its_own() {
    in_own_process("child_forks", &[]);
}

#[cfg(unix)]
#[test]
#[ignore = "run in a process of its own, by the test above"]
fn child_forks() {
    let clock = ManualRuntime::new();
    let (credential, _) = issuer(|number, _| async move {
        if number == 2 {
            pending::<()>().await;
        }
        token(number)
    });
    let tokens = TokenCache::builder(credential)
        .runtime(clock.clone())
        .build();
    let runtime = single_threaded();
    runtime.block_on(async {
        tokens.token(VAULT).await.unwrap();
        assert!(at_once(tokens.token(GRAPH)).is_none());
        clock.settle().await;
        assert_eq!(clock.live_tasks(), 1);
    });
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            // On a thread, so that nothing of the test harness runs on in here.
            let child = std::thread::spawn(move || {
                without_hanging(move || use_what_was_inherited(&tokens, &clock));
            });
            std::process::exit(i32::from(child.join().is_err()));
        }
        fork::Fork::Parent(child) => assert_eq!(fork::waitpid(child).unwrap(), 0),
    }
    // The parent is none the worse for it.
    runtime.block_on(async {
        assert!(token_at_once(&tokens, VAULT).is_some());
        clock.advance(DUE);
        assert!(token_at_once(&tokens, VAULT).is_some());
        clock.settle().await;
        assert_eq!(token_at_once(&tokens, VAULT).unwrap().secret(), "token-3");
    });
}

#[cfg(unix)]
fn use_what_was_inherited(tokens: &TokenCache, clock: &ManualRuntime) {
    single_threaded().block_on(async {
        assert_eq!(token_at_once(tokens, VAULT).unwrap().secret(), "token-1");
        // The other fetch was under way, in a process that this is not. It is
        // given up when it would have run out of time.
        let waiting = tokio::spawn({
            let tokens = tokens.clone();
            async move { tokens.token(GRAPH).await }
        });
        clock.run_for(Duration::from_secs(125)).await;
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        clock.advance(Duration::from_secs(1));
        assert_eq!(tokens.token(GRAPH).await.unwrap().secret(), "token-3");

        clock.advance(DUE);
        assert!(token_at_once(tokens, VAULT).is_some());
        clock.settle().await;
        assert_eq!(token_at_once(tokens, VAULT).unwrap().secret(), "token-4");
    });
}
