//! Service Fabric: the certificate, and tokens that were refused.

use super::*;

fn builder(azure: &Azure) -> ManagedIdentityCredentialBuilder {
    ManagedIdentityCredential::builder().environment(azure.service_fabric_environment())
}

/// Its variables, with another value for `name`.
fn with(azure: &Azure, name: &str, value: &str) -> ManagedIdentityCredentialBuilder {
    let mut variables = azure.service_fabric_environment();
    for variable in &mut variables {
        if variable.0 == name {
            value.clone_into(&mut variable.1);
        }
    }
    ManagedIdentityCredential::builder()
        .environment(variables)
        .timeout(Duration::from_secs(10))
}

#[tokio::test]
async fn the_embedded_cluster_gives_a_token() {
    let azure = Azure::start().await.unwrap();
    let credential = builder(&azure).build().unwrap();
    assert_eq!(credential.source(), ManagedIdentitySource::ServiceFabric);
    let token = soon(credential.token(&vault())).await.unwrap();
    let system = azure.system_assigned_identity();
    assert_eq!(token.principal().app_id(), Some(system.client_id()));
    let worker = azure.assign_user_identity("worker");
    let builder = builder(&azure).user_assigned(object_id(worker.object_id()));
    let token = soon(builder.build().unwrap().token(&vault()))
        .await
        .unwrap();
    assert_eq!(token.principal().app_id(), Some(worker.client_id()));
}

#[tokio::test]
async fn t10_no_other_certificate_is_taken_and_nothing_is_sent_to_its_server() {
    let azure = Azure::start().await.unwrap();
    let stranger = Azure::start().await.unwrap();
    let thumbprint = |azure: &Azure| azure.service_fabric_environment()[2].1.clone();
    let one_digit_off = {
        let mut digits = thumbprint(&azure);
        let last = if digits.ends_with('0') { "1" } else { "0" };
        digits.replace_range(39.., last);
        digits
    };
    for (endpoint, pin) in [
        // The same host and port, another certificate.
        (
            azure.service_fabric_environment()[0].1.clone(),
            thumbprint(&stranger),
        ),
        (
            azure.service_fabric_environment()[0].1.clone(),
            one_digit_off,
        ),
        // A certificate that an authority has signed.
        (
            format!("{}/token", azure.authority_host()),
            thumbprint(&azure),
        ),
    ] {
        let mut variables = azure.service_fabric_environment();
        variables[0].1 = endpoint;
        variables[2].1 = pin;
        let builder = ManagedIdentityCredential::builder().environment(variables);
        let error = soon(builder.build().unwrap().token(&vault()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.message().contains("is not trusted"), "{error}");
        assert!(error.advice().unwrap().contains("thumbprint"), "{error}");
    }
    assert_eq!(azure.requests().len(), 0);
    assert_eq!(azure.token_requests(), 0);
}

#[tokio::test]
async fn t10_a_thumbprint_may_have_colons_and_blanks_and_be_of_either_case() {
    let azure = Azure::start().await.unwrap();
    let digits = azure.service_fabric_environment()[2].1.clone();
    let pairs: Vec<_> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap())
        .collect();
    for thumbprint in [
        digits.to_ascii_lowercase(),
        pairs.join(":"),
        format!(" {} ", pairs.join(" ")),
    ] {
        let builder = with(&azure, "IDENTITY_SERVER_THUMBPRINT", &thumbprint);
        soon(builder.build().unwrap().token(&vault()))
            .await
            .unwrap();
    }
    for thumbprint in ["0", "canary", &digits[1..], &format!("{digits}00")] {
        let builder = with(&azure, "IDENTITY_SERVER_THUMBPRINT", thumbprint);
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{thumbprint}");
        assert!(
            error.message().contains("IDENTITY_SERVER_THUMBPRINT"),
            "{error}"
        );
    }
    let plain = with(&azure, "IDENTITY_ENDPOINT", "http://127.0.0.1:1/token");
    let error = plain.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("no https address"), "{error}");
}

#[tokio::test]
async fn t10_a_redirect_is_not_followed() {
    let azure = Azure::start().await.unwrap();
    let location = format!("{}/elsewhere", azure.imds_host()).parse().unwrap();
    azure.fail_token_requests(
        Failure::status(http::StatusCode::TEMPORARY_REDIRECT)
            .with_header(http::header::LOCATION, location),
    );
    let error = soon(builder(&azure).build().unwrap().token(&vault()))
        .await
        .unwrap_err();
    assert!(error.message().contains("is not followed"), "{error}");
    assert_eq!(azure.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_service_fabric_wants_it() {
    let version = [
        &SERVICE_FABRIC[..],
        &[("IDENTITY_API_VERSION", "2020-05-01")],
    ]
    .concat();
    for (variables, version) in [
        (&SERVICE_FABRIC[..], "2019-07-01-preview"),
        (&version, "2020-05-01"),
    ] {
        let script = Script::new([reply(
            200,
            r#"{"access_token":"t0k3n","expires_on":1900000000,"token_type":"Bearer"}"#,
        )]);
        let clock = Arc::new(HandClock::new());
        clock.advance(Duration::from_secs(149_900_000));
        let credential = on(&script, variables).build().unwrap();
        let request = vault().with_runtime(clock);
        let token = credential.token(&request).await.unwrap();
        assert_eq!(token.secret(), "t0k3n");
        let seen = &script.seen()[0];
        assert_eq!(
            seen.uri,
            format!(
                "https://localhost:2/fabric?api-version={version}&resource=https%3A%2F%2Fvault.azure.net"
            )
            .as_str()
        );
        assert_eq!(seen.headers["secret"], "canary-identity");
        assert!(seen.headers["secret"].is_sensitive());
        assert_eq!(seen.headers["accept"], "application/json");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_are_tried_four_times_and_404_is_final() {
    let (retried, finals) = ([408, 429, 500, 503], [400, 401, 403, 404, 410]);
    three_retries_a_second_apart(&SERVICE_FABRIC, &retried, &finals).await;
}

#[tokio::test(start_paused = true)]
async fn an_application_without_an_identity_is_told_so() {
    let body = r#"{"error":{"correlationId":"c-1","code":"ManagedIdentityNotFound","message":"Managed identity not found for the specified application host."}}"#;
    for (chained, kind) in [(false, ErrorKind::Rejected), (true, ErrorKind::Unavailable)] {
        let script = Script::new([reply(404, body)]);
        let credential = on(&script, &SERVICE_FABRIC).probe(chained).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.oauth_error(), Some("ManagedIdentityNotFound"));
        assert_eq!(error.correlation_id(), Some("c-1"));
        assert!(
            error.advice().unwrap().contains("this application"),
            "{error}"
        );
        assert_eq!(script.requests(), 1);
    }
    for code in ["SecretHeaderNotFound", "ArgumentNullOrEmpty"] {
        let body = format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#);
        let (error, _) = refused_on(&SERVICE_FABRIC, [reply(400, body)]).await;
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert_eq!(error.oauth_error(), Some(code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_and_claims_are_told_to_the_host() {
    let script = Script::new([token()]);
    let credential = on(&script, &SERVICE_FABRIC).build().unwrap();
    let refused = credential.token(&vault()).await.unwrap();
    let claims = Claims::from_json(r#"{"access_token":{"nbf":{"value":"1"}}}"#).unwrap();
    credential
        .token(&vault().with_refused(refused.clone()))
        .await
        .unwrap();
    credential
        .token(&vault().with_claims(claims.clone()))
        .await
        .unwrap();
    let both = vault().with_refused(refused).with_claims(claims);
    credential.token(&both).await.unwrap();

    let fields: Vec<_> = script
        .seen()
        .iter()
        .map(|seen| seen.fields().split_off(2))
        .collect();
    // SHA-256 of "t0k3n".
    let digest = (
        "token_sha256_to_refresh".to_owned(),
        "b81c829ac55e858ea27c2a4014d2a073a189ef391f1c85d4214f857d4d5c039a".to_owned(),
    );
    let capability = ("xms_cc".to_owned(), "CP1".to_owned());
    assert_eq!(fields[0], []);
    assert_eq!(fields[1], [digest.clone(), capability.clone()]);
    assert_eq!(fields[2], std::slice::from_ref(&capability));
    assert_eq!(fields[3], [digest, capability]);

    // No other host is told.
    for variables in [&APP_SERVICE[..], &MACHINE_LEARNING, &CLOUD_SHELL, &MACHINE] {
        let script = Script::new([token()]);
        let credential = on(&script, variables).build().unwrap();
        credential.token(&both).await.unwrap();
        assert!(script.seen()[0].fields().len() <= 2, "{variables:?}");
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced_when_it_was_refused() {
    let azure = Azure::start().await.unwrap();
    azure.imds_keeps_revoked_tokens(true);
    let credential = builder(&azure).build().unwrap();
    let first = soon(credential.token(&vault())).await.unwrap();
    let again = soon(credential.token(&vault())).await.unwrap();
    assert_eq!(again.secret(), first.secret());
    azure.revoke_tokens();
    let request = vault().with_refused(first.clone());
    let second = soon(credential.token(&request)).await.unwrap();
    assert_ne!(second.secret(), first.secret());
}

#[tokio::test]
async fn the_embedded_cluster_is_as_strict_as_the_real_one() {
    let azure = Azure::start().await.unwrap();
    let ask = async |builder: ManagedIdentityCredentialBuilder, audience: &str| {
        let request = TokenRequest::new(audience);
        soon(builder.build().unwrap().token(&request))
            .await
            .unwrap_err()
    };
    let resource = "https://vault.azure.net";
    let error = ask(with(&azure, "IDENTITY_HEADER", "wrong"), resource).await;
    assert_eq!(error.oauth_error(), Some("ManagedIdentityNotFound"));
    let error = ask(with(&azure, "IDENTITY_API_VERSION", "2017-01-01"), resource).await;
    assert_eq!(error.oauth_error(), Some("InvalidApiVersion"));
    assert!(error.message().contains("Supported version is"), "{error}");
    let error = ask(
        builder(&azure).user_assigned(object_id(OBJECT_ID)),
        resource,
    )
    .await;
    assert_eq!(error.oauth_error(), Some("ManagedIdentityNotFound"));
    let error = ask(builder(&azure), "vault").await;
    assert_eq!(error.oauth_error(), Some("InvalidParameter"));
    assert_eq!(azure.token_requests(), 4);
}
