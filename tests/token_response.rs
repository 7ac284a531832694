//! What a token endpoint's answer amounts to: a token that can be used, or an
//! error that says what is wrong, and never anything in between.
#![cfg(feature = "azure")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/scripted.rs"]
mod scripted;

use std::time::{Duration, SystemTime};

use scripted::{Reply, Script, reply};
use tower_bearer::azure::ClientSecretCredential;
use tower_bearer::{AccessToken, Credential as _, Error, ErrorKind, TokenRequest};

const CANARY: &str = "c4n4ry-t0k3n";

fn credential(script: &Script) -> ClientSecretCredential {
    ClientSecretCredential::builder("contoso.com", "app", "s3cret-canary")
        .transport(script.transport())
        .build()
        .unwrap()
}

async fn get(replies: impl IntoIterator<Item = Reply>) -> (Result<AccessToken, Error>, Script) {
    let script = Script::new(replies);
    let request = TokenRequest::new("https://vault.azure.net");
    let result = credential(&script).token(&request).await;
    (result, script)
}

/// Everything that a user may ever see of an error.
fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    text
}

#[tokio::test(start_paused = true)]
async fn r18_a_200_without_a_usable_token_is_an_error_after_one_more_try() {
    let token =
        |rest: &str| format!(r#"{{"token_type":"Bearer","access_token":"{CANARY}"{rest}}}"#);
    let deep = format!("{}{CANARY}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_value = format!(
        r#"{{"access_token":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let cases = [
        ("empty", String::new()),
        ("blank", " \n".to_owned()),
        ("html", format!("<html><body>{CANARY}</body></html>")),
        ("text", CANARY.to_owned()),
        (
            "truncated",
            format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{CANARY}"#),
        ),
        ("list", format!(r#"["{CANARY}"]"#)),
        (
            "list in the order of the fields",
            format!(r#" ["{CANARY}","Bearer",3599,null,null,null,null,null,null,null]"#),
        ),
        ("string", format!(r#""{CANARY}""#)),
        ("null", "null".to_owned()),
        ("number", "7".to_owned()),
        ("nothing in it", "{}".to_owned()),
        ("deep", deep),
        ("deep value", deep_value),
        (
            "two of them",
            token(&format!(r#","access_token":"{CANARY}2","expires_in":3599"#)),
        ),
        (
            "trailing garbage",
            format!("{}{CANARY}", token(r#","expires_in":3599"#)),
        ),
        (
            "token is null",
            r#"{"token_type":"Bearer","expires_in":3599,"access_token":null}"#.to_owned(),
        ),
        (
            "token is empty",
            r#"{"token_type":"Bearer","expires_in":3599,"access_token":""}"#.to_owned(),
        ),
        (
            "token is a number",
            r#"{"token_type":"Bearer","expires_in":3599,"access_token":7}"#.to_owned(),
        ),
        (
            "token is an object",
            format!(
                r#"{{"token_type":"Bearer","expires_in":3599,"access_token":{{"a":"{CANARY}"}}}}"#
            ),
        ),
        (
            "no type",
            format!(r#"{{"expires_in":3599,"access_token":"{CANARY}"}}"#),
        ),
        (
            "another type",
            format!(r#"{{"token_type":"pop","expires_in":3599,"access_token":"{CANARY}"}}"#),
        ),
        ("no expiry", token("")),
        ("expiry is null", token(r#","expires_in":null"#)),
        ("expiry is empty", token(r#","expires_in":"""#)),
        (
            "expiry is text",
            token(&format!(r#","expires_in":"{CANARY}""#)),
        ),
        ("expiry is a list", token(r#","expires_in":[3599]"#)),
        ("expiry is zero", token(r#","expires_in":0"#)),
        ("expiry is negative", token(r#","expires_in":-3599"#)),
        (
            "expiry is 2^63",
            token(r#","expires_in":9223372036854775808"#),
        ),
        ("expiry is out of range", token(r#","expires_in":1e999"#)),
        ("expiry is NaN", token(r#","expires_in":"NaN""#)),
        ("expiry is past", token(r#","expires_on":"1500000000""#)),
        ("expiry is in 1970", token(r#","expires_on":"3599""#)),
        (
            "expiry is in ten years",
            token(r#","expires_in":315360000"#),
        ),
        ("gzip", "\x1f\u{8b}\u{8}\0\0\0".to_owned()),
    ];
    for (case, body) in cases {
        let (result, script) = get([reply(200, body)]).await;
        let error = result.expect_err(case);
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{case}: {error}");
        assert_eq!(
            error.status().map(|status| status.as_u16()),
            Some(200),
            "{case}"
        );
        assert!(error.advice().is_some(), "{case}");
        assert_eq!(script.requests(), 2, "{case}");
        let shown = shown(&error);
        assert!(!shown.contains(CANARY), "{case}: {shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn t17_a_token_that_no_header_could_carry_is_refused() {
    for secret in [
        "a b",
        "a\\tb",
        "a,b",
        "a\\r\\nx-evil: 1",
        "a\\u0000",
        "tök",
        "a\\\"b",
        "ab=c",
        "Bearer x",
    ] {
        let body =
            format!(r#"{{"token_type":"Bearer","expires_in":3599,"access_token":"{secret}"}}"#);
        let (result, _) = get([reply(200, body)]).await;
        let error = result.expect_err(secret);
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{secret}");
        assert!(!shown(&error).contains("x-evil"), "{secret}");
    }
}

#[tokio::test(start_paused = true)]
async fn r18_one_garbled_answer_costs_one_retry_and_no_error() {
    let (result, script) = get([reply(200, "<html>"), scripted::token()]).await;
    assert_eq!(result.unwrap().secret(), "t0k3n");
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_are_read_in_every_form_that_is_seen() {
    for (fields, expected) in [
        (r#""expires_in":3599"#, 3599),
        (r#""expires_in":"3599""#, 3599),
        (r#""expires_in":3599.0"#, 3599),
        (r#""expires_in":3599,"expires_on":"3599""#, 3599),
        (
            r#""expires_in":86399,"ext_expires_in":86399,"refresh_in":43199"#,
            86_399,
        ),
        (r#""expires_in":604800"#, 48 * 3600),
    ] {
        let body = format!(r#"{{"token_type":"bearer","access_token":"abc",{fields},"x":[{{}}]}}"#);
        let (result, _) = get([reply(200, body)]).await;
        let token = result.expect(fields);
        let left = token
            .expires_on()
            .duration_since(SystemTime::now())
            .unwrap();
        let difference = Duration::from_secs(expected).abs_diff(left);
        assert!(difference < Duration::from_secs(30), "{fields}: {left:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_in_a_200_is_an_error() {
    let body = format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS7000222: expired","access_token":"{CANARY}","token_type":"Bearer","expires_in":3599}}"#
    );
    let (result, script) = get([reply(200, body)]).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    assert_eq!(error.aadsts_codes(), [7_000_222]);
    assert_eq!(script.requests(), 1);
    assert!(!shown(&error).contains(CANARY));
}

#[tokio::test(start_paused = true)]
async fn an_error_body_becomes_data() {
    // The line breaks are escaped in the JSON, as Entra sends them.
    let body = r#"{
        "error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret \"provided\". Ensure the secret being sent in the request is the client secret value.\r\nTrace ID: 0aa1 Correlation ID: 0bb2\r\nTimestamp: 2026-01-01 00:00:00Z",
        "error_codes": [7000215, "x", -1, 1.5e300],
        "timestamp": "2026-01-01 00:00:00Z",
        "trace_id": "0aa1",
        "correlation_id": "11111111-2222-3333-4444-555555555555",
        "error_uri": "https://login.microsoftonline.com/error?code=7000215"
    }"#;
    let (result, script) = get([reply(401, body)]).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.status().unwrap(), 401);
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    assert_eq!(error.aadsts_codes(), [7_000_215]);
    assert_eq!(
        error.correlation_id(),
        Some("11111111-2222-3333-4444-555555555555")
    );
    assert_eq!(error.credential(), Some("ClientSecretCredential"));
    assert!(error.advice().unwrap().contains("not its id"));
    let text = error.to_string();
    assert!(
        text.contains(
            "login.microsoftonline.com answered 401 Unauthorized, invalid_client: AADSTS7000215"
        ),
        "{text}"
    );
    assert!(!text.contains("Trace ID") && !text.contains('\n'), "{text}");
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_no_json_keeps_its_status() {
    for (status, body, kind, requests) in [
        (502, "<html>Bad Gateway</html>", ErrorKind::Unreachable, 3),
        (503, "", ErrorKind::Unreachable, 3),
        (500, "{\"error\":", ErrorKind::Unreachable, 3),
        (408, "", ErrorKind::Unreachable, 3),
        (429, "slow down", ErrorKind::Throttled, 3),
        (
            403,
            "<html>blocked by policy</html>",
            ErrorKind::Rejected,
            1,
        ),
        (404, "", ErrorKind::Rejected, 1),
        (400, "[1,2]", ErrorKind::Rejected, 1),
        (
            400,
            r#"{"error":{"code":"x"},"error_codes":"none"}"#,
            ErrorKind::Rejected,
            1,
        ),
    ] {
        let (result, script) = get([reply(status, body).header("x-ms-request-id", "id-1")]).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}: {error}");
        assert_eq!(error.status().unwrap(), status);
        assert_eq!(error.correlation_id(), Some("id-1"));
        assert_eq!(script.requests(), requests, "{status} {body}");
        assert!(!error.to_string().contains("html"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn codes_decide_what_passes_and_what_to_do() {
    let body = |code: u32, error: &str| {
        format!(
            r#"{{"error":"{error}","error_description":"AADSTS{code}: text","error_codes":[{code}]}}"#
        )
    };
    for (code, advice) in [
        (7_000_215, "not its id"),
        (7_000_222, "expired"),
        (700_016, "client id"),
        (90_002, "tenant"),
        (500_011, "audience"),
        (50_001, "audience"),
        (70_011, "audience"),
    ] {
        let (result, script) = get([reply(400, body(code, "invalid_request"))]).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{code}");
        assert!(error.advice().unwrap().contains(advice), "{code}: {error}");
        assert_eq!(script.requests(), 1, "{code}");
    }
    for code in [50_033, 90_033, 90_006] {
        let (result, script) = get([reply(400, body(code, "invalid_request"))]).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Unreachable, "{code}");
        assert_eq!(script.requests(), 3, "{code}");
    }
    let (result, script) = get([reply(400, body(50_196, "invalid_grant"))]).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.retry_after().unwrap() >= Duration::from_secs(180));
    assert_eq!(script.requests(), 1);

    let (result, _) = get([reply(400, r#"{"error":"temporarily_unavailable"}"#)]).await;
    assert!(result.unwrap_err().is_transient());
}

#[tokio::test(start_paused = true)]
async fn t29_text_of_a_server_can_neither_flood_nor_forge() {
    let long = "x".repeat(5_000);
    let body = format!(
        r#"{{"error":"a\r\nb","error_description":"\u001b[31mred\n{long}","correlation_id":"c\nd{long}"}}"#
    );
    let (result, _) = get([reply(400, body)]).await;
    let shown = shown(&result.unwrap_err());
    assert!(!shown.contains('\u{1b}') && !shown.contains(&"x".repeat(300)));
    assert!(!shown.contains("a\r\nb"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn i10_a_secret_that_a_server_echoes_is_not_shown() {
    let script = Script::new([reply(
        400,
        r#"{"error":"bad s3cret+canary","error_description":"got client_secret=s3cret%2Bcanary or s3cret+canary","correlation_id":"s3cret+canary"}"#,
    )]);
    let credential = ClientSecretCredential::builder("contoso.com", "app", "s3cret+canary")
        .transport(script.transport())
        .build()
        .unwrap();
    let error = credential
        .token(&TokenRequest::new("https://vault.azure.net"))
        .await
        .unwrap_err();
    let shown = shown(&error);
    assert!(
        shown.contains("***") && !shown.contains("canary"),
        "{shown}"
    );
}
