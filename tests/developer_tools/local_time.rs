//! When a token ends that an Azure CLI before 2.54 gave, which says so in local
//! time alone.

use std::sync::Arc;

use tower_bearer::{Credential as _, TokenRequest};

use super::loopback::in_own_process;
use super::tool_stub::Stub;
use super::{Clock, NOW, VAULT, az, jwt, request, seconds_after_1970};

const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";

#[test]
fn local_time_is_read_as_the_tool_wrote_it_across_daylight_saving() {
    for (zone, end) in [
        ("UTC0", NOW + 3600),
        (BERLIN, NOW + 3600),
        (NEW_YORK, NOW + 3600),
        ("IST-5:30", NOW + 3600),
        // 2025-10-26 in Berlin: 01:30, 02:30 for the first time, 03:00.
        (BERLIN, 1_761_435_000),
        (BERLIN, 1_761_438_600),
        (BERLIN, 1_761_444_000),
        // 2025-03-30 in Berlin, before and after the hour that is left out.
        (BERLIN, 1_743_296_399),
        (BERLIN, 1_743_296_400),
        // 2025-11-02 in New York: 01:30 for the first time, 02:30.
        (NEW_YORK, 1_762_061_400),
        (NEW_YORK, 1_762_068_600),
    ] {
        in_own_process(
            "local_time::the_end_is_as_expected",
            &[
                ("TZ", zone),
                ("END", &end.to_string()),
                ("EXPECTED", &end.to_string()),
            ],
        );
    }
}

/// Half past two comes twice. Nothing tells which is meant, and a token that is
/// thought to end too early does no harm.
#[test]
fn local_time_that_comes_twice_is_the_first_of_both() {
    for (zone, end) in [(BERLIN, 1_761_442_200), (NEW_YORK, 1_762_065_000)] {
        in_own_process(
            "local_time::the_end_is_as_expected",
            &[
                ("TZ", zone),
                ("END", &end.to_string()),
                ("EXPECTED", &(end - 3600).to_string()),
            ],
        );
    }
}

#[tokio::test]
#[ignore = "run by those above"]
async fn the_end_is_as_expected() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (end, expected) = (number("END"), number("EXPECTED"));
    // The C library says what the clock on the wall shows, as it does for the
    // tool itself.
    let stub = Stub::new(
        "az",
        &format!(
            "printf '{{\"accessToken\":\"t0k3n\",\"expiresOn\":\"%s\"}}' \"$(date -d @{end} '+%Y-%m-%d %H:%M:%S.114324')\""
        ),
    );
    let clock = Clock::at(expected - 1800);
    let request = TokenRequest::new(VAULT).with_runtime(Arc::new(clock));
    let token = az(&stub).token(&request).await.unwrap();
    assert_eq!(seconds_after_1970(&token), expected);
}

#[test]
fn where_the_zone_is_not_known_the_token_itself_says_when_it_ends() {
    in_own_process(
        "local_time::the_end_is_that_of_the_token",
        &[("TZ", "Nowhere/At_all")],
    );
}

#[tokio::test]
#[ignore = "run by where_the_zone_is_not_known_the_token_itself_says_when_it_ends"]
async fn the_end_is_that_of_the_token() {
    let answer = |token: &str| {
        format!(r#"{{"accessToken":"{token}","expiresOn":"2025-06-15 18:06:40.000000"}}"#)
    };
    let token = jwt(&format!(r#"{{"exp":{}}}"#, NOW + 1234));
    let stub = Stub::printing("az", answer(&token));
    let token = az(&stub).token(&request()).await.unwrap();
    assert_eq!(seconds_after_1970(&token), NOW + 1234);

    let stub = Stub::printing("az", answer("opaque"));
    let error = az(&stub).token(&request()).await.unwrap_err();
    assert!(
        error.to_string().contains("does not say when it ends"),
        "{error}"
    );
}
