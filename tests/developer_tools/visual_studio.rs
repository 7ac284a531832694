//! Visual Studio's list of token providers, and what becomes of their answers
//! and errors.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tower_bearer::azure::VisualStudioCredential;
use tower_bearer::{Claims, Credential as _, ErrorKind, PrincipalType, TenantId};

use super::loopback::in_own_process;
use super::tool_stub::{Folder, Stub};
use super::{NOW, VAULT, assert_says, error_of, request, seconds_after_1970, token_of};

const ANSWER: &str = r#"{"access_token":"t0k3n","expires_on":"2025-06-15T16:06:40+00:00","resource":"https://vault.azure.net","token_type":"Bearer"}"#;

/// Writes the list of these programs, with these preferences.
fn list(folder: &Folder, providers: &[(PathBuf, &str, i64)]) -> PathBuf {
    let entries: Vec<_> = providers
        .iter()
        .map(|(path, arguments, preference)| {
            format!(
                r#"{{"Path":"{}","Arguments":{arguments},"Preference":{preference}}}"#,
                path.display()
            )
        })
        .collect();
    // Visual Studio begins it with a mark.
    let text = format!("\u{feff}{{\"TokenProviders\":[{}]}}", entries.join(","));
    folder.write("tokenprovider.json", text)
}

fn credential(file: PathBuf) -> VisualStudioCredential {
    VisualStudioCredential::builder()
        .token_provider_file(file)
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_most_preferred_program_that_is_there_is_run() {
    let folder = Folder::new();
    let stub = Stub::printing(
        "provider.exe",
        format!("Loading {{service}}...\n{ANSWER}\nbye"),
    );
    let second = Stub::printing("provider.exe", ANSWER);
    let file = list(
        &folder,
        &[
            (second.path.clone(), "null", 7),
            (
                stub.path.clone(),
                r#"["TokenProvider","--serviceHubConfig \"C:\\a b\\hub.json\""]"#,
                2,
            ),
            (folder.at("gone.exe"), "null", 1),
            ("relative.exe".into(), "null", 0),
        ],
    );
    let token = token_of(&credential(file.clone())).await;
    assert_eq!(token.secret(), "t0k3n");
    assert_eq!(token.credential(), "VisualStudioCredential");
    assert_eq!(seconds_after_1970(&token), NOW + 3600);
    assert_eq!(
        token.principal().principal_type(),
        Some(PrincipalType::User)
    );
    let arguments = [
        "TokenProvider",
        "--serviceHubConfig",
        r"C:\a b\hub.json",
        "--resource",
        VAULT,
    ];
    assert_eq!(stub.arguments(), arguments);
    assert!(!second.was_run());

    let asked = request().with_tenant(TenantId::new("contoso.com").unwrap());
    credential(file).token(&asked).await.unwrap();
    assert_eq!(
        stub.arguments()[arguments.len()..],
        ["--tenant", "contoso.com"]
    );
}

#[tokio::test]
async fn the_next_program_is_tried_and_every_reason_is_told() {
    let folder = Folder::new();
    let broken = Stub::failing("broken.exe", 1, "TS003: Error, unable to get a token");
    let refused = Stub::failing("refused.exe", 1, "AADSTS65001: not consented");
    let noisy = Stub::printing("noisy.exe", "hello");
    let good = Stub::printing("good.exe", ANSWER);
    let mut providers = vec![
        (broken.path.clone(), "null", 1),
        (refused.path.clone(), "null", 2),
        (noisy.path.clone(), "null", 3),
    ];
    let error = error_of(&credential(list(&folder, &providers))).await;
    assert_says(
        &error,
        ErrorKind::Rejected,
        &[
            "all 3 token providers",
            "1. broken.exe",
            "TS003",
            "2. refused.exe",
            "872cd9fa-d31f-45e0-9eab-6e460a02d1f1",
            "3. noisy.exe",
            "no JSON",
        ],
    );
    assert_eq!(error.aadsts_codes(), [65_001]);
    let kinds: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| attempt.error().kind())
        .collect();
    assert_eq!(
        kinds,
        [
            ErrorKind::Unavailable,
            ErrorKind::Rejected,
            ErrorKind::InvalidResponse
        ]
    );

    providers.push((good.path.clone(), "null", 4));
    let token = token_of(&credential(list(&folder, &providers))).await;
    assert_eq!(token.secret(), "t0k3n");

    let one = [(refused.path.clone(), "null", 1)];
    let error = error_of(&credential(list(&folder, &one))).await;
    assert_says(&error, ErrorKind::Rejected, &["VisualStudioCredential"]);
    assert!(error.attempts().is_empty());
}

#[tokio::test]
async fn where_there_is_no_visual_studio_it_is_not_available() {
    let folder = Folder::new();
    let error = error_of(&credential(folder.at("tokenprovider.json"))).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["tokenprovider.json", "does not exist"],
    );

    let providers = [
        (folder.at("a.exe"), "null", 1),
        (folder.at("b.exe"), "null", 2),
    ];
    let error = error_of(&credential(list(&folder, &providers))).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["a.exe", "b.exe", "is there"],
    );

    let error = error_of(&credential(list(&folder, &[]))).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &["lists no token providers"],
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_told_without_its_content() {
    let folder = Folder::new();
    for (text, phrase) in [
        (r#"{"TokenProviders":[{"Path":"/canary"}]}"#, "Preference"),
        ("canary", "line 1, column 1"),
        (r#"{"TokenProviders":["canary"]}"#, "line 1"),
    ] {
        let file = folder.write("tokenprovider.json", text);
        let error = error_of(&credential(file)).await;
        assert_says(&error, ErrorKind::InvalidResponse, &[phrase]);
        assert!(!format!("{error:?}").contains("canary"));
    }
    let file = folder.write("tokenprovider.json", vec![b' '; 300 * 1024]);
    let error = error_of(&credential(file)).await;
    assert_says(&error, ErrorKind::Unavailable, &["too large"]);
}

#[tokio::test]
async fn claims_cannot_be_asked_for() {
    let claims = Claims::from_json(r#"{"access_token":{}}"#).unwrap();
    let error = credential("/nowhere".into())
        .token(&request().with_claims(claims))
        .await
        .unwrap_err();
    assert_says(&error, ErrorKind::Rejected, &["claims"]);
}

#[test]
fn the_list_is_below_the_home_folder() {
    let home = Folder::new();
    let local = Folder::new();
    let name = "visual_studio::the_list_is_looked_for";
    let shown = |variables: &[(&str, &str)]| {
        let output = in_own_process(name, variables);
        String::from_utf8(output.stdout).unwrap()
    };
    let home_path = home.path().to_str().unwrap();
    let local_path = local.path().to_str().unwrap();
    let of_home = shown(&[("HOME", home_path), ("LOCALAPPDATA", "")]);
    let below = ".IdentityService/AzureServiceAuth/tokenprovider.json";
    assert!(
        of_home.contains(&format!("{home_path}/{below}")),
        "{of_home}"
    );
    let of_local = shown(&[("HOME", home_path), ("LOCALAPPDATA", local_path)]);
    assert!(
        of_local.contains(&format!("{local_path}/{below}")),
        "{of_local}"
    );
    for nothing in ["", ".", "relative"] {
        let of_none = shown(&[("HOME", nothing), ("LOCALAPPDATA", nothing)]);
        assert!(
            of_none.contains("neither LOCALAPPDATA nor HOME"),
            "{of_none}"
        );
    }
}

/// It says what to run, and /tmp may be somebody's home folder.
#[test]
fn t12_a_list_that_another_user_may_have_written_is_not_heeded() {
    const NOBODY: u32 = 65_534;
    let home = Folder::new();
    let folder = home.folder(".IdentityService/AzureServiceAuth");
    let file = folder.join("tokenprovider.json");
    std::fs::write(&file, r#"{"TokenProviders":[]}"#).unwrap();
    let shown = || {
        let variables = [
            ("HOME", home.path().to_str().unwrap()),
            ("LOCALAPPDATA", ""),
        ];
        let output = in_own_process("visual_studio::the_list_is_looked_for", &variables);
        String::from_utf8(output.stdout).unwrap()
    };
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(&file, 0o600);
    assert!(shown().contains("lists no token providers"), "{}", shown());

    for path in [&file, &folder] {
        mode(path, 0o777);
        assert!(shown().contains("may be another user's"), "{}", shown());
        mode(path, 0o755);
    }
    // Only root can give a file away.
    for path in [&file, folder.parent().unwrap()] {
        if chown(path, Some(NOBODY), None).is_ok() {
            assert!(shown().contains("may be another user's"), "{}", shown());
            chown(path, Some(0), None).unwrap();
        }
    }
    assert!(shown().contains("lists no token providers"), "{}", shown());
}

#[tokio::test]
#[ignore = "run by the_list_is_below_the_home_folder"]
async fn the_list_is_looked_for() {
    let error = error_of(&VisualStudioCredential::new().unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    println!("{error}");
}
