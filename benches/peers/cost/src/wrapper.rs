//! The shortest way to put a token on the request, for the libraries that hand
//! out a token or headers.

use http::Request;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tower::Service as _;

use crate::client::{Client, Run};
use crate::request::{Body, Inner, request};

/// A library that hands out tokens.
pub(crate) trait Authorize: Clone + Send + 'static {
    fn authorize(&mut self, headers: &mut HeaderMap) -> impl Future<Output = ()> + Send;
}

#[derive(Clone)]
pub(crate) struct Wrapper<A>(pub(crate) A);

impl<A: Authorize> Client for Wrapper<A> {
    type Request = Request<Body>;

    fn request(capacity: usize) -> Request<Body> {
        request(capacity)
    }

    fn send(&mut self, mut request: Request<Body>, run: &impl Run) {
        run.run(async {
            self.0.authorize(request.headers_mut()).await;
            Inner.call(request).await
        });
    }
}

/// What those do that know the token as text.
pub(crate) fn insert_bearer(headers: &mut HeaderMap, token: &str) {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
}
