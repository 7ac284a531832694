//! The response future: hot while a token is at hand, boxed when it must wait
//! or resend.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::error::BearerAuthError;
use super::kept::KeptHead;
use super::replay::ReplayBody;
use super::service::{Core, Used};
use crate::authorize::{Acquisition, Authorizer, Lesson, Renewal, Sent};
use crate::cache::Slot;
use crate::{BoxError, Error, Origin};

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
    First(Used<S>, Original<B>),
    /// The request cannot be resent.
    Only(Used<S>),
    Second(Sent, Option<Lesson>, Arc<Authorizer>),
}

/// The ways that are not hot.
#[allow(clippy::large_enum_variant, reason = "boxed as a whole")]
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
        again: Request<B>,
        core: Arc<Core<S>>,
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
    First(Arc<Core<S>>, Option<Original<B>>),
    Resend(Resend),
}

/// A second send, and what is to be learned from it.
struct Resend {
    slot: Arc<Slot>,
    lesson: Option<Lesson>,
    authorizer: Arc<Authorizer>,
}

/// The request as it came.
pub(super) struct Original<B> {
    head: KeptHead,
    body: B,
}

impl<B> Original<B> {
    /// Keeps `request`, if its body can be sent twice.
    #[inline]
    pub(super) fn keep(request: &Request<B>, replay: &impl ReplayBody<B>) -> Option<Self> {
        Some(Self {
            body: replay.replay(request.body())?,
            head: KeptHead::of(request),
        })
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

    /// After the request has been sent.
    #[inline]
    pub(super) fn sent(future: S::Future, used: Used<S>, original: Option<Original<B>>) -> Self {
        Self {
            state: State::Sending {
                future,
                watch: Watch::for_answer(used, original),
            },
        }
    }

    pub(super) fn sending(
        ready: &mut S,
        mut request: Request<B>,
        used: Used<S>,
        original: Option<Original<B>>,
    ) -> Self {
        let token = used.sent().header_value();
        request.headers_mut().insert(AUTHORIZATION, token);
        Self::sent(ready.call(request), used, original)
    }

    pub(super) fn waiting(
        ready: S,
        request: Request<B>,
        acquisition: Acquisition,
        core: Arc<Core<S>>,
        original: Option<Original<B>>,
    ) -> Self {
        Self {
            state: State::Pausing {
                pause: Box::new(Pause::Acquiring {
                    acquisition,
                    ready,
                    request,
                    then: Then::First(core, original),
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
                Then::First(core, original) => Watch::for_answer(Used::Parts(sent, core), original),
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
                    let response = match ready!(future.poll(cx)) {
                        Ok(response) => response,
                        Err(error) => return Poll::Ready(Err(BearerAuthError::service(error))),
                    };
                    let refused = response.status() == StatusCode::UNAUTHORIZED;
                    if !refused {
                        watch.learn(response.status());
                        return Poll::Ready(Ok(response));
                    }
                    match std::mem::replace(watch, Watch::Nothing).refused(response) {
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
    #[inline]
    fn for_answer(used: Used<S>, original: Option<Original<B>>) -> Self {
        match original {
            Some(original) => Self::First(used, original),
            None => Self::Only(used),
        }
    }

    /// Takes in how the server liked the token.
    fn learn(&self, status: StatusCode) {
        match self {
            Self::First(used, _) | Self::Only(used) => Authorizer::answered(used.sent(), status),
            Self::Second(sent, lesson, authorizer) => {
                authorizer.answered_resend(sent, lesson.as_ref(), status);
            }
            Self::Nothing => {}
        }
    }

    /// What to do about a 401.
    #[cold]
    fn refused<R>(self, response: Response<R>) -> Answer<S, B, R> {
        self.learn(response.status());
        match self {
            Self::First(used, Original { head, body }) => {
                let core = Arc::clone(used.core());
                let again = head.restore(body);
                let renewal = again.as_ref().and_then(|again| {
                    let origin = Origin::of(again.uri()).ok()?;
                    core.authorizer
                        .renew(&origin, used.sent(), response.headers())
                });
                if let (Some(again), Some(renewal)) = (again, renewal) {
                    return Answer::Renew(Box::new(Pause::Renewing {
                        renewal,
                        refusal: response,
                        again,
                        core,
                    }));
                }
                core.authorizer.replace(used.sent());
            }
            // For the next request: where no body can be sent twice, nothing
            // else would ever replace the token before it is due.
            Self::Only(used) => used.core().authorizer.replace(used.sent()),
            Self::Nothing | Self::Second(..) => {}
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
                        refusal,
                        again,
                        core,
                        ..
                    } = self.take()
                    else {
                        continue;
                    };
                    let Some(renewed) = renewed else {
                        return Poll::Ready(Resumed::Done(Ok(refusal)));
                    };
                    // Frees the connection for the resend.
                    drop(refusal);
                    *self = Self::Readying {
                        service: core.spare(),
                        request: again,
                        resend: Resend {
                            slot: renewed.slot,
                            lesson: renewed.lesson,
                            authorizer: Arc::clone(&core.authorizer),
                        },
                    };
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
                    let now = resend.authorizer.now();
                    let Some(sent) = resend.authorizer.at_hand(&resend.slot, now) else {
                        *self = Self::Acquiring {
                            acquisition: resend.authorizer.acquire(Arc::clone(&resend.slot)),
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
