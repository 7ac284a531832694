//! Strings from their parts.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tower_bearer::ErrorKind;
use tower_bearer::azure::{ConnectionString, ConnectionStringBuilder as Builder, DeveloperTool};

use crate::again;

fn written(builder: Builder) -> String {
    let string = builder.build().unwrap();
    string.to_string_with_secrets().to_string()
}

#[test]
fn each_identity_is_written_with_its_keys() {
    for (builder, expected) in [
        (
            Builder::developer(DeveloperTool::AzureCli),
            "RunAs=Developer;DeveloperTool=AzureCLI",
        ),
        (
            Builder::developer(DeveloperTool::VisualStudio).tenant("b.com"),
            "RunAs=Developer;DeveloperTool=VisualStudio;TenantId=b.com",
        ),
        (Builder::managed_identity(), "RunAs=App"),
        (
            Builder::managed_identity()
                .client_id("a")
                .retry_timeout(Duration::from_millis(1500)),
            "RunAs=App;AppId=a;MsiRetryTimeout=2",
        ),
        (
            Builder::managed_identity().retry_timeout(Duration::ZERO),
            "RunAs=App;MsiRetryTimeout=0",
        ),
        (
            Builder::client_secret("b.com", "a", "s;\"'"),
            "RunAs=App;TenantId=b.com;AppId=a;AppKey=\"s;\"\"'\"",
        ),
        (
            Builder::client_certificate("b.com", "a", "/a b").certificate_password("=p"),
            "RunAs=App;TenantId=b.com;AppId=a;CertificatePath=\"/a b\";CertificatePassword=\"=p\"",
        ),
        (
            Builder::key_vault_certificate("a", "https://v.vault.azure.net/secrets/c")
                .tenant("b.com")
                .vault_identity("i"),
            "RunAs=App;AppId=a;\
             KeyVaultCertificateSecretIdentifier=https://v.vault.azure.net/secrets/c;\
             TenantId=b.com;KeyVaultUserAssignedManagedIdentityId=i",
        ),
        (
            Builder::workload_identity()
                .token_file(Path::new("/var/run/t"))
                .client_id("a"),
            "RunAs=Workload;TokenFile=/var/run/t;AppId=a",
        ),
        // The last one counts.
        (
            Builder::managed_identity().client_id("a").client_id("b"),
            "RunAs=App;AppId=b",
        ),
    ] {
        assert_eq!(written(builder), expected);
        assert_eq!(again(expected), expected);
    }
}

#[test]
fn what_cannot_be_written_or_means_nothing_is_refused() {
    for builder in [
        Builder::client_secret("b.com", "a", "canary\0"),
        Builder::client_secret("b.com", "a", ""),
        Builder::client_secret("b.com", "", "canary"),
        Builder::client_secret("canary/", "a", "canary"),
        Builder::client_secret("b.com", "a canary", "canary"),
        Builder::client_secret("b.com", "a", "canary").token_file("canary"),
        Builder::managed_identity().tenant("canary"),
        Builder::managed_identity().client_id("a").tenant("canary"),
        Builder::managed_identity().retry_timeout(Duration::MAX),
        Builder::developer(DeveloperTool::AzureCli).client_id("canary"),
        Builder::workload_identity().certificate_password("canary"),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.build().expect_err(&shown);
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            !format!("{shown}{error}{error:?}").contains("canary"),
            "{shown} {error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_unicode_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let path = OsStr::from_bytes(b"/a\xff");
    let error = Builder::client_certificate("b.com", "a", path)
        .build()
        .unwrap_err();
    assert!(error.message().contains("CertificatePath"), "{error}");
}

/// Anything that a value can be, more often what means something.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ =;'\"\\t\\r\\na\u{2003}\u{1}-]{0,12}",
        "[!-~]{1,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn t22_what_a_builder_writes_the_parser_reads_back(
        secret in value(), password in value(), path in value(), token_file in value(),
    ) {
        let blank = |text: &str| text.trim().is_empty();
        for (builder, parts, can_be_blank) in [
            (Builder::client_secret("b.com", "a", &*secret), vec![&secret], false),
            (
                Builder::client_certificate("b.com", "a", &*path).certificate_password(&*password),
                vec![&path, &password],
                blank(&password),
            ),
            (Builder::key_vault_certificate("a", &*path), vec![&path], false),
            (Builder::workload_identity().token_file(&*token_file), vec![&token_file], true),
        ] {
            let built = builder.build();
            let has_nul = parts.iter().any(|part| part.contains('\0'));
            if has_nul || (blank(parts[0]) && !(can_be_blank && parts.len() == 1)) {
                prop_assert!(built.is_err());
                continue;
            }
            let built = built.unwrap();
            let text = built.to_string_with_secrets();
            let read = ConnectionString::parse(&text).unwrap();
            prop_assert_eq!(read.to_string_with_secrets(), text.clone());
            prop_assert_eq!(format!("{read:?}"), format!("{built:?}"));
            // Undone by hand, for the parser could be wrong twice.
            for part in parts {
                let quoted = format!("\"{}\"", part.replace('"', "\"\""));
                let plain = format!("={part}");
                prop_assert!(text.contains(&quoted) || text.contains(&plain));
            }
        }
    }
}
