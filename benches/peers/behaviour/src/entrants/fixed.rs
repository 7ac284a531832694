//! No library: a token that is never fetched. What its calls wait is what this
//! machine makes any call wait.

use std::sync::Arc;

use async_trait::async_trait;
use peers::BoxError;
use peers::load::Call;
use peers::peer::Audience;

use super::handed::{Handed, Tokens};
use crate::entrant::Entrant;

pub(super) fn entrant() -> Entrant {
    Entrant {
        name: "*a fixed token*".to_owned(),
        connect: Box::new(|servers| Ok(Arc::new(Handed::new(Fixed, servers)))),
        call: Call::Send(Audience::Vault),
        ageing: None,
        starts_cold: false,
        resends: false,
        ours: false,
    }
}

struct Fixed;

#[async_trait]
impl Tokens for Fixed {
    async fn token(&self) -> Result<String, BoxError> {
        Ok("token-1".to_owned())
    }
}
