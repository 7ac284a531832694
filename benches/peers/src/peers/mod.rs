//! The libraries, one file each.

mod azure;
mod tower_bearer;

pub use self::azure::Azure;
pub use self::tower_bearer::TowerBearer;

use crate::peer::Peer;

/// The library that is held to the ideal figures.
#[must_use]
pub fn ours() -> Box<dyn Peer> {
    Box::new(TowerBearer)
}

/// Those it is compared with.
#[must_use]
pub fn others() -> Vec<Box<dyn Peer>> {
    vec![Box::new(Azure::plain()), Box::new(Azure::reauthorizing())]
}

/// The version of `package` that this program was built with.
fn locked_version(package: &str) -> &'static str {
    version_in(include_str!("../../Cargo.lock"), package)
}

/// The version of `package` in a `Cargo.lock`.
#[must_use]
pub fn version_in<'a>(lock: &'a str, package: &str) -> &'a str {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    lines.find(|line| *line == name);
    lines
        .next()
        .and_then(|line| line.strip_prefix("version = \""))
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or("?")
}
