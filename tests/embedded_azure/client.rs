//! The client: where it goes.

use super::*;

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
