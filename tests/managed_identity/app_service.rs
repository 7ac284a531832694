//! App Service, Functions and Container Apps by either protocol, and Azure
//! Machine Learning.

use super::*;

const REFUSES_2019: &str = r#"{"error":{"code":"UnsupportedApiVersion","message":"The HTTP resource that matches the request URI 'http://localhost:8081/msi/token?api-version=2019-08-01&resource=https://vault.azure.net' does not support the API version '2019-08-01'"}}"#;

fn both() -> Vec<(&'static str, &'static str)> {
    [&APP_SERVICE[..], &MACHINE_LEARNING].concat()
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_app_service_wants_it() {
    let script = Script::new([reply(
        200,
        format!(
            r#"{{"access_token":"t0k3n","client_id":"{CLIENT_ID}","expires_on":"1750086400","not_before":"1749999700","resource":"https://vault.azure.net","token_type":"Bearer"}}"#
        ),
    )]);
    let credential = on(&script, &APP_SERVICE).build().unwrap();
    let request = vault().with_runtime(Arc::new(HandClock::new()));
    let token = credential.token(&request).await.unwrap();
    let seen = &script.seen()[0];
    assert_eq!(seen.method, "GET");
    assert_eq!(
        seen.uri,
        "http://127.0.0.1:3/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net"
    );
    assert_eq!(seen.headers["x-identity-header"], "canary-identity");
    assert!(seen.headers["x-identity-header"].is_sensitive());
    assert_eq!(seen.headers["metadata"], "true");
    assert_eq!(seen.body, "");
    assert_eq!(token.secret(), "t0k3n");
    assert_eq!(token.credential(), "ManagedIdentityCredential");
    assert_eq!(token.principal().principal_type(), Some(PrincipalType::App));
    assert_eq!(token.principal().app_id(), Some(CLIENT_ID));
}

#[tokio::test(start_paused = true)]
async fn the_older_protocol_has_names_of_its_own() {
    let script = Script::new([token()]);
    let credential = on(&script, &MACHINE_LEARNING).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let seen = &script.seen()[0];
    assert_eq!(seen.method, "GET");
    assert_eq!(
        seen.uri,
        "http://127.0.0.1:6/MSI/auth?api-version=2017-09-01&resource=https%3A%2F%2Fvault.azure.net"
    );
    assert_eq!(seen.headers["secret"], "canary-msi");
    assert!(seen.headers["secret"].is_sensitive());

    // Machine Learning says which identity it means by none.
    let variables = [
        &MACHINE_LEARNING[..],
        &[("DEFAULT_IDENTITY_CLIENT_ID", OBJECT_ID)],
    ]
    .concat();
    for (id, sent) in [(None, OBJECT_ID), (Some(client_id(CLIENT_ID)), CLIENT_ID)] {
        let script = Script::new([token()]);
        let mut builder = on(&script, &variables);
        if let Some(id) = id {
            builder = builder.user_assigned(id);
        }
        builder.build().unwrap().token(&vault()).await.unwrap();
        assert_eq!(script.seen()[0].field("clientid").as_deref(), Some(sent));
    }
}

#[tokio::test(start_paused = true)]
async fn every_form_of_expiry_is_read_and_none_is_guessed() {
    for form in [
        "4102444800",
        "4102444800.0",
        r#""4102444800""#,
        r#""01/01/2100 00:00:00 +00:00""#,
        r#""1/1/2100 12:00:00 AM +00:00""#,
        r#""2100-01-01T00:00:00Z""#,
        r#""2099-12-31T16:00:00-08:00""#,
    ] {
        for variables in [&APP_SERVICE[..], &MACHINE_LEARNING] {
            let body = format!(r#"{{"access_token":"t0k3n","expires_on":{form}}}"#);
            let (error, _) = refused_on(variables, [reply(200, body)]).await;
            // It ends in 2100, which no token does.
            assert!(
                error.message().contains("a lifetime that cannot be true"),
                "{form}: {error}"
            );
        }
    }
    for form in [
        "3600",
        r#""3600""#,
        r#""1/1/2100 12:00:00 AM""#,
        r#""tomorrow""#,
        "[]",
    ] {
        let body = format!(r#"{{"access_token":"t0k3n","expires_on":{form}}}"#);
        let (error, _) = refused_on(&MACHINE_LEARNING, [reply(200, body)]).await;
        assert!(
            error.message().contains("no point in time"),
            "{form}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_are_tried_four_times() {
    for variables in [&APP_SERVICE[..], &MACHINE_LEARNING] {
        let (retried, finals) = (
            [404, 408, 429, 500, 502, 503, 504],
            [400, 401, 403, 405, 410],
        );
        three_retries_a_second_apart(variables, &retried, &finals).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_not_assigned_is_said_to_be_so() {
    for (variables, body) in [
        (
            &APP_SERVICE[..],
            r#"{"statusCode":400,"message":"No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.","correlationId":"c-1"}"#,
        ),
        (
            &APP_SERVICE,
            r#"{"statusCode":400,"message":"Unable to load the proper Managed Identity.","correlationId":"c-1"}"#,
        ),
        (
            &MACHINE_LEARNING,
            r#"{"StatusCode":400,"Message":"No MSI found for specified ClientId/ResourceId.","CorrelationId":"c-1"}"#,
        ),
    ] {
        for (chained, kind) in [(false, ErrorKind::Rejected), (true, ErrorKind::Unavailable)] {
            let script = Script::new([reply(400, body)]);
            let builder = on(&script, variables).probe(chained);
            let error = builder
                .clone()
                .build()
                .unwrap()
                .token(&vault())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.correlation_id(), Some("c-1"));
            let advice = error.advice().unwrap();
            assert!(
                advice.contains("system-assigned") && advice.contains("AppId"),
                "{advice}"
            );

            let builder = builder.user_assigned(client_id(CLIENT_ID));
            let error = builder.build().unwrap().token(&vault()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error
                    .to_string()
                    .contains(&format!("no identity with client id {CLIENT_ID:?}"))
            );
            // There is nothing to look for where variables name the host.
            assert_eq!(script.requests(), 2);
        }
    }
    // An app with user-assigned identities alone gives no reason.
    let (error, _) = refused_on(&APP_SERVICE, [reply(400, "")]).await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(
        error.advice().unwrap().contains("client id (AppId)"),
        "{error}"
    );
    // A wrong audience is not mistaken for that.
    let wrong = r#"{"statusCode":400,"message":"AADSTS500011: The resource principal named x was not found","correlationId":"c"}"#;
    let (error, _) = refused_on(&APP_SERVICE, [reply(400, wrong)]).await;
    assert_eq!(error.aadsts_codes(), [500_011]);
    assert!(
        error.advice().unwrap().contains("check the audience"),
        "{error}"
    );
    // Often it comes back as 500, which no attempt makes better.
    for code in [500_011, 50_001, 650_057] {
        let body = format!(r#"{{"statusCode":500,"message":"AADSTS{code}: no such resource"}}"#);
        let (error, script) = refused_on(&APP_SERVICE, [reply(500, body)]).await;
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(error.advice().unwrap().contains("audience"), "{error}");
        assert_eq!(script.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_answers_nothing_or_refuses_the_secret_is_told_what_to_do() {
    let (error, _) = refused_on(
        &APP_SERVICE,
        [Reply::Fail(io::ErrorKind::ConnectionRefused)],
    )
    .await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(
        error
            .advice()
            .unwrap()
            .contains("this is Azure App Service: unset IDENTITY_ENDPOINT"),
        "{error}"
    );
    // Not once the variables have proved right.
    let refused = Reply::Fail(io::ErrorKind::ConnectionRefused);
    let script = Script::new([token(), refused]);
    let credential = on(&script, &APP_SERVICE).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(!error.to_string().contains("unset"), "{error}");
    for variables in [&APP_SERVICE[..], &MACHINE_LEARNING] {
        let (error, _) = refused_on(variables, [reply(401, "")]).await;
        assert!(
            error
                .advice()
                .unwrap()
                .contains("secret by its environment"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_refused_leads_to_the_older_protocol_which_is_remembered() {
    let script = Script::new([reply(400, REFUSES_2019), token()]);
    let credential = on(&script, &both()).build().unwrap();
    for _ in 0..3 {
        credential.token(&vault()).await.unwrap();
    }
    let seen = script.seen();
    let versions: Vec<_> = seen
        .iter()
        .map(|seen| seen.field("api-version").unwrap())
        .collect();
    assert_eq!(
        versions,
        ["2019-08-01", "2017-09-01", "2017-09-01", "2017-09-01"]
    );
    assert_eq!(script.moments(), [0.0; 4], "at once");
    // Each secret goes to the endpoint that came with it.
    assert_eq!(seen[0].uri.port_u16(), Some(3));
    assert_eq!(seen[0].headers["x-identity-header"], "canary-identity");
    assert!(!seen[0].headers.contains_key("secret"));
    assert_eq!(seen[1].uri.port_u16(), Some(6));
    assert_eq!(seen[1].headers["secret"], "canary-msi");
    assert!(!seen[1].headers.contains_key("x-identity-header"));
}

#[tokio::test(start_paused = true)]
async fn the_newer_protocol_is_looked_for_again_when_the_older_one_stops() {
    for stopped in [400, 401, 404, 405, 410] {
        let script = Script::new([
            reply(400, REFUSES_2019),
            token(),
            reply(stopped, "gone"),
            token(),
        ]);
        let credential = on(&script, &both()).build().unwrap();
        for _ in 0..3 {
            credential.token(&vault()).await.unwrap();
        }
        let versions: Vec<_> = script
            .seen()
            .iter()
            .map(|seen| seen.field("api-version").unwrap())
            .collect();
        let (new, old) = ("2019-08-01", "2017-09-01");
        assert_eq!(versions, [new, old, old, new, new], "{stopped}");
    }
    // If neither will, the one that was good is heard.
    let script = Script::new([
        reply(400, REFUSES_2019),
        token(),
        reply(400, r#"{"Message":"the older one's word"}"#),
        reply(400, REFUSES_2019),
    ]);
    let credential = on(&script, &both()).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert!(error.message().contains("the older one's word"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn only_a_refused_version_leads_to_the_older_protocol() {
    for failure in [
        reply(400, r#"{"statusCode":400,"message":"no"}"#),
        reply(401, ""),
        reply(403, ""),
    ] {
        let script = Script::new([failure]);
        let credential = on(&script, &both()).build().unwrap();
        credential.token(&vault()).await.unwrap_err();
        assert_eq!(script.requests(), 1);
        assert_eq!(script.seen()[0].field("api-version").unwrap(), "2019-08-01");
    }
    // Outages are waited for where they are.
    let script = Script::new([reply(503, ""), token()]);
    let credential = on(&script, &both()).build().unwrap();
    credential.token(&vault()).await.unwrap();
    assert_eq!(script.seen()[1].field("api-version").unwrap(), "2019-08-01");
    // The older one does not know these ids.
    for id in [object_id(OBJECT_ID), resource_id(RESOURCE_ID)] {
        let script = Script::new([reply(400, REFUSES_2019)]);
        let credential = on(&script, &both()).user_assigned(id).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.oauth_error(), Some("UnsupportedApiVersion"));
        assert_eq!(script.requests(), 1);
    }
    // Without the older one's variables there is nothing to fall back to.
    let (error, script) = refused_on(&APP_SERVICE, [reply(400, REFUSES_2019)]).await;
    assert!(error.message().contains("UnsupportedApiVersion"), "{error}");
    assert_eq!(script.requests(), 1);
}

#[tokio::test]
async fn every_host_of_the_family_gives_a_token_for_each_id_that_it_knows() {
    let azure = Azure::start().await.unwrap();
    let worker = azure.assign_user_identity("worker");
    let all = [
        client_id(worker.client_id()),
        object_id(worker.object_id()),
        resource_id(worker.resource_id()),
    ];
    for (variables, source, ids) in [
        (
            azure.app_service_environment(),
            Endpoint::AppService,
            &all[..],
        ),
        (
            azure.container_apps_environment(),
            Endpoint::AppService,
            &all,
        ),
        (
            azure.app_service_2017_environment(),
            Endpoint::AppService,
            &all[..1],
        ),
        (
            azure.machine_learning_environment(),
            Endpoint::MachineLearning,
            &all[..1],
        ),
    ] {
        for on_windows in [false, true] {
            azure.app_service_on_windows(on_windows);
            let builder = ManagedIdentityCredential::builder().environment(variables.clone());
            let ask = async |builder: ManagedIdentityCredentialBuilder| {
                soon(builder.build().unwrap().token(&vault()))
                    .await
                    .unwrap()
            };
            let token = ask(builder.clone()).await;
            let system = azure.system_assigned_identity();
            assert_eq!(token.principal().app_id(), Some(system.client_id()));
            for id in ids {
                let token = ask(builder.clone().user_assigned(id.clone())).await;
                assert_eq!(token.principal().app_id(), Some(worker.client_id()));
            }
            assert_eq!(azure.requests().last().unwrap().endpoint(), source);
        }
    }
}

#[tokio::test]
async fn linux_consumption_is_served_by_whichever_protocol_it_has() {
    let azure = Azure::start().await.unwrap();
    let variables = [
        azure.app_service_environment(),
        azure.app_service_2017_environment(),
    ]
    .concat();
    let builder = ManagedIdentityCredential::builder().environment(variables);
    let credential = builder.build().unwrap();
    azure.app_service_refuses_2019(true);
    soon(credential.token(&vault())).await.unwrap();
    soon(credential.token(&vault())).await.unwrap();
    assert_eq!(azure.token_requests(), 3);
    azure.app_service_refuses_2019(false);
    soon(credential.token(&vault())).await.unwrap();
    assert_eq!(azure.token_requests(), 4, "what serves is kept");
}

#[tokio::test]
async fn the_words_of_a_real_refusal_are_those_of_the_host() {
    let azure = Azure::start().await.unwrap();
    let ask = async |variables: Vec<(&'static str, String)>, audience: &str| {
        let builder = ManagedIdentityCredential::builder()
            .environment(variables)
            .timeout(Duration::from_millis(500));
        let request = TokenRequest::new(audience);
        soon(builder.build().unwrap().token(&request))
            .await
            .unwrap_err()
    };
    // App Service says 500 for an audience that it does not know.
    let error = ask(azure.app_service_environment(), "vault").await;
    assert_eq!(error.status().map(|status| status.as_u16()), Some(500));
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.aadsts_codes(), [500_011]);
    assert!(error.correlation_id().is_some());

    let mut wrong = azure.app_service_environment();
    wrong[1].1 = "wrong".to_owned();
    let error = ask(wrong, "https://vault.azure.net").await;
    assert_eq!(error.status().map(|status| status.as_u16()), Some(401));
    assert!(error.message().contains("X-IDENTITY-HEADER"), "{error}");

    azure.assign_system_identity(false);
    azure.assign_user_identity("only");
    let error = ask(azure.app_service_environment(), "https://vault.azure.net").await;
    assert_eq!(
        error.kind(),
        ErrorKind::Rejected,
        "no other identity stands in"
    );
    assert!(error.advice().unwrap().contains("AppId"), "{error}");
    let error = ask(
        azure.app_service_2017_environment(),
        "https://vault.azure.net",
    )
    .await;
    assert!(error.message().contains("No MSI found"), "{error}");
}
