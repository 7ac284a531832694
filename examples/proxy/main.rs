//! A local reverse proxy that puts tokens on the requests of programs in any
//! language.
//!
//! ```sh
//! cargo run --release --example proxy -- \
//!     --route /kv=https://myvault.vault.azure.net \
//!     --route /orders=https://orders.example.com --audience /orders=api://orders
//! curl 'http://127.0.0.1:8080/kv/secrets/db?api-version=7.4'
//! ```
//!
//! The credential is what the environment gives: `AZURE_TENANT_ID`,
//! `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET`, else a managed identity,
//! user-assigned if `AZURE_CLIENT_ID` alone is set. Tokens are fetched when the
//! proxy starts and kept fresh, so no request waits for one.
//!
//! # What happens to a request
//!
//! - The longest prefix that matches whole segments of the path says where it
//!   goes, and is taken off: `/kv/secrets/db` goes to `/secrets/db` there. Paths
//!   with `.` or `..` segments, encoded ones too, are refused.
//! - `Host` (`:authority`) is the upstream's. Fields that are for one
//!   connection only (RFC 9110 section 7.6.1) go no further, nor do `Expect`,
//!   which the proxy has met, and `Proxy-Authorization`.
//! - `Authorization` is dropped, whatever it is: who asks the proxy asks in the
//!   proxy's name, and many SDKs cannot be kept from sending a placeholder.
//! - `Forwarded`, `X-Forwarded-*` and `X-Real-IP` are dropped and none are
//!   added: no upstream should trust what some local program says of itself,
//!   nor is it the upstream's to know. What is dropped as a header is dropped as
//!   a trailer. `Via` is added, as RFC 9110 section 7.6.3 asks of a gateway; a
//!   request that has it from such a proxy already is refused, so that none goes
//!   in circles, and so that two of these proxies cannot stand in a row.
//! - `TE: trailers` is kept, for gRPC. With `Connection: TE`, as RFC 9110
//!   section 10.1.4 wants it, over `http://`; over TLS, where HTTP/2 is likely and
//!   forbids that field, without.
//! - The body is streamed. After a 401 a request without a body is sent once
//!   more with a new token. One with a body cannot be, for what has been
//!   streamed is gone: its 401 is given back, and to try again is the program's
//!   to do.
//! - Protocol upgrades (WebSocket), `CONNECT` and `TRACE` are not forwarded:
//!   an answer to `TRACE` would hold the token.
//! - Redirects are given back, not followed, and `Location` is not rewritten.
//!
//! What the proxy itself has to say is a short text with a `Proxy-Status`
//! field (RFC 9209), which tells it from what an upstream said.
//!
//! # Who may ask
//!
//! Whoever reaches the proxy acts with its identity: every program of every
//! user of this machine. So it listens on loopback only, unless it is told
//! `--allow-remote`. Pages in a browser reach loopback too, and are kept out
//! twice: requests with `Origin` or `Sec-Fetch-Site` are refused, and so are
//! those for another host than `localhost` and loopback addresses, which is what
//! a page has to use that lets its own name lead here (DNS rebinding).
//!
//! With `--allow-remote` all addresses are answered to but `0.0.0.0` and `[::]`,
//! and with `--host` another name. Over plain HTTP to those, browsers send
//! neither field with a simple `GET`: a page that somebody looks at who reaches
//! the proxy can ask as well, though it cannot read the answer.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod body;
mod failure;
mod forward;
mod guard;
mod headers;
mod identity;
mod routes;
mod serve;
mod settings;
mod upstream;

use std::process::ExitCode;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::net::TcpListener;
use tower::Layer as _;
use tower_bearer::{BoxError, TokenCache};
use tower_http::set_header::SetRequestHeaderLayer;

use forward::Proxy;
pub(crate) use identity::from_settings as identity_of;
pub(crate) use serve::Ended;
pub(crate) use settings::{Parsed, Settings, TokenSource};

/// Whose token requests are sent with.
pub(crate) enum Identity {
    /// Nobody's.
    Nobody,
    /// One that never changes.
    Fixed(HeaderValue),
    /// One that is kept fresh.
    Fresh(TokenCache),
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(settings)) => settings,
        Ok(Parsed::Help) => {
            println!("{}", settings::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(message) => return wrong(&message),
    };
    let identity = match identity_of(&settings) {
        Ok(identity) => identity,
        Err(error) => return wrong(&failure::with_causes(&*error)),
    };
    match start(*settings, identity).await {
        Ok(Ended::Finished) => ExitCode::SUCCESS,
        Ok(Ended::CutOff(connections)) => {
            eprintln!("proxy: cut off {connections} connections that were still at work");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("proxy: {}", failure::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("proxy: {message}\nproxy: --help tells what it takes");
    ExitCode::from(2)
}

async fn start(settings: Settings, identity: Identity) -> Result<Ended, BoxError> {
    let stop = asked_to_stop()?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", settings.listen))?;
    for route in settings.routes.iter() {
        println!("{route}");
    }
    // Last, for whoever reads until then.
    println!("listening on http://{}", listener.local_addr()?);
    // Hears only what comes after the first.
    let at_once = async {
        match asked_to_stop() {
            Ok(asked) => asked.await,
            Err(_) => std::future::pending().await,
        }
    };
    run(settings, identity, listener, stop, at_once).await
}

/// Serves until `stop` is over, and then what is under way until it is done,
/// the grace is over or `at_once` is.
pub(crate) async fn run(
    settings: Settings,
    identity: Identity,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    at_once: impl Future<Output = ()>,
) -> Result<Ended, BoxError> {
    let clients = upstream::clients(&settings)?;
    let end = (stop, at_once);
    match identity {
        Identity::Nobody => serve::serve(listener, Proxy::new(settings, clients), end).await,
        Identity::Fixed(value) => {
            let layer = SetRequestHeaderLayer::overriding(AUTHORIZATION, value);
            let clients = clients.map(|client| layer.layer(client));
            serve::serve(listener, Proxy::new(settings, clients), end).await
        }
        Identity::Fresh(tokens) => {
            let layer = identity::layer(&tokens, &settings)?;
            let clients = clients.map(|client| layer.layer(client));
            serve::serve(listener, Proxy::new(settings, clients), end).await
        }
    }
}

#[cfg(unix)]
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
