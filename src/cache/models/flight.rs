//! Whole flights behind the public face, in random orders of every step of
//! callers, flights and whoever disturbs them.
//!
//! A caller that nobody wakes is a deadlock, which the checker reports.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::time::Duration;

use shuttle::future::spawn;
use shuttle::scheduler::DfsScheduler;
use tokio::sync::oneshot;

use super::bench::{Bench, Calls, VAULT, explore, poll_once, run, token};
use super::checked_runtime::PAUSE;
use super::lock;
use crate::{Error, ErrorKind, TokenRequest, credential_fn};

const GRAPH: &str = "https://graph.microsoft.com";

/// Longer than a flight may take.
const STUCK: Duration = Duration::from_secs(126);

/// Past the refresh point of a token of one hour, before its end.
const DUE: Duration = Duration::from_secs(2000);

#[test]
fn r22_callers_may_leave_at_any_point_and_all_others_are_served_by_one_fetch() {
    explore("callers leave", 100_000, async |runtime| {
        let bench = Bench::new(runtime, token);
        let callers = bench.callers::<4>();
        bench.runtime.cancel(&callers[..2]);
        for (number, caller) in callers.into_iter().enumerate() {
            match caller.await {
                Ok(outcome) => assert_eq!(outcome.unwrap().secret(), "token-1"),
                Err(_) => assert!(number < 2, "nobody cancelled this one"),
            }
        }
        let later = bench.succeeds_after(Duration::ZERO).await;
        assert_eq!(later.secret(), "token-1");
        assert_eq!(bench.calls.all(), 1);
    });
}

/// From the moment at which the credential has been asked: of all orders from the
/// first call on there are too many.
#[test]
fn r22_every_order_in_which_a_caller_leaves_while_the_token_lands() {
    const MOST: usize = 4_000_000;
    let scheduler = DfsScheduler::new(Some(MOST), false);
    let what = "a caller leaves while the token lands, in every order";
    let orders = run(what, scheduler, async |runtime| {
        let (asked, was_asked) = oneshot::channel::<()>();
        let (answer, answered) = oneshot::channel::<()>();
        let first = Mutex::new(Some((asked, answered)));
        let calls = Calls::default();
        let counted = calls.clone();
        let credential = credential_fn(move |_| {
            let (number, _under_way) = counted.begin();
            let first = lock(&first).take();
            async move {
                if let Some((asked, answered)) = first {
                    drop(asked);
                    drop(answered.await);
                }
                token(number)
            }
        });
        let bench = Bench::with(runtime, credential, calls);
        let waiting = || {
            let tokens = bench.tokens.clone();
            poll_once(async move { tokens.token(VAULT).await })
        };
        let leaving = waiting();
        drop(was_asked.await);
        let staying = waiting();
        bench.runtime.meanwhile(async move { drop(leaving) });
        drop(answer);
        // Not before the end, so that it adds no orders.
        bench.runtime.idle().await;
        assert_eq!(staying.await.unwrap().secret(), "token-1");
        bench.succeeds_after(Duration::ZERO).await;
        assert_eq!(bench.calls.all(), 1);
    });
    assert!(orders < MOST, "not every order");
}

#[test]
fn r02_readers_at_the_refresh_point_make_one_fetch_however_long_it_takes() {
    explore("readers find their token due", 0, async |runtime| {
        let bench = Bench::new(runtime, token);
        bench.succeeds_after(Duration::ZERO).await;
        bench.runtime.advance(DUE);
        let readers = bench.callers::<3>();
        let runtime = bench.runtime.clone();
        bench
            .runtime
            .meanwhile(async move { runtime.advance(5 * PAUSE) });
        for reader in readers {
            assert!(reader.await.unwrap().is_ok());
        }
        bench.runtime.idle().await;
        assert_eq!(bench.calls.all(), 2);
        let newest = bench.succeeds_after(Duration::ZERO).await;
        assert_eq!(newest.secret(), "token-2");
    });
}

#[test]
fn r26_r28_callers_of_flights_that_are_dropped_get_a_token_from_the_next() {
    explore("flights are dropped", 0, async |runtime| {
        let bench = Bench::new(runtime, token);
        bench.runtime.keep_time();
        let callers = bench.callers::<3>();
        bench.runtime.cancel(&callers[..1]);
        for _ in 0..2 {
            let runtime = bench.runtime.clone();
            bench.runtime.meanwhile(async move { runtime.drop_tasks() });
        }
        for (number, caller) in callers.into_iter().enumerate() {
            match caller.await {
                Ok(outcome) => assert!(outcome.is_ok()),
                Err(_) => assert_eq!(number, 0),
            }
        }
        bench.succeeds_after(PAUSE).await;
        assert_eq!(bench.calls.most(), 1, "one fetch at a time");
        assert!(bench.calls.all() <= 3);
    });
}

#[test]
fn r23_a_panic_is_everybodys_error_and_the_next_fetch_is_fine() {
    explore("the credential panics", 0, async |runtime| {
        let bench = Bench::new(runtime, |number| match number {
            // Without the message that a panic prints.
            1 => resume_unwind(Box::new("the credential's fault")),
            _ => token(number),
        });
        let callers = bench.callers::<3>();
        bench.runtime.cancel(&callers[..1]);
        for (number, caller) in callers.into_iter().enumerate() {
            match caller.await {
                Ok(outcome) => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Aborted),
                Err(_) => assert_eq!(number, 0),
            }
        }
        assert_eq!(bench.calls.all(), 1);
        bench.succeeds_after(PAUSE).await;
        assert_eq!(bench.calls.all(), 2);
    });
}

#[test]
fn r08_a_failure_is_shared_and_the_next_fetch_waits_for_its_end() {
    explore("a fetch fails", 0, async |runtime| {
        let bench = Bench::new(runtime, |number| match number {
            1 => Err(Error::new(ErrorKind::Unreachable, "down")),
            _ => token(number),
        });
        let callers = bench.callers::<3>();
        bench.runtime.cancel(&callers[..1]);
        for (number, caller) in callers.into_iter().enumerate() {
            match caller.await {
                Ok(outcome) => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unreachable),
                Err(_) => assert_eq!(number, 0),
            }
        }
        assert_eq!(bench.calls.all(), 1);
        bench.succeeds_after(PAUSE).await;
        assert_eq!(bench.calls.all(), 2);
    });
}

#[test]
fn r09_an_authority_that_asks_for_quiet_gets_it_from_every_key() {
    explore("two keys are throttled", 0, async |runtime| {
        let bench = Bench::new(runtime, |_| {
            Err(Error::new(ErrorKind::Throttled, "later").with_retry_after(60 * PAUSE))
        });
        let callers = [VAULT, GRAPH].map(|audience| bench.caller(TokenRequest::new(audience)));
        for caller in callers {
            let error = caller.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Throttled);
        }
        // Each may have started before the other was refused.
        let before = bench.calls.all();
        assert!(before <= 2);
        bench.runtime.advance(59 * PAUSE);
        for audience in [VAULT, GRAPH] {
            assert!(bench.tokens.token(audience).await.is_err());
        }
        assert_eq!(bench.calls.all(), before);
    });
}

#[test]
fn r27_i7_the_flight_ends_with_the_last_who_may_want_its_token() {
    explore("the last handle is dropped", 0, async |runtime| {
        let calls = Calls::default();
        let counted = calls.clone();
        let endless = credential_fn(move |_| {
            let calls = counted.clone();
            async move {
                let _under_way = calls.begin();
                pending().await
            }
        });
        let bench = Bench::with(runtime, endless, calls.clone());
        let callers = bench.callers::<3>();
        bench.runtime.cancel(&callers);
        let Bench {
            tokens, runtime, ..
        } = bench;
        drop(tokens);
        for caller in callers {
            assert!(caller.await.is_err(), "no token ever came");
        }
        runtime.idle().await;
        assert_eq!(calls.under_way(), 0);
        assert!(calls.all() <= 1);
    });
}

#[test]
fn r27_callers_that_still_wait_are_served_after_the_last_handle_is_gone() {
    explore("callers outlive the last handle", 0, async |runtime| {
        let Bench {
            tokens,
            runtime,
            calls,
        } = Bench::new(runtime, token);
        let callers = [(); 3].map(|()| {
            let tokens = tokens.clone();
            spawn(async move { tokens.token(VAULT).await })
        });
        drop(tokens);
        runtime.cancel(&callers[..1]);
        for (number, caller) in callers.into_iter().enumerate() {
            match caller.await {
                Ok(outcome) => assert_eq!(outcome.unwrap().secret(), "token-1"),
                Err(_) => assert_eq!(number, 0),
            }
        }
        runtime.idle().await;
        assert_eq!(calls.all(), 1);
    });
}

#[test]
fn r28_a_flight_that_nobody_drives_is_taken_over() {
    explore("a flight is stuck", 0, async |runtime| {
        let bench = Bench::new(runtime, token);
        let callers = bench.callers::<2>();
        let runtime = bench.runtime.clone();
        let tokens = bench.tokens.clone();
        let late = spawn(async move {
            runtime.freeze_tasks().await;
            runtime.advance(STUCK);
            tokens.token(VAULT).await
        });
        assert!(late.await.unwrap().is_ok());
        for caller in callers {
            if let Err(error) = caller.await.unwrap() {
                assert_eq!(error.kind(), ErrorKind::Timeout);
            }
        }
        bench.succeeds_after(PAUSE).await;
        assert!(bench.calls.most() <= 2, "the stuck one, and one at a time");
    });
}

#[test]
fn r35_r36_refusals_of_one_token_are_answered_by_one_fetch() {
    explore("a token is refused", 0, async |runtime| {
        let bench = Bench::new(runtime, token);
        let first = bench.succeeds_after(Duration::ZERO).await;
        bench.runtime.advance(PAUSE);
        let refusals =
            [(); 3].map(|()| bench.caller(TokenRequest::new(VAULT).with_refused(first.clone())));
        bench.runtime.cancel(&refusals[..1]);
        let reader = bench.caller(TokenRequest::new(VAULT));
        for (number, caller) in refusals.into_iter().enumerate() {
            match caller.await {
                Ok(outcome) => assert_eq!(outcome.unwrap().secret(), "token-2"),
                Err(_) => assert_eq!(number, 0),
            }
        }
        assert!(reader.await.unwrap().is_ok());
        assert_eq!(bench.calls.all(), 2);
        assert_eq!(bench.calls.most(), 1);
    });
}
