//! A service that holds whoever calls it to tower's contract, and a server
//! behind it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;
use tower_bearer::{BoxError, BoxFuture};

/// Where all clones of a [`Probe`] keep count of their reservations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book(Arc<Mutex<Counts>>);

/// Made by `poll_ready`, used by `call`, or given back unused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) made: usize,
    pub(crate) used: usize,
    pub(crate) given_back: usize,
}

impl Book {
    pub(crate) fn counts(&self) -> Counts {
        *self.0.lock().unwrap()
    }

    /// Reservations that somebody still has.
    pub(crate) fn held(&self) -> usize {
        let counts = self.counts();
        counts.made - counts.used - counts.given_back
    }
}

/// The right to one call.
#[derive(Debug)]
struct Reservation {
    book: Book,
    used: bool,
}

impl Reservation {
    fn make(book: &Book) -> Self {
        book.0.lock().unwrap().made += 1;
        Self {
            book: book.clone(),
            used: false,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut counts = self.book.0.lock().unwrap();
        if self.used {
            counts.used += 1;
        } else {
            counts.given_back += 1;
        }
    }
}

/// Panics when it is called without having been polled ready, each clone for
/// itself, when it is used after it could not get ready, and when an answer is
/// polled for again.
#[derive(Debug)]
pub(crate) struct Probe<S> {
    inner: S,
    book: Book,
    reluctant: bool,
    asked: bool,
    failed: bool,
    reservation: Option<Reservation>,
}

impl<S> Probe<S> {
    pub(crate) fn new(inner: S, book: &Book) -> Self {
        Self {
            inner,
            book: book.clone(),
            reluctant: false,
            asked: false,
            failed: false,
            reservation: None,
        }
    }

    /// Is ready only when it is polled a second time.
    pub(crate) fn reluctant(mut self) -> Self {
        self.reluctant = true;
        self
    }
}

impl<S: Clone> Clone for Probe<S> {
    fn clone(&self) -> Self {
        Self {
            reluctant: self.reluctant,
            ..Self::new(self.inner.clone(), &self.book)
        }
    }
}

impl<S: Service<R>, R> Service<R> for Probe<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Once<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        assert!(!self.failed, "polled after it could not get ready");
        if self.reservation.is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.reluctant && !std::mem::replace(&mut self.asked, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = ready!(self.inner.poll_ready(cx));
        self.failed = polled.is_err();
        polled?;
        self.asked = false;
        self.reservation = Some(Reservation::make(&self.book));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let reservation = self.reservation.take();
        let mut reservation = reservation.expect("called before it was ready");
        reservation.used = true;
        Once(Some(Box::pin(self.inner.call(request))))
    }
}

/// Panics when it is polled after it has answered.
pub(crate) struct Once<F>(Option<Pin<Box<F>>>);

impl<F: Future> Future for Once<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.0.as_mut().expect("polled after it had answered");
        let output = ready!(future.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

/// Accepts `token-<n>` from a number on, after a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    least: Arc<AtomicUsize>,
    latency: Duration,
    never_ready: Arc<AtomicBool>,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    Fails,
}

impl Server {
    pub(crate) fn taking(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// Refuses tokens below this number.
    pub(crate) fn accept_from(&self, number: usize) {
        self.least.store(number, Ordering::SeqCst);
    }

    /// The next requests; those after them are answered.
    pub(crate) fn expect(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    pub(crate) fn fail_to_get_ready(&self) {
        self.never_ready.store(true, Ordering::SeqCst);
    }

    /// All requests from now on are answered.
    pub(crate) fn recover(&self) {
        self.never_ready.store(false, Ordering::SeqCst);
        self.fates.lock().unwrap().clear();
    }

    /// The `Authorization` of each request since it was last asked for.
    pub(crate) fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn accepts(&self, token: &str) -> bool {
        let number = token.strip_prefix("Bearer token-");
        let number = number.and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| number >= self.least.load(Ordering::SeqCst))
    }
}

impl<B> Service<Request<B>> for Server {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.never_ready.load(Ordering::SeqCst) {
            return Poll::Ready(Err("not ready".into()));
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let token = request.headers().get(AUTHORIZATION);
        let token = token.map_or("", |value| value.to_str().unwrap()).to_owned();
        let mut response = Response::new(Full::default());
        if !self.accepts(&token) {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        self.seen.lock().unwrap().push(token);
        let fate = self.fates.lock().unwrap().pop_front();
        let latency = self.latency;
        Box::pin(async move {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            match fate {
                Some(Fate::Fails) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
                _ => Ok(response),
            }
        })
    }
}
