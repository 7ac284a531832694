//! Connections of programs, from the first to the last.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tower_bearer::BoxError;

use super::body::Activity;
use super::forward::{Client, Proxy};
use super::settings::Limits;

/// How serving came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All that was under way is done.
    Finished,
    /// So many connections had requests under way by then.
    CutOff(usize),
}

/// HTTP/2 streams of one connection at the same time.
const STREAMS: u32 = 256;

/// What connections are to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// Finish what is under way.
    Stopping,
    Over,
}

/// Serves until `stop` is over, and then what is under way for as long as the
/// limits say, unless `at_once` is over before.
pub(crate) async fn serve<S: Client>(
    listener: TcpListener,
    proxy: Proxy<S>,
    (stop, at_once): (impl Future<Output = ()>, impl Future<Output = ()>),
) -> Result<Ended, BoxError> {
    let limits = *proxy.limits();
    let proxy = Arc::new(proxy);
    let builder = builder(&limits);
    let (phase, _) = watch::channel(Phase::Serving);
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let (mut stop, mut complained) = (pin!(stop), false);
    loop {
        let (stream, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &room, &mut complained) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (proxy, builder) = (Arc::clone(&proxy), builder.clone());
        let phase = phase.subscribe();
        connections.spawn(async move {
            let at_work = connection(stream, proxy, builder, phase).await;
            drop(permit);
            at_work
        });
    }
    drop(listener);
    phase.send_replace(Phase::Stopping);
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        _ = timeout(limits.grace, all) => {}
        () = at_once => {}
    }
    phase.send_replace(Phase::Over);
    let mut cut_off = 0;
    while let Some(at_work) = connections.join_next().await {
        cut_off += usize::from(at_work.unwrap_or(false));
    }
    Ok(match cut_off {
        0 => Ended::Finished,
        _ => Ended::CutOff(cut_off),
    })
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    complained: &mut bool,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = Arc::clone(room).acquire_owned().await else {
            return pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            // Out of file descriptors, most likely: some will be given back.
            Err(error) => {
                if !std::mem::replace(complained, true) {
                    eprintln!("proxy: cannot take a connection: {error}");
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

/// Whether a request was under way when it was cut off.
async fn connection<S: Client>(
    stream: TcpStream,
    proxy: Arc<Proxy<S>>,
    builder: auto::Builder<TokioExecutor>,
    mut phase: watch::Receiver<Phase>,
) -> bool {
    // A connection that cannot be set up so is not worth more than one that
    // can, but works.
    let _ = stream.set_nodelay(true);
    let limit = proxy.limits().header_timeout;
    let activity = Activity::default();
    let service = service_fn(|request| {
        let (proxy, busy) = (Arc::clone(&proxy), activity.begin());
        async move { Ok::<_, Infallible>(proxy.respond(request, busy).await) }
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What the HTTP/1 parser does not time: half of a preface, and HTTP/2
    // connections on which nothing goes on.
    let mut ticks = interval(limit);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let (mut idle_after, mut told) = (None, false);
    let mut last_phase = phase.clone();
    loop {
        tokio::select! {
            // What goes wrong on a connection is the program's to tell.
            _ = serving.as_mut() => return false,
            _ = last_phase.wait_for(|phase| *phase == Phase::Over) => {
                return activity.idle_after().is_none();
            }
            _ = phase.wait_for(|phase| *phase >= Phase::Stopping), if !told => {
                serving.as_mut().graceful_shutdown();
                told = true;
            }
            _ = ticks.tick() => {
                let was = std::mem::replace(&mut idle_after, activity.idle_after());
                let first = was.is_none() && idle_after == Some(0);
                if idle_after.is_none() || (was != idle_after && !first) {
                    continue;
                }
                if told {
                    return false;
                }
                serving.as_mut().graceful_shutdown();
                told = true;
            }
        }
    }
}
