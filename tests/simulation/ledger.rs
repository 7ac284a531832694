//! The requests of users: how often each was sent, how long it waited, and
//! whether its end was the right one.

use std::collections::BTreeMap;
use std::time::Duration;

use tower_bearer::{Error, ErrorKind, Timestamp};

use crate::oracle::{CacheId, Oracle, TokenId};
use crate::places::HOSTS;

/// A 401 is not kept back for longer.
const RENEWAL: Duration = Duration::from_secs(15);
/// What the inner service takes to get ready, at most.
pub const READYING: Duration = Duration::from_millis(50);

const OK: u16 = 200;
const UNAUTHORIZED: u16 = 401;

#[derive(Default)]
pub struct Ledger {
    tickets: BTreeMap<u64, Ticket>,
    count: u64,
}

/// A request that a user waits for.
pub struct Ticket {
    pub cache: CacheId,
    pub host: usize,
    pub resendable: bool,
    /// How long it may wait for a token.
    limit: Duration,
    called: Timestamp,
    jumps: u64,
    pub sends: u32,
    last: Option<Answer>,
    /// Its resend went into finding out what the server asks for.
    learned: bool,
}

/// What a server said.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub token: Option<TokenId>,
    pub status: u16,
    /// It would have said so to any token.
    pub whatever: bool,
    /// It asked for a token of another kind.
    pub asked: bool,
    pub at: Duration,
}

/// How a request ended.
pub enum End {
    Answered(u16),
    NoToken(Error),
    Reset,
}

/// What its end tells of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub sends: u32,
    /// Waited for tokens.
    pub waited: Duration,
}

impl Ledger {
    pub fn open(
        &mut self,
        cache: CacheId,
        host: usize,
        resendable: bool,
        limit: Duration,
        oracle: &Oracle,
        now: Timestamp,
    ) -> u64 {
        self.count += 1;
        let ticket = Ticket {
            cache,
            host,
            resendable,
            limit,
            called: now,
            jumps: oracle.jumps,
            sends: 0,
            last: None,
            learned: false,
        };
        self.tickets.insert(self.count, ticket);
        self.count
    }

    pub fn ticket(&self, request: u64) -> &Ticket {
        &self.tickets[&request]
    }

    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// The request's future is gone.
    pub fn forget(&mut self, request: u64) -> bool {
        self.tickets.remove(&request).is_some()
    }

    pub fn forget_all_of(&mut self, cache: CacheId) {
        self.tickets.retain(|_, ticket| ticket.cache != cache);
    }

    /// The request is polled for the first time.
    pub fn called(&mut self, request: u64, now: Timestamp) {
        self.tickets.get_mut(&request).unwrap().called = now;
    }

    pub fn arrived(
        &mut self,
        request: u64,
        token: Option<TokenId>,
        oracle: &mut Oracle,
        now: Timestamp,
    ) {
        let ticket = self.tickets.get_mut(&request).unwrap();
        ticket.sends += 1;
        match (token, HOSTS[ticket.host].audience) {
            (Some(token), Some(_)) => oracle.sent(ticket.cache, ticket.host, token, now),
            (None, None) => {}
            (token, _) => oracle.violate(
                "I9",
                format!("token {token:?} at {}", HOSTS[ticket.host].origin),
            ),
        }
        match (ticket.sends, ticket.last) {
            (1, _) => {
                let waited = now.monotonic - ticket.called.monotonic;
                let limit = ticket.limit * ticket.times(oracle);
                if waited > limit {
                    oracle.violate(
                        "I8",
                        format!("request {request} waited {waited:?} for a token"),
                    );
                }
            }
            (2, Some(answer)) => {
                if answer.status != UNAUTHORIZED || !ticket.resendable {
                    oracle.violate(
                        "I5",
                        format!("request {request} was resent after {answer:?}"),
                    );
                }
                if answer.token == token {
                    oracle.violate(
                        "R37",
                        format!("request {request} was resent with the refused token"),
                    );
                }
                ticket.learned = answer.asked;
                ticket.check_kept_back(request, answer, oracle, now);
            }
            _ => oracle.violate(
                "I5",
                format!("request {request} was sent {} times", ticket.sends),
            ),
        }
    }

    pub fn answered(&mut self, request: u64, answer: Answer) {
        if let Some(ticket) = self.tickets.get_mut(&request) {
            ticket.last = Some(answer);
        }
    }

    /// The cache itself gave the token.
    pub fn took(&mut self, request: u64, now: Timestamp) {
        let answer = Answer {
            token: None,
            status: OK,
            whatever: false,
            asked: false,
            at: now.monotonic,
        };
        self.answered(request, answer);
    }

    /// Looks at how a request ended.
    pub fn finish(&mut self, request: u64, end: &End, oracle: &mut Oracle, now: Timestamp) -> Told {
        let ticket = self.tickets.remove(&request).unwrap();
        match end {
            End::Answered(status) => ticket.check_answer(request, *status, oracle, now),
            End::NoToken(error) => ticket.check_lack(request, error, oracle, now),
            End::Reset => {}
        }
        Told {
            sends: ticket.sends,
            waited: ticket.waited(now),
        }
    }
}

impl Ticket {
    /// A clock that jumps while a caller waits makes the token end that it
    /// waited for, so that the wait starts anew.
    fn times(&self, oracle: &Oracle) -> u32 {
        1 + u32::try_from(oracle.jumps - self.jumps).unwrap()
    }

    fn waited(&self, now: Timestamp) -> Duration {
        match self.last {
            None => now.monotonic - self.called.monotonic,
            Some(answer) => now.monotonic - answer.at,
        }
    }

    fn check_kept_back(&self, request: u64, answer: Answer, oracle: &mut Oracle, now: Timestamp) {
        let kept = now.monotonic - answer.at;
        // The new token may have ended while the service got ready.
        let limit = RENEWAL * self.times(oracle) + READYING;
        if kept > limit {
            oracle.violate(
                "I8",
                format!("the 401 of request {request} was kept back for {kept:?}"),
            );
        }
    }

    fn check_answer(&self, request: u64, status: u16, oracle: &mut Oracle, now: Timestamp) {
        let Some(answer) = self.last else {
            oracle.violate("answer", format!("request {request} had none"));
            return;
        };
        if answer.status != status {
            oracle.violate(
                "answer",
                format!("request {request} was answered {answer:?}, and got {status}"),
            );
        }
        if self.sends == 1 && status == UNAUTHORIZED && self.resendable {
            self.check_kept_back(request, answer, oracle, now);
        } else if answer.at != now.monotonic {
            oracle.violate(
                "I8",
                format!("request {request} was kept from {answer:?} without need"),
            );
        }
        let excused = status == OK
            || answer.whatever
            || !self.resendable
            || !oracle.is_calm(self.cache, self.host, now)
            || (self.learned && oracle.is_news(self.cache, answer.token, now));
        if !excused {
            oracle.violate(
                "I6",
                format!("all is well, and request {request} got {answer:?}"),
            );
        }
    }

    fn check_lack(&self, request: u64, error: &Error, oracle: &mut Oracle, now: Timestamp) {
        let waited = self.waited(now);
        let kind = error.kind();
        if HOSTS[self.host].audience.is_none() {
            let refused = matches!(kind, ErrorKind::UnknownHost | ErrorKind::RefusedHost);
            if !refused || self.sends > 0 {
                oracle.violate("I9", format!("request {request}: {error}"));
            }
            return;
        }
        if waited > self.limit * self.times(oracle) + RENEWAL + READYING
            || (self.sends == 0 && waited > self.limit * self.times(oracle))
        {
            oracle.violate(
                "I8",
                format!("request {request} failed after {waited:?}: {error}"),
            );
        }
        let in_vain = kind == ErrorKind::Timeout && waited >= self.limit;
        if !in_vain && !oracle.may_lack_a_token(self.cache, self.host, now) {
            oracle.violate(
                "I6",
                format!("request {request} failed for no reason: {error}"),
            );
        }
    }
}
