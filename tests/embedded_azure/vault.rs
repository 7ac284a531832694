//! Key Vault: who is let in, and what it keeps.

use super::*;

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
        .vault_name("Gov")
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
