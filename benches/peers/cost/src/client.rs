//! What is measured: something that sends requests.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};

use http::Request;
use tower::Service;

use crate::FULL;
use crate::request::{Body, request};
use crate::rounds::{BATCH, nanoseconds};

/// Sends requests of its own type.
pub(crate) trait Client: Clone + Send + 'static {
    type Request: Send + 'static;

    /// A request whose header map has room for so many headers.
    fn request(capacity: usize) -> Self::Request;

    /// Sends it by handing a future to `run`.
    fn send(&mut self, request: Self::Request, run: &impl Run);

    /// Does what is done once, and not for each request, apart from what is
    /// counted.
    fn warm_up(&mut self) {
        for _ in 0..16 {
            self.send(Self::request(FULL), &Parking::here());
        }
    }
}

/// Drives the future of one request.
pub(crate) trait Run {
    fn run<F: Future>(&self, future: F);
}

/// Expects the answer at the first poll: the token is at hand and nobody else
/// asks for it.
struct AtOnce;

impl Run for AtOnce {
    fn run<F: Future>(&self, future: F) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            pin!(future).poll(&mut cx).is_ready(),
            "it waits, though its token is at hand"
        );
    }
}

/// Sleeps until it is woken: other threads may hold the library's lock.
struct Parking {
    waker: Waker,
    has_slept: Cell<bool>,
}

impl Parking {
    fn here() -> Self {
        struct Unpark(Thread);

        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }

            fn wake_by_ref(self: &Arc<Self>) {
                self.0.unpark();
            }
        }

        Self {
            waker: Waker::from(Arc::new(Unpark(thread::current()))),
            has_slept: Cell::new(false),
        }
    }
}

impl Run for Parking {
    fn run<F: Future>(&self, future: F) {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(&self.waker);
        while future.as_mut().poll(&mut cx).is_pending() {
            self.has_slept.set(true);
            thread::park();
        }
    }
}

/// What callgrind counts the instructions of.
#[inline(never)]
fn measured<C: Client>(client: &mut C, request: C::Request, run: &impl Run) {
    client.send(request, run);
}

/// A [`Client`] whose type is forgotten.
pub trait Subject: Send {
    /// Nanoseconds of one call, over one batch.
    fn time(&mut self, capacity: usize) -> f64;

    /// Makes so many requests. Sends them when the returned function is called.
    fn prepare<'a>(&'a mut self, capacity: usize, count: usize) -> Box<dyn FnOnce() + 'a>;

    /// The same where other threads use the same token. The function says whether
    /// it had to sleep until a lock was free.
    fn prepare_beside_others<'a>(
        &'a mut self,
        capacity: usize,
        count: usize,
    ) -> Box<dyn FnOnce() -> bool + 'a>;

    fn another(&self) -> Box<dyn Subject>;
}

impl<C: Client> Subject for C {
    fn time(&mut self, capacity: usize) -> f64 {
        let requests: Vec<_> = (0..BATCH).map(|_| C::request(capacity)).collect();
        nanoseconds(requests, |request| measured(self, request, &AtOnce))
    }

    fn prepare<'a>(&'a mut self, capacity: usize, count: usize) -> Box<dyn FnOnce() + 'a> {
        let requests: Vec<_> = (0..count).map(|_| C::request(capacity)).collect();
        Box::new(move || {
            for request in requests {
                measured(self, request, &AtOnce);
            }
        })
    }

    fn prepare_beside_others<'a>(
        &'a mut self,
        capacity: usize,
        count: usize,
    ) -> Box<dyn FnOnce() -> bool + 'a> {
        let requests: Vec<_> = (0..count).map(|_| C::request(capacity)).collect();
        let parking = Parking::here();
        Box::new(move || {
            for request in requests {
                measured(self, request, &parking);
            }
            parking.has_slept.get()
        })
    }

    fn another(&self) -> Box<dyn Subject> {
        Box::new(self.clone())
    }
}

/// A tower service as a client.
#[derive(Clone)]
pub(crate) struct Tower<S>(pub(crate) S);

impl<S> Client for Tower<S>
where
    S: Service<Request<Body>> + Clone + Send + 'static,
{
    type Request = Request<Body>;

    fn request(capacity: usize) -> Request<Body> {
        request(capacity)
    }

    fn send(&mut self, request: Request<Body>, run: &impl Run) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.0.poll_ready(&mut cx).is_ready());
        run.run(self.0.call(request));
    }
}
