//! tower-http's headers that never change.

use http::header::AUTHORIZATION;
use tower::Layer as _;
use tower_http::auth::AddAuthorizationLayer;
use tower_http::set_header::SetRequestHeaderLayer;

use crate::Case;
use crate::cases::subject;
use crate::client::Tower;
use crate::request::{Inner, header_value, token};

pub(super) fn cases() -> [Case; 2] {
    let case = |name, make| Case::library("tower-http", name, make);
    [
        case("SetRequestHeader, fixed", || {
            let layer = SetRequestHeaderLayer::overriding(AUTHORIZATION, header_value());
            subject(Tower(layer.layer(Inner)))
        }),
        case("AddAuthorization, fixed", || {
            let layer = AddAuthorizationLayer::bearer(&token());
            subject(Tower(layer.layer(Inner)))
        }),
    ]
}
