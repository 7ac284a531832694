//! One seed from beginning to end, and many seeds side by side.

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::executor::{Turn, WORLD};
use crate::figures::Figures;
use crate::provider::ScriptedPanic;
use crate::trace::At;
use crate::world::World;
use crate::{number, traffic, weather};

/// More turns than this in one instant, and the clock will never move again.
const MOST_TURNS: u32 = 100_000;

/// What the last request may take, with everything going wrong.
const AFTERWARDS: Duration = Duration::from_secs(3600);

pub struct Run {
    pub trace: u64,
    pub figures: Figures,
    pub failure: Option<String>,
}

/// Plays `seed` for `days`.
pub fn run(seed: u64, days: u64) -> Run {
    let whole = number("SIMULATION_TRACE").is_some();
    let world = World::new(seed, days, whole);
    world
        .executor
        .spawn(WORLD, traffic::play(Arc::clone(&world)));
    world
        .executor
        .spawn(WORLD, weather::play(Arc::clone(&world)));
    if play_until(&world, world.end + AFTERWARDS) {
        check_all_answered(&world);
        world.close_cache();
        if play_until(&world, Duration::MAX) {
            check_nothing_left(&world);
        }
    }
    let now = world.executor.now();
    let run = world.with(|shared, _| {
        shared.figures.events = shared.trace.events();
        if let Some(text) = shared.trace.text() {
            println!("{text}");
        }
        let failure = shared.oracle.violation.as_ref().map(|violation| {
            format!(
                "seed {seed}, at {}:\n{violation}\nThe last events:\n{}Replay with\n  \
                 SIMULATION_SEED={seed} SIMULATION_DAYS={days} cargo test --test simulation i1_\n",
                At(now),
                shared.trace.last(),
            )
        });
        Run {
            trace: shared.trace.hash(),
            figures: shared.figures.clone(),
            failure,
        }
    });
    // Nothing may keep itself alive.
    world.executor.clear();
    drop(world.with(|shared, _| shared.clients.take()));
    run
}

/// Until nothing can happen before `end`. `false` if something is wrong.
fn play_until(world: &World, end: Duration) -> bool {
    let mut turns = 0;
    loop {
        match world.executor.turn() {
            Turn::Ran => turns += 1,
            Turn::Idle => {
                world.check_retired();
                turns = 0;
                if !world.executor.advance(end) {
                    return is_sound(world);
                }
            }
            Turn::Panicked(panic) if panic.is::<ScriptedPanic>() => {}
            Turn::Panicked(panic) => {
                let said = said(&*panic).to_owned();
                world.with(|shared, _| shared.oracle.violate("panic", said));
            }
        }
        if turns > MOST_TURNS {
            let text = format!("{turns} turns without time passing");
            world.with(|shared, _| shared.oracle.violate("hot loop", text));
        }
        if !is_sound(world) {
            return false;
        }
    }
}

fn is_sound(world: &World) -> bool {
    world.with(|shared, _| shared.oracle.violation.is_none())
}

fn check_all_answered(world: &World) {
    world.with(|shared, _| {
        if !shared.ledger.is_empty() {
            shared
                .oracle
                .violate("I8", "requests are left that never ended".to_owned());
        }
    });
}

fn check_nothing_left(world: &World) {
    if !world.executor.is_empty() {
        world.with(|shared, _| {
            shared
                .oracle
                .violate("I7", "tasks or timers are left at the end".to_owned());
        });
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a task panicked")
}

/// Plays all of `seeds`, one simulation a thread, until one fails.
pub fn play_all(seeds: Range<u64>, days: u64) -> Result<Figures, String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Ok(Figures::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || total.lock().unwrap().is_err() {
                        return;
                    }
                    let run = run(seed, days);
                    let mut total = total.lock().unwrap();
                    match (run.failure, &mut *total) {
                        (Some(failure), _) => *total = Err(failure),
                        (None, Ok(figures)) => figures.add(&run.figures),
                        (None, Err(_)) => {}
                    }
                }
            });
        }
    });
    total.into_inner().unwrap()
}
