//! How a string is read, for people.

use tower_bearer::azure::ConnectionString;

use crate::{APP, TENANT};

#[test]
fn the_identity_and_each_key_are_told_and_what_is_warned_of() {
    let text = format!(
        "runas=APP; appid={APP}; TenantId={TENANT}; AppKey=\"s3cr;et\"; Foo=bar; \
         DeveloperTool=azurecli"
    );
    assert_eq!(
        ConnectionString::explain(&text),
        format!(
            "selects an application with a secret\n\
             \x20 RunAs          used      App\n\
             \x20 AppId          used      {APP}\n\
             \x20 TenantId       used      {TENANT}\n\
             \x20 AppKey         used      (7 characters, quoted)\n\
             \x20 \"Foo\"          unknown   (3 characters)\n\
             \x20 DeveloperTool  not used  AzureCLI\n\
             warning: character 121: \"Foo\" is not a key that there is, and is ignored: take it \
             out\n\
             warning: character 130: DeveloperTool is ignored, for this string selects an \
             application with a secret: take it out\n"
        )
    );
}

#[test]
fn a_string_that_selects_nothing_is_told_as_far_as_it_is_read() {
    let told = ConnectionString::explain("RunAs=App;ClientId=a;AppKey=canary");
    assert!(told.starts_with("selects no identity\n  RunAs "), "{told}");
    assert!(
        told.contains("AppKey      known     (6 characters)"),
        "{told}"
    );
    assert!(told.contains("\nwarning: character 11: ClientId"), "{told}");
    assert!(told.contains("\nerror: connection string, character 22: AppKey is given without"));
    assert!(!told.contains("canary"));

    let told = ConnectionString::explain("RunAs=App;AppKey='canary");
    assert!(told.starts_with("cannot be read\nerror: connection string, character 18: the quote"));
    assert!(!told.contains("canary"));

    let told = ConnectionString::explain("RunAs=CurrentUser");
    assert!(
        told.contains("\nerror: ") && told.contains("RunAs=Developer"),
        "{told}"
    );
}

#[test]
fn i10_a_value_is_shown_only_where_it_is_what_belongs_there() {
    for value in [
        "c4n4ry~x",
        "c4n4ry",
        "c4n4ry.3",
        "f0b1f84a-ec74-4cef-8034-c4n4ry000000",
    ] {
        for key in [
            "RunAs",
            "DeveloperTool",
            "AppId",
            "TenantId",
            "AppKey",
            "CertificateThumbprint",
            "CertificateSubjectName",
            "CertificateStoreLocation",
            "CertificatePath",
            "CertificatePassword",
            "KeyVaultCertificateSecretIdentifier",
            "KeyVaultUserAssignedManagedIdentityId",
            "MsiRetryTimeout",
            "TokenFile",
        ] {
            let told = ConnectionString::explain(&format!("{key}={value}"));
            assert!(!told.contains("c4n4ry"), "{told}");
        }
    }
}

#[test]
fn what_belongs_there_is_shown() {
    let thumbprint = "0123456789abcdefABCDEF0123456789abcdef01";
    for (key, value) in [
        ("CertificateThumbprint", thumbprint),
        ("TenantId", "contoso.onmicrosoft.com"),
        ("TenantId", TENANT),
        ("AppId", APP),
        ("KeyVaultUserAssignedManagedIdentityId", APP),
    ] {
        let told = ConnectionString::explain(&format!("{key}={value}"));
        assert!(told.contains(value), "{told}");
        let cut = &value[..value.len() - 1];
        let told = ConnectionString::explain(&format!("{key}={cut}"));
        assert!(
            !told.contains(cut) || value.starts_with("contoso"),
            "{told}"
        );
    }
    assert!(ConnectionString::explain("MsiRetryTimeout= +5").contains("5 s"));
    assert!(
        ConnectionString::explain("CertificateStoreLocation=LOCALMACHINE").contains("LocalMachine")
    );
}
