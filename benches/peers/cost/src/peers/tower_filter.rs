//! What users build from tower's filter and a lock, when the token changes.

use std::pin::Pin;
use std::sync::{Arc, RwLock};

use http::Request;
use tower::BoxError;
use tower::filter::{AsyncFilter, AsyncPredicate};

use crate::Case;
use crate::cases::subject;
use crate::client::Tower;
use crate::request::{Body, Inner, token};
use crate::wrapper::insert_bearer;

pub(super) fn cases() -> [Case; 1] {
    [Case::library(
        "tower",
        "AsyncFilter, RwLock<String>",
        || {
            let token = Arc::new(RwLock::new(token()));
            subject(Tower(AsyncFilter::new(Inner, Locked(token))))
        },
    )]
}

#[derive(Clone)]
struct Locked(Arc<RwLock<String>>);

impl AsyncPredicate<Request<Body>> for Locked {
    type Future = Pin<Box<dyn Future<Output = Result<Request<Body>, BoxError>> + Send>>;
    type Request = Request<Body>;

    fn check(&mut self, mut request: Request<Body>) -> Self::Future {
        let token = self.0.clone();
        Box::pin(async move {
            insert_bearer(request.headers_mut(), &token.read().unwrap());
            Ok(request)
        })
    }
}
