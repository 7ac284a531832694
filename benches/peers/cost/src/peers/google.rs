//! Google's credentials for programs that run on its machines.

use google_cloud_auth::credentials::mds::Builder;
use google_cloud_auth::credentials::{CacheableResource, Credentials, EntityTag};
use http::Extensions;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::Case;
use crate::cases::subject;
use crate::token_server;
use crate::wrapper::{Authorize, Wrapper};

pub(super) fn cases() -> [Case; 2] {
    let case = |name, make| Case::library("google-cloud-auth", name, make);
    [
        case("headers()", || subject(Wrapper(Headers(credentials())))),
        case("headers(), value kept by entity tag", || {
            subject(Wrapper(Tagged {
                credentials: credentials(),
                kept: None,
            }))
        }),
    ]
}

fn credentials() -> Credentials {
    let endpoint = token_server::start();
    Builder::default().with_endpoint(endpoint).build().unwrap()
}

#[derive(Clone)]
struct Headers(Credentials);

impl Authorize for Headers {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        match self.0.headers(Extensions::new()).await.unwrap() {
            CacheableResource::New { data, .. } => headers.extend(data),
            CacheableResource::NotModified => unreachable!("nothing is kept"),
        }
    }
}

#[derive(Clone)]
struct Tagged {
    credentials: Credentials,
    kept: Option<(EntityTag, HeaderValue)>,
}

impl Authorize for Tagged {
    async fn authorize(&mut self, headers: &mut HeaderMap) {
        let mut extensions = Extensions::new();
        if let Some((tag, _)) = &self.kept {
            extensions.insert(tag.clone());
        }
        if let CacheableResource::New { entity_tag, data } =
            self.credentials.headers(extensions).await.unwrap()
        {
            self.kept = Some((entity_tag, data[AUTHORIZATION].clone()));
        }
        let (_, value) = self.kept.as_ref().unwrap();
        headers.insert(AUTHORIZATION, value.clone());
    }
}
