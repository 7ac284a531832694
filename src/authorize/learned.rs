//! What servers have asked for, by origin.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::{Authority, Scheme};

use crate::Origin;
use crate::challenge::Demand;

/// Servers beyond this number are not remembered; each of their requests is
/// resent instead.
const MOST_ORIGINS: usize = 1024;

/// How soon an origin may ask for something else again.
const PAUSE: Duration = Duration::from_secs(30);

type Remembered = HashMap<(Scheme, Authority), Demand>;
type Tried = HashMap<(Scheme, Authority), (Demand, Duration)>;

#[derive(Debug)]
pub(super) struct Learned {
    count: AtomicU64,
    remembered: ArcSwap<Remembered>,
    tried: Mutex<Tried>,
}

impl Learned {
    pub(super) fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            remembered: ArcSwap::default(),
            tried: Mutex::new(Tried::new()),
        }
    }

    /// Changes whenever something is learned.
    #[inline]
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(super) fn of(&self, origin: &Origin<'_>) -> Option<Demand> {
        if self.count() == 0 {
            return None;
        }
        self.remembered.load().get(&place(origin)).cloned()
    }

    /// Whether a token may be fetched because `origin` asks for `demand`. The
    /// same demand costs nothing new: its token is kept under its own key.
    pub(super) fn permits(&self, origin: &Origin<'_>, demand: &Demand, now: Duration) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place(origin);
        if let Some((known, at)) = tried.get(&place) {
            if known == demand {
                return true;
            }
            if now.saturating_sub(*at) < PAUSE {
                return false;
            }
        } else if tried.len() >= MOST_ORIGINS {
            tried.retain(|_, (_, at)| now.saturating_sub(*at) < PAUSE);
            if tried.len() >= MOST_ORIGINS {
                return false;
            }
        }
        tried.insert(place, (demand.clone(), now));
        true
    }

    pub(super) fn remember(&self, origin: &Origin<'_>, demand: &Demand) {
        let place = place(origin);
        let mut changed = false;
        self.remembered.rcu(|remembered| {
            changed = remembered.get(&place) != Some(demand)
                && (remembered.len() < MOST_ORIGINS || remembered.contains_key(&place));
            let mut next = Remembered::clone(remembered);
            if changed {
                next.insert(place.clone(), demand.clone());
            }
            next
        });
        if changed {
            self.count.fetch_add(1, Ordering::Release);
        }
    }
}

fn place(origin: &Origin<'_>) -> (Scheme, Authority) {
    (origin.scheme().clone(), origin.authority().clone())
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::Claims;

    fn claims(number: u64) -> Demand {
        let json = format!(r#"{{"n":{number}}}"#);
        Demand::default().with_claims(Claims::from_json(&json).unwrap())
    }

    fn uri(number: u64) -> Uri {
        format!("https://h{number}.example").parse().unwrap()
    }

    #[test]
    fn a_server_that_asks_for_something_new_each_time_is_heard_now_and_then() {
        let learned = Learned::new();
        let uri = uri(0);
        let origin = Origin::of(&uri).unwrap();
        let heard = (0..600)
            .filter(|second| {
                learned.permits(&origin, &claims(*second), Duration::from_secs(*second))
            })
            .count();
        assert_eq!(heard, 20);
        assert!(learned.permits(&origin, &claims(570), Duration::from_secs(571)));
    }

    #[test]
    fn t30_memory_of_origins_is_bounded() {
        let learned = Learned::new();
        for number in 0..3000 {
            let uri = uri(number);
            let origin = Origin::of(&uri).unwrap();
            learned.permits(&origin, &claims(1), Duration::ZERO);
            learned.remember(&origin, &claims(1));
        }
        assert_eq!(learned.remembered.load().len(), MOST_ORIGINS);
        assert_eq!(learned.tried.lock().unwrap().len(), MOST_ORIGINS);
    }
}
