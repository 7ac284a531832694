//! What the Azure CLI is asked, and what its answers and errors become.

use tower_bearer::azure::AzureCliCredential;
use tower_bearer::{
    Claims, Credential as _, ErrorKind, PrincipalType, TenantId, TokenCache, TokenRequest,
};

use super::tool_stub::Stub;
use super::{
    NOW, VAULT, assert_says, az, cli_answer, error_of, jwt, request, seconds_after_1970, token_of,
};

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const OTHER: &str = "00000000-86f1-41af-91ab-2d7cd011db47";

#[tokio::test]
async fn the_cli_is_asked_for_a_resource() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let token = token_of(&az(&stub)).await;
    assert_eq!(
        stub.arguments(),
        [
            "account",
            "get-access-token",
            "--output",
            "json",
            "--resource",
            VAULT
        ]
    );
    assert_eq!(token.secret(), "t0k3n");
    assert_eq!(token.credential(), "AzureCliCredential");
    assert_eq!(seconds_after_1970(&token), NOW + 3600);
    assert_eq!(
        token.principal().principal_type(),
        Some(PrincipalType::User)
    );
    assert_eq!(token.principal().tenant_id(), Some(TENANT));
}

#[tokio::test]
async fn the_slash_of_a_resource_is_kept_and_the_scope_of_all_permissions_is_not() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    for (audience, resource) in [
        (
            "https://management.azure.com/",
            "https://management.azure.com/",
        ),
        (
            "https://management.azure.com//.default",
            "https://management.azure.com/",
        ),
        ("api://orders/.default", "api://orders"),
    ] {
        let request =
            TokenRequest::new(audience).with_runtime(std::sync::Arc::new(super::Clock::new()));
        az(&stub).token(&request).await.unwrap();
        assert_eq!(stub.arguments().last().unwrap(), resource);
    }
}

#[tokio::test]
async fn a_tenant_or_a_subscription_is_named_and_never_both() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let builder = || AzureCliCredential::builder().executable(&stub.path);
    let arguments_after_resource = || stub.arguments().split_off(6);

    token_of(&builder().tenant(TENANT).build().unwrap()).await;
    assert_eq!(arguments_after_resource(), ["--tenant", TENANT]);

    let of_a_subscription = builder().subscription("My sub_1").build().unwrap();
    token_of(&of_a_subscription).await;
    assert_eq!(arguments_after_resource(), ["--subscription", "My sub_1"]);

    let asked = request().with_tenant(TenantId::new(OTHER).unwrap());
    az(&stub).token(&asked).await.unwrap();
    assert_eq!(arguments_after_resource(), ["--tenant", OTHER]);

    let error = of_a_subscription.token(&asked).await.unwrap_err();
    assert_says(&error, ErrorKind::Configuration, &[OTHER, "My sub_1"]);
    let error = builder()
        .tenant(TENANT)
        .subscription("s")
        .build()
        .unwrap_err();
    assert_says(&error, ErrorKind::Configuration, &["AzureCliCredential"]);
}

#[tokio::test]
async fn other_tenants_than_the_chosen_one_are_asked_only_if_allowed() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let builder = || {
        AzureCliCredential::builder()
            .executable(&stub.path)
            .tenant(TENANT)
    };
    let asked = request().with_tenant(TenantId::new(OTHER).unwrap());
    let error = builder().build().unwrap().token(&asked).await.unwrap_err();
    assert_says(
        &error,
        ErrorKind::Configuration,
        &["additionally_allowed_tenants"],
    );
    assert!(!stub.was_run());

    let allowed = builder().additionally_allowed_tenants([OTHER]).build();
    allowed.unwrap().token(&asked).await.unwrap();
    assert_eq!(stub.arguments().last().unwrap(), OTHER);
}

/// Every challenge of Key Vault names a tenant.
#[tokio::test]
async fn a_challenge_with_the_tenant_that_is_signed_in_to_needs_no_second_token() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let credential = az(&stub);
    let own = TenantId::new(TENANT).unwrap();
    assert_eq!(credential.tenant(&own), Some(own.clone()));
    token_of(&credential).await;
    assert_eq!(credential.tenant(&own), None);
    let other = TenantId::new(OTHER).unwrap();
    assert_eq!(credential.tenant(&other), Some(other));

    let of_a_subscription = AzureCliCredential::builder().subscription("s").build();
    assert_eq!(of_a_subscription.unwrap().tenant(&own), None);
    assert_eq!(credential.max_concurrency(), 1);
}

#[tokio::test]
async fn a_person_and_a_service_principal_are_told_apart() {
    let person = jwt(
        r#"{"appid":"04b07795-8ddb-461a-bbee-02f9e1bf7b46","scp":"x","upn":"me@contoso.com","oid":"o","tid":"t"}"#,
    );
    let stub = Stub::printing("az", cli_answer(&person));
    let token = token_of(&az(&stub)).await;
    assert_eq!(
        token.principal().to_string(),
        "IsAuthenticated:True Type:User TenantId:t UserPrincipalName:me@contoso.com"
    );
    assert_eq!(token.principal().object_id(), Some("o"));

    let application =
        jwt(r#"{"appid":"11111111-2222-3333-4444-555555555555","idtyp":"app","tid":"t"}"#);
    let stub = Stub::printing("az", cli_answer(&application));
    let token = token_of(&az(&stub)).await;
    assert_eq!(
        token.principal().to_string(),
        "IsAuthenticated:True Type:App AppId:11111111-2222-3333-4444-555555555555 TenantId:t"
    );
}

#[tokio::test]
async fn that_nobody_is_signed_in_is_no_refusal_and_names_the_command() {
    for said in [
        "ERROR: Please run 'az login' to setup account.\n",
        "WARNING: something\nERROR: No subscription found. Run 'az account set' to select a subscription.\n",
        "ERROR: User 'me@contoso.com' does not exist in MSAL token cache. Run `az login`.\n",
    ] {
        let stub = Stub::failing("az", 1, said);
        let error = error_of(&az(&stub)).await;
        assert_says(
            &error,
            ErrorKind::Unavailable,
            &[
                "AzureCliCredential",
                "not signed in",
                "run `az login --scope https://vault.azure.net/.default`",
            ],
        );
    }
    let stub = Stub::failing("az", 1, "Please run 'az login' to setup account.");
    let credential = AzureCliCredential::builder()
        .executable(&stub.path)
        .tenant("contoso.com");
    let error = error_of(&credential.build().unwrap()).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["az login --tenant contoso.com --scope"],
    );
}

#[tokio::test]
async fn what_entra_refused_is_a_refusal_with_its_codes() {
    let said = "ERROR: AADSTS700082: The refresh token has expired due to inactivity. Trace ID: 4b \
                Correlation ID: 11111111-2222-3333-4444-555555555555 Timestamp: 2026\n\
                Run the command below to authenticate interactively; additional arguments may be added as needed:\n\
                az logout\naz login --tenant \"x\" --scope \"https://vault.azure.net/.default\"\n";
    let stub = Stub::failing("az", 1, said);
    let error = error_of(&az(&stub)).await;
    assert_says(
        &error,
        ErrorKind::Rejected,
        &[
            "AADSTS700082: The refresh token has expired",
            "run `az login",
        ],
    );
    assert_eq!(error.aadsts_codes(), [700_082]);
    assert_eq!(
        error.correlation_id(),
        Some("11111111-2222-3333-4444-555555555555")
    );
    assert!(!error.is_transient());
}

/// What users of AppAuthentication met first with an API of their own.
#[tokio::test]
async fn an_api_that_does_not_know_the_cli_is_told_which_client_to_authorize() {
    for code in ["65001", "65002", "650057"] {
        let stub = Stub::failing(
            "az",
            1,
            format!("AADSTS{code}: The user has not consented."),
        );
        let error = error_of(&az(&stub)).await;
        assert_says(
            &error,
            ErrorKind::Rejected,
            &[
                "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
                "Expose an API",
                VAULT,
            ],
        );
    }
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_does_not() {
    for (said, kind) in [
        ("AADSTS50196: loop", ErrorKind::Throttled),
        ("AADSTS90033: A transient error", ErrorKind::Unreachable),
        (
            "HTTPSConnectionPool(host='login', port=443): Max retries exceeded with url: /",
            ErrorKind::Unreachable,
        ),
        ("AADSTS50076: multi-factor", ErrorKind::Rejected),
        ("AADSTS50020: no such user in tenant", ErrorKind::Rejected),
        ("AADSTS500011: no such resource", ErrorKind::Rejected),
        ("Traceback (most recent call last):", ErrorKind::Unavailable),
        ("", ErrorKind::Unavailable),
        (
            "ERROR: The subscription of 's' doesn't exist in cloud 'AzureCloud'.",
            ErrorKind::Configuration,
        ),
        (
            "ERROR: For managed identity account, getting access token for non-current tenants is not supported.",
            ErrorKind::Rejected,
        ),
        (
            "az: error: unrecognized arguments: --tenant",
            ErrorKind::Unavailable,
        ),
    ] {
        let stub = Stub::failing("az", 2, said);
        let error = error_of(&az(&stub)).await;
        assert_says(&error, kind, &[]);
        assert!(error.advice().is_some(), "{error}");
    }
}

/// As version 2.91 says it.
#[tokio::test]
async fn a_proxy_that_opens_tls_is_told_from_a_network_that_is_down() {
    let said = "ERROR: HTTPSConnectionPool(host='login.microsoftonline.com', port=443): Max retries \
                exceeded with url: / (Caused by SSLError(SSLCertVerificationError(1, '[SSL: \
                CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer \
                certificate (_ssl.c:1006)')))\nCertificate verification failed.\n";
    let stub = Stub::failing("az", 1, said);
    let error = error_of(&az(&stub)).await;
    assert_says(
        &error,
        ErrorKind::Unreachable,
        &["does not trust", "REQUESTS_CA_BUNDLE"],
    );
}

/// Where it may not write below the home folder, as in many containers.
#[tokio::test]
async fn of_a_traceback_the_last_line_is_told() {
    let said = "Traceback (most recent call last):\n  File \"/opt/az/cli.py\", line 30, in <module>\n    \
                az_cli = get_default_cli()\nPermissionError: [Errno 13] Permission denied: '/.azure'\n";
    let stub = Stub::failing("az", 1, said);
    let error = error_of(&az(&stub)).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["PermissionError: [Errno 13] Permission denied: '/.azure'"],
    );
}

#[tokio::test]
async fn a_tool_that_is_not_installed_behind_its_name_is_not_available() {
    for (code, said) in [
        (127, "/usr/bin/az: 3: exec: python3: not found"),
        (
            9009,
            "'az' is not recognized as an internal or external command",
        ),
        (
            1,
            "'az' is not recognized as an internal or external command",
        ),
    ] {
        // A shell has no exit codes above 255.
        let stub = Stub::failing("az", code % 256, said);
        let error = error_of(&az(&stub)).await;
        assert_says(
            &error,
            ErrorKind::Unavailable,
            &["not installed", "https://aka.ms/azure-cli"],
        );
    }
}

#[tokio::test]
async fn claims_are_for_a_new_sign_in() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let claims = Claims::from_json(r#"{"access_token":{}}"#).unwrap();
    let asked = request()
        .with_tenant(TenantId::new(TENANT).unwrap())
        .with_claims(claims);
    let error = az(&stub).token(&asked).await.unwrap_err();
    assert_says(
        &error,
        ErrorKind::Rejected,
        &[
            "run `az login --tenant 72f988bf-86f1-41af-91ab-2d7cd011db47 --scope https://vault.azure.net/.default --claims-challenge eyJhY2Nlc3NfdG9rZW4iOnt9fQ==`",
        ],
    );
    assert!(!stub.was_run());
}

#[tokio::test]
async fn a_failure_is_not_tried_again() {
    let stub = Stub::new(
        "az",
        "echo run >>\"$here/runs\"; echo AADSTS90033 >&2; exit 1",
    );
    error_of(&az(&stub)).await;
    assert_eq!(stub.folder.read("runs").lines().count(), 1);
}

#[tokio::test]
async fn i3_callers_of_one_cache_share_one_run() {
    let stub = Stub::new("az", "echo run >>\"$here/runs\"; cat \"$here/stdout\"");
    stub.folder.write("stdout", cli_answer("t0k3n"));
    let tokens = TokenCache::builder(az(&stub))
        .runtime(super::Clock::new())
        .build();
    let callers = (0..20).map(|_| {
        let tokens = tokens.clone();
        tokio::spawn(async move { tokens.token(VAULT).await.unwrap() })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap().secret(), "t0k3n");
    }
    assert_eq!(stub.folder.read("runs").lines().count(), 1);
}
