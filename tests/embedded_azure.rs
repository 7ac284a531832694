//! What the embedded Azure promises to those who test with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower_bearer::ErrorKind;
use tower_bearer::testing::{Azure, Endpoint, Failure, HttpClient, ManualRuntime};

const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const VAULT: &str = "https://vault.azure.net";
const DB: &str = "https://myvault.vault.azure.net/secrets/db?api-version=7.4";

type Sent = Response<Bytes>;

/// A limit on the real clock for what must not hang. Nothing waits for it.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("this must not hang")
}

async fn send(client: &HttpClient, request: Request<Full<Bytes>>) -> Sent {
    let (parts, body) = soon(client.request(request)).await.unwrap().into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    Response::from_parts(parts, body)
}

fn body(response: &Sent) -> Value {
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    let encode =
        |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

fn imds_request(query: &[(&str, &str)]) -> Request<Full<Bytes>> {
    Request::get(format!("{IMDS}?{}", encoded(query)))
        .header("Metadata", "true")
        .body(Full::default())
        .unwrap()
}

const GOOD_QUERY: [(&str, &str); 2] = [("api-version", "2018-02-01"), ("resource", VAULT)];

async fn imds_token(client: &HttpClient) -> String {
    let response = send(client, imds_request(&GOOD_QUERY)).await;
    body(&response)["access_token"].as_str().unwrap().to_owned()
}

fn good_form(azure: &Azure) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", azure.client_id().to_owned()),
        ("client_secret", azure.client_secret().to_owned()),
        ("scope", format!("{VAULT}/.default")),
    ]
}

fn token_url(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token")
}

fn entra_request(azure: &Azure, form: &[(&'static str, String)]) -> Request<Full<Bytes>> {
    let pairs: Vec<_> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
    Request::post(token_url(azure.tenant_id()))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(Full::from(encoded(&pairs)))
        .unwrap()
}

async fn entra_token(
    azure: &Azure,
    client: &HttpClient,
    changes: &[(&'static str, &str)],
) -> Value {
    let mut form = good_form(azure);
    for (name, value) in changes {
        form.retain(|(known, _)| known != name);
        form.push((name, (*value).to_owned()));
    }
    let response = send(client, entra_request(azure, &form)).await;
    assert_eq!(response.status(), 200, "{}", body(&response));
    body(&response)
}

fn get(url: &str, token: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::get(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    request.body(Full::default()).unwrap()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn challenge(response: &Sent) -> &str {
    assert_eq!(response.status(), 401);
    response.headers()["www-authenticate"].to_str().unwrap()
}

fn message(response: &Sent) -> String {
    body(response)["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn with_secret() -> (Azure, HttpClient) {
    let azure = Azure::start().await.unwrap();
    azure.vault().set_secret("db", "s3cret");
    let client = azure.http_client();
    (azure, client)
}

// The instance metadata service.

#[tokio::test]
async fn imds_gives_a_token_that_opens_the_vault_and_every_value_is_a_string() {
    let (azure, client) = with_secret().await;
    let response = send(&client, imds_request(&GOOD_QUERY)).await;
    assert_eq!(response.status(), 200);
    let answer = body(&response);
    for (name, value) in answer.as_object().unwrap() {
        assert!(value.is_string(), "{name}");
    }
    assert_eq!(answer["expires_in"], "86400");
    assert_eq!(answer["resource"], VAULT);
    assert_eq!(answer["token_type"], "Bearer");
    let identity = azure.system_assigned_identity();
    assert_eq!(answer["client_id"], identity.client_id());

    let token = answer["access_token"].as_str().unwrap();
    let claims = claims(token);
    assert_eq!(claims["aud"], VAULT);
    assert_eq!(claims["appid"], identity.client_id());
    assert_eq!(claims["oid"], identity.object_id());
    assert_eq!(claims["tid"], azure.tenant_id());
    assert_eq!(claims["xms_mirid"], identity.resource_id());
    assert_eq!(claims["idtyp"], "app");

    let response = send(&client, get(DB, Some(token))).await;
    assert_eq!(response.status(), 200);
    assert_eq!(body(&response)["value"], "s3cret");
}

#[tokio::test]
async fn imds_refuses_what_the_real_one_refuses() {
    let (azure, client) = with_secret().await;
    let good = || Request::get(format!("{IMDS}?{}", encoded(&GOOD_QUERY)));
    let finish = |request: http::request::Builder| request.body(Full::default()).unwrap();
    let query = |pairs: &[(&str, &str)]| imds_request(pairs);
    let version = ("api-version", "2018-02-01");
    let resource = ("resource", VAULT);
    for (what, request, status, error) in [
        ("no Metadata", finish(good()), 400, "bad_request_102"),
        (
            "Metadata: True",
            finish(good().header("Metadata", "True")),
            400,
            "bad_request_102",
        ),
        (
            "X-Forwarded-For",
            finish(
                good()
                    .header("Metadata", "true")
                    .header("X-Forwarded-For", "10.0.0.1"),
            ),
            400,
            "invalid_request",
        ),
        (
            "POST",
            finish(good().method("POST").header("Metadata", "true")),
            405,
            "invalid_request",
        ),
        ("no api-version", query(&[resource]), 400, "invalid_request"),
        (
            "odd api-version",
            query(&[("api-version", "latest"), resource]),
            400,
            "invalid_request",
        ),
        ("no resource", query(&[version]), 400, "invalid_request"),
        (
            "empty resource",
            query(&[version, ("resource", "")]),
            400,
            "invalid_request",
        ),
        (
            "resource twice",
            query(&[version, resource, resource]),
            400,
            "invalid_request",
        ),
        (
            "no resource name",
            query(&[version, ("resource", "vault")]),
            400,
            "invalid_resource",
        ),
        (
            "App Service's parameter",
            query(&[version, resource, ("mi_res_id", "/subscriptions/x")]),
            400,
            "invalid_request",
        ),
    ] {
        let response = send(&client, request).await;
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(body(&response)["error"], error, "{what}");
        assert!(body(&response)["error_description"].is_string(), "{what}");
    }
    let elsewhere =
        Request::get("http://169.254.169.254/metadata/nothing").header("Metadata", "true");
    let response = send(&client, finish(elsewhere)).await;
    assert_eq!(response.status(), 401);
    assert_eq!(body(&response)["error"], "unknown_source");

    assert_eq!(azure.imds_requests(), 12);
    assert_eq!(azure.imds_probes(), 2);
    assert_eq!(azure.token_requests(), 9);
    assert_eq!(azure.tokens_issued(), 0);
}

#[tokio::test]
async fn imds_knows_identities_by_each_of_their_ids_and_no_others() {
    let (azure, client) = with_secret().await;
    let worker = azure.assign_user_identity("worker");
    let ask = async |extra: &[(&str, &str)]| {
        let query = [&GOOD_QUERY, extra].concat();
        send(&client, imds_request(&query)).await
    };
    for id in [
        ("client_id", worker.client_id()),
        ("object_id", worker.object_id()),
        ("msi_res_id", worker.resource_id()),
    ] {
        let response = ask(&[id]).await;
        assert_eq!(body(&response)["client_id"], worker.client_id(), "{id:?}");
    }
    for id in [
        ("client_id", ""),
        ("client_id", worker.object_id()),
        ("msi_res_id", "/subscriptions/none"),
    ] {
        let response = ask(&[id]).await;
        assert_eq!(response.status(), 400);
        assert_eq!(body(&response)["error_description"], "Identity not found");
    }
    let both = [
        ("client_id", worker.client_id()),
        ("object_id", worker.object_id()),
    ];
    assert_eq!(ask(&both).await.status(), 400);

    azure.assign_system_identity(false);
    let response = ask(&[]).await;
    assert_eq!(body(&response)["client_id"], worker.client_id());
    azure.assign_user_identity("second");
    let response = ask(&[]).await;
    assert_eq!(body(&response)["error_description"], "Identity not found");
}

#[tokio::test]
async fn imds_gives_the_same_token_until_half_of_its_life_is_over() {
    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    let client = azure.http_client();
    let first = imds_token(&client).await;

    clock.advance(Duration::from_secs(43_199));
    let response = send(&client, imds_request(&GOOD_QUERY)).await;
    assert_eq!(body(&response)["access_token"], *first);
    assert_eq!(body(&response)["expires_in"], "43201", "of what is left");

    clock.advance(Duration::from_secs(1));
    assert_ne!(imds_token(&client).await, first);
    assert_eq!(azure.tokens_issued(), 2);

    azure.imds_reuses_tokens(false);
    let third = imds_token(&client).await;
    assert_ne!(imds_token(&client).await, third);
}

#[tokio::test]
async fn a_revoked_token_is_replaced_by_imds_unless_it_is_to_be_as_stubborn_as_in_life() {
    let (azure, client) = with_secret().await;
    let first = imds_token(&client).await;
    azure.imds_keeps_revoked_tokens(true);
    azure.revoke_tokens();
    assert_eq!(imds_token(&client).await, first);
    assert_eq!(send(&client, get(DB, Some(&first))).await.status(), 401);

    azure.imds_keeps_revoked_tokens(false);
    let second = imds_token(&client).await;
    assert_ne!(second, first);
    assert_eq!(send(&client, get(DB, Some(&second))).await.status(), 200);
}

#[tokio::test]
async fn probes_are_counted_and_fail_apart_from_token_requests() {
    let (azure, client) = with_secret().await;
    azure.fail_imds_probes(Failure::answer(StatusCode::FORBIDDEN, "unreachable"));
    let response = send(&client, get(IMDS, None)).await;
    assert_eq!(response.status(), 403);
    imds_token(&client).await;
    azure.recover_imds_probes();
    assert_eq!(send(&client, get(IMDS, None)).await.status(), 400);
    assert_eq!((azure.imds_probes(), azure.token_requests()), (2, 1));
}

// Microsoft Entra.

#[tokio::test]
async fn entra_gives_a_token_for_a_client_secret() {
    let (azure, client) = with_secret().await;
    let answer = entra_token(&azure, &client, &[]).await;
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 3599);
    assert_eq!(answer["ext_expires_in"], 3599);
    assert_eq!(answer.get("refresh_in"), None);
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["appid"], azure.client_id());
    assert_eq!(claims(token).get("xms_mirid"), None);
    assert_eq!(send(&client, get(DB, Some(token))).await.status(), 200);

    // What stands before the suffix is the audience, slash and all.
    let scope = [("scope", "https://management.azure.com//.default")];
    let answer = entra_token(&azure, &client, &scope).await;
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["aud"], "https://management.azure.com/");
    assert_eq!((azure.entra_requests(), azure.token_requests()), (2, 2));
}

#[tokio::test]
async fn entra_refuses_as_the_real_one_does() {
    let (azure, client) = with_secret().await;
    for (change, status, error, code) in [
        (
            ("client_secret", Some("wrong")),
            401,
            "invalid_client",
            7_000_215,
        ),
        (("client_secret", None), 401, "invalid_client", 7_000_218),
        (
            ("client_id", Some("nobody")),
            400,
            "unauthorized_client",
            700_016,
        ),
        (("client_id", None), 400, "invalid_request", 900_144),
        (("grant_type", None), 400, "invalid_request", 900_144),
        (
            ("grant_type", Some("password")),
            400,
            "unsupported_grant_type",
            70_003,
        ),
        (("scope", None), 400, "invalid_request", 900_144),
        (("scope", Some(VAULT)), 400, "invalid_scope", 70_011),
        (
            ("scope", Some("vault/.default")),
            400,
            "invalid_scope",
            70_011,
        ),
        (
            (
                "scope",
                Some("https://a.example/.default https://b.example/.default"),
            ),
            400,
            "invalid_scope",
            70_011,
        ),
        (
            ("claims", Some("{nonsense")),
            400,
            "invalid_request",
            90_100,
        ),
        (("claims", Some("[]")), 400, "invalid_request", 90_100),
    ] {
        let mut form = good_form(&azure);
        form.retain(|(name, _)| *name != change.0);
        form.extend(change.1.map(|value| (change.0, value.to_owned())));
        let response = send(&client, entra_request(&azure, &form)).await;
        assert_eq!(response.status(), status, "{change:?}");
        let refusal = body(&response);
        assert_eq!(refusal["error"], error, "{change:?}");
        assert_eq!(refusal["error_codes"], json!([code]), "{change:?}");
        let text = refusal["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{code}: ")), "{text}");
    }

    let mut twice = good_form(&azure);
    twice.push(twice[0].clone());
    let response = send(&client, entra_request(&azure, &twice)).await;
    assert_eq!(body(&response)["error_codes"], json!([9_000_411]));
    assert_eq!(azure.tokens_issued(), 0);
}

#[tokio::test]
async fn entra_wants_a_posted_form_in_a_known_tenant() {
    let (azure, client) = with_secret().await;
    let form = entra_request(&azure, &good_form(&azure)).into_body();
    let request = |method: &str, tenant: &str, media_type: &str| {
        Request::builder()
            .method(method)
            .uri(token_url(tenant))
            .header("Content-Type", media_type)
            .body(form.clone())
            .unwrap()
    };
    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
    let tenant = azure.tenant_id();
    for (request, status, code) in [
        (request("POST", tenant, "application/json"), 400, 900_144),
        (request("GET", tenant, FORM), 405, 900_561),
        (request("POST", "elsewhere", FORM), 400, 90_002),
    ] {
        let response = send(&client, request).await;
        assert_eq!(response.status(), status);
        assert_eq!(body(&response)["error_codes"], json!([code]));
    }
    let response = send(&client, request("POST", tenant, FORM)).await;
    assert_eq!(response.status(), 200);

    azure.register_application("elsewhere", azure.client_id(), azure.client_secret());
    let response = send(&client, request("POST", "elsewhere", FORM)).await;
    let token = body(&response)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&token)["tid"], "elsewhere");
    let response = send(&client, get(DB, Some(&token))).await;
    assert!(
        message(&response).starts_with("AKV10032"),
        "{}",
        message(&response)
    );
}

#[tokio::test]
async fn an_error_of_entra_can_be_traced() {
    let (azure, client) = with_secret().await;
    let mut form = good_form(&azure);
    form.retain(|(name, _)| *name != "scope");
    let mut request = entra_request(&azure, &form);
    let headers = request.headers_mut();
    headers.insert("client-request-id", "6d0b9f0c".parse().unwrap());
    headers.insert("return-client-request-id", "true".parse().unwrap());
    let response = send(&client, request).await;
    assert_eq!(response.headers()["client-request-id"], "6d0b9f0c");
    let refusal = body(&response);
    assert_eq!(refusal["correlation_id"], "6d0b9f0c");
    for part in ["trace_id", "correlation_id", "timestamp"] {
        let text = refusal["error_description"].as_str().unwrap();
        assert!(text.contains(refusal[part].as_str().unwrap()), "{part}");
    }
}

#[tokio::test]
async fn long_tokens_say_when_to_refresh_and_lifetimes_are_kept() {
    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    azure.vault().set_secret("db", "s3cret");
    let client = azure.http_client();
    azure.set_token_lifetime(Duration::from_secs(7_200));
    let answer = entra_token(&azure, &client, &[]).await;
    assert_eq!(answer["expires_in"], 7_200);
    assert_eq!(answer["refresh_in"], 3_600);

    azure.set_token_lifetime(Duration::from_secs(60));
    let token = imds_token(&client).await;
    clock.advance(Duration::from_secs(59));
    assert_eq!(send(&client, get(DB, Some(&token))).await.status(), 200);
    clock.advance(Duration::from_secs(1));
    let response = send(&client, get(DB, Some(&token))).await;
    assert!(message(&response).contains("TokenExpired"));
    clock.step_wall_back(Duration::from_secs(3_600));
    let response = send(&client, get(DB, Some(&token))).await;
    assert!(message(&response).contains("IDX10222"), "not valid yet");
}

#[tokio::test]
async fn entra_publishes_where_its_endpoints_are_and_which_keys_it_signs_with() {
    let (azure, client) = with_secret().await;
    let tenant = azure.tenant_id();
    for base in ["https://login.microsoftonline.com", &azure.authority_host()] {
        for version in ["", "/v2.0"] {
            let url = format!("{base}/{tenant}{version}/.well-known/openid-configuration");
            let found = body(&send(&client, get(&url, None)).await);
            let endpoint = format!("{base}/{tenant}/oauth2/v2.0/token");
            assert_eq!(found["token_endpoint"], endpoint);
            let keys = send(&client, get(found["jwks_uri"].as_str().unwrap(), None)).await;
            assert_eq!(body(&keys)["keys"][0]["kty"], "RSA");
        }
        let url = format!("{base}/common/discovery/instance?api-version=1.1");
        let host = base.strip_prefix("https://").unwrap();
        let found = body(&send(&client, get(&url, None)).await);
        assert_eq!(found["metadata"][0]["aliases"], json!([host]));
    }
    let url = "https://login.windows.net/nobody/v2.0/.well-known/openid-configuration";
    let response = send(&client, get(url, None)).await;
    assert_eq!(body(&response)["error"], "invalid_tenant");
    assert_eq!(azure.token_requests(), 0);
    assert_eq!(azure.entra_requests(), 11);
}

// Key Vault.

#[tokio::test]
async fn without_a_token_the_vault_says_where_to_get_one() {
    let (azure, client) = with_secret().await;
    let tenant = azure.tenant_id();
    let response = send(&client, get(DB, None)).await;
    assert_eq!(
        challenge(&response),
        format!(
            r#"Bearer authorization="https://login.microsoftonline.com/{tenant}", resource="https://vault.azure.net""#
        )
    );
    assert_eq!(body(&response)["error"]["code"], "Unauthorized");
    assert!(message(&response).starts_with("AKV10000"));

    // On loopback it names the Entra that is to be found there.
    let response = send(&client, get(&azure.vault_url(), None)).await;
    let local = format!(r#"authorization="{}/{tenant}""#, azure.authority_host());
    assert!(challenge(&response).contains(&local));

    let basic = Request::get(DB).header("Authorization", "Basic YTpi");
    let response = send(&client, basic.body(Full::default()).unwrap()).await;
    assert!(message(&response).starts_with("AKV10000"));
    assert_eq!(
        (azure.vault().requests(), azure.vault().unauthorized()),
        (3, 3)
    );
}

#[tokio::test]
async fn the_vault_takes_only_tokens_that_are_for_it_and_not_revoked() {
    let (azure, client) = with_secret().await;
    let scope = [("scope", "https://storage.azure.com/.default")];
    let other = entra_token(&azure, &client, &scope).await;
    let response = send(&client, get(DB, other["access_token"].as_str())).await;
    assert_eq!(
        message(&response),
        "AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://storage.azure.com."
    );

    let stranger = Azure::start().await.unwrap();
    let foreign = imds_token(&stranger.http_client()).await;
    let response = send(&client, get(DB, Some(&foreign))).await;
    assert!(message(&response).starts_with("AKV10046"));
    let response = send(&client, get(DB, Some("opaque"))).await;
    assert_eq!(response.status(), 401);

    let token = imds_token(&client).await;
    assert_eq!(send(&client, get(DB, Some(&token))).await.status(), 200);
    azure.revoke_tokens();
    let response = send(&client, get(DB, Some(&token))).await;
    assert!(message(&response).contains("revoked"));
    assert!(challenge(&response).starts_with("Bearer authorization="));
    assert_eq!(
        (azure.vault().requests(), azure.vault().unauthorized()),
        (5, 4)
    );
}

#[tokio::test]
async fn the_vault_can_refuse_everybody_or_somebody() {
    let (azure, client) = with_secret().await;
    let token = imds_token(&client).await;
    let ask = async || send(&client, get(DB, Some(&token))).await;

    azure.vault().always_unauthorized(true);
    assert_eq!(ask().await.status(), 401);
    azure.vault().always_unauthorized(false);

    let identity = azure.system_assigned_identity();
    azure.vault().deny(identity.client_id());
    let response = ask().await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        body(&response)["error"]["innererror"]["code"],
        "AccessDenied"
    );
    assert!(message(&response).contains(identity.client_id()));
    assert!(!response.headers().contains_key("www-authenticate"));
    let other = entra_token(&azure, &client, &[]).await;
    let response = send(&client, get(DB, other["access_token"].as_str())).await;
    assert_eq!(response.status(), 200);

    azure.vault().permit(identity.client_id());
    assert_eq!(ask().await.status(), 200);
}

#[tokio::test]
async fn a_claims_challenge_is_met_by_a_token_with_those_claims_only() {
    let (azure, client) = with_secret().await;
    let wanted = r#"{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}"#;
    azure.vault().require_claims(wanted).unwrap();
    for nonsense in ["", "[]", "{}", r#"{"access_token":1}"#] {
        let error = azure.vault().require_claims(nonsense).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }

    let capable = r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#;
    let first = entra_token(&azure, &client, &[("claims", capable)]).await;
    let first = first["access_token"].as_str().unwrap();
    assert_eq!(claims(first)["xms_cc"], json!(["CP1"]));
    let response = send(&client, get(DB, Some(first))).await;
    let challenge = challenge(&response);
    assert!(challenge.contains(r#"error="insufficient_claims""#));
    let (_, asked) = challenge.split_once(r#"claims=""#).unwrap();
    let asked = STANDARD.decode(asked.trim_end_matches('"')).unwrap();
    let mut asked: Value = serde_json::from_slice(&asked).unwrap();
    assert_eq!(asked, serde_json::from_str::<Value>(wanted).unwrap());

    asked["access_token"]["xms_cc"] = json!({ "values": ["CP1"] });
    let second = entra_token(&azure, &client, &[("claims", &asked.to_string())]).await;
    let response = send(&client, get(DB, second["access_token"].as_str())).await;
    assert_eq!(response.status(), 200);

    azure.vault().require_no_claims();
    assert_eq!(send(&client, get(DB, Some(first))).await.status(), 200);
}

#[tokio::test]
async fn secrets_are_read_written_listed_and_deleted_as_in_key_vault() {
    let (azure, client) = with_secret().await;
    let token = imds_token(&client).await;
    let url = |path: &str| format!("https://myvault.vault.azure.net{path}");
    let ask = async |method: &str, path: &str, content: &str| {
        let request = Request::builder()
            .method(method)
            .uri(url(path))
            .header("Authorization", format!("Bearer {token}"))
            .body(Full::from(content.to_owned()))
            .unwrap();
        send(&client, request).await
    };

    let first = body(&ask("GET", "/secrets/db?api-version=7.4", "").await);
    assert_eq!(first["attributes"]["enabled"], true);
    azure.vault().set_secret("DB", "newer");
    let id = first["id"].as_str().unwrap();
    assert!(id.starts_with(&url("/secrets/db/")), "{id}");
    let old = ask(
        "GET",
        &format!("{}?api-version=2025-07-01", &id[url("").len()..]),
        "",
    )
    .await;
    assert_eq!(body(&old)["value"], "s3cret");
    let new = ask("GET", "/secrets/db?api-version=7.6-preview.1", "").await;
    assert_eq!(body(&new)["value"], "newer");
    let versions = ask("GET", "/secrets/db/versions?api-version=7.4", "").await;
    assert_eq!(body(&versions)["value"].as_array().unwrap().len(), 2);

    let put = r#"{"value":"written","tags":{"a":"b"},"attributes":{"enabled":true}}"#;
    let written = ask("PUT", "/secrets/mine?api-version=7.4", put).await;
    assert_eq!(body(&written)["tags"], json!({ "a": "b" }));
    assert_eq!(azure.vault().secret("mine").as_deref(), Some("written"));

    let page = body(&ask("GET", "/secrets?api-version=7.4&maxresults=1", "").await);
    assert_eq!(page["value"][0]["id"], url("/secrets/db"));
    assert_eq!(page["value"][0].get("value"), None, "lists hold no values");
    let next = page["nextLink"].as_str().unwrap();
    let page = body(&ask("GET", &next[url("").len()..], "").await);
    assert_eq!(page["value"][0]["id"], url("/secrets/mine"));
    assert_eq!(page["nextLink"], Value::Null);

    assert_eq!(
        ask("DELETE", "/secrets/mine?api-version=7.4", "")
            .await
            .status(),
        200
    );
    let gone = ask("GET", "/secrets/mine?api-version=7.4", "").await;
    assert_eq!(gone.status(), 404);
    assert_eq!(body(&gone)["error"]["code"], "SecretNotFound");

    let long = format!(r#"{{"value":"{}"}}"#, "x".repeat(25_601));
    for (method, path, content) in [
        ("GET", "/secrets/db", ""),
        ("GET", "/secrets/db?api-version=8.0", ""),
        ("GET", "/secrets?api-version=7.4&maxresults=26", ""),
        ("PUT", "/secrets/a_b?api-version=7.4", put),
        ("PUT", "/secrets/a?api-version=7.4", "{}"),
        ("PUT", "/secrets/a?api-version=7.4", "value"),
        ("PUT", "/secrets/a?api-version=7.4", &long),
    ] {
        let response = ask(method, path, content).await;
        assert_eq!(response.status(), 400, "{method} {path}");
        assert_eq!(body(&response)["error"]["code"], "BadParameter");
    }
    assert_eq!(
        ask("POST", "/secrets/db?api-version=7.4", "")
            .await
            .status(),
        405
    );
}

#[tokio::test]
async fn vaults_are_told_apart_by_host() {
    let (azure, client) = with_secret().await;
    azure.vault_named("orders").set_secret("db", "of orders");
    let token = imds_token(&client).await;
    let other = format!(
        "{}/secrets/db?api-version=7.4",
        azure.vault_named("orders").url()
    );
    let response = send(&client, get(&other, Some(&token))).await;
    assert_eq!(body(&response)["value"], "of orders");
    let local = format!("{}/secrets/db?api-version=7.4", azure.vault_url());
    let response = send(&client, get(&local, Some(&token))).await;
    assert_eq!(body(&response)["value"], "s3cret");
    assert_eq!(azure.vault().requests(), 1);
    assert_eq!(azure.vault_named("orders").requests(), 1);
}

#[tokio::test]
async fn a_vault_of_another_cloud_has_its_hosts_and_its_audience() {
    let azure = Azure::builder()
        .vault_audience("https://vault.usgovcloudapi.net")
        .vault_name("gov")
        .start()
        .await
        .unwrap();
    azure.vault().set_secret("db", "s3cret");
    let client = azure.http_client();
    let url = "https://gov.vault.usgovcloudapi.net/secrets/db?api-version=7.4";
    let response = send(&client, get(url, None)).await;
    assert!(challenge(&response).ends_with(r#"resource="https://vault.usgovcloudapi.net""#));
    let scope = [("scope", "https://vault.usgovcloudapi.net/.default")];
    let answer = entra_token(&azure, &client, &scope).await;
    let response = send(&client, get(url, answer["access_token"].as_str())).await;
    assert_eq!(response.status(), 200);
}

// The client.

#[tokio::test]
async fn the_client_reaches_the_embedded_azure_and_nothing_else() {
    let (azure, client) = with_secret().await;
    let stranger = Azure::start().await.unwrap();
    for url in [
        "https://example.com/",
        "https://typo.vault.azure.net/secrets/db",
        "https://a.myvault.vault.azure.net/",
        "https://vault.azure.net/",
        "https://myvault.vault.azure.net.example.com/",
        "https://myvault.vault.azure.net:8443/",
        "http://myvault.vault.azure.net/",
        "http://login.microsoftonline.com/",
        "https://169.254.169.254/",
        "http://169.254.169.254:8080/",
        "http://localhost/",
        &stranger.vault_url(),
        &stranger.imds_host(),
    ] {
        let error = client.request(get(url, None)).await.unwrap_err();
        assert!(error.is_connect(), "{url}");
    }
    assert_eq!(azure.vault().requests() + azure.imds_requests(), 0);
    assert_eq!(stranger.vault().requests() + stranger.imds_requests(), 0);
    for url in [
        azure.vault_url(),
        azure.imds_host(),
        "https://LOGIN.microsoftonline.COM/".to_owned(),
    ] {
        send(&client, get(&url, None)).await;
    }
}

// Holds, delays and failures.

#[tokio::test]
async fn held_token_requests_wait_until_the_guard_is_gone() {
    let (azure, client) = with_secret().await;
    let hold = azure.hold_token_requests();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { imds_token(&client).await })
        })
        .collect();
    soon(azure.wait_for_token_requests(3)).await;
    assert_eq!(azure.max_concurrent_token_requests(), 3);
    assert_eq!(azure.tokens_issued(), 0);
    assert!(waiting.iter().all(|task| !task.is_finished()));

    hold.release();
    for task in waiting {
        soon(task).await.unwrap();
    }
    assert_eq!(azure.tokens_issued(), 1, "IMDS gives all of them the same");
    imds_token(&client).await;
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_nothing_behind() {
    let (azure, client) = with_secret().await;
    azure.fail_next_token_requests(1, Failure::hang());
    let task = tokio::spawn(client.request(imds_request(&GOOD_QUERY)));
    soon(azure.wait_for_token_requests(1)).await;
    task.abort();
    soon(task).await.unwrap_err();
    imds_token(&client).await;
    let hold = azure.vault().hold_requests();
    let task = tokio::spawn(client.request(get(DB, None)));
    soon(azure.vault().wait_for_requests(1)).await;
    task.abort();
    drop(hold);
    assert_eq!(send(&client, get(DB, None)).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn delays_are_on_tokios_clock() {
    let (azure, client) = with_secret().await;
    azure.delay_token_requests(Duration::from_secs(3));
    azure.vault().delay_requests(Duration::from_secs(5));
    let begun = tokio::time::Instant::now();
    let token = imds_token(&client).await;
    assert!(begun.elapsed() >= Duration::from_secs(3));
    send(&client, get(DB, Some(&token))).await;
    assert!(begun.elapsed() >= Duration::from_secs(8));
}

#[tokio::test]
async fn each_failure_is_what_it_says() {
    let (azure, client) = with_secret().await;
    let ask = async |failure| {
        azure.fail_token_requests(failure);
        let sent = send(&client, imds_request(&GOOD_QUERY)).await;
        azure.recover_token_requests();
        sent
    };
    let wait = Duration::from_secs(17);
    let sent = ask(Failure::status(StatusCode::TOO_MANY_REQUESTS).with_retry_after(wait)).await;
    assert_eq!(
        (sent.status().as_u16(), &sent.headers()["retry-after"]),
        (429, &"17".parse().unwrap())
    );

    let failure = Failure::oauth_error(StatusCode::BAD_REQUEST, "invalid_grant", 50_012);
    let sent = ask(failure).await;
    assert_eq!(body(&sent)["error"], "invalid_grant");
    assert_eq!(body(&sent)["error_codes"], json!([50_012]));

    let sent = ask(Failure::html()).await;
    assert!(
        sent.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(sent.body().starts_with(b"<!DOCTYPE html>"));

    assert!(ask(Failure::empty()).await.body().is_empty());
    let mistyped = body(&ask(Failure::mistyped()).await);
    assert!(mistyped["access_token"].is_number());
    let truncated = ask(Failure::truncated()).await;
    assert_eq!(truncated.status(), 200);
    assert!(
        serde_json::from_slice::<Value>(truncated.body())
            .unwrap_err()
            .is_eof()
    );
    let endless = ask(Failure::endless(5_000_000)).await;
    assert!(endless.body().len() > 5_000_000);
    assert!(!endless.headers().contains_key("content-length"));
    let custom = ask(Failure::answer(StatusCode::IM_A_TEAPOT, "short")).await;
    assert_eq!(
        (custom.status().as_u16(), &custom.body()[..]),
        (418, &b"short"[..])
    );

    let dripped = ask(Failure::drip(Duration::from_nanos(1))).await;
    assert_eq!(body(&dripped)["access_token"], "dripped");
}

#[tokio::test]
async fn broken_connections_break_where_they_say() {
    let (azure, client) = with_secret().await;
    azure.fail_token_requests(Failure::disconnect());
    let response = soon(client.request(imds_request(&GOOD_QUERY)))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    soon(response.into_body().collect()).await.unwrap_err();

    azure.fail_token_requests(Failure::no_answer());
    soon(client.request(imds_request(&GOOD_QUERY)))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn an_answer_of_300_megabytes_is_never_in_memory() {
    let (azure, client) = with_secret().await;
    azure.fail_token_requests(Failure::endless(300 << 20));
    let request = entra_request(&azure, &good_form(&azure));
    let mut body = soon(client.request(request)).await.unwrap().into_body();
    let mut read = 0;
    while read < 4 << 20 {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        read += frame.into_data().unwrap().len();
    }
    // Who has enough goes away, and the server notices.
    drop(body);
    azure.recover_token_requests();
    imds_token(&client).await;
}

#[tokio::test]
async fn failures_can_be_counted_and_belong_to_one_endpoint() {
    let (azure, client) = with_secret().await;
    let down = || Failure::status(StatusCode::SERVICE_UNAVAILABLE);
    azure.fail_next_token_requests(2, down());
    for status in [503, 503, 200, 200] {
        let sent = send(&client, imds_request(&GOOD_QUERY)).await;
        assert_eq!(sent.status(), status);
    }
    let token = imds_token(&client).await;
    azure.vault().fail_next_requests(1, down());
    imds_token(&client).await;
    for status in [503, 200] {
        assert_eq!(send(&client, get(DB, Some(&token))).await.status(), status);
    }
    azure.vault().fail_requests(down());
    assert_eq!(send(&client, get(DB, Some(&token))).await.status(), 503);
    azure.vault().recover();
    assert_eq!(send(&client, get(DB, Some(&token))).await.status(), 200);
}

#[tokio::test]
async fn good_answers_can_be_rewritten() {
    let (azure, client) = with_secret().await;
    azure.rewrite_token_answers(|answer| answer.replace(r#""86400""#, "86400.5"));
    let response = send(&client, imds_request(&GOOD_QUERY)).await;
    assert_eq!(body(&response)["expires_in"], 86_400.5);
    azure.keep_token_answers();
    let response = send(&client, imds_request(&GOOD_QUERY)).await;
    assert_eq!(body(&response)["expires_in"], "86400");
}

// What is remembered, and what is left over.

#[tokio::test]
async fn i10_requests_are_remembered_without_what_is_secret() {
    let (azure, client) = with_secret().await;
    let answer = entra_token(&azure, &client, &[]).await;
    let token = answer["access_token"].as_str().unwrap();
    send(&client, get(DB, Some(token))).await;
    let requests = azure.requests();
    let [entra, vault] = &requests[..] else {
        panic!("{requests:?}");
    };
    assert_eq!(entra.endpoint(), Endpoint::Entra);
    assert_eq!(entra.method(), "POST");
    assert_eq!(
        entra.path(),
        format!("/{}/oauth2/v2.0/token", azure.tenant_id())
    );
    assert!(
        entra
            .parameter_names()
            .contains(&"client_secret".to_owned())
    );
    assert_eq!(vault.endpoint(), Endpoint::Vault);
    assert_eq!(vault.path(), "/secrets/db");
    assert!(
        vault
            .header_names()
            .iter()
            .any(|name| name == "authorization")
    );

    let shown = format!(
        "{requests:?} {azure:?} {:?} {:?}",
        azure.vault(),
        Azure::builder()
    );
    for secret in [token, azure.client_secret(), "s3cret"] {
        assert!(!shown.contains(secret));
    }
}

#[tokio::test]
async fn the_environment_names_everything_that_another_process_needs() {
    let azure = Azure::start().await.unwrap();
    let environment = azure.environment();
    let value = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name}")).1.clone()
    };
    assert_eq!(value("AZURE_AUTHORITY_HOST"), azure.authority_host());
    assert_eq!(value("AZURE_TENANT_ID"), azure.tenant_id());
    assert_eq!(value("AZURE_CLIENT_ID"), azure.client_id());
    assert_eq!(value("AZURE_CLIENT_SECRET"), azure.client_secret());
    assert_eq!(
        value("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
        azure.imds_host()
    );
    assert_eq!(value("VAULT_URL"), azure.vault_url());
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
        let pem = std::fs::read_to_string(value(name)).unwrap();
        assert_eq!(pem, azure.ca_certificate_pem());
        assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 1);
    }

    let (path, other) = (azure.ca_certificate_path().to_owned(), azure.clone());
    drop(azure);
    assert!(path.exists(), "while there is another handle");
    drop(other);
    assert!(!path.exists());
}

async fn is_listening(url: &str) -> bool {
    let (_, address) = url.split_once("://").unwrap();
    tokio::net::TcpStream::connect(address).await.is_ok()
}

#[tokio::test]
async fn i7_dropping_the_last_handle_ends_listeners_and_connections() {
    let (azure, client) = with_secret().await;
    let (vault, imds) = (azure.vault_url(), azure.imds_host());
    let _hold = azure.hold_token_requests();
    let waiting = tokio::spawn(client.request(imds_request(&GOOD_QUERY)));
    soon(azure.wait_for_token_requests(1)).await;
    drop(azure.clone());
    assert!(is_listening(&vault).await && is_listening(&imds).await);

    drop(azure);
    soon(waiting).await.unwrap().unwrap_err();
    soon(async {
        while is_listening(&vault).await || is_listening(&imds).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn stop_waits_until_nothing_listens() {
    let azure = Azure::start().await.unwrap();
    let (vault, imds) = (azure.vault_url(), azure.imds_host());
    azure.stop().await;
    assert!(!is_listening(&vault).await && !is_listening(&imds).await);
    azure.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    for builder in [
        Azure::builder().tls_port(port),
        Azure::builder().imds_port(port),
        Azure::builder().vault_name("a.b"),
        Azure::builder().vault_audience("http://vault.azure.net"),
        Azure::builder().vault_audience("https://vault.azure.net/"),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
}
