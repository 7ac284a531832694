//! Connections: how long they may take to open.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use tower_service::Service;

use crate::BoxError;
use crate::runtime::BoxFuture;

/// Opens connections with another connector, within a time limit that holds
/// for the whole of it: looking up the name, TCP, and the way through a proxy.
/// (That of hyper's connector holds for TCP alone.)
#[derive(Clone, Debug)]
pub(super) struct TimeLimited<C> {
    connector: C,
    limit: Duration,
}

impl<C> TimeLimited<C> {
    pub(super) fn new(connector: C, limit: Duration) -> Self {
        Self { connector, limit }
    }
}

impl<C> Service<Uri> for TimeLimited<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let limit = self.limit;
        let connecting = self.connector.call(destination);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection could be opened within {limit:?}"),
                )
                .into()),
            }
        })
    }
}
