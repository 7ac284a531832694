//! The libraries, one file each.

mod tower_bearer;

#[cfg(feature = "others")]
mod aliri;
#[cfg(feature = "others")]
mod aws;
#[cfg(feature = "others")]
mod azure;
#[cfg(feature = "others")]
mod cf_gears;
#[cfg(feature = "others")]
mod fixed;
#[cfg(feature = "others")]
mod google;
#[cfg(feature = "others")]
mod handed;
#[cfg(feature = "others")]
mod issued;
#[cfg(feature = "others")]
pub(crate) mod kube;
#[cfg(feature = "others")]
mod loopback;
#[cfg(feature = "others")]
mod object_store;
#[cfg(feature = "others")]
mod reqsign;
#[cfg(feature = "others")]
mod sends;

use peers::peers::version_in;

use crate::entrant::Entrant;

/// All that take part, tower-bearer first.
pub(crate) fn all() -> Vec<Entrant> {
    let mut all = vec![tower_bearer::entrant()];
    all.extend(others());
    all
}

#[cfg(feature = "others")]
fn others() -> Vec<Entrant> {
    let mut others = vec![fixed::entrant()];
    others.extend(azure::entrants());
    others.extend([
        google::entrant(),
        aws::entrant(),
        reqsign::entrant(),
        object_store::entrant(),
    ]);
    others.extend(cf_gears::entrants());
    others.extend([aliri::entrant(), kube::entrant()]);
    others
}

#[cfg(not(feature = "others"))]
fn others() -> Vec<Entrant> {
    Vec::new()
}

/// `package` and the version that this program was built with.
fn with_version(package: &str) -> String {
    let version = version_in(include_str!("../../Cargo.lock"), package);
    format!("{package} {version}")
}
