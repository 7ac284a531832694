//! The other libraries, each with a stub where it would get its token.

mod azure;
mod tower_http;

use crate::Case;

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(tower_http::cases());
    cases.extend(azure::cases());
    cases
}
