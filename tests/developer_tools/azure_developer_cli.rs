//! What the Azure Developer CLI is asked, and what its answers and errors
//! become.

use tower_bearer::azure::AzureDeveloperCliCredential;
use tower_bearer::{Claims, Credential as _, ErrorKind, PrincipalType, TenantId};

use super::tool_stub::Stub;
use super::{NOW, assert_says, error_of, request, seconds_after_1970, token_of};

/// 3,600 s after the tests begin.
const ANSWER: &str = r#"{"token":"t0k3n","expiresOn":"2025-06-15T16:06:40Z"}"#;

fn azd(stub: &Stub) -> AzureDeveloperCliCredential {
    AzureDeveloperCliCredential::builder()
        .executable(&stub.path)
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_developer_cli_is_asked_for_a_scope_and_never_prompts() {
    let stub = Stub::printing("azd", ANSWER);
    let token = token_of(&azd(&stub)).await;
    let arguments = [
        "auth",
        "token",
        "--output",
        "json",
        "--no-prompt",
        "--scope",
        "https://vault.azure.net/.default",
    ];
    assert_eq!(stub.arguments(), arguments);
    assert_eq!(token.secret(), "t0k3n");
    assert_eq!(token.credential(), "AzureDeveloperCliCredential");
    assert_eq!(seconds_after_1970(&token), NOW + 3600);
    assert_eq!(
        token.principal().principal_type(),
        Some(PrincipalType::User)
    );

    let asked = request()
        .with_tenant(TenantId::new("contoso.com").unwrap())
        .with_claims(Claims::from_json(r#"{"access_token":{}}"#).unwrap());
    azd(&stub).token(&asked).await.unwrap();
    assert_eq!(
        stub.arguments()[arguments.len()..],
        [
            "--tenant-id",
            "contoso.com",
            "--claims",
            "eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="
        ]
    );
    assert_eq!(azd(&stub).max_concurrency(), 1);
}

#[tokio::test]
async fn messages_before_the_token_are_passed_over() {
    let stub = Stub::printing(
        "azd",
        format!(
            "{{\"type\":\"consoleMessage\",\"timestamp\":\"2026\",\"data\":{{\"message\":\"hello\"}}}}\n{ANSWER}\n"
        ),
    );
    assert_eq!(token_of(&azd(&stub)).await.secret(), "t0k3n");
}

#[tokio::test]
async fn the_errors_of_every_version_are_read() {
    const TEXT: &str = "ERROR: not logged in, run `azd auth login` to login";
    for said in [
        format!(
            r#"{{"type":"consoleMessage","timestamp":"2026-01-01","data":{{"message":"\n{TEXT}\n"}}}}"#
        ),
        format!("{{\"type\":\"consoleMessage\",\"data\":{{\"message\":\"\"}}}}\n{TEXT}"),
        format!(r#"{{"error":{{"code":"auth"}},"message":"{TEXT}","suggestion":"sign in"}}"#),
        format!("{{\n  \"error\": \"{TEXT}\",\n  \"links\": [\n    {{}}\n  ]\n}}\n"),
        format!("{{\"error\": \"{TEXT}\"}} {{cut off"),
        TEXT.to_owned(),
    ] {
        for redirected in [">&2", ""] {
            let stub = Stub::new("azd", &format!("cat \"$here/said\" {redirected}\nexit 1"));
            stub.folder.write("said", &said);
            let error = error_of(&azd(&stub)).await;
            assert_says(
                &error,
                ErrorKind::Unavailable,
                &[
                    "AzureDeveloperCliCredential",
                    "not logged in",
                    "run `azd auth login --scope https://vault.azure.net/.default`",
                ],
            );
        }
    }
}

#[tokio::test]
async fn what_the_developer_cli_refuses_is_told_with_what_to_do() {
    for (said, kind, phrase) in [
        (
            "ERROR: fetching token: reauthentication required, run `azd auth login`",
            ErrorKind::Rejected,
            "azd auth login --scope",
        ),
        (
            "ERROR: you must use multi-factor authentication to access the tenant",
            ErrorKind::Rejected,
            "azd auth login --scope",
        ),
        (
            "ERROR: AADSTS65001: not consented",
            ErrorKind::Rejected,
            "04b07795-8ddb-461a-bbee-02f9e1bf7b46",
        ),
        (
            "ERROR: unknown flag: --claims",
            ErrorKind::Rejected,
            "1.18.1",
        ),
        (
            "ERROR: dial tcp: lookup login.microsoftonline.com: no such host",
            ErrorKind::Unreachable,
            "connection",
        ),
        (
            "ERROR: Post \"https://login.microsoftonline.com/\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ErrorKind::Unreachable,
            "SSL_CERT_FILE",
        ),
        ("ERROR: panic", ErrorKind::Unavailable, "--check-status"),
    ] {
        let stub = Stub::failing("azd", 1, said);
        let error = error_of(&azd(&stub)).await;
        assert_says(&error, kind, &[phrase]);
    }
}
