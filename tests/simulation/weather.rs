//! Draws what goes wrong next.

use std::sync::Arc;
use std::time::Duration;

use crate::executor::{WORLD, Which};
use crate::faults::{HOST_FAULTS, PROVIDER_TROUBLES, ProviderTrouble};
use crate::oracle::CacheId;
use crate::places::{AUDIENCES, HOSTS, RULED};
use crate::traffic;
use crate::world::{World, flights};

const SECOND: Duration = Duration::from_secs(1);

/// Until the end: quiet for a while, then something goes wrong.
pub async fn play(world: Arc<World>) {
    let calm = world.with(|shared, _| {
        let longest = Duration::from_secs(4 * 3600);
        shared.random.between(SECOND * 600, longest)
    });
    loop {
        let wait = world.with(|shared, _| shared.random.around(calm));
        world.sleep(wait).await;
        if world.is_over() {
            return;
        }
        match world.with(|shared, _| shared.random.below(100)) {
            0..40 => provider(&world),
            40..58 => host(&world),
            58..70 => {
                let host = revocation(&world);
                attract(&world, Some(host));
            }
            70..76 => demand(&world),
            76..86 => clock(&world),
            86..92 => frozen_runtime(&world).await,
            92..94 => world.check_status(),
            _ => new_cache(&world),
        }
    }
}

fn provider(world: &Arc<World>) {
    world.with(|shared, now| {
        let (trouble, name) = shared.random.pick(&PROVIDER_TROUBLES);
        let everywhere = shared.random.percent(40);
        let audience = shared.random.below(AUDIENCES.len());
        let audience = (!everywhere).then_some(audience);
        let lasts = shared.random.between(SECOND * 5, SECOND * 14_400);
        shared
            .faults
            .trouble_provider(now.monotonic + lasts, audience, trouble);
        shared.fault(
            now,
            name,
            audience.map_or(AUDIENCES.len(), |audience| audience),
            lasts,
        );
    });
    attract(world, None);
}

fn host(world: &Arc<World>) {
    let host = world.with(|shared, now| {
        let (fault, name) = shared.random.pick(&HOST_FAULTS);
        let host = shared.random.below(RULED);
        let lasts = shared.random.between(SECOND * 5, SECOND * 7200);
        shared
            .faults
            .trouble_host(now.monotonic + lasts, host, fault);
        shared.fault(now, name, host, lasts);
        host
    });
    attract(world, Some(host));
}

/// The tokens that there are become worthless, at one host or at all that take
/// them.
fn revocation(world: &Arc<World>) -> usize {
    world.with(|shared, now| {
        let host = shared.random.below(RULED);
        let everywhere = shared.random.percent(60);
        let next = shared.oracle.tokens.len();
        for (other, place) in HOSTS.iter().enumerate().take(RULED) {
            if other == host || (everywhere && place.audience == HOSTS[host].audience) {
                shared.faults.revoke(other, next);
            }
        }
        shared.oracle.trouble_at(host, now);
        shared.fault(now, "revocation", host, Duration::ZERO);
        host
    })
}

fn demand(world: &Arc<World>) {
    let host = world.with(|shared, now| {
        let host = shared.random.below(RULED);
        let key = shared.faults.ask(host, &mut shared.random)?;
        shared.oracle.asks(host, key, now);
        shared.fault(now, "demand for a tenant or claims", host, Duration::ZERO);
        Some(host)
    });
    if host.is_some() {
        attract(world, host);
    }
}

fn clock(world: &Arc<World>) {
    let (sleeps, by, ahead) = world.with(|shared, now| {
        let sleeps = shared.random.percent(40);
        let by = shared.random.between(SECOND, SECOND * 14_400);
        let millis = i64::try_from(by.as_millis()).unwrap();
        let before = shared.faults.wall_ahead;
        let ahead = match shared.random.below(4) {
            _ if sleeps => before,
            0 => millis,
            1 => -millis,
            // Somebody sets it right.
            _ => 0,
        };
        shared.faults.wall_ahead = ahead;
        shared.oracle.clock_jumped(now);
        let name = match ahead - before {
            _ if sleeps => "suspend",
            step if step < 0 => "wall clock set back",
            _ => "wall clock set forward",
        };
        shared.fault(now, name, 0, by);
        (sleeps, by, ahead)
    });
    if sleeps {
        world.executor.suspend(by);
    } else {
        world.executor.set_wall(ahead);
    }
    attract(world, None);
}

/// The runtime that fetches are on is not driven any more; perhaps it is shut
/// down, perhaps it goes on.
async fn frozen_runtime(world: &Arc<World>) {
    // Something must be under way to be frozen, and something else when it
    // thaws.
    let host = revocation(world);
    let (cache, lasts, kill) = world.with(|shared, now| {
        let cache = shared.clients.as_ref().unwrap().cache;
        let lasts = SECOND * shared.random.pick(&[1, 30, 140, 160, 400]);
        let kill = shared.random.percent(40);
        if shared.random.percent(70) {
            let until = now.monotonic + lasts + SECOND * 60;
            shared
                .faults
                .trouble_provider(until, None, ProviderTrouble::VerySlow);
        }
        let name = if kill {
            "runtime shut down"
        } else {
            "runtime not driven for a while"
        };
        shared.fault(now, name, 0, lasts);
        (cache, lasts, kill)
    });
    let siege = traffic::siege(world, Some(host));
    world.sleep(siege.min(SECOND * 10)).await;
    let disturb = |killing| {
        world.with(|shared, now| {
            shared.oracle.disturbed(cache, now);
            shared.killing = killing;
        });
    };
    disturb(kill);
    world.executor.freeze(flights(cache));
    if kill {
        world.executor.kill(flights(cache), Which::Frozen);
        disturb(false);
    } else {
        let rest = SECOND * 10;
        world.sleep(lasts.saturating_sub(rest)).await;
        traffic::siege(world, Some(host));
        world.sleep(rest).await;
        disturb(false);
        world.executor.thaw(flights(cache));
    }
    attract(world, None);
}

fn new_cache(world: &Arc<World>) {
    let former: Option<CacheId> = world.with(|shared, now| {
        shared.fault(now, "last handles dropped", 0, Duration::ZERO);
        let abrupt = shared.random.percent(60);
        let clients = shared.clients.as_ref()?;
        abrupt.then_some(clients.cache)
    });
    world.open_cache();
    if let Some(former) = former {
        world.cancel_all(former);
    }
    attract(world, None);
}

/// Trouble without traffic proves nothing.
fn attract(world: &Arc<World>, host: Option<usize>) {
    let busy = world.with(|shared, _| shared.random.percent(60));
    if busy {
        let started = Arc::clone(world);
        world.executor.spawn(WORLD, async move {
            let pause = traffic::siege(&started, host);
            started.sleep(pause).await;
        });
    }
}
