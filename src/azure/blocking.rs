//! Work that may block.

use tokio::runtime::Handle;

use crate::{Error, ErrorKind};

/// Runs `work` where it holds nobody up; `None` if the runtime is being shut
/// down.
pub(in crate::azure) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.ok(),
        Err(_) => Some(work()),
    }
}

/// What to say when there was no time for `what`.
pub(in crate::azure) fn stopped(what: &str) -> Error {
    Error::new(
        ErrorKind::Aborted,
        format!("the runtime stopped before {what}"),
    )
}
