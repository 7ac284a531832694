//! Strings that are read, and what of them.

use crate::{APP, TENANT, again, parse};

/// The spelling in which it is written again, for each string of
/// AppAuthentication's documentation and tests.
#[test]
fn the_strings_of_app_authentication_are_read() {
    let app = format!("RunAs=App;AppId={APP};");
    let tenant = format!("{app}TenantId={TENANT};");
    for (text, expected) in [
        (
            "RunAs=Developer; DeveloperTool=AzureCli",
            "RunAs=Developer;DeveloperTool=AzureCli",
        ),
        (
            "RunAs = Developer; DeveloperTool =AzureCLI",
            "RunAs=Developer;DeveloperTool=AzureCLI",
        ),
        (
            "RunAs=Developer; DeveloperTool=AzureCLI; ",
            "RunAs=Developer;DeveloperTool=AzureCLI",
        ),
        (
            "RunAs=Developer; DeveloperTool=VisualStudio",
            "RunAs=Developer;DeveloperTool=VisualStudio",
        ),
        ("RunAs=CurrentUser;", "RunAs=CurrentUser"),
        ("RunAs = CurrentUser;", "RunAs=CurrentUser"),
        ("RunAs=App;", "RunAs=App"),
        (&app, app.trim_end_matches(';')),
        (
            &format!("{tenant}AppKey=Secret"),
            &format!("{tenant}AppKey=Secret"),
        ),
        (
            &format!("{tenant}CertificateThumbprint=123;CertificateStoreLocation=LocalMachine"),
            &format!("{tenant}CertificateThumbprint=123;CertificateStoreLocation=LocalMachine"),
        ),
        (
            &format!("{tenant}CertificateThumbprint=123;CertificateStoreLocation=CurrentUser"),
            &format!("{tenant}CertificateThumbprint=123;CertificateStoreLocation=CurrentUser"),
        ),
        (
            &format!("{tenant}CertificateSubjectName=123;CertificateStoreLocation=CurrentUser"),
            &format!("{tenant}CertificateSubjectName=123;CertificateStoreLocation=CurrentUser"),
        ),
        (
            &format!("{app}KeyVaultCertificateSecretIdentifier=SecretIdentifier"),
            &format!("{app}KeyVaultCertificateSecretIdentifier=SecretIdentifier"),
        ),
        (
            &format!("{tenant}KeyVaultCertificateSecretIdentifier=SecretIdentifier"),
            &format!("{tenant}KeyVaultCertificateSecretIdentifier=SecretIdentifier"),
        ),
        // The key that is none here is ignored, as there.
        (
            &format!(
                "{app}KeyVaultCertificateSecretIdentifier=SecretIdentifier;KeyVaultAppId={APP}"
            ),
            &format!("{app}KeyVaultCertificateSecretIdentifier=SecretIdentifier"),
        ),
        (
            "RunAs=App;\n  AppId=a;\r\n\tMsiRetryTimeout=5\n",
            "RunAs=App;AppId=a;MsiRetryTimeout=5",
        ),
    ] {
        assert_eq!(again(text), expected);
    }
}

/// A secret in a string, as it is read: the rest of the string is right.
fn secret(written: &str) -> String {
    let text = format!("RunAs=App;AppId=a;TenantId=b.com;AppKey={written}");
    let again = again(&text);
    let value = again.split_once("AppKey=").unwrap().1;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').unwrap().replace("\"\"", "\""),
        None => value.to_owned(),
    }
}

#[test]
fn quotes_are_undone() {
    for (written, expected) in [
        ("'value=true'", "value=true"),
        ("\"value;value2\"", "value;value2"),
        (" '''value1;value2''' ", "'value1;value2'"),
        (" \"\"\"value=true\"\"\" ", "\"value=true\""),
        ("'\"value=true\"'", "\"value=true\""),
        ("\"'value1;value2'\"", "'value1;value2'"),
        ("' a '", " a "),
        ("\"a''b\"", "a''b"),
        ("'a\r\n\u{1}b'", "a\r\n\u{1}b"),
        ("''''", "'"),
        ("\"\"\"\"", "\""),
        ("'a';", "a"),
        ("'a'\u{2003};;", "a"),
    ] {
        assert_eq!(secret(written), expected, "{written}");
    }
}

#[test]
fn without_quotes_only_the_separator_and_blanks_around_mean_anything() {
    for (written, expected) in [
        ("a=b==c=", "a=b==c="),
        (" =a", "=a"),
        ("a  b", "a  b"),
        ("\u{a0} a\tb \u{3000}", "a\tb"),
        ("a'b\"c", "a'b\"c"),
        ("%41\\x41{a}", "%41\\x41{a}"),
        ("é\u{1f600}", "é\u{1f600}"),
    ] {
        assert_eq!(secret(written), expected, "{written}");
    }
}

#[test]
fn case_order_and_empty_pairs_mean_nothing() {
    assert_eq!(
        again("; ;;APPKEY=S;  tenantid=b.com;;AppID=a ; rUNaS=aPP;; ;"),
        "AppKey=S;TenantId=b.com;AppId=a;RunAs=aPP"
    );
}

#[test]
fn nul_may_fill_the_end() {
    for text in ["RunAs=App\0\0", "RunAs=App;\0 \0", "RunAs='App' \0"] {
        assert_eq!(again(text), "RunAs=App");
    }
}

#[test]
fn an_equals_sign_in_a_key_is_doubled() {
    // The key is `App=Id`, which is none.
    assert_eq!(again("RunAs=App;App==Id=a"), "RunAs=App");
    assert_eq!(again("RunAs=App;===a"), "RunAs=App");
    assert_eq!(again("RunAs=App;a == b=c"), "RunAs=App");
}

#[test]
fn a_string_is_read_from_text_as_other_things_are() {
    let string: tower_bearer::azure::ConnectionString = "RunAs=App".parse().unwrap();
    assert!(string.clone().deny_warnings().is_ok());
    assert_eq!(format!("{string:?}"), format!("{:?}", parse("RunAs=App")));
}
