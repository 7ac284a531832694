//! What there is to know of a tool, and what its failures mean.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::executable;
use super::process::{self, Fault, Output};
use super::said::Said;
use crate::azure::answer::aadsts;
use crate::runtime::{Runtime, within};
use crate::{Error, ErrorKind, TenantId};

/// One of the tools.
pub(super) struct Kind {
    /// Its credential's name.
    pub(super) credential: &'static str,
    /// In a sentence: `the Azure CLI`.
    pub(super) title: &'static str,
    /// How to get it.
    pub(super) install: &'static str,
    /// How a developer finds out whether it works.
    pub(super) check: &'static str,
    /// How to have it trust a certificate authority, such as that of a proxy
    /// that opens TLS.
    pub(super) trust: &'static str,
    /// The application that it signs developers in to.
    pub(super) client_id: &'static str,
    /// What it says, in lower case, when nobody is signed in.
    pub(super) signed_out: &'static [&'static str],
    /// What to do to sign in.
    pub(super) sign_in: fn(&Ask<'_>) -> String,
    /// Tools lock files of their own, and some fail when two of them run: one
    /// at a time in this process, whichever credential it is for.
    pub(super) turn: &'static Semaphore,
}

/// What a tool is asked for, fit for its command line.
pub(super) struct Ask<'a> {
    pub(super) resource: &'a str,
    pub(super) tenant: Option<TenantId>,
}

impl Ask<'_> {
    /// Options of a command, with the tenant if there is one.
    pub(super) fn options(&self, tenant: &str, scope: &str) -> String {
        let scope = format!(" {scope} {}/.default", self.resource);
        match &self.tenant {
            Some(id) => format!(" {tenant} {id}{scope}"),
            None => scope,
        }
    }
}

impl Kind {
    /// Runs `program` when it is this call's turn. Both may take `limit`.
    pub(super) async fn run(
        &self,
        program: &Path,
        arguments: &[String],
        runtime: &dyn Runtime,
        limit: Duration,
    ) -> Result<Output, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "a tool can only be run inside a Tokio runtime",
            )
            .with_advice("await the token on one"));
        }
        let Some(_turn) = within(runtime, limit, self.turn.acquire()).await else {
            return Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "{} was busy with other tokens for {}",
                    self.title,
                    seconds(limit)
                ),
            )
            .with_advice("share one TokenCache, which asks for each token once"));
        };
        process::run(program, arguments, runtime, limit)
            .await
            .map_err(|fault| self.fault(fault, program, limit))
    }

    fn fault(&self, fault: Fault, program: &Path, limit: Duration) -> Error {
        let program = executable::shown(program);
        match fault {
            Fault::NotStarted(kind) => Error::new(
                ErrorKind::Unavailable,
                format!("{program} could not be started: {kind}"),
            )
            .with_advice(self.install),
            Fault::TimedOut => Error::new(
                ErrorKind::Timeout,
                format!("{program} did not end within {}", seconds(limit)),
            )
            .with_advice(format!(
                "{}; if it is only slow, give it a longer timeout",
                self.check
            )),
            Fault::TooMuchOutput => self.unusable(&format!(
                "more than {} KiB of output",
                process::MAX_OUTPUT / 1024
            )),
            Fault::Lost(kind) => Error::new(
                ErrorKind::Aborted,
                format!("{program} ran, but its output was lost: {kind}"),
            ),
        }
    }

    /// What it gave was `problem`.
    pub(super) fn unusable(&self, problem: &str) -> Error {
        Error::new(
            ErrorKind::InvalidResponse,
            format!("{} gave {problem} instead of a token", self.title),
        )
        .with_advice(format!("update it, and {}", self.check))
    }

    /// Why it ended without a token, by all that is common to the tools.
    pub(super) fn refusal(&self, ask: &Ask<'_>, exit_code: Option<i32>, said: &Said) -> Error {
        let codes = said.aadsts_codes();
        if !codes.is_empty() {
            return self.refused(ask, said, codes);
        }
        // Of a shell, and of cmd.exe.
        if matches!(exit_code, Some(127 | 9009)) || said.says(&["' is not recognized as"]) {
            let message = with_line(format_args!("{} is not installed", self.title), said);
            return Error::new(ErrorKind::Unavailable, message).with_advice(self.install);
        }
        if said.says(self.signed_out) {
            let message = with_line(format_args!("{} is not signed in", self.title), said);
            return Error::new(ErrorKind::Unavailable, message).with_advice((self.sign_in)(ask));
        }
        if said.says(NOT_TRUSTED) {
            let message = with_line(
                format_args!(
                    "{} does not trust the identity provider's certificate",
                    self.title
                ),
                said,
            );
            return Error::new(ErrorKind::Unreachable, message).with_advice(self.trust);
        }
        if said.says(NO_CONNECTION) {
            let message = with_line(
                format_args!("{} could not reach the identity provider", self.title),
                said,
            );
            return Error::new(ErrorKind::Unreachable, message)
                .with_advice("check this machine's connection and proxy settings");
        }
        let ended = match exit_code {
            Some(code) => format!("{} failed with exit code {code}", self.title),
            None => format!("{} was ended by a signal", self.title),
        };
        Error::new(
            ErrorKind::Unavailable,
            with_line(format_args!("{ended}"), said),
        )
        .with_advice(self.check)
    }

    fn refused(&self, ask: &Ask<'_>, said: &Said, codes: Vec<u32>) -> Error {
        let kind = aadsts::kind(&codes).unwrap_or(ErrorKind::Rejected);
        let message = with_line(format_args!("{} was refused a token", self.title), said);
        let mut error = Error::new(kind, message);
        if let Some(id) = said.correlation_id() {
            error = error.with_correlation_id(&id);
        }
        let has = |known: &[u32]| codes.iter().any(|code| known.contains(code));
        let error = if has(NOT_FOR_THIS_CLIENT) {
            let Self {
                title, client_id, ..
            } = self;
            error.with_advice(format!(
                "in the app registration of {}, under \"Expose an API\", add the client id {client_id} of {title} to the authorized client applications, or have an administrator consent; or use a credential of your own application",
                ask.resource
            ))
        } else if has(SIGN_IN_AGAIN) {
            error.with_advice((self.sign_in)(ask))
        } else if has(NOT_IN_THIS_TENANT) {
            error.with_advice(
                "sign in with an account of that tenant, or ask for a token of another tenant",
            )
        } else {
            match aadsts::advice(&codes, None) {
                Some(advice) => error.with_advice(advice),
                None => error.with_advice((self.sign_in)(ask)),
            }
        };
        error.with_aadsts_codes(codes)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.credential)
    }
}

/// The service has not said that the tool's application may ask for its
/// users: the lot of everybody's own APIs.
const NOT_FOR_THIS_CLIENT: &[u32] = &[65_001, 65_002, 65_004, 90_094, 650_057];

/// A second factor is asked for, or the sign-in is too old.
const SIGN_IN_AGAIN: &[u32] = &[
    50_072, 50_074, 50_076, 50_078, 50_079, 50_097, 50_132, 50_133, 50_158, 50_173, 53_000, 53_001,
    53_002, 53_003, 530_032, 70_008, 70_043, 700_082, 700_084,
];

const NOT_IN_THIS_TENANT: &[u32] = &[50_020, 50_034, 90_072];

/// In Python's words, Go's, .NET's on Linux and .NET's on Windows.
const NOT_TRUSTED: &[&str] = &[
    "certificate verify failed",
    "certificate_verify_failed",
    "x509: certificate",
    "failed to verify certificate",
    "the remote certificate is invalid",
    "could not establish trust relationship",
];

const NO_CONNECTION: &[&str] = &[
    "max retries exceeded",
    "connection aborted",
    "connection refused",
    "connection reset",
    "connectionerror",
    "getaddrinfo failed",
    "name or service not known",
    "name resolution",
    "no such host",
    "network is unreachable",
    "dial tcp",
];

fn with_line(what: fmt::Arguments<'_>, said: &Said) -> String {
    match said.line() {
        Some(line) => format!("{what}: {line}"),
        None => what.to_string(),
    }
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}
