//! One cache for all who hold the provider or a clone of it.

use super::*;

#[tokio::test]
async fn another_tenant_is_asked_where_that_is_allowed() {
    let azure = Azure::start().await.unwrap();
    azure.register_application("other.example", azure.client_id(), azure.client_secret());
    let request = TokenRequest::new(VAULT).with_tenant(TenantId::new("other.example").unwrap());
    let provider = told(&azure, &secret_string(&azure)).build().unwrap();
    let error = provider.token_for(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);

    let provider = told(&azure, &secret_string(&azure))
        .additionally_allowed_tenants(["other.example"])
        .build()
        .unwrap();
    let token = provider.token_for(&request).await.unwrap();
    assert_eq!(token.principal().tenant_id(), Some("other.example"));
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.principal().tenant_id(), Some(azure.tenant_id()));
}

#[tokio::test]
async fn clones_and_layers_share_one_token_and_a_refresh_replaces_it() {
    let azure = Azure::start().await.unwrap();
    azure.vault().set_secret("db", "value");
    let provider = told(&azure, &secret_string(&azure)).build().unwrap();
    let client = BearerAuthLayer::azure(provider.clone()).layer(azure.http_client());
    let get = || {
        Request::get("https://myvault.vault.azure.net/secrets/db?api-version=7.4")
            .body(Full::default())
            .unwrap()
    };
    assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 200);
    let first = provider.clone().token(VAULT).await.unwrap();
    let cache: TokenCache = (&provider).into();
    assert_eq!(cache.token(VAULT).await.unwrap().secret(), first.secret());
    assert_eq!(azure.token_requests(), 1);

    let second = provider.refresh(VAULT).await.unwrap();
    assert_ne!(second.secret(), first.secret());
    assert_eq!(
        provider.token(VAULT).await.unwrap().secret(),
        second.secret()
    );
    assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(azure.token_requests(), 2);
    let shown = format!("{provider:?}");
    assert!(!shown.contains(azure.client_secret()), "{shown}");
}

/// What .NET's tests expect of two instances is true of clones: ten callers at
/// once make one acquisition, and a forced refresh makes one more for all.
#[tokio::test]
async fn callers_of_all_clones_share_each_acquisition() {
    let azure = Azure::start().await.unwrap();
    let provider = told(&azure, &secret_string(&azure)).build().unwrap();
    let other = provider.clone();
    let calls = (0..10).map(|n| {
        let provider = if n % 2 == 0 { &provider } else { &other }.clone();
        tokio::spawn(async move { provider.token(VAULT).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(azure.token_requests(), 1);
    let mut counts = Vec::new();
    for (provider, forced) in [
        (&provider, false),
        (&provider, false),
        (&provider, true),
        (&other, false),
        (&other, true),
    ] {
        if forced {
            provider.refresh(VAULT).await.unwrap();
        } else {
            provider.token(VAULT).await.unwrap();
        }
        counts.push(azure.token_requests());
    }
    assert_eq!(counts, [1, 1, 2, 2, 3]);
    let (one, two) = tokio::join!(provider.refresh(VAULT), other.refresh(VAULT));
    assert_eq!(one.unwrap().secret(), two.unwrap().secret());
    assert_eq!(azure.token_requests(), 4);
}
