//! One request, on its way to an upstream and back.

use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;
use tower::{Service, ServiceExt as _};
use tower_bearer::BoxError;

use super::body::{Busy, RequestBody, ResponseBody};
use super::failure::Failure;
use super::routes::{Route, Stray};
use super::settings::{Limits, Settings};
use super::upstream::Clients;
use super::{guard, headers};

/// What sends requests of this proxy.
pub(crate) trait Client:
    Service<
        Request<RequestBody>,
        Response = Response<Incoming>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Client for S where
    S: Service<
            Request<RequestBody>,
            Response = Response<Incoming>,
            Error: Into<BoxError>,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static
{
}

/// The proxy, without its connections.
pub(crate) struct Proxy<S> {
    settings: Settings,
    clients: Clients<S>,
}

impl<S> Proxy<S> {
    pub(crate) fn new(settings: Settings, clients: Clients<S>) -> Self {
        Self { settings, clients }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }
}

impl<S: Client> Proxy<S> {
    /// The answer to a request, by an upstream or, where there is none, by the
    /// proxy itself.
    pub(crate) async fn respond(
        &self,
        request: Request<Incoming>,
        busy: Busy,
    ) -> Response<ResponseBody> {
        let forwarded = match self.prepare(request) {
            Ok((route, request)) => self.forward(route, request).await,
            Err(failure) => Err(failure),
        };
        match forwarded {
            Ok(response) => response.map(|body| ResponseBody::upstream(body, busy)),
            Err(failure) => failure.into_response(busy),
        }
    }

    /// The request as the upstream is to see it.
    fn prepare(
        &self,
        request: Request<Incoming>,
    ) -> Result<(&Route, Request<RequestBody>), Failure> {
        let Settings { routes, limits, .. } = &self.settings;
        let (mut parts, body) = request.into_parts();
        guard::check(&parts, &self.settings)?;
        let (route, target) = routes.find(&parts.uri).map_err(stray)?;
        if body.size_hint().lower() > limits.body as u64 {
            return Err(Failure::too_large(limits.body));
        }
        headers::forward_request(&mut parts.headers, route.is_http1());
        let mut forwarded = Request::new(RequestBody::new(body, limits.body));
        // Not the extensions: what they hold is about the other connection.
        let Parts {
            method, headers, ..
        } = parts;
        *forwarded.method_mut() = method;
        *forwarded.headers_mut() = headers;
        *forwarded.uri_mut() = target;
        Ok((route, forwarded))
    }

    async fn forward(
        &self,
        route: &Route,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let limits = &self.settings.limits;
        let upstream = route.host();
        let answer = self.clients.of(route.protocol).clone().oneshot(request);
        let answer = timeout(limits.response_timeout, answer)
            .await
            .map_err(|_| Failure::no_answer_in_time(upstream))?;
        let mut response =
            answer.map_err(|error| Failure::of(&error.into(), upstream, limits.body))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::new(
                StatusCode::BAD_GATEWAY,
                "http_protocol_error",
                format!("{upstream} went over to another protocol, which nobody asked for"),
            ));
        }
        headers::forward_response(response.headers_mut());
        // The connection to the program has a version of its own.
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }
}

fn stray(stray: Stray) -> Failure {
    match stray {
        Stray::NoRoute => Failure::new(
            StatusCode::NOT_FOUND,
            "destination_not_found",
            "no route leads there",
        ),
        Stray::Ambiguous => Failure::new(
            StatusCode::BAD_REQUEST,
            "http_request_error",
            "a path with `.` or `..` segments has no one meaning",
        ),
    }
}
