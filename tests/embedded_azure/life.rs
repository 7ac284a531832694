//! What is remembered, what other processes need, and what is left over.

use super::*;

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

#[tokio::test]
async fn any_number_of_them_run_side_by_side_even_with_the_same_seed() {
    let start = || {
        let runtime = ManualRuntime::with_seed(7);
        Azure::builder().runtime(Arc::new(runtime)).start()
    };
    let (one, two) = (start().await.unwrap(), start().await.unwrap());
    assert_ne!(one.ca_certificate_path(), two.ca_certificate_path());
    assert_ne!(one.ca_certificate_pem(), two.ca_certificate_pem());
}
