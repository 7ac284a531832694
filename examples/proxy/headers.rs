//! Fields that are for one connection, or for nobody further on.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue};

/// What the proxy calls itself to others.
pub(crate) const PSEUDONYM: &str = "tower-bearer-proxy";

const OUR_VIA: HeaderValue = HeaderValue::from_static("1.1 tower-bearer-proxy");

/// RFC 9110 section 7.6.1. `Connection` itself is taken out with what it names.
static HOP_BY_HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a local program could say of where a request comes from, and what is
/// the proxy's own to say.
static NOT_FORWARDED: [HeaderName; 10] = [
    AUTHORIZATION,
    EXPECT,
    FORWARDED,
    HOST,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Of a request, on its way to the upstream.
pub(crate) fn forward_request(headers: &mut HeaderMap, http1: bool) {
    // The one use of TE that has an effect beyond the next hop: gRPC asks for
    // it all the way.
    let trailers = lists(headers, &TE, "trailers");
    forward_request_trailers(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        // RFC 9110 section 10.1.4. HTTP/2 has no such field.
        if http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    join_cookies(headers);
    headers.append(VIA, OUR_VIA);
}

/// Some servers take trailers for headers.
pub(crate) fn forward_request_trailers(trailers: &mut HeaderMap) {
    remove_hop_by_hop(trailers);
    for name in &NOT_FORWARDED {
        trailers.remove(name);
    }
}

/// Of an answer or its trailers, on its way to the program.
pub(crate) fn forward_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    // A length beside a transfer coding is not the length (RFC 9112 section
    // 6.3), and whoever went by it would cut the body off.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut listed = value.as_bytes().split(|byte| *byte == b',');
        listed.any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// HTTP/2 may send cookies one by one, HTTP/1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}
