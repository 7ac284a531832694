//! A tool that is found by its name.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::executable::{Places, is_executable};
use super::kind::{Ask, Kind};
use super::local_time::LocalZone;
use super::process::Output;
use super::tenant::TenantChoice;
use super::{arguments, issued};
use crate::{AccessToken, Error, Runtime, TokenRequest};

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
        let program = self.program(runtime).await?;
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

    async fn program(&self, runtime: &dyn Runtime) -> Result<PathBuf, Error> {
        let places = Arc::clone(&self.places);
        let known = self.found().take();
        let found = super::look(runtime, self.timeout, move || match known {
            Some(path) if is_executable(&path) => Ok(path),
            _ => places.find(),
        })
        .await
        .and_then(|found| found)
        .map_err(|error| error.with_advice(self.kind.install))?;
        *self.found() = Some(found.clone());
        Ok(found)
    }

    fn found(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
