//! An identity provider in memory that answers as it is told, for tests on
//! paused time, and a clock that is moved by hand for those with sockets.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses what it needs of it"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::watch;
use tokio::time::Instant;
use tower_bearer::{BoxError, BoxFuture, Error, Runtime, Timestamp, Transport};

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: String,
    /// Since the first one.
    pub at: Duration,
}

impl Seen {
    /// The fields of a form or a query, decoded.
    pub fn fields(&self) -> Vec<(String, String)> {
        let text = match self.method {
            Method::POST => self.body.as_str(),
            _ => self.uri.query().unwrap_or_default(),
        };
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .unwrap()
                .into_owned()
        };
        text.split('&')
            .map(|field| field.split_once('=').unwrap())
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    pub fn field(&self, name: &str) -> Option<String> {
        self.fields()
            .into_iter()
            .find_map(|(field, value)| (field == name).then_some(value))
    }
}

/// One answer.
#[derive(Clone)]
pub enum Reply {
    Answer(StatusCode, HeaderMap, Bytes),
    Fail(std::io::ErrorKind),
    Hang,
}

pub fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Reply::Answer(
        StatusCode::from_u16(status).unwrap(),
        HeaderMap::new(),
        body.into(),
    )
}

impl Reply {
    pub fn header(self, name: &'static str, value: &str) -> Self {
        let Self::Answer(status, mut headers, body) = self else {
            panic!("only answers have headers");
        };
        headers.append(name, value.parse().unwrap());
        Self::Answer(status, headers, body)
    }
}

pub const TOKEN: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"t0k3n"}"#;

pub fn token() -> Reply {
    reply(200, TOKEN)
}

/// Answers with each reply once and with the last one from then on.
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

struct State {
    replies: VecDeque<Reply>,
    seen: Vec<Seen>,
    first: Option<Instant>,
}

impl Script {
    pub fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self(Arc::new(Mutex::new(State {
            replies: replies.into_iter().collect(),
            seen: Vec::new(),
            first: None,
        })))
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    pub fn requests(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }

    /// When each request was sent, in seconds since the first.
    pub fn moments(&self) -> Vec<f64> {
        self.seen()
            .iter()
            .map(|seen| seen.at.as_secs_f64())
            .collect()
    }

    pub fn transport(&self) -> Transport {
        let script = self.clone();
        Transport::new(tower::service_fn(move |request| {
            let script = script.clone();
            async move { script.answer(request).await }
        }))
    }

    async fn answer(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let reply = {
            let mut state = self.0.lock().unwrap();
            let now = Instant::now();
            let first = *state.first.get_or_insert(now);
            state.seen.push(Seen {
                method: parts.method,
                uri: parts.uri,
                headers: parts.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
                at: now - first,
            });
            if state.replies.len() > 1 {
                state.replies.pop_front().unwrap()
            } else {
                state.replies[0].clone()
            }
        };
        match reply {
            Reply::Answer(status, headers, body) => {
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok(response)
            }
            Reply::Fail(kind) => Err(std::io::Error::from(kind).into()),
            Reply::Hang => std::future::pending().await,
        }
    }
}

/// Time that passes only when it is told to, for tests with real sockets.
#[derive(Clone, Debug)]
pub struct HandClock(watch::Sender<Duration>);

impl HandClock {
    pub fn new() -> Self {
        Self(watch::Sender::new(Duration::ZERO))
    }

    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now += by);
    }
}

impl Runtime for HandClock {
    fn now(&self) -> Timestamp {
        let now = *self.0.borrow();
        let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(1_750_000_000) + now;
        Timestamp::new(now, wall)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut time = self.0.subscribe();
        let until = *time.borrow() + duration;
        Box::pin(async move {
            let _ = time.wait_for(|now| *now >= until).await;
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) -> Result<(), Error> {
        tokio::spawn(task);
        Ok(())
    }

    fn random(&self) -> u64 {
        0
    }
}
