//! What Azure PowerShell is asked, and what its answers and errors become.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tower_bearer::azure::AzurePowerShellCredential;
use tower_bearer::{Claims, Credential as _, ErrorKind, PrincipalType, TenantId};

use super::tool_stub::Stub;
use super::{NOW, VAULT, assert_says, error_of, jwt, request, seconds_after_1970, token_of};

fn pwsh(stub: &Stub) -> AzurePowerShellCredential {
    AzurePowerShellCredential::builder()
        .executable(&stub.path)
        .build()
        .unwrap()
}

fn answer(token: &str) -> String {
    format!("azsdk%{token}%{}\n", NOW + 3600)
}

fn script(stub: &Stub) -> String {
    let arguments = stub.arguments();
    assert_eq!(
        arguments[..3],
        ["-NoProfile", "-NonInteractive", "-EncodedCommand"]
    );
    let bytes = STANDARD.decode(&arguments[3]).unwrap();
    let units: Vec<_> = bytes
        .chunks(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    String::from_utf16(&units).unwrap()
}

#[tokio::test]
async fn powershell_is_given_a_script_that_asks_for_a_resource() {
    let person = jwt(r#"{"upn":"me@contoso.com","tid":"t"}"#);
    let stub = Stub::printing("pwsh", answer(&person));
    let token = token_of(&pwsh(&stub)).await;
    assert_eq!(token.secret(), person);
    assert_eq!(token.credential(), "AzurePowerShellCredential");
    assert_eq!(seconds_after_1970(&token), NOW + 3600);
    let principal = token.principal();
    assert_eq!(principal.principal_type(), Some(PrincipalType::User));
    assert_eq!(principal.user_principal_name(), Some("me@contoso.com"));

    let text = script(&stub);
    for part in [
        "Import-Module -Name Az.Accounts -MinimumVersion 2.2.0",
        "Get-AzAccessToken",
        "ResourceUrl = 'https://vault.azure.net'",
        "AsSecureString",
        "ConvertFrom-SecureString",
        "ZeroFreeBSTR",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("TenantId"));

    let asked = request().with_tenant(TenantId::new("contoso.com").unwrap());
    pwsh(&stub).token(&asked).await.unwrap();
    assert!(script(&stub).contains("['TenantId'] = 'contoso.com'"));
    assert_eq!(pwsh(&stub).max_concurrency(), 1);
}

#[tokio::test]
async fn only_the_line_that_is_marked_is_read() {
    let stub = Stub::printing(
        "pwsh",
        [
            b"\xef\xbb\xbfWARNING: \xff update azsdk%no%1\r\nazsdk%\r\nazsdk%x%y\r\n".as_slice(),
            answer("t0k3n").trim_end().as_bytes(),
            b"\r\nbye\r\n",
        ]
        .concat(),
    );
    assert_eq!(token_of(&pwsh(&stub)).await.secret(), "t0k3n");
}

#[tokio::test]
async fn what_keeps_powershell_from_a_token_is_told_with_what_to_do() {
    for (code, stdout, stderr, kind, phrase) in [
        (
            1,
            "NO_AZ_ACCOUNT_MODULE",
            "",
            ErrorKind::Unavailable,
            "Install-Module -Name Az.Accounts",
        ),
        (
            0,
            "NO_AZ_ACCOUNT_MODULE",
            "",
            ErrorKind::Unavailable,
            "Install-Module -Name Az.Accounts",
        ),
        (
            1,
            "",
            "Run Connect-AzAccount to login.",
            ErrorKind::Unavailable,
            "run `Connect-AzAccount -AuthScope https://vault.azure.net`",
        ),
        (
            0,
            "",
            "Run Connect-AzAccount to login.",
            ErrorKind::Unavailable,
            "run `Connect-AzAccount -AuthScope https://vault.azure.net`",
        ),
        (
            1,
            "",
            "AuthorizationManager check failed.",
            ErrorKind::Unavailable,
            "Set-ExecutionPolicy",
        ),
        (
            1,
            "",
            "AADSTS50076: MFA",
            ErrorKind::Rejected,
            "Connect-AzAccount",
        ),
        (
            127,
            "",
            "pwsh: not found",
            ErrorKind::Unavailable,
            "not installed",
        ),
        (
            1,
            "",
            "No such host is known",
            ErrorKind::Unreachable,
            "connection",
        ),
        (
            1,
            "",
            "The SSL connection could not be established: The remote certificate is invalid",
            ErrorKind::Unreachable,
            "certificate authority",
        ),
        (1, "", "a bug", ErrorKind::Unavailable, "a bug"),
        (0, "", "", ErrorKind::InvalidResponse, "nothing"),
        (
            0,
            "hello",
            "",
            ErrorKind::InvalidResponse,
            "instead of a token",
        ),
    ] {
        let stub = Stub::new(
            "pwsh",
            &format!("cat \"$here/stdout\"\ncat \"$here/stderr\" >&2\nexit {code}"),
        );
        stub.folder.write("stdout", stdout);
        stub.folder.write("stderr", stderr);
        let error = error_of(&pwsh(&stub)).await;
        assert_says(&error, kind, &["AzurePowerShellCredential", phrase]);
    }
}

#[tokio::test]
async fn claims_are_for_a_new_connection() {
    let stub = Stub::printing("pwsh", answer("t0k3n"));
    let claims = Claims::from_json(r#"{"access_token":{}}"#).unwrap();
    let asked = request().with_claims(claims);
    let error = pwsh(&stub).token(&asked).await.unwrap_err();
    assert_says(
        &error,
        ErrorKind::Rejected,
        &["Connect-AzAccount -ClaimsChallenge eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="],
    );
    assert!(!stub.was_run(), "{VAULT}");
}
