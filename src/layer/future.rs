//! The response future: hot while a token is at hand, boxed when it must wait
//! or resend.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::error::BearerAuthError;
use super::replay::ReplayBody;
use crate::authorize::{Acquisition, Authorizer, Renewal, Renewed, Sent};
use crate::{BoxError, Error};

pin_project! {
    /// What [`BearerAuth`](crate::BearerAuth) answers with.
    ///
    /// # Cancel safety
    ///
    /// Can be dropped at any time. A token that is being fetched for it is
    /// fetched all the same, for the next request.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S::Future, S, B, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, B, R> {
        Sending { #[pin] future: F, watch: Watch<S, B> },
        Pausing { pause: Box<Pause<S, B, R>> },
        Failed { error: Option<BearerAuthError> },
    }
}

/// What is to be learned from the answer.
enum Watch<S, B> {
    Nothing,
    /// The request is kept for a resend.
    First(Sent, Box<Original<S, B>>),
    /// The request cannot be resent.
    Only(Sent),
    Resend(Renewed, Arc<Authorizer>),
}

/// The ways that are not hot.
enum Pause<S, B, R> {
    /// There was no token.
    Acquiring {
        acquisition: Acquisition,
        ready: S,
        request: Request<B>,
        original: Option<Box<Original<S, B>>>,
    },
    /// The token was refused.
    Renewing {
        renewal: Renewal,
        refusal: Response<R>,
        original: Box<Original<S, B>>,
    },
    /// There is a new token, but the service is busy.
    Readying {
        service: S,
        request: Request<B>,
        renewed: Renewed,
        authorizer: Arc<Authorizer>,
    },
    Over,
}

/// The request as it came, and what sending it again takes.
pub(super) struct Original<S, B> {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: http::Extensions,
    body: B,
    authorizer: Arc<Authorizer>,
    spare: Arc<Mutex<S>>,
}

impl<S: Clone, B> Original<S, B> {
    /// Keeps `request`, if its body can be sent twice.
    pub(super) fn keep(
        request: &Request<B>,
        replay: &impl ReplayBody<B>,
        authorizer: &Arc<Authorizer>,
        spare: &Arc<Mutex<S>>,
    ) -> Option<Box<Self>> {
        let body = replay.replay(request.body())?;
        Some(Box::new(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
            body,
            authorizer: Arc::clone(authorizer),
            spare: Arc::clone(spare),
        }))
    }

    fn resend(self, renewed: Renewed) -> (S, Request<B>, Renewed, Arc<Authorizer>) {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        authorize(&mut request, renewed.sent.header_value());
        // A clone that panicked has left the original as it was.
        let service = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        (service, request, renewed, self.authorizer)
    }
}

fn authorize<B>(request: &mut Request<B>, value: HeaderValue) {
    request.headers_mut().insert(AUTHORIZATION, value);
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    pub(super) fn passing_on(future: S::Future) -> Self {
        Self {
            state: State::Sending {
                future,
                watch: Watch::Nothing,
            },
        }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self {
            state: State::Failed {
                error: Some(BearerAuthError::Token(error)),
            },
        }
    }

    pub(super) fn sending(
        ready: &mut S,
        request: Request<B>,
        sent: Sent,
        original: Option<Box<Original<S, B>>>,
    ) -> Self {
        Self {
            state: State::send(ready, request, sent, original),
        }
    }

    pub(super) fn waiting(
        ready: S,
        request: Request<B>,
        acquisition: Acquisition,
        original: Option<Box<Original<S, B>>>,
    ) -> Self {
        Self {
            state: State::Pausing {
                pause: Box::new(Pause::Acquiring {
                    acquisition,
                    ready,
                    request,
                    original,
                }),
            },
        }
    }
}

impl<S, B, R> State<S::Future, S, B, R>
where
    S: Service<Request<B>>,
{
    fn send(
        ready: &mut S,
        mut request: Request<B>,
        sent: Sent,
        original: Option<Box<Original<S, B>>>,
    ) -> Self {
        authorize(&mut request, sent.header_value());
        Self::Sending {
            future: ready.call(request),
            watch: match original {
                Some(original) => Watch::First(sent, original),
                None => Watch::Only(sent),
            },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<R>, BearerAuthError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Sending { future, watch } => {
                    let response = ready!(future.poll(cx)).map_err(BearerAuthError::service)?;
                    let watch = std::mem::replace(watch, Watch::Nothing);
                    match watch.answered(response) {
                        Answer::Final(response) => return Poll::Ready(Ok(response)),
                        Answer::Renew(pause) => State::Pausing { pause },
                    }
                }
                StateProj::Pausing { pause } => match ready!(pause.poll(cx)) {
                    Resumed::Send(state) => state,
                    Resumed::Done(result) => return Poll::Ready(result),
                },
                StateProj::Failed { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    // Polled after it was done.
                    None => return Poll::Pending,
                },
            };
            // Drops the first answer's future before anything else is done, so
            // that a place it may hold in a limited service is free again.
            state.set(next);
        }
    }
}

enum Answer<S, B, R> {
    Final(Response<R>),
    Renew(Box<Pause<S, B, R>>),
}

impl<S, B> Watch<S, B> {
    fn answered<R>(self, response: Response<R>) -> Answer<S, B, R> {
        let status = response.status();
        match self {
            Self::First(sent, original) if status == StatusCode::UNAUTHORIZED => {
                return Answer::Renew(Box::new(Pause::Renewing {
                    renewal: original.authorizer.renew(&sent, response.headers()),
                    refusal: response,
                    original,
                }));
            }
            Self::First(sent, _) | Self::Only(sent) => Authorizer::answered(&sent, status),
            Self::Resend(renewed, authorizer) => authorizer.answered_resend(renewed, status),
            Self::Nothing => {}
        }
        Answer::Final(response)
    }
}

enum Resumed<F, S, B, R> {
    Send(State<F, S, B, R>),
    Done(Result<Response<R>, BearerAuthError>),
}

impl<S, B, R> Pause<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Resumed<S::Future, S, B, R>> {
        loop {
            match self {
                Self::Acquiring { acquisition, .. } => {
                    let acquired = ready!(Pin::new(acquisition).poll(cx));
                    let Self::Acquiring {
                        mut ready,
                        request,
                        original,
                        ..
                    } = self.take()
                    else {
                        continue;
                    };
                    return Poll::Ready(match acquired {
                        Ok(sent) => Resumed::Send(State::send(&mut ready, request, sent, original)),
                        Err(error) => Resumed::Done(Err(BearerAuthError::Token(error))),
                    });
                }
                Self::Renewing { renewal, .. } => {
                    let renewed = ready!(Pin::new(renewal).poll(cx));
                    let Self::Renewing {
                        refusal, original, ..
                    } = self.take()
                    else {
                        continue;
                    };
                    let Some(renewed) = renewed else {
                        return Poll::Ready(Resumed::Done(Ok(refusal)));
                    };
                    // Frees the connection for the resend.
                    drop(refusal);
                    let (service, request, renewed, authorizer) = original.resend(renewed);
                    *self = Self::Readying {
                        service,
                        request,
                        renewed,
                        authorizer,
                    };
                }
                Self::Readying { service, .. } => {
                    let readied = ready!(service.poll_ready(cx));
                    let Self::Readying {
                        mut service,
                        request,
                        renewed,
                        authorizer,
                    } = self.take()
                    else {
                        continue;
                    };
                    return Poll::Ready(match readied {
                        Ok(()) => Resumed::Send(State::Sending {
                            future: service.call(request),
                            watch: Watch::Resend(renewed, authorizer),
                        }),
                        Err(error) => Resumed::Done(Err(BearerAuthError::service(error))),
                    });
                }
                Self::Over => return Poll::Pending,
            }
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Over)
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
