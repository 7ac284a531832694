//! Strings that are refused: where, about which key, and never with a value.

use proptest::prelude::*;
use tower_bearer::azure::ConnectionString;

use crate::{APP, TENANT, refusal};

fn assert_refused(text: &str, expected: &str) {
    let error = refusal(text);
    assert_eq!(error.message(), expected, "{text:?}: {error}");
}

#[test]
fn each_error_of_app_authentication_has_its_place_and_its_key() {
    for (text, expected) in [
        // empty_connection_string
        ("", "connection string: it is empty"),
        (" \t\n", "connection string: it is empty"),
        // duplicate_key
        (
            "RunAs=Developer; DeveloperTool=AzureCli; RunAs=Developer",
            "connection string, character 42: RunAs is there for the second time",
        ),
        (
            "RunAs=App;Foo='1';fOO=2",
            "connection string, character 19: \"fOO\" is there for the second time",
        ),
        (
            "RunAs=App;É=1;é=2",
            "connection string, character 15: a key of 1 character is there for the second time",
        ),
        // missing_attribute
        (
            "DeveloperTool=AzureCLI",
            "connection string: RunAs is missing",
        ),
        (";;", "connection string: RunAs is missing"),
        ("RunAs= ;", "connection string, character 1: RunAs is empty"),
        (
            "RunAs=Developer",
            "connection string: DeveloperTool is missing",
        ),
        (
            "RunAs=Developer; DeveloperTool=",
            "connection string, character 18: DeveloperTool is empty",
        ),
        (
            "RunAs=App;AppId=' '",
            "connection string, character 11: AppId is empty",
        ),
        (
            "RunAs=App;AppId=a;TenantId=b.com;CertificateThumbprint=1;CertificateStoreLocation=",
            "connection string, character 58: CertificateStoreLocation is empty",
        ),
        (
            "RunAs=App;AppId=a;CertificateThumbprint=1;CertificateStoreLocation=CurrentUser",
            "connection string: TenantId is missing",
        ),
        (
            "RunAs=App;AppId=a;AppKey=s",
            "connection string: TenantId is missing",
        ),
        (
            "RunAs=App;AppId=a;AppKey=s;TenantId=''",
            "connection string, character 28: TenantId is empty",
        ),
        (
            "RunAs=App;AppId=a;AppKey=' ';TenantId=b.com",
            "connection string, character 19: AppKey is empty",
        ),
        // invalid_run_as, invalid_developer_tool
        (
            "RunAs=Invalid; DeveloperTool=AzureCLI",
            "connection string, character 7: the value of RunAs is none of those that there are",
        ),
        (
            "RunAs=' App'",
            "connection string, character 7: the value of RunAs is none of those that there are",
        ),
        (
            "RunAs=Developer; DeveloperTool=InvalidCLI",
            "connection string, character 32: the value of DeveloperTool is none of those that \
             there are",
        ),
    ] {
        assert_refused(text, expected);
    }
}

#[test]
fn certificates_and_their_keys_are_refused_as_by_app_authentication() {
    let tenant = format!("RunAs=App;AppId={APP};TenantId={TENANT};");
    for (text, expected) in [
        // missing_one_of
        (
            format!("{tenant}CertificateStoreLocation=CurrentUser").as_str(),
            "connection string: CertificateStoreLocation is given with neither \
             CertificateThumbprint nor CertificateSubjectName",
        ),
        // store_location_required
        (
            &format!("{tenant}CertificateThumbprint=123;"),
            "connection string, character 100: CertificateThumbprint is given without \
             CertificateStoreLocation",
        ),
        (
            "RunAs=App;AppId=a;CertificateSubjectName=CN=a;AppKey=s",
            "connection string, character 19: CertificateSubjectName is given without \
             CertificateStoreLocation",
        ),
        // invalid_store_location, with the quirk left out
        (
            "RunAs=App;AppId=a;TenantId=b.com;CertificateThumbprint=1;\
             CertificateStoreLocation=InvalidLocation",
            "connection string, character 83: the value of CertificateStoreLocation is none of \
             those that there are",
        ),
        (
            "RunAs=App;AppId=a;TenantId=b.com;CertificateThumbprint=1;CertificateStoreLocation=1",
            "connection string, character 83: the value of CertificateStoreLocation is none of \
             those that there are",
        ),
        // null_argument
        (
            "RunAs=App;AppId=a;TenantId=b.com;CertificateSubjectName=CN=a;\
             CertificateThumbprint=;CertificateStoreLocation=CurrentUser",
            "connection string, character 62: CertificateThumbprint is empty",
        ),
        (
            "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=",
            "connection string, character 19: KeyVaultCertificateSecretIdentifier is empty",
        ),
        (
            "RunAs=App;AppId=a;TenantId=b.com;CertificatePath=",
            "connection string, character 34: CertificatePath is empty",
        ),
        // What no tenant and no client id can be
        (
            "RunAs=App;AppId=a;AppKey=s;TenantId=b/c",
            "connection string, character 37: TenantId is no tenant id",
        ),
        (
            "RunAs=App;AppId=a b",
            "connection string, character 17: AppId has characters that no client id has",
        ),
    ] {
        assert_refused(text, expected);
    }
}

/// Where more than one thing is wrong, in the order in which .NET looks.
#[test]
fn of_several_errors_the_first_that_app_authentication_finds_is_told() {
    for (text, expected) in [
        (
            "RunAs=;AppId=",
            "connection string, character 1: RunAs is empty",
        ),
        (
            "RunAs=App;AppId=;AppKey=",
            "connection string, character 11: AppId is empty",
        ),
        (
            "RunAs=App;AppId=a;CertificateStoreLocation=",
            "connection string: CertificateStoreLocation is given with neither \
             CertificateThumbprint nor CertificateSubjectName",
        ),
        (
            "RunAs=App;AppId=a;CertificateThumbprint=;CertificateStoreLocation=",
            "connection string, character 42: CertificateStoreLocation is empty",
        ),
        (
            "RunAs=App;AppId=a;CertificateThumbprint=;CertificateStoreLocation=x",
            "connection string, character 67: the value of CertificateStoreLocation is none of \
             those that there are",
        ),
        (
            "RunAs=App;AppId=a;CertificateThumbprint=;CertificateStoreLocation=CurrentUser",
            "connection string: TenantId is missing",
        ),
        (
            "RunAs=App;AppId=a;AppKey=",
            "connection string, character 19: AppKey is empty",
        ),
        // An error of the grammar comes before a key that is there twice, and
        // that before all that keys mean.
        (
            "RunAs=App;RunAs=App;AppId='a",
            "connection string, character 27: the quote that begins here is not closed",
        ),
        (
            "AppId=;appid=;RunAs=x",
            "connection string, character 8: AppId is there for the second time",
        ),
    ] {
        assert_refused(text, expected);
    }
}

/// Invalid, negative, empty.
#[test]
fn a_timeout_is_a_number_of_seconds() {
    for value in ["x", "-1", "", "1.5", "2147483648", "0x10"] {
        for identity in [
            "",
            "AppId=a;",
            "AppId=a;KeyVaultCertificateSecretIdentifier=u;",
        ] {
            let text = format!("RunAs=App;{identity}MsiRetryTimeout={value}");
            let at = text.len() - value.len() + 1;
            assert_refused(
                &text,
                &format!(
                    "connection string, character {at}: MsiRetryTimeout is not a number of seconds"
                ),
            );
        }
    }
}

#[test]
fn each_break_of_the_grammar_is_told_by_its_place() {
    for (text, place, what) in [
        ("RunAs:Invalid; DeveloperTool:AzureCLI", 1, "no ="),
        ("RunAs=App;AppId", 11, "no ="),
        ("RunAs=App;AppId==a", 11, "no ="),
        ("=App", 1, "no key"),
        ("RunAs=App; =App", 12, "no key"),
        ("RunAs=App;Ap\u{1}pId=a", 13, "control character in a key"),
        ("RunAs=App;AppId=a\u{1}", 18, "control character in a value"),
        ("RunAs=App;AppId=a\0;", 18, "control character in a value"),
        ("RunAs=App\0;", 10, "control character in a value"),
        ("RunAs='A\0pp'", 9, "NUL"),
        ("RunAs=App'", 11, "ends with a quote"),
        ("RunAs=A\"pp\" ;", 12, "ends with a quote"),
        ("RunAs='App", 7, "not closed"),
        ("RunAs='value\"", 7, "not closed"),
        ("RunAs='App''", 7, "not closed"),
        ("é=1;RunAs='App'x", 16, "after a closing quote"),
        ("RunAs='value='true''", 15, "after a closing quote"),
        ("RunAs=\"value=\"true\"\"", 15, "after a closing quote"),
        ("RunAs=''value''", 9, "after a closing quote"),
        ("RunAs=\"\"value\"\"", 9, "after a closing quote"),
        ("RunAs='value'value;", 14, "after a closing quote"),
        ("RunAs=\"value\"value;", 14, "after a closing quote"),
    ] {
        let error = refusal(text);
        let start = format!("connection string, character {place}: ");
        assert!(error.message().starts_with(&start), "{text:?}: {error}");
        assert!(error.message().contains(what), "{text:?}: {error}");
    }
}

#[test]
fn the_likely_causes_of_a_broken_string_are_told() {
    for (text, advice) in [
        // The rest of a secret.
        (
            "RunAs=App;AppId=a;TenantId=b.com;AppKey=ab;cd",
            "the value of AppKey",
        ),
        ("RunAs=App;AppKey=\"a\"b\"", "double each quote"),
        ("RunAs=App;AppKey='a'b;", "double each quote"),
        (
            "RunAs=App;AppKey=a\u{7}b",
            "put the value of AppKey in quotes",
        ),
        // Quotes of a shell's or of a file of settings.
        (
            "\"RunAs=App\"",
            "take the quotes around the whole string away",
        ),
        (
            "'RunAs=App;AppId=a' ",
            "take the quotes around the whole string away",
        ),
        // The string is another than it looks like.
        ("“RunAs”=App", "RunAs is in typographic quotes"),
        ("RunAs=“App”", "the value of RunAs has typographic quotes"),
        ("\u{feff}RunAs=App", "an invisible character beside RunAs"),
        ("RunAs=App\u{200b}", "invisible character (U+200B)"),
        (
            "RunAs=Developer;Tool=AzureCLI;DeveloperTol=AzureCLI",
            "write DeveloperTool",
        ),
        ("RunAs=App;AppId=a;AppKey=s;Tenant=b.com", "write TenantId"),
        (
            "RunAs=App;AppId=a;AppKey=ab;cd;TenantId=b.com",
            "the value of AppKey ends at the ;",
        ),
        (
            "RunAs=App;AppKey='s';AppId=a;Foo;TenantId=b.com",
            "so TenantId is not read",
        ),
        ("RunAs=<App>", "in brackets"),
    ] {
        let error = refusal(text);
        assert!(
            error.advice().unwrap().contains(advice),
            "{text:?}: {error}"
        );
    }
}

/// The worst of AppAuthentication's traps: these sign in as the machine there.
#[test]
fn an_application_without_its_id_is_not_taken_for_the_machine() {
    for rest in [
        "AppKey=canary",
        "TenantId=b.com",
        "TenantId=b.com;AppKey=canary;MsiRetryTimeout=5",
        "CertificateThumbprint=canary;CertificateStoreLocation=CurrentUser",
        "CertificateSubjectName=canary",
        "CertificateStoreLocation=CurrentUser",
        "CertificatePath=canary",
        "CertificatePassword=canary",
        "KeyVaultCertificateSecretIdentifier=https://canary",
        "KeyVaultUserAssignedManagedIdentityId=canary",
    ] {
        let error = refusal(&format!("RunAs=App;{rest}"));
        let key = rest.split('=').next().unwrap();
        assert_eq!(
            error.message(),
            format!("connection string, character 11: {key} is given without AppId")
        );
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
    }
    for (text, written) in [
        ("RunAs=App;ClientId=a;TenantId=b.com;AppKey=s", "ClientId"),
        ("RunAs=App;TenantId=b.com;AppKey=s;client_id=a", "ClientId"),
        ("RunAs=App;ApId=a;TenantId=b.com;AppKey=s", "\"ApId\""),
    ] {
        let advice = refusal(text).advice().unwrap().to_owned();
        let told = format!("{written} is not a key and is ignored: write AppId");
        assert!(advice.contains(&told), "{advice}");
    }
}

#[test]
fn t22_what_may_be_the_rest_of_a_secret_is_not_taken_for_the_name_of_a_key() {
    for text in [
        "RunAs=App;AppKey=ab;canary=cd",
        "RunAs=App;AppKey=ab;cd=ef;canary=gh",
        "RunAs=App;CertificatePassword=ab;canary;cd=e",
        // A misspelt key may have a secret, too.
        "RunAs=App;AppKy=ab;canary=cd",
        "RunAs=App;AppKey=ab;canary=1;canary=2",
        "RunAs=App;AppKey=ab;canary",
    ] {
        assert!(!told(text).contains("canary"), "{}", told(text));
    }
    assert!(told("RunAs=App;AppKey='ab';harmless=cd").contains("\"harmless\""));
}

const CANARY: &str = "c4n4ry~";

fn told(text: &str) -> String {
    let told = match ConnectionString::parse(text) {
        Ok(string) => {
            let warnings = format!("{:?}{:?}", string.warnings(), string);
            match string.deny_warnings() {
                Ok(string) => format!("{warnings}{string:#?}"),
                Err(error) => format!("{warnings}{error}{error:#?}"),
            }
        }
        Err(error) => format!("{error}{error:#?}"),
    };
    told + &ConnectionString::explain(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The canary as a value of any key, or as a piece of one that is cut.
    #[test]
    fn t22_i10_no_text_of_any_kind_tells_a_value(
        pairs in prop::collection::vec((
            prop_oneof![
                4 => prop::sample::select(vec![
                    "RunAs", "DeveloperTool", "AppId", "TenantId", "AppKey", "CertificateThumbprint",
                    "CertificateSubjectName", "CertificateStoreLocation", "CertificatePath",
                    "CertificatePassword", "KeyVaultCertificateSecretIdentifier",
                    "KeyVaultUserAssignedManagedIdentityId", "MsiRetryTimeout", "TokenFile", "ClientId",
                ]).prop_map(str::to_owned),
                1 => "[a-z= ;]{1,8}",
            ],
            prop_oneof![
                Just("App".to_owned()), Just("Workload".to_owned()), Just("a".to_owned()),
                "[a-z;='\" ]{0,3}c4n4ry~[a-z;='\" <>}]{0,3}", Just("'c4n4ry~;'".to_owned()),
                "(x;)?c4n4ry~=c4n4ry~;c4n4ry~",
            ],
        ), 0..7),
        run_as in prop::option::of(Just("RunAs=App;AppId=a;TenantId=b.com;")),
    ) {
        let mut text = run_as.unwrap_or_default().to_owned();
        for (key, value) in &pairs {
            text.extend([key.as_str(), "=", value, ";"]);
        }
        let told = told(&text);
        prop_assert!(!told.contains(CANARY), "{:?}: {}", text, told);
    }

    #[test]
    fn t22_no_text_makes_the_parser_panic(text in any::<String>()) {
        told(&text);
    }
}
