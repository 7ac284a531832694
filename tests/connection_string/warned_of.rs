//! Strings that are read, but are most likely not what was meant.

use tower_bearer::ErrorKind;
use tower_bearer::azure::ConnectionStringWarningKind::{self as Kind, *};

use crate::{APP, parse};

fn warnings(text: &str) -> Vec<(Kind, Option<&'static str>, usize)> {
    parse(text)
        .warnings()
        .iter()
        .map(|warning| (warning.kind(), warning.key(), warning.position()))
        .collect()
}

fn assert_warned_of(text: &str, kind: Kind, key: Option<&'static str>, position: usize) {
    assert_eq!(warnings(text), [(kind, key, position)], "{text:?}");
}

#[test]
fn strings_that_mean_what_they_say_are_not_warned_of() {
    for text in [
        "RunAs=App",
        "RunAs=App;MsiRetryTimeout=0",
        &format!("RunAs=App;AppId={APP}"),
        "RunAs=App;AppId=a;TenantId=b.com;AppKey=\"a;b-\u{1f600}'=<x\"",
        "RunAs=App;AppId=a;TenantId=b.com;CertificatePath=C:\\a–b\\{c}.pfx;CertificatePassword=a–b",
        "RunAs=App;AppId=a;TenantId=b.com;CertificateSubjectName=CN=a – b;\
         CertificateStoreLocation=CurrentUser",
        "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=https://v.vault.azure.net/secrets/c;\
         KeyVaultUserAssignedManagedIdentityId=i;MsiRetryTimeout=5;TenantId=b.com",
        "RunAs=Developer;DeveloperTool=AzureCLI;TenantId=b.com",
        "RunAs=Workload;AppId=a;TenantId=b.com;TokenFile=/a–b",
        "RunAs=CurrentUser",
    ] {
        assert_eq!(warnings(text), [], "{text:?}");
    }
}

#[test]
fn typographic_quotes_are_pointed_at() {
    for value in ["“s”", "‘s’", "„s“", "«s»", "s”", "“ s"] {
        assert_warned_of(
            &format!("RunAs=App;AppId=a;TenantId=b.com;AppKey={value}"),
            TypographicQuotes,
            Some("AppKey"),
            41,
        );
    }
    assert_warned_of("RunAs=App;“AppId”=x", TypographicQuotes, Some("AppId"), 11);
}

#[test]
fn keys_that_are_none_are_told_by_what_was_meant() {
    for (key, meant) in [
        ("ApppId", "AppId"),
        ("AppIdd", "AppId"),
        ("ClientId", "AppId"),
        ("client id", "AppId"),
        ("Clientsecret", "AppKey"),
        ("Tenant", "TenantId"),
        ("tenant_id", "TenantId"),
        ("CertificateThumbprnt", "CertificateThumbprint"),
        ("Thumbprint", "CertificateThumbprint"),
        ("MsiRetryTimeuot", "MsiRetryTimeout"),
        ("KeyVaultAppId", "KeyVaultUserAssignedManagedIdentityId"),
    ] {
        let text = format!("RunAs=App;{key}=x");
        assert_warned_of(&text, MisspeltKey, Some(meant), 11);
        assert!(
            parse(&text).warnings()[0]
                .to_string()
                .contains(&format!("write {meant}"))
        );
    }
    assert_warned_of("RunAs=App; Foo=x", UnknownKey, None, 12);
    assert_eq!(
        parse("RunAs=App; Foo=x").warnings()[0].to_string(),
        "character 12: \"Foo\" is not a key that there is, and is ignored: take it out"
    );
}

#[test]
fn invisible_characters_are_pointed_at() {
    for mark in ['\u{feff}', '\u{200b}', '\u{200e}', '\u{2060}', '\u{ad}'] {
        assert_warned_of(
            &format!("RunAs=App;{mark}AppId=x"),
            InvisibleCharacter,
            Some("AppId"),
            11,
        );
        assert_warned_of(
            &format!("RunAs=App;AppId{mark}=x"),
            InvisibleCharacter,
            Some("AppId"),
            11,
        );
        // As copied from the certificate dialogue of Windows.
        assert_warned_of(
            &format!(
                "RunAs=App;AppId=a;TenantId=b.com;CertificateThumbprint={mark}12;\
                 CertificateStoreLocation=CurrentUser"
            ),
            InvisibleCharacter,
            Some("CertificateThumbprint"),
            56,
        );
    }
}

#[test]
fn dashes_are_pointed_at_where_a_hyphen_belongs() {
    assert_warned_of(
        "RunAs=App;AppId=a;TenantId=b.com;AppKey=a–b",
        TypographicDash,
        Some("AppKey"),
        41,
    );
}

#[test]
fn keys_that_the_identity_has_no_use_for_are_pointed_at() {
    assert_warned_of(
        "RunAs=App;AppId=a;TenantId=b.com",
        UnusedKey,
        Some("TenantId"),
        19,
    );
    assert_warned_of(
        "RunAs=App;DeveloperTool=AzureCLI",
        UnusedKey,
        Some("DeveloperTool"),
        11,
    );
    assert_warned_of(
        "RunAs=Developer;AppId=a;DeveloperTool=AzureCLI",
        UnusedKey,
        Some("AppId"),
        17,
    );
    // What .NET uses where there is a Windows store, and this crate elsewhere.
    assert_eq!(
        warnings(
            "RunAs=App;AppId=a;TenantId=b.com;CertificateThumbprint=1;\
             CertificateStoreLocation=CurrentUser;CertificatePath=a.pem"
        ),
        [
            (UnusedKey, Some("CertificateThumbprint"), 34),
            (UnusedKey, Some("CertificateStoreLocation"), 58)
        ]
    );
    // A broken value that nobody uses is none.
    assert_warned_of(
        "RunAs=Workload;MsiRetryTimeout=x",
        UnusedKey,
        Some("MsiRetryTimeout"),
        16,
    );
}

#[test]
fn a_secret_that_was_cut_is_pointed_at() {
    let app = "RunAs=App;AppId=a;TenantId=b.com;";
    assert_warned_of(
        &format!("{app}AppKey=ab;cd=e"),
        SecretCut,
        Some("AppKey"),
        44,
    );
    assert_warned_of(
        &format!("{app}CertificatePath=p;CertificatePassword=ab;cd=e"),
        SecretCut,
        Some("CertificatePassword"),
        75,
    );
    // In quotes it is whole.
    assert_warned_of(&format!("{app}AppKey='ab';cd=e"), UnknownKey, None, 46);
}

#[test]
fn a_separator_in_a_key_is_pointed_at() {
    assert_warned_of("RunAs=App;Foo;Bar=1", SeparatorInKey, None, 11);
    assert_warned_of("RunAs=App;Foo; AppId=1", SeparatorInKey, Some("AppId"), 11);
}

#[test]
fn brackets_of_the_documentation_are_pointed_at() {
    for value in ["<id>", "{id}", "${ID}", "'<id> '"] {
        assert_warned_of(
            &format!("RunAs=App;AppId=a;TenantId=b.com;AppKey={value}"),
            Placeholder,
            Some("AppKey"),
            41,
        );
    }
}

#[test]
fn warnings_come_in_the_order_of_the_string_and_can_be_errors() {
    let text = "Foo=1;RunAs=App;TenantId=b.com;AppId=<a>;TenantI=c";
    let expected = [
        (UnknownKey, None, 1),
        (UnusedKey, Some("TenantId"), 17),
        (Placeholder, Some("AppId"), 38),
        (MisspeltKey, Some("TenantId"), 42),
    ];
    assert_eq!(warnings(text), expected);

    let error = parse(text).deny_warnings().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    for warning in parse(text).warnings() {
        assert!(error.message().contains(&warning.to_string()), "{error}");
    }

    // Of many only some are listed.
    let many: Vec<_> = (0..1000).map(|n| format!("k{n}=")).collect();
    let error = parse(&format!("RunAs=App;{}", many.join(";")))
        .deny_warnings()
        .unwrap_err();
    assert!(error.message().ends_with("and 995 more") && error.message().len() < 1000);
}
