//! What a cache does, as simply as it can be said.
//!
//! Where chance has a say the model knows an interval: before it nothing may be
//! fetched, after it something must be, and within it either is right.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use tower_bearer::{ErrorKind, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

/// How long a fetch may take.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// How far rounding may move a moment that chance has drawn.
const ROUNDING: Duration = Duration::from_millis(1);

/// What the provider says.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Token {
        text: String,
        life: Life,
        refresh_in: Option<Duration>,
    },
    Failure {
        kind: ErrorKind,
        retry_after: Option<Duration>,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    In(Duration),
    On(SystemTime),
}

/// What a caller sees at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Token(String),
    Error(ErrorKind),
    Waits,
}

/// A moment between two others.
type Between = Range<Duration>;

#[derive(Clone)]
struct Token {
    text: String,
    ends: Timestamp,
    /// On both clocks: from the first it may be refreshed, from the second on it
    /// must be.
    due: (Timestamp, Timestamp),
}

struct Fetch {
    starts: Duration,
    forced: bool,
}

#[derive(Default)]
struct Key {
    token: Option<Token>,
    fetch: Option<Fetch>,
    last_start: Option<Duration>,
    failures: u32,
    failed: Option<(ErrorKind, Between)>,
    forced: u32,
    force_from: Duration,
}

/// The keys, and until when the authority wants quiet from all of them.
pub(crate) struct Model {
    keys: Vec<Key>,
    quiet: Option<(ErrorKind, Between)>,
}

fn reached(moment: Timestamp, now: Timestamp) -> bool {
    now.monotonic >= moment.monotonic || now.wall >= moment.wall
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp::new(moment.monotonic + by, moment.wall + by)
}

fn left(end: Timestamp, now: Timestamp) -> Duration {
    let wall = end.wall.duration_since(now.wall).unwrap_or_default();
    end.monotonic.saturating_sub(now.monotonic).min(wall)
}

impl Model {
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            keys: (0..keys).map(|_| Key::default()).collect(),
            quiet: None,
        }
    }

    /// A caller has asked for a token of `key`, perhaps because `refused` was,
    /// and has `seen` something; the provider is being `asked` for that key.
    pub(crate) fn ask(
        &mut self,
        key: usize,
        refused: Option<&str>,
        now: Timestamp,
        seen: &Seen,
        asked: bool,
    ) {
        let held: Vec<_> = self.keys[key]
            .failed
            .iter()
            .chain(&self.quiet)
            .cloned()
            .collect();
        let may_fetch = held
            .iter()
            .all(|(_, until)| now.monotonic + ROUNDING >= until.start);
        let must_fetch = held.iter().all(|(_, until)| now.monotonic >= until.end);
        let key = &mut self.keys[key];
        let token = key.token.clone().filter(|token| !reached(token.ends, now));
        let wanted = token.as_ref().filter(|token| refused != Some(&token.text));
        let rested = key
            .last_start
            .is_none_or(|last| now.monotonic >= last + SECOND);
        match seen {
            Seen::Token(text) => {
                let token = wanted.expect("a token, although there is none");
                assert_eq!(text, &token.text, "another token than the newest");
                if key.fetch.is_none() && asked {
                    assert!(reached(token.due.0, now), "refreshed too early");
                    assert!(may_fetch && rested, "refreshed too often");
                    key.start(now.monotonic, false);
                } else if key.fetch.is_none() {
                    let required = reached(token.due.1, now) && must_fetch && rested;
                    assert!(!required, "not refreshed although due");
                }
            }
            Seen::Waits => {
                assert!(wanted.is_none(), "a wait, although there is a token");
                if key.fetch.is_none() {
                    assert!(may_fetch, "fetched although it should be left alone");
                    let forced = token.is_some();
                    assert!(
                        !forced || now.monotonic >= key.force_from,
                        "forced too often"
                    );
                    key.start(now.monotonic, forced);
                }
            }
            Seen::Error(kind) => {
                assert!(wanted.is_none(), "an error, although there is a token");
                assert!(
                    key.fetch.is_none(),
                    "an error, although a fetch is under way"
                );
                let stored = !must_fetch && held.iter().any(|(held, _)| held == kind);
                let too_often = token.is_some() && now.monotonic < key.force_from;
                assert!(
                    stored || (too_often && may_fetch && *kind == ErrorKind::Throttled),
                    "{kind:?} out of nothing",
                );
            }
        }
    }

    /// The fetch of `key` has waited until `now` for its turn, and the provider
    /// is being `asked` or not: a fetch is turned back if the authority came to
    /// want quiet meanwhile, and all who wait for it get that.
    pub(crate) fn depart(&mut self, key: usize, now: Duration, asked: bool) -> Option<Seen> {
        let may_ask = |quiet: &Between| now + ROUNDING >= quiet.start;
        if asked {
            let quiet = self.quiet.as_ref().map(|(_, until)| until);
            assert!(quiet.is_none_or(may_ask), "asked in spite of a throttle");
            return None;
        }
        let (kind, until) = self.quiet.clone().expect("not asked, without a reason");
        assert!(now < until.end, "not asked after the end of a throttle");
        self.keys[key].fetch = None;
        Some(Seen::Error(kind))
    }

    /// A fetch of `key` that was begun at `asked_at` ends with `answer`: this is
    /// what all who wait for it get.
    pub(crate) fn land(
        &mut self,
        key: usize,
        asked_at: Timestamp,
        now: Timestamp,
        answer: Answer,
    ) -> Seen {
        let slot = &mut self.keys[key];
        let fetch = slot.fetch.take().expect("a fetch that nobody began");
        let (kind, retry_after) = match answer {
            Answer::Failure { kind, retry_after } => (kind, retry_after),
            Answer::Token {
                text,
                life,
                refresh_in,
            } => {
                let same = slot.token.as_ref().filter(|token| token.text == text);
                if fetch.forced && same.is_some() {
                    slot.force_from = slot.force_from.max(now.monotonic + 30 * SECOND);
                }
                let wall = asked_at.wall;
                let whole = match life {
                    Life::In(life) => life,
                    Life::On(end) => end.duration_since(wall).unwrap_or_default(),
                };
                let skew = (30 * SECOND).max(whole / 1000).min(whole / 10);
                // What the clocks that requests read may be behind.
                let skew = skew.max(SECOND / 50);
                let mut ends = later(asked_at, whole.saturating_sub(skew));
                if let (Life::On(_), Some(same)) = (life, same) {
                    // A clock that was set back does not lengthen its life.
                    ends.monotonic = ends.monotonic.min(same.ends.monotonic);
                    ends.wall = ends.wall.min(same.ends.wall);
                }
                let left = left(ends, now);
                if !left.is_zero() {
                    let due = due(asked_at, now, left, skew, refresh_in);
                    let due = (later(now, due.start), later(now, due.end));
                    slot.token = Some(Token {
                        text: text.clone(),
                        ends,
                        due,
                    });
                    (slot.failures, slot.failed) = (0, None);
                    return Seen::Token(text);
                }
                (ErrorKind::InvalidResponse, None)
            }
        };
        slot.failures += 1;
        let (least, most) = match kind {
            ErrorKind::Rejected => (10, 60),
            _ => (1, 30),
        };
        let most = most.min(least << slot.failures.min(6));
        let asked_for = retry_after.unwrap_or_default();
        let spread = if retry_after.is_some() {
            SECOND
        } else {
            Duration::ZERO
        };
        let until = now.monotonic + asked_for.max(least * SECOND)
            ..now.monotonic + (asked_for + spread).max(most * SECOND);
        if retry_after.is_some() {
            let other = self.quiet.take().map_or(until.clone(), |(_, other)| other);
            let longest = until.start.max(other.start)..until.end.max(other.end);
            self.quiet = Some((kind, longest));
        }
        slot.failed = Some((kind, until));
        Seen::Error(kind)
    }

    /// Since when the provider is being asked for `key`.
    pub(crate) fn fetching_since(&self, key: usize, now: Duration) -> Option<Duration> {
        let starts = self.keys[key].fetch.as_ref()?.starts;
        (starts <= now).then_some(starts)
    }

    /// How long the newest token of `key` is good still.
    pub(crate) fn left(&self, key: usize, now: Timestamp) -> Duration {
        let token = self.keys[key].token.as_ref();
        token.map_or(Duration::ZERO, |token| left(token.ends, now))
    }

    /// When the first of all fetches begins, or is given up, until `end`.
    pub(crate) fn next_moment(&self, now: Duration, end: Duration) -> Duration {
        self.keys
            .iter()
            .filter_map(|key| Some(key.fetch.as_ref()?.starts))
            .flat_map(|starts| [starts, starts + FETCH_TIMEOUT])
            .filter(|moment| *moment > now)
            .fold(end, Duration::min)
    }
}

impl Key {
    fn start(&mut self, now: Duration, forced: bool) {
        let starts = match self.last_start {
            Some(last) if !forced => now.max(last + SECOND),
            _ => now,
        };
        if forced {
            self.forced += 1;
            let pause = 30 * SECOND * 2_u32.pow((self.forced - 1).min(4));
            self.force_from = now + pause.min(300 * SECOND);
        }
        self.last_start = Some(starts);
        self.fetch = Some(Fetch { starts, forced });
    }
}

/// How long after its arrival a token is refreshed.
fn due(
    asked_at: Timestamp,
    now: Timestamp,
    left_of_life: Duration,
    skew: Duration,
    refresh_in: Option<Duration>,
) -> Between {
    let hint = refresh_in.map(|hint| left(later(asked_at, hint), now));
    match hint {
        Some(hint) if !hint.is_zero() && hint < left_of_life => {
            hint.saturating_sub(ROUNDING)..hint + left_of_life.saturating_sub(hint) / 10 + ROUNDING
        }
        _ => {
            let reserved = (left_of_life + skew).saturating_sub(300 * SECOND);
            let last = reserved.clamp(left_of_life / 2, left_of_life.mul_f64(0.7));
            let first = last.saturating_sub(left_of_life.mul_f64(0.2));
            first.saturating_sub(ROUNDING)..last + ROUNDING
        }
    }
}
