//! The response future: hot while a token is at hand, boxed when it must wait
//! or resend.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::error::BearerAuthError;
use super::replay::ReplayBody;
use crate::authorize::{Acquisition, Authorizer, Renewal, Renewed, Route, Sent};
use crate::challenge::Demand;
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
    Second(Sent, Option<Demand>, Arc<Authorizer>),
}

/// The ways that are not hot.
enum Pause<S, B, R> {
    /// There was no token.
    Acquiring {
        acquisition: Acquisition,
        ready: S,
        request: Request<B>,
        then: Then<S, B>,
    },
    /// The token was refused.
    Renewing {
        renewal: Renewal,
        refusal: Response<R>,
        original: Box<Original<S, B>>,
    },
    /// There is a new token, but the service may be busy.
    Readying {
        service: S,
        request: Request<B>,
        resend: Resend,
    },
    Over,
}

/// What sending the request is, once there is a token.
enum Then<S, B> {
    First(Option<Box<Original<S, B>>>),
    Resend(Resend),
}

/// A second send, and what is to be learned from it.
struct Resend {
    route: Arc<Route>,
    lesson: Option<Demand>,
    authorizer: Arc<Authorizer>,
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

    fn resend<R>(self, renewed: Renewed) -> Pause<S, B, R> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        // A clone that panicked has left the original as it was.
        let service = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Pause::Readying {
            service,
            request,
            resend: Resend {
                route: renewed.route,
                lesson: renewed.lesson,
                authorizer: self.authorizer,
            },
        }
    }
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
            state: State::send(ready, request, sent, Then::First(original)),
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
                    then: Then::First(original),
                }),
            },
        }
    }
}

impl<S, B, R> State<S::Future, S, B, R>
where
    S: Service<Request<B>>,
{
    fn send(ready: &mut S, mut request: Request<B>, sent: Sent, then: Then<S, B>) -> Self {
        let token = sent.header_value();
        request.headers_mut().insert(AUTHORIZATION, token);
        Self::Sending {
            future: ready.call(request),
            watch: match then {
                Then::First(Some(original)) => Watch::First(sent, original),
                Then::First(None) => Watch::Only(sent),
                Then::Resend(resend) => Watch::Second(sent, resend.lesson, resend.authorizer),
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
            Self::Second(sent, lesson, authorizer) => {
                authorizer.answered_resend(&sent, lesson.as_ref(), status);
            }
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
                        then,
                        ..
                    } = self.take()
                    else {
                        continue;
                    };
                    return Poll::Ready(match acquired {
                        Ok(sent) => Resumed::Send(State::send(&mut ready, request, sent, then)),
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
                    *self = original.resend(renewed);
                }
                Self::Readying { service, .. } => {
                    let readied = ready!(service.poll_ready(cx));
                    let Self::Readying {
                        mut service,
                        request,
                        resend,
                    } = self.take()
                    else {
                        continue;
                    };
                    if let Err(error) = readied {
                        let error = BearerAuthError::service(error);
                        return Poll::Ready(Resumed::Done(Err(error)));
                    }
                    // Looked at only now: getting ready may have taken longer
                    // than the new token was good for.
                    let Some(sent) = resend.authorizer.token_at_hand(&resend.route) else {
                        *self = Self::Acquiring {
                            acquisition: resend.authorizer.acquire(Arc::clone(&resend.route)),
                            ready: service,
                            request,
                            then: Then::Resend(resend),
                        };
                        continue;
                    };
                    let then = Then::Resend(resend);
                    let sending = State::send(&mut service, request, sent, then);
                    return Poll::Ready(Resumed::Send(sending));
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
