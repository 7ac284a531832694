//! The inner service for layers that ask for a certain error.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use crate::request::{Body, Inner};

pub(crate) struct Fallible<E>(PhantomData<fn() -> E>);

impl<E> Fallible<E> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Clone for Fallible<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<E> Service<Request<Body>> for Fallible<E> {
    type Response = Response<()>;
    type Error = E;
    type Future = Ready<Result<Response<()>, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Ok(response) = Inner.call(request).into_inner();
        ready(Ok(response))
    }
}
