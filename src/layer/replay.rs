//! Which request bodies can be sent a second time.

use std::any::Any;
use std::convert::Infallible;

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{Empty, Full};

use crate::BoxError;

/// Decides which request bodies are kept for a resend after a 401.
///
/// It is asked before the request is sent. A body that it gives no copy of is
/// sent once, and a 401 to it is given back as it came.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::{Either, Empty, Full};
/// use tower_bearer::ReplayBody;
///
/// #[derive(Clone)]
/// struct SmallOnes;
///
/// impl ReplayBody<Full<Bytes>> for SmallOnes {
///     fn replay(&self, body: &Full<Bytes>) -> Option<Full<Bytes>> {
///         use http_body::Body as _;
///         (body.size_hint().exact()? < 4096).then(|| body.clone())
///     }
/// }
/// ```
pub trait ReplayBody<B> {
    /// A body that sends what `body` sends, or `None` if there is none to be
    /// had cheaply.
    fn replay(&self, body: &B) -> Option<B>;
}

/// Replays bodies that cost next to nothing to keep. The default.
///
/// These are `Full<Bytes>`, `Empty<Bytes>`, `()` and boxed bodies of `Bytes`
/// (with the error types [`Infallible`], [`BoxError`] and
/// [`std::io::Error`]) that are empty, as those of most GET requests are.
/// Every other body is sent once; see [`ReplayClone`], [`ReplayEmpty`] and
/// [`ReplayBody`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ReplayCheap;

impl ReplayCheap {
    /// The default policy.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<B: 'static> ReplayBody<B> for ReplayCheap {
    fn replay(&self, body: &B) -> Option<B> {
        // The types are compared when this is compiled for `B`, so what is
        // left of it is the one line that applies.
        same::<B, Full<Bytes>>(body, Clone::clone)
            .or_else(|| same::<B, Empty<Bytes>>(body, Clone::clone))
            .or_else(|| same::<B, ()>(body, |()| ()))
            .or_else(|| empty::<B, BoxBody<Bytes, Infallible>>(body))
            .or_else(|| empty::<B, BoxBody<Bytes, BoxError>>(body))
            .or_else(|| empty::<B, BoxBody<Bytes, std::io::Error>>(body))
            .or_else(|| empty::<B, UnsyncBoxBody<Bytes, Infallible>>(body))
            .or_else(|| empty::<B, UnsyncBoxBody<Bytes, BoxError>>(body))
            .or_else(|| empty::<B, UnsyncBoxBody<Bytes, std::io::Error>>(body))
    }
}

/// Replays every body that can be cloned.
///
/// For body types whose `Clone` is cheap and gives a body that starts from
/// the beginning.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ReplayClone;

impl ReplayClone {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<B: Clone> ReplayBody<B> for ReplayClone {
    fn replay(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Replays empty bodies of any type whose default is an empty body, and no
/// others.
///
/// For boxed bodies and the body types of frameworks.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ReplayEmpty;

impl ReplayEmpty {
    /// The policy.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<B: Body + Default> ReplayBody<B> for ReplayEmpty {
    fn replay(&self, body: &B) -> Option<B> {
        is_empty(body).then(B::default)
    }
}

fn is_empty(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

fn same<B: 'static, T: 'static>(body: &B, copy: impl FnOnce(&T) -> T) -> Option<B> {
    let body = (body as &dyn Any).downcast_ref::<T>()?;
    let mut copied = Some(copy(body));
    (&mut copied as &mut dyn Any)
        .downcast_mut::<Option<B>>()?
        .take()
}

fn empty<B: 'static, T: Body + Default + 'static>(body: &B) -> Option<B> {
    let typed = (body as &dyn Any).downcast_ref::<T>()?;
    if is_empty(typed) {
        same::<B, T>(body, |_| T::default())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn full_bodies_are_replayed_without_a_copy() {
        let bytes = Bytes::from(vec![7_u8; 1 << 20]);
        let body = Full::new(bytes.clone());
        let again = ReplayCheap::new().replay(&body).unwrap();
        let collected = again.collect().await.unwrap().to_bytes();
        assert_eq!(collected.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn empty_boxes_are_replayed_and_full_ones_are_not() {
        let empty: BoxBody<Bytes, Infallible> = Empty::new().boxed();
        assert!(ReplayCheap::new().replay(&empty).is_some());
        assert!(ReplayEmpty::new().replay(&empty).is_some());
        let full: BoxBody<Bytes, Infallible> = Full::from("x").boxed();
        assert!(ReplayCheap::new().replay(&full).is_none());
        assert!(ReplayEmpty::new().replay(&full).is_none());
    }

    #[test]
    fn r40_other_bodies_are_not_replayed_unless_asked() {
        assert!(ReplayCheap::new().replay(&String::from("x")).is_none());
        assert!(ReplayClone::new().replay(&String::from("x")).is_some());
    }
}
