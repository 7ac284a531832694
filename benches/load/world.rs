//! What the proxy depends on: an identity provider, and a server that knows
//! which tokens are good.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower_bearer::BoxError;
use tower_bearer::testing::{Azure, Hold};

/// As long as those of Entra with a few claims.
const TOKEN_LENGTH: usize = 1_500;

pub(crate) struct World {
    azure: Azure,
    tokens: Arc<Tokens>,
    pub(crate) upstream: SocketAddr,
}

impl World {
    pub(crate) async fn start(lifetime: Duration) -> Result<Self, BoxError> {
        let azure = Azure::start().await?;
        azure.set_token_lifetime(lifetime);
        azure.imds_reuses_tokens(false);
        let tokens = Arc::new(Tokens::default());
        let issuing = Arc::clone(&tokens);
        azure.rewrite_token_answers(move |answer| issuing.issue(&answer, lifetime));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let upstream = listener.local_addr()?;
        tokio::spawn(serve(listener, Arc::clone(&tokens)));
        Ok(Self {
            azure,
            tokens,
            upstream,
        })
    }

    /// Where the proxy finds its identity, as it would on a virtual machine.
    pub(crate) fn identity_endpoint(&self) -> String {
        self.azure.imds_host()
    }

    pub(crate) fn token_requests(&self) -> u64 {
        self.azure.token_requests()
    }

    pub(crate) async fn wait_for_token_requests(&self, count: u64) {
        self.azure.wait_for_token_requests(count).await;
    }

    pub(crate) fn tokens_issued(&self) -> u64 {
        self.azure.tokens_issued()
    }

    /// Leaves token requests without an answer until this is dropped.
    pub(crate) fn hang(&self) -> Hold {
        self.azure.hold_token_requests()
    }

    /// Refuses every token that there is.
    pub(crate) fn revoke(&self) {
        self.tokens.accepted().clear();
        self.azure.revoke_tokens();
    }
}

/// The tokens that the upstream accepts.
#[derive(Default)]
struct Tokens {
    accepted: RwLock<Vec<Token>>,
    issued: Mutex<u64>,
}

struct Token {
    header: String,
    until: Instant,
}

impl Tokens {
    fn accepted(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Token>> {
        self.accepted
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity provider's answer with a token of the usual length in it.
    fn issue(&self, answer: &str, lifetime: Duration) -> String {
        let mut answer: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
        let number = {
            let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
            *issued += 1;
            *issued
        };
        let token = token(number);
        let now = Instant::now();
        let mut accepted = self.accepted();
        accepted.retain(|token| token.until > now);
        accepted.push(Token {
            header: format!("Bearer {token}"),
            until: now + lifetime,
        });
        answer["access_token"] = token.into();
        answer.to_string()
    }

    fn accepts(&self, header: Option<&[u8]>) -> bool {
        let now = Instant::now();
        let accepted = self.accepted.read().unwrap_or_else(PoisonError::into_inner);
        accepted
            .iter()
            .any(|token| Some(token.header.as_bytes()) == header && token.until > now)
    }
}

/// Characters as they come in real ones, which matters to HTTP/2's compression.
pub(crate) fn token(number: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..TOKEN_LENGTH)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(ALPHABET[(state >> 58) as usize])
        })
        .collect()
}

async fn serve(listener: TcpListener, tokens: Arc<Tokens>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tokens = Arc::clone(&tokens);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(|request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &tokens)))
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Looks at the token in any case, so that all variants cost the same here.
fn answer(request: &Request<Incoming>, tokens: &Tokens) -> Response<Full<Bytes>> {
    let token = request.headers().get(AUTHORIZATION);
    let accepted = tokens.accepts(token.map(http::HeaderValue::as_bytes));
    let mut response = Response::new(Full::from(&[b'x'; 128][..]));
    if !accepted && request.uri().path().starts_with("/checked/") {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}
