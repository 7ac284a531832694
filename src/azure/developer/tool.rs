//! A tool that is found by its name.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::executable::Places;
use super::kind::{Ask, Kind};
use super::local_time::LocalZone;
use super::process::Output;
use super::tenant::TenantChoice;
use super::{arguments, blocking, issued};
use crate::{AccessToken, Error, ErrorKind, Runtime, TokenRequest};

#[derive(Debug)]
pub(super) struct Tool {
    pub(super) kind: &'static Kind,
    pub(super) places: Arc<Places>,
    /// Where it was found. It is not looked for again while it is there.
    pub(super) found: Mutex<Option<PathBuf>>,
    pub(super) tenants: TenantChoice,
    pub(super) zone: LocalZone,
    pub(super) timeout: Duration,
}

impl Tool {
    /// What to ask it for, so that `request` is fulfilled.
    pub(super) fn ask<'a>(&self, request: &'a TokenRequest) -> Result<Ask<'a>, Error> {
        Ok(Ask {
            resource: arguments::resource(request.audience())?,
            tenant: self.tenants.select(request.tenant())?,
        })
    }

    pub(super) async fn run(
        &self,
        arguments: &[String],
        runtime: &dyn Runtime,
    ) -> Result<Output, Error> {
        let program = self.program().await?;
        self.kind
            .run(&program, arguments, runtime, self.timeout)
            .await
    }

    /// The token in what it wrote.
    pub(super) async fn token(&self, ask: &Ask<'_>, output: &Output) -> Result<AccessToken, Error> {
        issued::read(
            self.kind,
            ask,
            &output.stdout,
            output.started,
            &self.zone,
            &self.tenants,
        )
        .await
    }

    async fn program(&self) -> Result<PathBuf, Error> {
        let places = Arc::clone(&self.places);
        let known = self.found().take();
        let found = blocking(move || match known {
            Some(path) if super::executable::is_executable(&path) => Ok(path),
            _ => places.find(),
        })
        .await
        .unwrap_or_else(|| {
            Err(Error::new(
                ErrorKind::Aborted,
                "the search for the executable was stopped",
            ))
        })
        .map_err(|error| error.with_advice(self.kind.install))?;
        self.found().clone_from(&Some(found.clone()));
        Ok(found)
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<PathBuf>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
