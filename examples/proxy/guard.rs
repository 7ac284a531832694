//! Which requests are answered at all.

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN, VIA};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};

use super::failure::Failure;
use super::headers::PSEUDONYM;
use super::settings::Settings;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a program on this machine would not send.
pub(crate) fn check(parts: &Parts, settings: &Settings) -> Result<(), Failure> {
    // An answer to `TRACE` repeats the request, with the token.
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Failure::denied(
            StatusCode::METHOD_NOT_ALLOWED,
            "CONNECT and TRACE are not forwarded",
        ));
    }
    let headers = &parts.headers;
    if headers.contains_key(ORIGIN) || headers.contains_key(&SEC_FETCH_SITE) {
        return Err(Failure::denied(
            StatusCode::FORBIDDEN,
            "this proxy is for programs, not for pages in a browser",
        ));
    }
    check_host(parts, settings)?;
    if comes_round_again(headers) {
        return Err(Failure::new(
            StatusCode::LOOP_DETECTED,
            "proxy_loop_detected",
            "a route of this proxy leads back to it",
        ));
    }
    Ok(())
}

fn check_host(parts: &Parts, settings: &Settings) -> Result<(), Failure> {
    let mut named = 0;
    let header = parts.headers.get_all(HOST).iter().map(|value| {
        let text = value.to_str().ok();
        text.and_then(|text| text.parse::<Authority>().ok())
    });
    let uri = parts.uri.authority().cloned().map(Some);
    for authority in header.chain(uri) {
        named += 1;
        if !authority.is_some_and(|authority| is_local(&authority, settings)) {
            return Err(Failure::denied(
                StatusCode::MISDIRECTED_REQUEST,
                "this proxy answers to localhost, to its addresses and to what --host names",
            ));
        }
    }
    if named == 0 || parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "http_request_error",
            "a request names one host",
        ));
    }
    Ok(())
}

/// Whether no page of another origin can have this for its own host. Names can
/// be made to lead anywhere; an address is what it is, and `localhost` is not
/// to be had.
fn is_local(authority: &Authority, settings: &Settings) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<IpAddr>();
    let is_ours = |name: &String| host.eq_ignore_ascii_case(name);
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| is_ours_to_have(address, settings))
            || settings.hosts.iter().any(is_ours))
}

/// Browsers add `Sec-Fetch-Site` where they trust the way, which is on loopback.
/// `0.0.0.0` leads there as well and is not trusted, so that pages could ask
/// without being told from programs.
fn is_ours_to_have(address: IpAddr, settings: &Settings) -> bool {
    let address = address.to_canonical();
    if settings.listen.ip().is_loopback() {
        address.is_loopback()
    } else {
        !address.is_unspecified()
    }
}

fn comes_round_again(headers: &HeaderMap) -> bool {
    headers.get_all(VIA).iter().any(|value| {
        let text = value.as_bytes();
        text.windows(PSEUDONYM.len())
            .any(|part| part == PSEUDONYM.as_bytes())
    })
}
