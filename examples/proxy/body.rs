//! Bodies on their way through, which are never kept.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Full, Limited};
use hyper::body::Incoming;
use tower_bearer::BoxError;

use super::headers;

/// The body of a request, as it comes. The default is an empty one, which is
/// what the layer sends when it sends a request without a body again.
#[derive(Default)]
pub(crate) struct RequestBody(Option<Limited<Incoming>>);

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: usize) -> Self {
        Self(Some(Limited::new(incoming, limit)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Some(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                with_trailers(frame, headers::forward_request_trailers)
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of an answer: the upstream's, or some words of the proxy's.
pub(crate) struct ResponseBody {
    source: Source,
    /// The request is under way for as long as its answer is.
    _busy: Busy,
}

enum Source {
    Upstream(Incoming),
    Own(Full<Bytes>),
}

impl ResponseBody {
    pub(crate) fn upstream(incoming: Incoming, busy: Busy) -> Self {
        Self {
            source: Source::Upstream(incoming),
            _busy: busy,
        }
    }

    pub(crate) fn own(text: String, busy: Busy) -> Self {
        Self {
            source: Source::Own(Full::from(text)),
            _busy: busy,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.source {
            Source::Upstream(body) => {
                let frame = Pin::new(body).poll_frame(cx).map_err(Into::into);
                with_trailers(frame, headers::forward_response)
            }
            Source::Own(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(body) => body.is_end_stream(),
            Source::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(body) => body.size_hint(),
            Source::Own(body) => body.size_hint(),
        }
    }
}

fn with_trailers(
    mut frame: Poll<Option<Result<Frame<Bytes>, BoxError>>>,
    change: impl Fn(&mut HeaderMap),
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    if let Poll::Ready(Some(Ok(frame))) = &mut frame {
        if let Some(trailers) = frame.trailers_mut() {
            change(trailers);
        }
    }
    frame
}

/// What a connection has been doing.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// While this lives, a request is under way.
pub(crate) struct Busy(Arc<Counts>);

impl Activity {
    pub(crate) fn begin(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.0))
    }

    /// How many requests there have been, if none is under way.
    pub(crate) fn idle_after(&self) -> Option<usize> {
        let ended = self.0.ended.load(Ordering::Relaxed);
        (self.0.begun.load(Ordering::Relaxed) == ended).then_some(ended)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}
