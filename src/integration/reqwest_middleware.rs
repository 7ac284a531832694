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

use crate::authorize::{Authorizer, ExistingHeader, Found, Known, Sent};
use crate::cache::Slot;
use crate::{BearerAuthLayer, ErrorKind, Origin};

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
    last: ArcSwapOption<Known>,
}

impl BearerAuthMiddleware {
    /// A middleware with the settings of `layer`.
    #[must_use]
    pub fn new<P>(layer: BearerAuthLayer<P>) -> Self {
        Self {
            authorizer: layer.into_authorizer(),
            last: ArcSwapOption::empty(),
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

    /// The token for `request`; `None` if it is to be sent without one.
    async fn token(&self, uri: &Uri) -> Result<Option<Sent>> {
        let slot = {
            let last = self.last.load();
            let now = self.authorizer.now();
            let known = last.iter().map(|last| (last, &**last));
            let serving = last
                .as_ref()
                .filter(|last| self.authorizer.serves(last, uri, now));
            let found = match serving {
                Some(last) => Ok(Found::Known(last)),
                None => self.authorizer.find(uri, known, now),
            };
            match found.map_err(Error::middleware)? {
                Found::Known(last) => {
                    last.sent().hit();
                    return Ok(Some(last.sent().clone()));
                }
                Found::Token { sent, lessons } => {
                    if !last
                        .as_ref()
                        .is_some_and(|last| last.is_as_good_as(&sent, lessons, now))
                    {
                        let known = Known::new(uri, sent.clone(), lessons);
                        self.last.store(known.map(Arc::new));
                    }
                    return Ok(Some(sent));
                }
                Found::NotYet(slot) => slot,
                Found::Nothing => return Ok(None),
            }
        };
        self.acquire(slot).await.map(Some)
    }

    async fn renewed_token(&self, slot: Arc<Slot>) -> Result<Sent> {
        match self.authorizer.at_hand(&slot, self.authorizer.now()) {
            Some(sent) => Ok(sent),
            None => self.acquire(slot).await,
        }
    }

    async fn acquire(&self, slot: Arc<Slot>) -> Result<Sent> {
        let acquisition = self.authorizer.acquire(slot);
        acquisition.await.map_err(Error::middleware)
    }
}

fn uri_of(request: &Request) -> Result<Uri> {
    // reqwest makes its `Uri` from the same text, so this is the host that it
    // will connect to.
    request.url().as_str().parse().map_err(|error| {
        Error::middleware(
            crate::Error::new(ErrorKind::RefusedHost, "the URL is no valid URI")
                .with_source(http::Error::from(error)),
        )
    })
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
        let uri = uri_of(&request)?;
        let Some(sent) = self.token(&uri).await? else {
            return next.run(request, extensions).await;
        };
        let original = request.try_clone();
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
            if refused {
                self.authorizer.replace(&sent);
            } else {
                Authorizer::answered(&sent, response.status());
            }
            return Ok(response);
        };
        let renewal = Origin::of(&uri)
            .ok()
            .and_then(|origin| self.authorizer.renew(&origin, &sent, response.headers()));
        let Some(renewal) = renewal else {
            self.authorizer.replace(&sent);
            return Ok(response);
        };
        let Some(renewed) = renewal.await else {
            return Ok(response);
        };
        // Frees the connection for the resend.
        drop(response);
        let sent = self.renewed_token(renewed.slot).await?;
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
