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
        // `None` while the request is not sent, or not again.
        #[pin]
        answer: Option<S::Future>,
        // `None` if the request was sent as it was.
        used: Option<Used<S>>,
        // The request, if it can be sent again.
        original: Option<Original<B>>,
        pause: Option<Box<Pause<S, B, R>>>,
    }
}

/// What a request was sent with that was sent again.
pub(super) struct Resent {
    pub(super) sent: Sent,
    lesson: Option<Lesson>,
    authorizer: Arc<Authorizer>,
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
    /// No token could be had.
    Failed(BearerAuthError),
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
    /// Keeps `request`, if its body can be sent twice; without its origin
    /// if that is [known](Used::origin).
    #[inline]
    pub(super) fn keep(
        request: &Request<B>,
        replay: &impl ReplayBody<B>,
        origin_is_known: bool,
    ) -> Option<Self> {
        Some(Self {
            body: replay.replay(request.body())?,
            head: KeptHead::of(request, origin_is_known),
        })
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    /// After the request has been sent.
    #[inline]
    pub(super) fn sent(
        answer: S::Future,
        used: Option<Used<S>>,
        original: Option<Original<B>>,
    ) -> Self {
        Self {
            answer: Some(answer),
            used,
            original,
            pause: None,
        }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self::pausing(Pause::Failed(BearerAuthError::Token(error)))
    }

    pub(super) fn waiting(
        ready: S,
        request: Request<B>,
        acquisition: Acquisition,
        core: Arc<Core<S>>,
        original: Option<Original<B>>,
    ) -> Self {
        Self::pausing(Pause::Acquiring {
            acquisition,
            ready,
            request,
            then: Then::First(core, original),
        })
    }

    fn pausing(pause: Pause<S, B, R>) -> Self {
        Self {
            answer: None,
            used: None,
            original: None,
            pause: Some(Box::new(pause)),
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
        let mut this = self.project();
        loop {
            if let Some(answer) = this.answer.as_mut().as_pin_mut() {
                let response = match ready!(answer.poll(cx)) {
                    Ok(response) => response,
                    Err(error) => return Poll::Ready(Err(BearerAuthError::service(error))),
                };
                if let Some(used) = this.used {
                    used.answered(response.status());
                }
                if response.status() != StatusCode::UNAUTHORIZED {
                    return Poll::Ready(Ok(response));
                }
                match refused(this.used.take(), this.original.take(), response) {
                    Answer::Final(response) => return Poll::Ready(Ok(response)),
                    Answer::Renew(pause) => *this.pause = Some(pause),
                }
                // Before anything else is done, so that a place that it may
                // hold in a limited service is free again.
                this.answer.set(None);
            }
            let Some(pause) = this.pause else {
                // There is always one of the two.
                return Poll::Pending;
            };
            match ready!(pause.poll(cx)) {
                Resumed::Sent(answer, used, original) => {
                    this.answer.set(Some(answer));
                    (*this.used, *this.original) = (Some(used), original);
                    *this.pause = None;
                }
                Resumed::Done(result) => return Poll::Ready(result),
            }
        }
    }
}

enum Answer<S, B, R> {
    Final(Response<R>),
    Renew(Box<Pause<S, B, R>>),
}

/// What to do about a 401.
#[cold]
fn refused<S, B, R>(
    used: Option<Used<S>>,
    original: Option<Original<B>>,
    response: Response<R>,
) -> Answer<S, B, R> {
    let Some(used) = used else {
        return Answer::Final(response);
    };
    let Some(core) = used.core() else {
        return Answer::Final(response);
    };
    let again = original.and_then(|Original { head, body }| head.restore(used.origin(), body));
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
            core: Arc::clone(core),
        }));
    }
    // For the next request: where no body can be sent twice, nothing else
    // would ever replace the token before it is due.
    core.authorizer.replace(used.sent());
    Answer::Final(response)
}

impl Resent {
    pub(super) fn answered(&self, status: StatusCode) {
        self.authorizer
            .answered_resend(&self.sent, self.lesson.as_ref(), status);
    }
}

enum Resumed<F, S, B, R> {
    Sent(F, Used<S>, Option<Original<B>>),
    Done(Result<Response<R>, BearerAuthError>),
}

impl<S, B, R> Pause<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    #[cold]
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
                        Ok(sent) => Self::send(&mut ready, request, sent, then),
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
                    return Poll::Ready(Self::send(&mut service, request, sent, then));
                }
                Self::Failed(_) => {
                    let Self::Failed(error) = self.take() else {
                        continue;
                    };
                    return Poll::Ready(Resumed::Done(Err(error)));
                }
                Self::Over => return Poll::Pending,
            }
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Over)
    }

    fn send(
        ready: &mut S,
        mut request: Request<B>,
        sent: Sent,
        then: Then<S, B>,
    ) -> Resumed<S::Future, S, B, R> {
        let token = sent.header_value();
        request.headers_mut().insert(AUTHORIZATION, token);
        let answer = ready.call(request);
        match then {
            Then::First(core, original) => Resumed::Sent(answer, Used::Parts(sent, core), original),
            Then::Resend(resend) => {
                let resent = Resent {
                    sent,
                    lesson: resend.lesson,
                    authorizer: resend.authorizer,
                };
                Resumed::Sent(answer, Used::Resent(Box::new(resent)), None)
            }
        }
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
