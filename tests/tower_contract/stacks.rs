//! tower's own middleware inside of the layer and outside, in every pair.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tower::buffer::Buffer;
use tower::limit::rate::Rate;
use tower::limit::{ConcurrencyLimit, RateLimit};
use tower::load_shed::LoadShed;
use tower::load_shed::error::Overloaded;
use tower::timeout::Timeout;
use tower::util::BoxCloneService;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_bearer::{AccessToken, BearerAuthError, BoxError, Error, ErrorKind};

use super::issuer::{Calls, issuer, token};
use super::probe::{Book, Probe, Server};
use super::{Body, KNOWN, UNKNOWN, get, layer, ready};

type Client = BoxCloneService<Request<Body>, Response<Body>, BoxError>;

const CALLERS: usize = 12;
const FETCH: Duration = Duration::from_secs(5);
const SEND: Duration = Duration::from_millis(100);
/// Far longer than anything takes, and over at once when all wait for ever.
const DEADLOCK: Duration = Duration::from_secs(600);

const AROUND: [Around; 9] = [
    Around::Nothing,
    Around::Limit,
    Around::Buffer,
    Around::LoadShed,
    Around::Timeout,
    Around::RateLimit,
    Around::BufferOverLimit,
    Around::LimitOverBuffer,
    Around::LoadShedOverLimit,
];

/// What is on one side of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Around {
    Nothing,
    Limit,
    Buffer,
    LoadShed,
    Timeout,
    RateLimit,
    BufferOverLimit,
    LimitOverBuffer,
    LoadShedOverLimit,
}

impl Around {
    fn wrap<S>(self, service: S, place: &Arc<Semaphore>) -> Client
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
        S::Error: Into<BoxError> + Send + Sync,
        S::Future: Send,
    {
        let service = BoxCloneService::new(service.map_err(Into::into));
        let limit = |service: Client| ConcurrencyLimit::with_semaphore(service, Arc::clone(place));
        match self {
            Self::Nothing => service,
            Self::Limit => BoxCloneService::new(limit(service)),
            Self::Buffer => BoxCloneService::new(Buffer::new(service, 1)),
            Self::LoadShed => BoxCloneService::new(LoadShed::new(service)),
            Self::Timeout => BoxCloneService::new(Timeout::new(service, DEADLOCK / 2)),
            Self::RateLimit => {
                // Has no clones of its own.
                let limited = RateLimit::new(service, Rate::new(1, Duration::from_secs(1)));
                BoxCloneService::new(Buffer::new(limited, 1))
            }
            Self::BufferOverLimit => BoxCloneService::new(Buffer::new(limit(service), 1)),
            Self::LimitOverBuffer => {
                let buffer = BoxCloneService::new(Buffer::new(service, 1));
                BoxCloneService::new(limit(buffer))
            }
            Self::LoadShedOverLimit => BoxCloneService::new(LoadShed::new(limit(service))),
        }
    }
}

/// How the identity provider does.
#[derive(Clone, Default)]
struct Provider {
    slow: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
}

impl Provider {
    async fn fetch(self, number: usize) -> Result<AccessToken, Error> {
        if self.slow.load(Ordering::SeqCst) {
            sleep(FETCH).await;
        }
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unreachable, "down"));
        }
        token(number)
    }
}

struct World {
    name: String,
    client: Client,
    server: Server,
    provider: Provider,
    calls: Calls,
    book: Book,
    places: [Arc<Semaphore>; 2],
}

impl World {
    fn new(inside: Around, outside: Around) -> Self {
        let provider = Provider::default();
        let fetching = provider.clone();
        let (credential, calls) = issuer(move |number, _| fetching.clone().fetch(number));
        let (server, book) = (Server::taking(SEND), Book::default());
        let places = [1, 1].map(|places| Arc::new(Semaphore::new(places)));
        let inner = inside.wrap(Probe::new(server.clone(), &book), &places[0]);
        let client = outside.wrap(layer(credential).layer(inner), &places[1]);
        Self {
            name: format!("{inside:?} inside, {outside:?} outside"),
            client,
            server,
            provider,
            calls,
            book,
            places,
        }
    }

    /// Sends until it is not shed, as a caller would.
    fn caller(&self) -> impl Future<Output = Result<StatusCode, BoxError>> + Send + 'static {
        let client = self.client.clone();
        async move {
            loop {
                match client.clone().oneshot(get(KNOWN)).await {
                    Err(error) if is_overload(&error) => sleep(SEND / 10).await,
                    result => return Ok(result?.status()),
                }
            }
        }
    }

    async fn succeeds(&self) {
        let status = self.in_time(self.caller()).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{}", self.name);
    }

    async fn all_succeed(&self) {
        for result in self.in_time(self.all()).await {
            assert_eq!(result.unwrap(), StatusCode::OK, "{}", self.name);
        }
    }

    /// Many at once.
    async fn all(&self) -> Vec<Result<StatusCode, BoxError>> {
        let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(self.caller())).collect();
        let mut results = Vec::new();
        for caller in callers {
            results.push(caller.await.unwrap());
        }
        results
    }

    async fn in_time<F: Future>(&self, future: F) -> F::Output {
        let result = timeout(DEADLOCK, future).await;
        result.unwrap_or_else(|_| panic!("a deadlock with {}", self.name))
    }

    /// Nobody waits, so nobody has anything; and it goes on.
    async fn is_free(&self) {
        // Workers of buffers let go of what was cancelled in a task of theirs.
        sleep(Duration::from_secs(60)).await;
        let free = self
            .places
            .each_ref()
            .map(|place| place.available_permits());
        assert_eq!((free, self.book.held()), ([1, 1], 0), "{}", self.name);
        self.succeeds().await;
    }
}

fn is_overload(error: &BoxError) -> bool {
    let inner = match error.downcast_ref::<BearerAuthError>() {
        Some(BearerAuthError::Service(inner)) => inner,
        _ => error,
    };
    inner.is::<Overloaded>()
}

fn token_error(error: &BoxError) -> Option<ErrorKind> {
    let error = error.downcast_ref::<BearerAuthError>()?;
    Some(error.token_error()?.kind())
}

fn every_pair() -> impl Iterator<Item = World> {
    let pairs = |inside| AROUND.map(|outside| World::new(inside, outside));
    AROUND.into_iter().flat_map(pairs)
}

#[tokio::test(start_paused = true)]
async fn r24_plain_requests_go_through_every_stack() {
    for world in every_pair() {
        world.succeeds().await;
        world.all_succeed().await;
        world.is_free().await;
        assert_eq!(world.calls.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r24_the_wait_for_a_first_token_goes_through_every_stack() {
    for world in every_pair() {
        world.provider.slow.store(true, Ordering::SeqCst);
        let started = Instant::now();
        world.all_succeed().await;
        assert!(started.elapsed() >= FETCH, "{}", world.name);
        world.is_free().await;
        assert_eq!(world.calls.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn r24_failing_fetches_leave_every_stack_free() {
    for world in every_pair() {
        for slow in [false, true] {
            world.provider.slow.store(slow, Ordering::SeqCst);
            world.provider.down.store(true, Ordering::SeqCst);
            for result in world.in_time(world.all()).await {
                let kind = token_error(&result.unwrap_err());
                assert_eq!(kind, Some(ErrorKind::Unreachable), "{}", world.name);
            }
        }
        world.provider.down.store(false, Ordering::SeqCst);
        world.is_free().await;
    }
}

#[tokio::test(start_paused = true)]
async fn r24_r35_resends_go_through_every_stack() {
    for world in every_pair() {
        world.succeeds().await;
        for slow in [false, true] {
            world.provider.slow.store(slow, Ordering::SeqCst);
            let fetched = world.calls.count();
            world.server.accept_from(fetched + 1);
            world.all_succeed().await;
            assert_eq!(world.calls.count(), fetched + 1, "{}", world.name);
            world.is_free().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r24_failing_renewals_give_every_stack_its_401s_and_its_places_back() {
    for world in every_pair() {
        world.succeeds().await;
        world.server.accept_from(2);
        world.provider.down.store(true, Ordering::SeqCst);
        for result in world.in_time(world.all()).await {
            assert_eq!(result.unwrap(), StatusCode::UNAUTHORIZED, "{}", world.name);
        }
        world.provider.down.store(false, Ordering::SeqCst);
        world.is_free().await;
    }
}

/// Cancelled one after another, 50 ms apart: before they are ready, in the
/// queue, at the wait for a token, during the first send and the second.
#[tokio::test(start_paused = true)]
async fn r24_callers_that_are_cancelled_hold_up_nobody_in_any_stack() {
    for world in every_pair() {
        for revoked in [false, true] {
            world.provider.slow.store(true, Ordering::SeqCst);
            if revoked {
                world.server.accept_from(world.calls.count() + 1);
            }
            let fetched = world.calls.count();
            let cancelled: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(world.caller())).collect();
            let staying = tokio::spawn(world.caller());
            for caller in cancelled {
                sleep(Duration::from_millis(50)).await;
                caller.abort();
            }
            let status = world.in_time(staying).await.unwrap().unwrap();
            assert_eq!(status, StatusCode::OK, "{}", world.name);
            assert_eq!(world.calls.count(), fetched + 1, "{}", world.name);
            world.is_free().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r24_refused_hosts_hold_up_nobody_in_any_stack() {
    for world in every_pair() {
        let mut refused = Vec::new();
        for _ in 0..CALLERS {
            // These stay around, as the clients of a pool do.
            let mut client = world.client.clone();
            let sent = async { ready(&mut client).await?.call(get(UNKNOWN)).await };
            let error = world.in_time(sent).await.unwrap_err();
            assert_eq!(token_error(&error), Some(ErrorKind::UnknownHost));
            refused.push(client);
        }
        world.all_succeed().await;
        world.is_free().await;
        drop(refused);
    }
}

#[tokio::test(start_paused = true)]
async fn r24_load_shed_outside_sheds_nothing_while_the_inner_service_is_free() {
    for inside in [Around::Nothing, Around::Timeout] {
        let world = World::new(inside, Around::LoadShed);
        world.provider.slow.store(true, Ordering::SeqCst);
        // The first token, then one that is at hand, then a renewal.
        for (revoked, fetched) in [(false, 1), (false, 1), (true, 2)] {
            if revoked {
                world.server.accept_from(2);
            }
            let callers = (0..100).map(|_| tokio::spawn(world.client.clone().oneshot(get(KNOWN))));
            for caller in callers.collect::<Vec<_>>() {
                let answer = caller.await.unwrap().expect("nothing is shed");
                assert_eq!(answer.status(), StatusCode::OK);
            }
            assert_eq!(world.calls.count(), fetched);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn r24_a_request_that_waits_for_its_first_token_holds_a_place_and_one_that_waits_for_a_renewal_none()
 {
    let world = World::new(Around::Limit, Around::LoadShed);
    world.provider.slow.store(true, Ordering::SeqCst);
    for (revoked, free) in [(false, 0), (true, 1)] {
        if revoked {
            world.server.accept_from(2);
        }
        let waiting = tokio::spawn(world.caller());
        sleep(FETCH / 2).await;
        assert_eq!(world.places[0].available_permits(), free);
        let other = world.client.clone().oneshot(get(KNOWN)).await;
        let shed = other.is_err_and(|error| is_overload(&error));
        assert_eq!(shed, free == 0);
        assert_eq!(waiting.await.unwrap().unwrap(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn i8_a_timeout_outside_counts_the_wait_for_a_token_and_one_inside_does_not() {
    for (outside, ends) in [(false, FETCH + SEND), (true, FETCH / 2)] {
        let (credential, _) = issuer(|number, _| async move {
            sleep(FETCH).await;
            token(number)
        });
        let (book, place) = (Book::default(), Arc::new(Semaphore::new(1)));
        let probe = Probe::new(Server::taking(SEND), &book);
        let limited = Around::Limit.wrap(probe, &place);
        let short = |service| BoxCloneService::new(Timeout::new(service, FETCH / 2));
        let client: Client = if outside {
            short(Around::Nothing.wrap(layer(credential).layer(limited), &place))
        } else {
            Around::Nothing.wrap(layer(credential).layer(short(limited)), &place)
        };
        let started = Instant::now();
        let result = client.clone().oneshot(get(KNOWN)).await;
        assert_eq!((started.elapsed(), result.is_err()), (ends, outside));
        assert_eq!((place.available_permits(), book.held()), (1, 0));
    }
}
