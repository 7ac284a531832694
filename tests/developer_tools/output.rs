//! What tools write besides tokens: noise, garbage and secrets.

use tower_bearer::azure::{
    AzureCliCredential, AzureDeveloperCliCredential, AzurePowerShellCredential,
    VisualStudioCredential,
};
use tower_bearer::{AccessToken, Credential, Error, ErrorKind};

use super::tool_stub::{Folder, Stub};
use super::{NOW, assert_says, az, cli_answer, error_of, jwt, request, token_of};

#[tokio::test]
async fn t13_a_token_is_found_among_noise() {
    let answer = cli_answer("t0k3n");
    for output in [
        format!("\u{feff}{answer}").into_bytes(),
        format!("A new version {{2.99}} is there!\r\n{answer}").into_bytes(),
        format!("{answer}\nHave a nice {{day}}").into_bytes(),
        [b"\xff\xfe\x80 noise\n", answer.as_bytes(), b"\xff"].concat(),
        answer.replace('\n', "\r\n").into_bytes(),
        format!(r#"{{"accessToken":"t0k3n","expires_on":"{}"}}"#, NOW + 60).into_bytes(),
        format!(r#"{{"accessToken":"t0k3n","expires_on":{}.5}}"#, NOW + 60).into_bytes(),
    ] {
        let stub = Stub::printing("az", output);
        assert_eq!(token_of(&az(&stub)).await.secret(), "t0k3n");
    }
    let stub = Stub::new(
        "az",
        "echo 'WARNING: You have 2 update(s) available.' >&2\ncat \"$here/stdout\"",
    );
    stub.folder.write("stdout", &answer);
    assert_eq!(token_of(&az(&stub)).await.secret(), "t0k3n");
}

#[tokio::test]
async fn t13_what_is_no_token_is_an_error_that_says_how() {
    let with_end = |end: &str| format!(r#"{{"accessToken":"canary-7","expires_on":{end}}}"#);
    for (output, phrase) in [
        (String::new(), "nothing"),
        ("canary-7".to_owned(), "no JSON"),
        (r#"["canary-7"]"#.to_owned(), "no JSON"),
        (r#"{"accessToken":"canary-7"#.to_owned(), "cut off"),
        (r#"{"error":"canary-7"}"#.to_owned(), "without a token"),
        (r#"{"accessToken":""}"#.to_owned(), "empty token"),
        (r#"{"accessToken":["canary-7"]}"#.to_owned(), "no string"),
        (
            r#"{"accessToken":"canary-7","tokenType":"pop"}"#.to_owned(),
            "no bearer token",
        ),
        (r#"{"accessToken":"canary-7"}"#.to_owned(), "when it ends"),
        (with_end("\"soon\""), "when it ends"),
        (with_end("1749999999"), "expired"),
        (with_end("1e300"), "cannot be true"),
        (
            format!(r#"{{"accessToken":"canary 7","expires_on":{}}}"#, NOW + 60),
            "cannot have",
        ),
    ] {
        let stub = Stub::printing("az", &output);
        let error = error_of(&az(&stub)).await;
        assert_says(
            &error,
            ErrorKind::InvalidResponse,
            &["the Azure CLI", phrase],
        );
        assert_hidden(&error);
    }
    let stub = Stub::printing("az", b"{\"accessToken\":\"canary-7\xff\",\"expires_on\":1}");
    let error = error_of(&az(&stub)).await;
    assert_says(&error, ErrorKind::InvalidResponse, &[]);
    assert_hidden(&error);
}

const CANARIES: [&str; 4] = ["canary", "Y2FuYXJ5", "CANARY", "eyJ0"];

fn assert_hidden(shown: &dyn std::fmt::Debug) {
    let shown = format!("{shown:?}");
    for canary in CANARIES {
        assert!(!shown.contains(canary), "{shown}");
    }
}

fn assert_error_hides(error: &Error) {
    assert_hidden(error);
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    assert_hidden(&text);
}

/// Each with a stub that fails and says what it should not.
async fn errors_of_all_tools(said: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    for code in [0, 1] {
        let script = format!("cat \"$here/said\"\ncat \"$here/said\" >&2\nexit {code}");
        let stub = Stub::new("tool", &script);
        stub.folder.write("said", said);
        let folder = Folder::new();
        let list = folder.write(
            "tokenprovider.json",
            format!(
                r#"{{"TokenProviders":[{{"Path":"{0}","Preference":1}},{{"Path":"{0}","Preference":2}}]}}"#,
                stub.path.display()
            ),
        );
        errors.push(error_of(&az(&stub)).await);
        let azd = AzureDeveloperCliCredential::builder().executable(&stub.path);
        errors.push(error_of(&azd.build().unwrap()).await);
        let pwsh = AzurePowerShellCredential::builder().executable(&stub.path);
        errors.push(error_of(&pwsh.build().unwrap()).await);
        let visual_studio = VisualStudioCredential::builder().token_provider_file(list);
        errors.push(error_of(&visual_studio.build().unwrap()).await);
    }
    errors
}

#[tokio::test]
async fn t13_t14_a_token_that_a_tool_complains_with_is_shown_nowhere() {
    let token = jwt(r#"{"canary":"canary"}"#);
    for said in [
        format!("ERROR: could not use {token}\n"),
        format!("AADSTS50076: {token}"),
        "AADSTS65001: the assertion was 'CANARY-8f3b2c1d0e9a'; token=CANARY".to_owned(),
        "please run 'az login': azd auth login: connect-azaccount: Bearer CANARY".to_owned(),
        format!(r#"{{"type":"consoleMessage","data":{{"message":"ERROR: {token}"}}}}"#),
        format!(r#"{{"error":"x","message":"refresh_token: CANARY","suggestion":"{token}"}}"#),
        format!(r#"{{"accessToken": "{token}", "expires_on": "never""#),
        format!("azsdk%{token}%never"),
    ] {
        for error in errors_of_all_tools(&said).await {
            assert_error_hides(&error);
        }
    }
}

#[tokio::test]
async fn t14_neither_token_nor_credential_shows_the_secret() {
    let secret = jwt(r#"{"canary":"canary"}"#);
    let stub = Stub::printing("az", cli_answer(&secret));
    let credential = az(&stub);
    let token: AccessToken = token_of(&credential).await;
    assert_eq!(token.secret(), secret);
    assert_hidden(&token);
    assert_hidden(&credential);
    assert_hidden(&request().with_refused(token));
}

#[test]
fn the_settings_are_shown() {
    let credential = AzureCliCredential::builder().tenant("contoso.com").build();
    let shown = format!("{:?}", credential.unwrap());
    assert!(shown.contains("contoso.com"), "{shown}");
    assert!(shown.starts_with("AzureCliCredential"), "{shown}");
}

/// What a terminal would obey.
#[tokio::test]
async fn t29_control_characters_do_not_get_into_errors() {
    let stub = Stub::failing(
        "az",
        1,
        "\u{1b}[31mERROR\u{7}: \u{1b}]0;title\u{9b}31m it failed\r\n",
    );
    let error = error_of(&az(&stub)).await;
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
    let stub = Stub::failing("az", 1, "x".repeat(100_000));
    assert!(error_of(&az(&stub)).await.to_string().len() < 400);
}

fn is_usable(_: impl Credential + Clone + std::fmt::Debug) {}

#[test]
fn credentials_can_be_shared() {
    is_usable(AzureCliCredential::new().unwrap());
    is_usable(AzureDeveloperCliCredential::new().unwrap());
    is_usable(AzurePowerShellCredential::new().unwrap());
    is_usable(VisualStudioCredential::new().unwrap());
}
