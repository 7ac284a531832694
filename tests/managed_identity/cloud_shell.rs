//! Azure Cloud Shell.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_request_is_a_form() {
    let script = Script::new([token()]);
    let credential = on(&script, &CLOUD_SHELL).build().unwrap();
    let request = TokenRequest::new("https://management.azure.com/");
    credential.token(&request).await.unwrap();
    let seen = &script.seen()[0];
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.uri, "http://127.0.0.1:6/oauth2/token");
    assert_eq!(
        seen.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    assert_eq!(seen.headers["metadata"], "true");
    assert_eq!(seen.body, "resource=https%3A%2F%2Fmanagement.azure.com%2F");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_person_is_not_taken_for_that_of_an_application() {
    // {"appid":"b677c290","tid":"t","upn":"me@contoso.com"}
    let jwt = "e30.eyJhcHBpZCI6ImI2NzdjMjkwIiwidGlkIjoidCIsInVwbiI6Im1lQGNvbnRvc28uY29tIn0.c2ln";
    let body = format!(
        r#"{{"access_token":"{jwt}","expires_in":"3599","expires_on":"4102444800","token_type":"Bearer"}}"#
    );
    let script = Script::new([reply(200, body)]);
    let credential = on(&script, &CLOUD_SHELL).build().unwrap();
    let token = credential.token(&vault()).await.unwrap();
    let principal = token.principal();
    assert_eq!(principal.principal_type(), Some(PrincipalType::User));
    assert_eq!(principal.user_principal_name(), Some("me@contoso.com"));
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_are_tried_four_times() {
    let (retried, finals) = ([404, 408, 429, 500, 503], [400, 401, 403, 410]);
    three_retries_a_second_apart(&CLOUD_SHELL, &retried, &finals).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_inside_an_object_is_read() {
    let body = r#"{"error":{"code":"AudienceNotSupported","message":"Audience x is not a supported MSI token audience."}}"#;
    let (error, _) = refused_on(&CLOUD_SHELL, [reply(400, body)]).await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.oauth_error(), Some("AudienceNotSupported"));
    assert!(error.message().contains("not a supported"), "{error}");
}

#[test]
fn no_other_identity_can_be_asked_for() {
    let script = Script::new([token()]);
    let builder = on(&script, &CLOUD_SHELL).user_assigned(client_id(CLIENT_ID));
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("Azure Cloud Shell"), "{error}");
    assert!(error.advice().unwrap().contains("the person"), "{error}");
}

#[tokio::test]
async fn the_embedded_one_gives_a_token() {
    let azure = Azure::start().await.unwrap();
    let builder = ManagedIdentityCredential::builder()
        .environment(azure.cloud_shell_environment())
        .timeout(Duration::from_millis(500));
    let credential = builder.build().unwrap();
    // Whatever identity the machine has, if any.
    azure.assign_system_identity(false);
    let token = soon(credential.token(&vault())).await.unwrap();
    let principal = token.principal();
    assert_eq!(principal.principal_type(), Some(PrincipalType::User));
    assert_eq!(
        principal.user_principal_name(),
        Some("person@embedded.example")
    );
    let request = TokenRequest::new("vault");
    let error = soon(credential.token(&request)).await.unwrap_err();
    assert_eq!(error.oauth_error(), Some("AudienceNotSupported"));
}
