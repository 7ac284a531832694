//! The scripted resource server as a tower service.

use http::header::AUTHORIZATION;
use http::{Request, Response};
use peers::resource::ResourceServer;
use tower::service_fn;

/// A service that sends requests to `resource`.
pub(super) fn sends<B, E>(
    resource: ResourceServer,
) -> impl tower::Service<Request<B>, Response = Response<()>, Error = E, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static
where
    B: Send + 'static,
    E: Send + 'static,
{
    service_fn(move |request: Request<B>| {
        let resource = resource.clone();
        async move {
            let authorization = request.headers().get(AUTHORIZATION);
            let authorization = authorization.and_then(|value| value.to_str().ok());
            let mut response = Response::new(());
            *response.status_mut() = resource.answer(authorization).await;
            Ok(response)
        }
    })
}
