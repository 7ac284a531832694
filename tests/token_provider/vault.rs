//! An application whose certificate is in Key Vault.

use tokio::task::JoinHandle;
use tower_bearer::{AccessToken, Error};

use super::*;

const IN_VAULT: &str = "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";

/// For longer than anybody waits.
fn unavailable() -> Failure {
    Failure::status(StatusCode::SERVICE_UNAVAILABLE).with_retry_after(Duration::from_secs(120))
}

/// An Azure half an hour before 2028, whose vault has a certificate that ends
/// with the year.
async fn shortly_before_2028() -> (Azure, Arc<ManualRuntime>, SharedCredential, TokenRequest) {
    let runtime = Arc::new(ManualRuntime::with_seed(5));
    let azure = Azure::builder()
        .runtime(runtime.clone())
        .start()
        .await
        .unwrap();
    let made = Made::valid(2020, 2028);
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    azure.vault().set_certificate("app", &made.pem());
    let then = UNIX_EPOCH + Duration::from_secs(1_830_297_600 - 30 * 60);
    runtime.advance(then.duration_since(runtime.now().wall).unwrap());
    let provider = told(&azure, IN_VAULT).build().unwrap();
    let request = TokenRequest::new(VAULT).with_runtime(runtime.clone());
    (azure, runtime, provider.credential().clone(), request)
}

#[tokio::test]
async fn r30_a_certificate_that_ends_within_the_hour_is_read_again() {
    let (azure, runtime, credential, request) = shortly_before_2028().await;
    let first = credential.token(&request).await.unwrap();
    let renewed = Made::new();
    azure
        .register_certificate(azure.tenant_id(), "app-id", &renewed.certificate)
        .unwrap();
    azure.vault().set_certificate("app", &renewed.pem());
    runtime.advance(Duration::from_secs(31 * 60));
    let second = credential.token(&request).await.unwrap();
    assert_ne!(
        first.principal().certificate_thumbprint(),
        second.principal().certificate_thumbprint()
    );
}

#[tokio::test]
async fn r30_a_vault_that_is_away_does_not_end_the_certificate_that_is_in_use() {
    let (azure, runtime, credential, request) = shortly_before_2028().await;
    // A year earlier, so that an hour later it is still good.
    runtime.step_wall_back(Duration::from_secs(365 * 86_400));
    let asked = || azure.vault().requests();
    credential.token(&request).await.unwrap();
    azure.vault().fail_requests(unavailable());
    runtime.advance(Duration::from_secs(3601));
    let before = asked();
    for _ in 0..3 {
        credential.token(&request).await.unwrap();
    }
    assert_eq!(asked(), before + 1);
    runtime.advance(Duration::from_secs(301));
    credential.token(&request).await.unwrap();
    assert_eq!(asked(), before + 2);

    runtime.step_wall_forward(Duration::from_secs(365 * 86_400));
    let error = credential.token(&request).await.unwrap_err();
    for words in ["the certificate that was in use", "503"] {
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn r10_a_vault_that_is_busy_for_a_moment_is_asked_again() {
    let (azure, runtime, credential, request) = shortly_before_2028().await;
    azure
        .vault()
        .fail_next_requests(1, Failure::status(StatusCode::SERVICE_UNAVAILABLE));
    let asked = tokio::spawn(async move { credential.token(&request).await });
    let pause = eventually(|| {
        if asked.is_finished() {
            return Some(None);
        }
        let wait = runtime.next_wake()?;
        (wait <= Duration::from_secs(2)).then_some(Some(wait))
    })
    .await;
    runtime.advance(pause.expect("it waits before it asks again"));
    asked.await.unwrap().unwrap();
    assert_eq!(azure.vault().requests(), 3);
}

/// As Key Vault keeps certificates unless it is told otherwise.
#[cfg(feature = "pkcs12")]
#[tokio::test]
async fn a_certificate_is_read_from_the_vault_as_pkcs12_without_a_password() {
    let azure = Azure::start().await.unwrap();
    let made = Made::new();
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    let machine = told(&azure, "RunAs=App").build().unwrap();
    let token = machine.token(VAULT).await.unwrap();
    let secret = serde_json::json!({
        "value": STANDARD.encode(made.pkcs12("")),
        "contentType": "application/x-pkcs12",
    });
    let put = Request::put("https://myvault.vault.azure.net/secrets/app?api-version=7.4")
        .header("authorization", format!("Bearer {}", token.secret()))
        .header("content-type", "application/json")
        .body(Full::from(secret.to_string()))
        .unwrap();
    assert_eq!(
        azure.http_client().oneshot(put).await.unwrap().status(),
        200
    );

    let provider = told(&azure, IN_VAULT).build().unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.principal().app_id(), Some("app-id"));
}

#[tokio::test]
async fn i9_a_host_that_poses_as_a_vault_gets_no_token() {
    let azure = Azure::start().await.unwrap();
    for (host, resource) in [
        ("vault.example", "https://vault.azure.net"),
        ("myvault.vault.azure.net.example", "https://vault.azure.net"),
        ("evilvault.azure.net", "https://vault.azure.net"),
        ("myvault.vault.azure.net", "https://management.azure.com"),
    ] {
        let challenge = format!(
            r#"Bearer authorization="https://login.microsoftonline.com/contoso.com", resource="{resource}""#
        );
        let script = Script::new([reply(401, "").header("www-authenticate", &challenge)]);
        let string = format!(
            "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://{host}/secrets/app"
        );
        let provider = told(&azure, &string)
            .transport(script.transport())
            .build()
            .unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
        assert!(error.message().contains(host), "{error}");
        assert_eq!(script.requests(), 1);
        assert!(!script.seen()[0].headers.contains_key("authorization"));
    }
    assert_eq!(azure.imds_requests(), 0);
}

#[tokio::test]
async fn what_keeps_a_certificate_from_being_read_in_the_vault_is_told() {
    let azure = Azure::start().await.unwrap();
    azure.vault().set_secret("plain", "canary");
    let error_of = async |url: &str| {
        let string = format!("RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier={url}");
        let provider = told(&azure, &string).build().unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.credential(), Some("KeyVaultCertificateCredential"));
        assert!(!format!("{error} {error:?}").contains("canary"));
        error
    };
    let error = error_of("https://myvault.vault.azure.net/secrets/none").await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.status().unwrap(), 404);
    let error = error_of("https://myvault.vault.azure.net/secrets/plain").await;
    assert_eq!(error.kind(), ErrorKind::Configuration);
    // Entra is no vault, and names no resource of its own.
    let error = error_of("https://login.microsoftonline.com/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);

    // Whether it is asked for its challenge or for the secret.
    let busy =
        Failure::status(StatusCode::TOO_MANY_REQUESTS).with_retry_after(Duration::from_secs(7));
    azure.vault().fail_requests(busy);
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    azure.vault().fail_requests(unavailable());
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.message().contains("503"), "{error}");
    azure.vault().recover();

    let machine = azure.system_assigned_identity();
    azure.vault().deny(machine.client_id());
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.advice().unwrap().contains("Secrets User"), "{error}");
    azure.vault().permit(machine.client_id());

    azure.assign_system_identity(false);
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.attempts().len(), 3);
}

#[tokio::test]
async fn r30_a_certificate_that_the_vault_has_renewed_is_read_again_after_a_refusal() {
    let azure = Azure::start().await.unwrap();
    let (first, second) = (Made::new(), Made::new());
    azure.vault().set_certificate("app", &first.pem());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &second.certificate)
        .unwrap();
    let provider = told(&azure, IN_VAULT).build().unwrap();
    let request = TokenRequest::new(VAULT);
    let credential = provider.credential();
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.aadsts_codes(), [700_027]);
    azure.vault().set_certificate("app", &second.pem());
    let token = credential.token(&request).await.unwrap();
    assert_eq!(token.principal().app_id(), Some("app-id"));
}

#[tokio::test]
async fn a_vault_is_read_with_a_token_of_the_vaults_own_tenant() {
    let azure = Azure::start().await.unwrap();
    let made = Made::new();
    azure.vault().set_certificate("app", &made.pem());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    azure.assign_system_identity(false);
    // A developer who is signed in to another tenant than the vault is of.
    let reader = told(&azure, &secret_string(&azure)).build().unwrap();
    let token = reader.token(VAULT).await.unwrap();
    let folder = Folder::new();
    let script = format!(
        r#"echo "$@" >> {asked}
echo "{{\"accessToken\":\"{token}\",\"expires_on\":$(($(/bin/date +%s) + 3600)),\"tokenType\":\"Bearer\"}}""#,
        asked = folder.at("asked").display(),
        token = token.secret(),
    );
    let mut variables = on_a_machine_of(&azure);
    variables[0].1 = install_az(&folder, &script);
    let provider = TokenProvider::builder()
        .connection_string(IN_VAULT)
        .environment(variables)
        .transport(Transport::new(azure.http_client()))
        .build()
        .unwrap();
    let token = provider.token("https://storage.azure.com").await.unwrap();
    assert_eq!(token.principal().tenant_id(), Some(azure.tenant_id()));
    let asked = folder.read("asked");
    assert!(
        asked.contains(&format!("--tenant {}", azure.tenant_id())),
        "{asked}"
    );
}

#[tokio::test]
async fn the_string_may_name_the_tenant_and_who_reads_the_vault() {
    let azure = Azure::start().await.unwrap();
    let reader = azure.assign_user_identity("reader");
    let system = azure.system_assigned_identity();
    azure.vault().deny(system.client_id());
    let made = Made::new();
    azure.vault().set_certificate("app", &made.pem());
    azure
        .register_certificate("other.example", "app-id", &made.certificate)
        .unwrap();
    let string = "RunAs=App;AppId=app-id;TenantId=other.example;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";
    let provider = told(&azure, string).build().unwrap();
    let error = provider.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.status().unwrap(), 403);
    assert!(error.advice().unwrap().contains("get secrets"), "{error}");

    let string = format!(
        "{string};KeyVaultUserAssignedManagedIdentityId={}",
        reader.client_id()
    );
    let provider = told(&azure, &string).build().unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.principal().tenant_id(), Some("other.example"));
}

/// A vault that is not reached, and one that asks for nothing.
#[tokio::test(start_paused = true)]
async fn a_vault_that_does_not_answer_as_one_is_told() {
    for (answer, kind) in [
        (
            Reply::Fail(io::ErrorKind::ConnectionRefused),
            ErrorKind::Unreachable,
        ),
        (reply(200, "{}"), ErrorKind::InvalidResponse),
        (reply(401, ""), ErrorKind::InvalidResponse),
        (
            reply(401, "").header("www-authenticate", "Bearer a=\"b\""),
            ErrorKind::InvalidResponse,
        ),
    ] {
        let script = Script::new([answer]);
        let provider = TokenProvider::builder()
            .connection_string(IN_VAULT)
            .environment(nowhere())
            .transport(script.transport())
            .build()
            .unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(
            error.message().contains("myvault.vault.azure.net"),
            "{error}"
        );
    }
}

fn eight_calls(provider: &TokenProvider) -> Vec<JoinHandle<Result<AccessToken, Error>>> {
    (0..8)
        .map(|n| {
            let provider = provider.clone();
            tokio::spawn(async move { provider.token(format!("api://orders-{n}")).await })
        })
        .collect()
}

#[tokio::test]
async fn the_certificate_is_read_once_for_all_who_want_it_at_the_same_time() {
    let azure = Azure::start().await.unwrap();
    let made = Made::new();
    azure.vault().set_certificate("app", &made.pem());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    let provider = told(&azure, IN_VAULT).build().unwrap();
    for call in eight_calls(&provider) {
        call.await.unwrap().unwrap();
    }
    assert_eq!(azure.vault().requests(), 2);
    assert_eq!(azure.imds_requests() - azure.imds_probes(), 1);

    // A failure is everybody's, too.
    azure.vault().fail_requests(unavailable());
    let provider = told(&azure, IN_VAULT).build().unwrap();
    let hold = azure.vault().hold_requests();
    let calls = eight_calls(&provider);
    azure.vault().wait_for_requests(3).await;
    hold.release();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.status().unwrap(), 503);
    }
    assert_eq!(azure.vault().requests(), 3);
}
