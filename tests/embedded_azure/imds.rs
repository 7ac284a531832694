//! The instance metadata service: what it wants, and which token it gives.

use super::*;

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
