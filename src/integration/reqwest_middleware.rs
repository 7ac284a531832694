//! The layer's behaviour for `reqwest_middleware`.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{Extensions, StatusCode, Uri};
use reqwest::redirect::Policy;
use reqwest::{Request, Response};
use reqwest_middleware::{Error, Middleware, Next, Result};

use crate::authorize::{Authorizer, ExistingHeader, Route, Sent};
use crate::{BearerAuthLayer, ErrorKind};

const MOST_REDIRECTS: usize = 10;

/// [`BearerAuthLayer`] for `reqwest_middleware`: the same rules, the same
/// cache, the same answer to a 401.
///
/// A request is resent if [`Request::try_clone`] can copy it, which it can
/// unless its body is a stream. What the layer's
/// [`replay`](BearerAuthLayer::replay) says has no bearing here.
///
/// A failure to get a token is a [`reqwest_middleware::Error::Middleware`]
/// that holds an [`Error`](crate::Error), to be had by `downcast_ref`.
///
/// # Redirects
///
/// reqwest follows redirects by itself, below the middleware, which therefore
/// cannot judge each hop. By default it follows them anywhere, and that gives
/// tokens away: up to 0.13.5 it takes the token off when a redirect leads to
/// another host, but puts it back on when that host redirects to itself. Give
/// the client [`redirect_policy`](Self::redirect_policy), or
/// `redirect::Policy::none()`.
///
/// What another origin answers is given back as it is, a 401 too.
///
/// ```
/// use tower_bearer::{BearerAuthLayer, BearerAuthMiddleware, FixedAudience, TokenCache};
/// # use std::time::Duration;
/// # use tower_bearer::{AccessToken, credential_fn};
///
/// # let credential = credential_fn(|_| async {
/// #     AccessToken::expiring_in("abc", Duration::from_secs(60))
/// # });
/// let layer = BearerAuthLayer::new(
///     TokenCache::new(credential),
///     FixedAudience::new("api://orders"),
/// );
/// let reqwest = reqwest::Client::builder()
///     .redirect(BearerAuthMiddleware::redirect_policy())
///     .build()?;
/// let client = reqwest_middleware::ClientBuilder::new(reqwest)
///     .with(BearerAuthMiddleware::new(layer))
///     .build();
/// # Ok::<_, reqwest::Error>(())
/// ```
pub struct BearerAuthMiddleware {
    authorizer: Arc<Authorizer>,
    last_route: ArcSwapOption<Route>,
}

impl BearerAuthMiddleware {
    /// A middleware with the settings of `layer`.
    #[must_use]
    pub fn new<P>(layer: BearerAuthLayer<P>) -> Self {
        Self {
            authorizer: layer.into_authorizer(),
            last_route: ArcSwapOption::empty(),
        }
    }

    /// A policy for the client below: it follows up to ten redirects that stay
    /// with scheme, host and port. One that leads elsewhere is given back as
    /// the answer.
    #[must_use]
    pub fn redirect_policy() -> Policy {
        Policy::custom(|attempt| {
            let origin = attempt.url().origin();
            if attempt.previous().iter().any(|url| url.origin() != origin) {
                return attempt.stop();
            }
            Policy::limited(MOST_REDIRECTS).redirect(attempt)
        })
    }

    fn route(&self, request: &Request) -> Result<Option<Arc<Route>>> {
        // reqwest makes its `Uri` from the same text, so this is the host that
        // it will connect to.
        let uri: Uri = request.url().as_str().parse().map_err(|error| {
            Error::middleware(
                crate::Error::new(ErrorKind::RefusedHost, "the URL is no valid URI")
                    .with_source(http::Error::from(error)),
            )
        })?;
        let known = self.last_route.load();
        let route = self
            .authorizer
            .route(&uri, known.as_ref())
            .map_err(Error::middleware)?;
        if let Some(route) = &route {
            if !known
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, route))
            {
                self.last_route.store(Some(Arc::clone(route)));
            }
        }
        Ok(route)
    }

    async fn token(&self, route: Arc<Route>) -> Result<Sent> {
        let now = self.authorizer.now();
        match self.authorizer.token_at_hand(&route, now) {
            Some(sent) => Ok(sent),
            None => self
                .authorizer
                .acquire(route)
                .await
                .map_err(Error::middleware),
        }
    }
}

#[async_trait]
impl Middleware for BearerAuthMiddleware {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if self.authorizer.existing_header == ExistingHeader::Keep
            && request.headers().contains_key(AUTHORIZATION)
        {
            return next.run(request, extensions).await;
        }
        let Some(route) = self.route(&request)? else {
            return next.run(request, extensions).await;
        };
        let original = request.try_clone();
        let sent = self.token(route).await?;
        authorize(&mut request, &sent);
        let origin = request.url().origin();
        let response = next.clone().run(request, extensions).await?;
        // A redirect was followed, below here: neither does this answer speak
        // for the origin that the token is for, nor may it ask for another.
        if response.url().origin() != origin {
            return Ok(response);
        }
        let refused = response.status() == StatusCode::UNAUTHORIZED;
        let Some(mut again) = original.filter(|_| refused) else {
            Authorizer::answered(&sent, response.status());
            return Ok(response);
        };
        let Some(renewed) = self.authorizer.renew(&sent, response.headers()).await else {
            return Ok(response);
        };
        // Frees the connection for the resend.
        drop(response);
        let sent = self.token(renewed.route).await?;
        authorize(&mut again, &sent);
        let response = next.run(again, extensions).await?;
        if response.url().origin() == origin {
            let lesson = renewed.lesson.as_ref();
            self.authorizer
                .answered_resend(&sent, lesson, response.status());
        }
        Ok(response)
    }
}

fn authorize(request: &mut Request, sent: &Sent) {
    request
        .headers_mut()
        .insert(AUTHORIZATION, sent.header_value());
}

impl fmt::Debug for BearerAuthMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuthMiddleware")
            .field("authorizer", &self.authorizer)
            .finish_non_exhaustive()
    }
}
