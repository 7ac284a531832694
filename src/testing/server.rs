//! Listeners and connections: who owns their tasks, and which part of the
//! embedded Azure answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::state::State;
use super::vault::{self, Place};
use super::wire::{Answer, Call, Parameters, answer};
use super::{app_service, azure_arc, cloud_shell, entra, imds, service_fabric};
use crate::azure::LOGIN_HOSTS;
use crate::{Error, ErrorKind};

const MAX_BODY: usize = 1 << 20;

pub(super) async fn listen(port: u16) -> Result<(TcpListener, u16), Error> {
    let failed = |source: io::Error| {
        Error::new(
            ErrorKind::Configuration,
            format!("the embedded Azure cannot listen on 127.0.0.1:{port}"),
        )
        .with_advice("choose a port that is free, or none to get one")
        .with_source(source)
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// What a listener leads to.
#[derive(Clone)]
pub(super) enum Door {
    /// The hosts of managed identities, over plain HTTP.
    Hosts,
    /// Entra and the vaults.
    Cloud(TlsAcceptor),
    ServiceFabric(TlsAcceptor),
}

/// All connections end with the task that runs this.
pub(super) async fn serve(
    listener: TcpListener,
    door: Door,
    state: Arc<State>,
    max_connections: usize,
) {
    let room = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: some will be given back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (door, state) = (door.clone(), Arc::clone(&state));
        connections.spawn(async move {
            // What goes wrong on a connection is the client's to tell.
            let _ = connection(stream, door, state).await;
            drop(permit);
        });
    }
}

async fn connection(
    stream: TcpStream,
    door: Door,
    state: Arc<State>,
) -> Result<(), crate::BoxError> {
    stream.set_nodelay(true)?;
    let acceptor = match &door {
        Door::Hosts => None,
        Door::Cloud(acceptor) | Door::ServiceFabric(acceptor) => Some(acceptor.clone()),
    };
    let respond = move |request| {
        let (door, state) = (door.clone(), Arc::clone(&state));
        async move {
            let (host, call) = match read(request).await {
                Ok(read) => read,
                Err(refusal) => return Ok(refusal),
            };
            match door {
                Door::Hosts => at_host(&state, call).await,
                Door::Cloud(_) => dispatch(&state, &host, call).await,
                Door::ServiceFabric(_) => service_fabric::respond(&state, call).await,
            }
        }
    };
    match acceptor {
        None => http1(stream, respond).await,
        Some(acceptor) => http1(acceptor.accept(stream).await?, respond).await,
    }
}

/// Chooses between the hosts by path. What belongs to none of them is the
/// metadata service's to refuse.
async fn at_host(state: &State, call: Call) -> Result<Answer, io::Error> {
    match call.path.trim_end_matches('/') {
        app_service::APP_SERVICE_PATH => app_service::respond(state, call).await,
        app_service::MACHINE_LEARNING_PATH => {
            app_service::respond_as_machine_learning(state, call).await
        }
        cloud_shell::PATH => cloud_shell::respond(state, call).await,
        azure_arc::PATH => azure_arc::respond(state, call).await,
        _ => imds::respond(state, call).await,
    }
}

async fn http1<I, F, Fut>(stream: I, respond: F) -> Result<(), crate::BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> Fut,
    Fut: Future<Output = Result<Answer, io::Error>>,
{
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(respond))
        .await?;
    Ok(())
}

/// Reads a request to its end; the first of the two is its host.
async fn read(request: Request<Incoming>) -> Result<(String, Call), Answer> {
    let (parts, body) = request.into_parts();
    let body: Bytes = match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => {
            return Err(plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too large, or cut off",
            ));
        }
    };
    let host = parts
        .headers
        .get("host")
        .and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Err(plain(StatusCode::BAD_REQUEST, "no Host header"));
    };
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Parameters::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers.clone(),
        body,
    };
    Ok((host.to_ascii_lowercase(), call))
}

/// Chooses between Entra and the vaults by host, and on loopback, where they
/// share one, by path.
async fn dispatch(state: &State, host: &str, call: Call) -> Result<Answer, io::Error> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let base = format!("https://{host}");
    if LOGIN_HOSTS.contains(&name) {
        return entra::respond(state, &base, call).await;
    }
    let local = format!("https://localhost:{}", state.tls_port);
    let (found, authority) = if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        let is_vault = matches!(
            call.segments().first(),
            None | Some(&("secrets" | "deletedsecrets" | "keys" | "certificates"))
        );
        if !is_vault {
            return entra::respond(state, &base, call).await;
        }
        (Some(Arc::clone(&state.default_vault)), base.clone())
    } else if let Some(vault) = label_before(name, "vault.localhost") {
        (state.vault(vault), local)
    } else {
        let vault = label_before(name, state.vault_suffix());
        let authority = format!("https://{}", LOGIN_HOSTS[0]);
        (vault.and_then(|vault| state.vault(vault)), authority)
    };
    match found {
        Some(found) => vault::respond(state, &found, &Place { base, authority }, call).await,
        None => Ok(plain(
            StatusCode::MISDIRECTED_REQUEST,
            "the embedded Azure has no such host",
        )),
    }
}

/// `myvault` of `myvault.vault.azure.net`.
pub(super) fn label_before<'a>(host: &'a str, suffix: &str) -> Option<&'a str> {
    let label = host.strip_suffix(suffix)?.strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then_some(label)
}

fn plain(status: StatusCode, text: &str) -> Answer {
    answer(status, "text/plain", text.to_owned())
}
