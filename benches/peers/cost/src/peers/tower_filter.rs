//! What users build from tower's filter and a lock, when the token changes.

use std::sync::{Arc, RwLock};

use http::Request;
use tower::BoxError;
use tower::filter::AsyncFilter;

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
            let predicate = move |mut request: Request<Body>| {
                let token = token.clone();
                async move {
                    insert_bearer(request.headers_mut(), &token.read().unwrap());
                    Ok::<_, BoxError>(request)
                }
            };
            subject(Tower(AsyncFilter::new(Inner, predicate)))
        },
    )]
}
