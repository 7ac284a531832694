//! A library that takes part.

use std::sync::Arc;
use std::time::Duration;

use peers::BoxError;
use peers::identity::Answer;
use peers::load::Call;
use peers::peer::{Audience, Client, Servers};

/// Makes a client that has no token yet.
type Connect = dyn Fn(&Servers) -> Result<Arc<dyn Client>, BoxError> + Send + Sync;

/// A library, and what the scenarios have to know of it.
pub(crate) struct Entrant {
    /// What the tables call it, version included.
    pub(crate) name: String,
    pub(crate) connect: Box<Connect>,
    /// What its callers want of it.
    pub(crate) call: Call,
    /// How its tokens age; `None` if it never fetches any.
    pub(crate) ageing: Option<Ageing>,
    /// Whether callers can meet it without a token.
    pub(crate) starts_cold: bool,
    /// Whether it answers a 401 with another try.
    pub(crate) resends: bool,
    /// Whether it is held to the targets.
    pub(crate) ours: bool,
}

impl Entrant {
    /// One that puts tokens on requests, gives 401s back, and has `ageing`.
    pub(crate) fn new<F>(name: String, ageing: Ageing, connect: F) -> Self
    where
        F: Fn(&Servers) -> Result<Arc<dyn Client>, BoxError> + Send + Sync + 'static,
    {
        Self {
            name,
            connect: Box::new(connect),
            call: Call::Send(Audience::Vault),
            ageing: Some(ageing),
            starts_cold: true,
            resends: false,
            ours: false,
        }
    }
}

/// How a token becomes due for refresh and stays good for as long as calls
/// begin. Each library has its own idea of when that is, so each gets the life
/// that brings it there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ageing {
    /// How long the first token lives.
    pub(crate) life: Duration,
    /// What the server says of when to replace it.
    pub(crate) refresh_in: Option<Duration>,
    /// When the calls begin, counted from the start.
    pub(crate) calls_from: Duration,
}

impl Ageing {
    /// A token that lives for `life`, without a hint of when to replace it.
    pub(crate) const fn of(life: Duration, calls_from: Duration) -> Self {
        Self {
            life,
            refresh_in: None,
            calls_from,
        }
    }

    pub(crate) fn first_token(self) -> Answer {
        match self.refresh_in {
            Some(refresh_in) => Answer::token_to_refresh(1, self.life, refresh_in),
            None => Answer::token(1, self.life),
        }
    }
}
