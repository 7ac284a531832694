//! `BearerAuthLayer::azure` with `azure::ClientSecretCredential`.

use std::time::Duration;

use peers::peer::Peer as _;
use peers::peers::TowerBearer;

use super::with_version;
use crate::entrant::{Ageing, Entrant};

/// Refreshed at the server's hint and up to a tenth of what is left after it,
/// which is 6.3 s; used for 54 s.
const AGEING: Ageing = Ageing {
    refresh_in: Some(Duration::from_secs(1)),
    ..Ageing::of(Duration::from_mins(1), Duration::from_millis(6_500))
};

pub(super) fn entrant() -> Entrant {
    Entrant {
        resends: true,
        ours: true,
        ..Entrant::new(with_version("tower-bearer"), AGEING, |servers| {
            TowerBearer.client(servers)
        })
    }
}
