//! Microsoft Entra: its token endpoint, its errors, and what it publishes.

use super::*;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

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
