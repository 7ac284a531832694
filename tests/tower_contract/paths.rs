//! Each way that a request can go, walked to its end and left at each step.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep, timeout};
use tower::limit::ConcurrencyLimit;
use tower::{Layer as _, Service as _, ServiceExt as _};
use tower_bearer::{
    AccessToken, BearerAuth, BearerAuthError, Error, ErrorKind, ResponseFuture, UnknownHosts,
};

use super::issuer::{HOUR, issuer, token};
use super::probe::{Book, Counts, Fate, Probe, Server};
use super::{Body, KNOWN, UNKNOWN, get, layer, ready};

type Inner = ConcurrencyLimit<Probe<Server>>;
type Client = BearerAuth<Inner>;

const SEND: Duration = Duration::from_millis(900);
const FETCH: Duration = Duration::from_millis(2900);

const PATHS: [Path; 12] = [
    Path::AtHand,
    Path::FirstToken,
    Path::NoToken,
    Path::Resend,
    Path::ResendAfterAWait,
    Path::NoOtherToken,
    Path::RefusedHost,
    Path::PassedOn,
    Path::OwnHeader,
    Path::ServiceFails,
    Path::ServiceFailsAtTheResend,
    Path::ServiceNotReadyForTheResend,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    AtHand,
    FirstToken,
    NoToken,
    /// After a 401, with a token that is there at once.
    Resend,
    ResendAfterAWait,
    NoOtherToken,
    RefusedHost,
    PassedOn,
    OwnHeader,
    ServiceFails,
    ServiceFailsAtTheResend,
    ServiceNotReadyForTheResend,
}

/// How a way ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answer(StatusCode),
    Token(ErrorKind),
    Service,
}

impl Path {
    /// What is sent downstream, and what comes of it.
    fn expected(self) -> (usize, End) {
        match self {
            Self::AtHand | Self::FirstToken | Self::OwnHeader => (1, End::Answer(StatusCode::OK)),
            Self::Resend | Self::ResendAfterAWait => (2, End::Answer(StatusCode::OK)),
            Self::NoOtherToken | Self::PassedOn => (1, End::Answer(StatusCode::UNAUTHORIZED)),
            Self::NoToken => (0, End::Token(ErrorKind::Rejected)),
            Self::RefusedHost => (0, End::Token(ErrorKind::UnknownHost)),
            Self::ServiceFails | Self::ServiceNotReadyForTheResend => (1, End::Service),
            Self::ServiceFailsAtTheResend => (2, End::Service),
        }
    }

    /// At how many polls, half a second apart, it is not done: two for a send,
    /// six for a slow fetch or one for a quick one, and one to make the probe
    /// ready.
    fn waits(self) -> usize {
        match self {
            Self::RefusedHost => 0,
            Self::NoToken => 1,
            Self::NoOtherToken => 2 + 1,
            Self::AtHand | Self::PassedOn | Self::OwnHeader | Self::ServiceFails => 2,
            Self::ServiceNotReadyForTheResend => 2 + 1 + 1,
            Self::FirstToken => 6 + 2,
            Self::Resend | Self::ServiceFailsAtTheResend => 2 + 1 + 1 + 2,
            Self::ResendAfterAWait => 2 + 6 + 1 + 2,
        }
    }

    async fn fetch(self, number: usize) -> Result<AccessToken, Error> {
        match self {
            Self::NoToken => Err(Error::new(ErrorKind::Rejected, "no")),
            Self::NoOtherToken => token(1),
            Self::FirstToken | Self::ResendAfterAWait => {
                sleep(FETCH).await;
                token(number)
            }
            _ => token(number),
        }
    }

    fn request(self) -> Request<Body> {
        match self {
            Self::RefusedHost | Self::PassedOn => get(UNKNOWN),
            Self::OwnHeader => own_header(),
            _ => get(KNOWN),
        }
    }
}

/// Is sent whatever becomes of tokens.
fn own_header() -> Request<Body> {
    let mut request = get(KNOWN);
    let token = HeaderValue::from_static("Bearer token-99");
    request.headers_mut().insert(AUTHORIZATION, token);
    request
}

/// A client with a single place, where a way begins.
struct World {
    client: Client,
    server: Server,
    book: Book,
    places: Arc<Semaphore>,
    before: Counts,
}

impl World {
    async fn at_start_of(path: Path) -> Self {
        let (credential, _) = issuer(move |number, _| path.fetch(number));
        let server = Server::taking(SEND);
        let (book, places) = (Book::default(), Arc::new(Semaphore::new(1)));
        let probe = Probe::new(server.clone(), &book).reluctant();
        let limited = ConcurrencyLimit::with_semaphore(probe, Arc::clone(&places));
        let mut layer = layer(credential);
        if path == Path::PassedOn {
            layer = layer.unknown_hosts(UnknownHosts::PassOn);
        }
        let mut client = layer.layer(limited);
        if !matches!(path, Path::FirstToken | Path::NoToken) {
            ready(&mut client)
                .await
                .unwrap()
                .call(get(KNOWN))
                .await
                .unwrap();
        }
        match path {
            Path::Resend
            | Path::ResendAfterAWait
            | Path::NoOtherToken
            | Path::ServiceNotReadyForTheResend => server.accept_from(2),
            Path::ServiceFails => server.expect([Fate::Fails]),
            Path::ServiceFailsAtTheResend => {
                server.accept_from(2);
                server.expect([Fate::Answered, Fate::Fails]);
            }
            _ => {}
        }
        Self {
            before: book.counts(),
            client,
            server,
            book,
            places,
        }
    }

    async fn call(&mut self, path: Path) -> ResponseFuture<Inner, Body, Body> {
        let client = ready(&mut self.client).await.unwrap();
        if path == Path::ServiceNotReadyForTheResend {
            self.server.fail_to_get_ready();
        }
        client.call(path.request())
    }

    fn sends(&self) -> usize {
        self.book.counts().used - self.before.used
    }

    /// Nobody has anything that another might wait for.
    fn is_free(&self) -> bool {
        (self.book.held(), self.places.available_permits()) == (0, 1)
    }

    async fn serves_again(&mut self) {
        self.server.recover();
        let sent = async { ready(&mut self.client).await?.call(own_header()).await };
        let answer = timeout(Duration::from_secs(10), sent).await;
        let answer = answer.expect("a deadlock").unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn r24_on_each_way_only_what_is_ready_is_called_and_every_reservation_is_used_or_given_back()
{
    for path in PATHS {
        let mut world = World::at_start_of(path).await;
        let end = match world.call(path).await.await {
            Ok(answer) => End::Answer(answer.status()),
            Err(BearerAuthError::Token(error)) => End::Token(error.kind()),
            Err(_) => End::Service,
        };
        assert_eq!((world.sends(), end), path.expected(), "{path:?}");
        assert!(world.is_free(), "{path:?}: {:?}", world.book);
        world.serves_again().await;
    }
}

#[tokio::test(start_paused = true)]
async fn r24_i3_a_request_that_is_dropped_at_any_await_point_gives_back_what_it_had() {
    for path in PATHS {
        let mut polls = 0;
        loop {
            let mut world = World::at_start_of(path).await;
            let mut done = false;
            {
                let mut request = pin!(world.call(path).await);
                for _ in 0..polls {
                    done = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx).is_ready())).await;
                    if done {
                        break;
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            }
            assert!(world.is_free(), "{path:?}, {polls} polls: {:?}", world.book);
            world.serves_again().await;
            if done {
                break;
            }
            polls += 1;
        }
        assert_eq!(polls, path.waits() + 1, "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r24_a_client_that_is_ready_and_never_called_holds_its_place_only_while_it_lives() {
    let mut world = World::at_start_of(Path::AtHand).await;
    let mut idle = world.client.clone();
    ready(&mut idle).await.unwrap();
    assert_eq!(
        (world.book.held(), world.places.available_permits()),
        (1, 0)
    );
    // A clone of it must not think that it is ready too.
    let copy = idle.clone();
    drop(idle);
    assert!(world.is_free());
    world.serves_again().await;
    drop(copy);
}

/// The order in which a resend may find its token ended: it is ready, and must
/// wait for a token once more.
#[tokio::test(start_paused = true)]
async fn r24_i1_a_resend_that_waits_for_its_token_again_calls_the_service_that_it_made_ready() {
    let (credential, calls) = issuer(|number, _| async move {
        AccessToken::expiring_in(&format!("token-{number}"), Duration::from_secs(60))
    });
    let server = Server::taking(SEND);
    server.accept_from(3);
    let (book, places) = (Book::default(), Arc::new(Semaphore::new(1)));
    let probe = Probe::new(server.clone(), &book).reluctant();
    let limited = ConcurrencyLimit::with_semaphore(probe, Arc::clone(&places));
    let client = layer(credential).layer(limited);
    let answer = tokio::spawn(client.oneshot(get(KNOWN)));
    sleep(Duration::from_millis(500)).await;
    // Next in the queue for the only place, and stays there.
    let place = Arc::clone(&places).acquire_owned().await.unwrap();
    sleep(Duration::from_secs(600)).await;
    drop(place);
    assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(server.take_seen(), ["Bearer token-1", "Bearer token-3"]);
    let counts = book.counts();
    assert_eq!((counts.used, counts.given_back, calls.count()), (2, 0, 3));
    assert_eq!(places.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn r24_a_hundred_thousand_calls_never_meet_a_service_that_is_not_ready() {
    call_over_and_over(100_000).await;
}

/// Takes some seconds without optimization.
#[tokio::test(start_paused = true)]
#[ignore = "the figure of the catalogue; the test above is the same, shorter"]
async fn r24_a_million_calls_never_meet_a_service_that_is_not_ready() {
    call_over_and_over(1_000_000).await;
}

async fn call_over_and_over(times: usize) {
    const UNTIL_REVOKED: usize = 1000;
    let (credential, calls) = issuer(|number, _| async move {
        AccessToken::expiring_in(&format!("token-{number}"), 24 * HOUR)
    });
    let (server, book) = (Server::default(), Book::default());
    let mut client = layer(credential).layer(Probe::new(server.clone(), &book).reluctant());
    let mut sent = 0;
    for number in 0..times {
        if number % UNTIL_REVOKED == UNTIL_REVOKED / 2 {
            // So far apart that each may be renewed at once.
            advance(Duration::from_secs(61)).await;
            server.accept_from(calls.count() + 1);
            sent += server.take_seen().len();
        }
        let uri = if number % 10 == 7 { UNKNOWN } else { KNOWN };
        let answer = ready(&mut client).await.unwrap().call(get(uri)).await;
        match answer {
            Ok(answer) => assert_eq!(answer.status(), StatusCode::OK),
            Err(error) => assert_eq!(uri, UNKNOWN, "{error}"),
        }
    }
    sent += server.take_seen().len();
    let revoked = times / UNTIL_REVOKED;
    let (known, refused) = (times / 10 * 9, times / 10);
    let expected = Counts {
        made: known + revoked + refused,
        used: known + revoked,
        given_back: refused,
    };
    assert_eq!((book.counts(), sent), (expected, known + revoked));
    assert_eq!(calls.count(), 1 + revoked);
}
