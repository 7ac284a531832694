//! The other libraries, each with a stub where it would get its token.

mod aliri;
mod aws;
mod azure;
mod cf_gears;
mod gcp_auth;
mod google;
mod huskarl;
mod kube;
mod object_store;
mod reqsign;
mod tower_filter;
mod tower_http;
mod yup_oauth2;

use crate::Case;

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(tower_http::cases());
    cases.extend(tower_filter::cases());
    cases.extend(azure::cases());
    cases.extend(google::cases());
    cases.extend(aws::cases());
    cases.extend(kube::cases());
    cases.extend(reqsign::cases());
    cases.extend(object_store::cases());
    cases.extend(cf_gears::cases());
    cases.extend(aliri::cases());
    cases.extend(gcp_auth::cases());
    cases.extend(yup_oauth2::cases());
    cases.extend(huskarl::cases());
    cases
}
