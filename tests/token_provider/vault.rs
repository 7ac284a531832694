//! An application whose certificate is in Key Vault.

use tokio::task::JoinHandle;
use tower_bearer::{AccessToken, Error};

use super::*;

#[tokio::test]
async fn r30_a_certificate_that_the_vault_has_renewed_is_read_again_after_a_refusal() {
    let azure = Azure::start().await.unwrap();
    let (first, second) = (Made::new(), Made::new());
    azure.vault().set_certificate("app", &first.pem());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &second.certificate)
        .unwrap();
    let string = "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";
    let provider = told(&azure, string).build().unwrap();
    let request = TokenRequest::new(VAULT);
    let credential = provider.credential();
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.aadsts_codes(), [700_027]);
    azure.vault().set_certificate("app", &second.pem());
    let token = credential.token(&request).await.unwrap();
    assert_eq!(token.principal().app_id(), Some("app-id"));
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
    azure
        .vault()
        .fail_requests(Failure::status(StatusCode::SERVICE_UNAVAILABLE));
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.message().contains("503"), "{error}");
    azure.vault().recover();

    azure.assign_system_identity(false);
    let error = error_of("https://myvault.vault.azure.net/secrets/app").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.attempts().len(), 3);
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
        .connection_string("RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app")
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
#[tokio::test]
async fn a_vault_that_does_not_answer_as_one_is_told() {
    let string = "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";
    for (answer, kind) in [
        (Reply::Fail(io::ErrorKind::ConnectionRefused), ErrorKind::Unreachable),
        (reply(200, "{}"), ErrorKind::InvalidResponse),
        (reply(401, ""), ErrorKind::InvalidResponse),
        (
            reply(401, "").header("www-authenticate", "Bearer a=\"b\""),
            ErrorKind::InvalidResponse,
        ),
        // Whoever is asked for a token names no other vault's.
        (
            reply(401, "").header(
                "www-authenticate",
                "Bearer authorization=\"https://login.microsoftonline.com/t\", resource=\"https://management.azure.com\"",
            ),
            ErrorKind::InvalidResponse,
        ),
    ] {
        let script = Script::new([answer]);
        let provider = TokenProvider::builder()
            .connection_string(string)
            .environment(nowhere())
            .transport(script.transport())
            .build()
            .unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("myvault.vault.azure.net"), "{error}");
    }
}

/// A certificate that was read is looked at again after an hour, and is good
/// enough if the vault cannot be reached then.
#[tokio::test]
async fn a_vault_that_is_down_later_costs_no_token() {
    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    let made = Made::new();
    azure.vault().set_certificate("app", &made.pem());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    let string = "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";
    let provider = told(&azure, string).build().unwrap();
    let request = TokenRequest::new(VAULT).with_runtime(Arc::new(clock.clone()));
    let mut reads = Vec::new();
    for (minutes, is_down) in [(0, false), (59, false), (2, true), (1, false)] {
        clock.advance(Duration::from_secs(60 * minutes));
        if is_down {
            azure
                .vault()
                .fail_requests(Failure::status(StatusCode::SERVICE_UNAVAILABLE));
        } else {
            azure.vault().recover();
        }
        let before = azure.vault().requests();
        let token = provider.credential().token(&request).await.unwrap();
        assert_eq!(token.principal().app_id(), Some("app-id"));
        reads.push(azure.vault().requests() - before);
    }
    assert_eq!(reads, [2, 0, 1, 2]);
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
    let string = "RunAs=App;AppId=app-id;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";
    let provider = told(&azure, string).build().unwrap();
    for call in eight_calls(&provider) {
        call.await.unwrap().unwrap();
    }
    assert_eq!(azure.vault().requests(), 2);
    assert_eq!(azure.imds_requests() - azure.imds_probes(), 1);

    // A failure is everybody's, too.
    azure
        .vault()
        .fail_requests(Failure::status(StatusCode::SERVICE_UNAVAILABLE));
    let provider = told(&azure, string).build().unwrap();
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
