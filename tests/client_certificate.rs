//! `ClientCertificateCredential`: what it signs, which files it takes, and what
//! it says of others.
#![cfg(all(unix, feature = "azure", feature = "aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/loopback.rs"]
mod loopback;
#[cfg(target_os = "linux")]
#[path = "support/memory.rs"]
mod memory;
#[path = "support/scripted.rs"]
mod scripted;
#[path = "support/tool_stub.rs"]
mod tool_stub;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use certificates::Made;
use loopback::in_own_process;
use p12_keystore::EncryptionAlgorithm;
use pkcs8::der::Decode as _;
use pkcs8::pkcs5::pbes2::{EncryptionScheme, Parameters, Pbkdf2Params, Pbkdf2Prf};
use rcgen::RsaKeySize;
use scripted::{Reply, Script, reply, token};
use serde_json::Value;
use tool_stub::Folder;
use tower_bearer::azure::{
    ClientCertificate, ClientCertificateCredential, ClientCertificateCredentialBuilder,
};
use tower_bearer::testing::{Azure, ManualRuntime};
use tower_bearer::{Credential as _, Error, ErrorKind, TenantId, TokenRequest, Transport};

fn vault() -> TokenRequest {
    TokenRequest::new("https://vault.azure.net")
}

fn builder(pem: &str) -> ClientCertificateCredentialBuilder {
    ClientCertificateCredential::builder(
        "contoso.com",
        "app-id",
        ClientCertificate::from_bytes(pem),
    )
}

fn refused(content: impl Into<Vec<u8>>, password: Option<&str>) -> Error {
    let mut certificate = ClientCertificate::from_bytes(content);
    if let Some(password) = password {
        certificate = certificate.with_password(password);
    }
    let error = ClientCertificateCredential::builder("contoso.com", "app-id", certificate)
        .transport(Script::new([]).transport())
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    error
}

/// Header and claims of the assertion that was sent.
fn assertion(script: &Script, at: usize) -> (Value, Value) {
    let assertion = script.seen()[at].field("client_assertion").unwrap();
    let parts: Vec<_> = assertion.split('.').collect();
    assert_eq!(parts.len(), 3);
    let read = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (read(parts[0]), read(parts[1]))
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_entra_wants_it() {
    let made = Made::new();
    let script = Script::new([token()]);
    let credential = builder(&made.pem())
        .transport(script.transport())
        .build()
        .unwrap();
    let runtime = ManualRuntime::with_seed(7);
    let request = vault().with_runtime(Arc::new(runtime));
    let token = credential.token(&request).await.unwrap();

    let seen = &script.seen()[0];
    assert_eq!(
        seen.uri,
        "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
    );
    let names: Vec<_> = seen.fields().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "grant_type",
            "client_id",
            "scope",
            "client_assertion_type",
            "client_assertion"
        ]
    );
    let (header, claims) = assertion(&script, 0);
    assert_eq!(header["alg"], "PS256");
    assert_eq!(header["typ"], "JWT");
    assert!(header.get("x5c").is_none() && header.get("kid").is_none());
    let now = request
        .runtime()
        .now()
        .wall
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(claims["aud"], seen.uri.to_string());
    assert_eq!(claims["iss"], "app-id");
    assert_eq!(claims["sub"], "app-id");
    assert_eq!(claims["nbf"], now);
    assert_eq!(claims["exp"], now + 600);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36);

    assert_eq!(token.credential(), "ClientCertificateCredential");
    let thumbprint = token.principal().certificate_thumbprint().unwrap();
    assert_eq!(thumbprint.len(), 40);
    assert!(
        token.principal().to_string().ends_with(&format!(
            "TenantId:contoso.com CertificateThumbprint:{thumbprint}"
        )),
        "{}",
        token.principal()
    );
}

#[tokio::test(start_paused = true)]
async fn each_request_has_an_assertion_of_its_own_and_the_chain_on_request() {
    let (own, [between, root]) = Made::with_chain();
    let other = Made::elliptic().certificate;
    // They may stand in any order, and twice.
    let pem = [
        &other,
        &root,
        &own.key,
        &own.certificate,
        &between,
        &own.certificate,
    ]
    .map(String::as_str)
    .concat();
    let script = Script::new([token()]);
    let credential = builder(&pem)
        .send_certificate_chain(true)
        .transport(script.transport())
        .build()
        .unwrap();
    let request = vault().with_runtime(Arc::new(ManualRuntime::with_seed(7)));
    for _ in 0..2 {
        credential.token(&request).await.unwrap();
    }
    let ((header, first), (_, second)) = (assertion(&script, 0), assertion(&script, 1));
    assert_ne!(first["jti"], second["jti"]);
    let chain: Vec<_> = header["x5c"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| STANDARD.decode(one.as_str().unwrap()).unwrap())
        .collect();
    // Each is vouched for by the next (RFC 7515 section 4.1.6).
    assert_eq!(chain, [own.certificate, between, root, other].map(der));
}

/// What is between the lines of PEM.
fn der(pem: impl AsRef<str>) -> Vec<u8> {
    let lines = pem.as_ref().lines();
    let body: String = lines.filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

#[tokio::test]
async fn keys_of_every_size_and_certificates_of_every_version_sign_in() {
    let azure = Azure::start().await.unwrap();
    for made in [
        Made::new().of_version_1(),
        Made::sized(RsaKeySize::_3072),
        Made::sized(RsaKeySize::_4096),
    ] {
        azure
            .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
            .unwrap();
        let credential = ClientCertificateCredential::builder(
            azure.tenant_id(),
            "app-id",
            ClientCertificate::from_bytes(made.pem()),
        )
        .transport(Transport::new(azure.http_client()))
        .build()
        .unwrap();
        credential.token(&vault()).await.unwrap();
    }
}

#[test]
fn pem_is_taken_as_tools_and_editors_leave_it() {
    let made = Made::new();
    let (_, document) = pkcs8::SecretDocument::from_pem(&made.key).unwrap();
    let info = pkcs8::PrivateKeyInfo::from_der(document.as_bytes()).unwrap();
    let pkcs1 = pkcs8::Document::try_from(info.private_key)
        .unwrap()
        .to_pem("RSA PRIVATE KEY", pkcs8::LineEnding::LF)
        .unwrap();
    // In Latin-1, as older programs of `openssl pkcs12` write names.
    let attributes = b"Bag Attributes\n    friendlyName: M\xfcller\nsubject=CN = app\n";
    let mut with_attributes = attributes.to_vec();
    with_attributes.extend(made.certificate.as_bytes());
    with_attributes.extend(attributes);
    with_attributes.extend(made.key.as_bytes());
    for content in [
        format!("{}{pkcs1}", made.certificate).into_bytes(),
        with_attributes,
        made.pem().replace('\n', "\r\n").into_bytes(),
        format!("\u{feff}{}", made.pem()).into_bytes(),
        made.pem().trim_end().as_bytes().to_vec(),
    ] {
        ClientCertificateCredential::builder(
            "contoso.com",
            "app-id",
            ClientCertificate::from_bytes(content),
        )
        .transport(Script::new([]).transport())
        .build()
        .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_certificates_of_the_key_the_newest_is_taken() {
    let old = Made::valid(2001, 2002);
    let new = old.renewed(2020, 2090);
    for pem in [
        format!("{}{}", old.pem(), new.certificate),
        format!("{}{}", new.pem(), old.certificate),
    ] {
        let script = Script::new([token()]);
        let credential = builder(&pem).transport(script.transport()).build().unwrap();
        credential.token(&vault()).await.unwrap();
    }
}

#[tokio::test]
async fn the_embedded_entra_accepts_it_as_strict_as_it_is() {
    let azure = Azure::start().await.unwrap();
    let (made, stranger) = (Made::new(), Made::new());
    azure
        .register_certificate(azure.tenant_id(), "app-id", &made.certificate)
        .unwrap();
    let credential = |made: &Made, client_id: &str| {
        ClientCertificateCredential::builder(
            azure.tenant_id(),
            client_id,
            ClientCertificate::from_bytes(made.pem()),
        )
        .send_certificate_chain(true)
        .transport(Transport::new(azure.http_client()))
        .build()
        .unwrap()
    };
    let token = credential(&made, "app-id").token(&vault()).await.unwrap();
    assert_eq!(token.principal().app_id(), Some("app-id"));

    let error = credential(&stranger, "app-id")
        .token(&vault())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.aadsts_codes(), [700_027]);
    assert_eq!(error.oauth_error(), Some("invalid_client"));
    assert!(error.advice().unwrap().contains("certificate"), "{error}");

    let error = credential(&made, "another-app")
        .token(&vault())
        .await
        .unwrap_err();
    assert_eq!(error.aadsts_codes(), [700_016]);
}

#[tokio::test]
async fn ad_fs_gets_the_older_signature_at_its_own_endpoint_whatever_tenant_is_asked() {
    let azure = Azure::start().await.unwrap();
    let made = Made::new();
    azure
        .register_certificate("adfs", "app-id", &made.certificate)
        .unwrap();
    let credential = ClientCertificateCredential::builder(
        "adfs",
        "app-id",
        ClientCertificate::from_bytes(made.pem()),
    )
    .authority_host(azure.authority_host())
    .transport(Transport::new(azure.http_client()))
    .build()
    .unwrap();
    let elsewhere = vault().with_tenant(TenantId::new("contoso.com").unwrap());
    let issued = credential.token(&elsewhere).await.unwrap();
    assert_eq!(issued.principal().app_id(), Some("app-id"));
    let requests = azure.requests();
    assert_eq!(requests[0].path(), "/adfs/oauth2/token");

    let script = Script::new([token()]);
    let credential = ClientCertificateCredential::builder(
        "adfs",
        "app-id",
        ClientCertificate::from_bytes(made.pem()),
    )
    .authority_host("adfs.contoso.com")
    .transport(script.transport())
    .build()
    .unwrap();
    let issued = credential.token(&vault()).await.unwrap();
    assert_eq!(issued.principal().tenant_id(), None);
    let (header, claims) = assertion(&script, 0);
    assert_eq!(header["alg"], "RS256");
    assert_eq!(header["x5t"].as_str().unwrap().len(), 27);
    assert!(header.get("x5t#S256").is_none());
    assert_eq!(claims["aud"], "https://adfs.contoso.com/adfs/oauth2/token");

    let error = ClientCertificateCredential::new(
        "adfs",
        "app-id",
        ClientCertificate::from_bytes(made.pem()),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("authority_host"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn r30_a_file_that_changes_is_used_at_once_unless_it_is_bad() {
    let folder = Folder::new();
    let (first, second) = (Made::new(), Made::new());
    let path = folder.write("client.pem", first.pem());
    let refusal = || {
        reply(
            401,
            r#"{"error":"invalid_client","error_description":"AADSTS700027: not registered","error_codes":[700027]}"#,
        )
    };
    let script = Script::new([token(), token(), token(), token(), refusal()]);
    let credential = ClientCertificateCredential::builder(
        "contoso.com",
        "app-id",
        ClientCertificate::from_file(path),
    )
    .transport(script.transport())
    .build()
    .unwrap();
    let request = vault().with_runtime(Arc::new(ManualRuntime::with_seed(1)));
    let named = async |at: usize| {
        credential.token(&request).await.unwrap();
        assertion(&script, at).0["x5t#S256"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let by_first = named(0).await;
    folder.write("client.pem", second.pem());
    let by_second = named(1).await;
    assert_ne!(by_first, by_second);

    assert!(credential.reload_error().is_none());

    folder.write("client.pem", &second.pem()[..700]);
    assert_eq!(named(2).await, by_second);
    let problem = credential.reload_error().unwrap();
    assert!(problem.message().contains("client.pem"), "{problem}");
    std::fs::remove_file(folder.at("client.pem")).unwrap();
    assert_eq!(named(3).await, by_second);
    assert!(format!("{credential:?}").contains("client.pem does not exist"));

    // Only when the old one is refused is there anything to complain of.
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(
        error.message().contains("a newer one is not used: ")
            && error.message().contains("client.pem does not exist"),
        "{error}"
    );
    assert_eq!(script.requests(), 5);
}

#[tokio::test(start_paused = true)]
async fn r30_one_that_has_ended_or_is_for_later_does_not_take_the_place_of_one_that_is_good() {
    let folder = Folder::new();
    let path = folder.write("client.pem", Made::valid(2020, 2028).pem());
    let script = Script::new([token()]);
    let credential = ClientCertificateCredential::builder(
        "contoso.com",
        "app-id",
        ClientCertificate::from_file(path),
    )
    .transport(script.transport())
    .build()
    .unwrap();
    let runtime = ManualRuntime::with_seed(1);
    let request = vault().with_runtime(Arc::new(runtime.clone()));
    credential.token(&request).await.unwrap();
    let problem = || credential.reload_error().unwrap().to_string();

    folder.write("client.pem", Made::valid(2001, 2002).pem());
    credential.token(&request).await.unwrap();
    assert!(problem().contains("has expired on Tue, 01 Jan 2002"));
    let later = Made::valid(2029, 2031);
    folder.write("client.pem", later.pem());
    credential.token(&request).await.unwrap();
    assert!(problem().contains("is not valid before Mon, 01 Jan 2029"));

    // Its time has come, and that of the old one is over.
    runtime.advance(Duration::from_secs(3 * 365 * 86_400));
    credential.token(&request).await.unwrap();
    assert!(credential.reload_error().is_none());

    // When that ends in its turn, what lies in the file is part of the story.
    folder.write("client.pem", "canary");
    runtime.advance(Duration::from_secs(2 * 365 * 86_400));
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    for words in [
        "has expired on Wed, 01 Jan 2031",
        "a newer one is not used: ",
        "neither PEM nor PKCS#12",
    ] {
        assert!(error.message().contains(words), "{error}");
    }
    assert!(!format!("{error:?}").contains("canary"));
    assert_eq!(script.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn r30_one_that_comes_by_rename_or_by_a_swapped_link_is_used_at_once() {
    let folder = Folder::new();
    // As Kubernetes mounts secrets.
    folder.folder("one");
    folder.folder("two");
    let made = [Made::new(), Made::new(), Made::new()];
    folder.write("one/client.pem", made[0].pem());
    folder.write("two/client.pem", made[1].pem());
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.at(at)).unwrap();
    link("one", "data");
    link("data/client.pem", "client.pem");
    let script = Script::new([token()]);
    let credential = ClientCertificateCredential::builder(
        "contoso.com",
        "app-id",
        ClientCertificate::from_file(folder.at("client.pem")),
    )
    .transport(script.transport())
    .build()
    .unwrap();
    let request = vault().with_runtime(Arc::new(ManualRuntime::with_seed(1)));
    credential.token(&request).await.unwrap();
    link("two", "next");
    std::fs::rename(folder.at("next"), folder.at("data")).unwrap();
    credential.token(&request).await.unwrap();
    folder.write("next", made[2].pem());
    std::fs::rename(folder.at("next"), folder.at("client.pem")).unwrap();
    credential.token(&request).await.unwrap();

    let named: Vec<_> = (0..3)
        .map(|at| assertion(&script, at).0["x5t#S256"].clone())
        .collect();
    assert!(named[0] != named[1] && named[1] != named[2], "{named:?}");
}

#[test]
fn files_that_are_no_certificate_with_its_key_are_told_apart() {
    let (made, other) = (Made::new(), Made::new());
    let says = |error: Error, words: &str| assert!(error.to_string().contains(words), "{error}");
    says(refused("", None), "neither PEM nor PKCS#12");
    says(refused("canary", None), "neither PEM nor PKCS#12");
    says(refused(made.key.as_str(), None), "no certificate");
    says(refused(made.certificate.as_str(), None), "no private key");
    says(
        refused(format!("{}{}", made.pem(), other.key), None),
        "more than one private key",
    );
    says(
        refused(format!("{}{}", made.key, other.certificate), None),
        "no certificate of its private key",
    );
    says(refused(Made::elliptic().pem(), None), "no RSA key");
    says(refused(&made.pem().as_bytes()[..300], None), "certificate");
    let old = made.pem().replace(
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n",
    );
    says(refused(old, None), "openssl pkcs8 -topk8");
    let pem = made.pem();
    let utf_16 = pem.encode_utf16().flat_map(u16::to_le_bytes);
    says(
        refused(
            [0xff, 0xfe].into_iter().chain(utf_16).collect::<Vec<_>>(),
            None,
        ),
        "UTF-16",
    );
    if cfg!(feature = "pkcs12") {
        says(
            refused(der(&made.certificate), None),
            "neither PEM nor PKCS#12",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_out_of_its_time_is_told_with_the_date() {
    for (from, until, words) in [
        (2001, 2002, "has expired on Tue, 01 Jan 2002"),
        (2090, 2091, "is not valid before Sun, 01 Jan 2090"),
    ] {
        let script = Script::new([token()]);
        let credential = builder(&Made::valid(from, until).pem())
            .transport(script.transport())
            .build()
            .unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(words), "{error}");
        assert_eq!(script.requests(), 0);
    }
}

/// Certificate and key of `made`, the key encrypted.
fn encrypted(made: &Made, password: &str) -> String {
    with_key(made, &encrypted_key(made, password, pbkdf2(1_000)))
}

fn encrypted_key(made: &Made, password: &str, parameters: Parameters<'_>) -> pkcs8::SecretDocument {
    let (_, document) = pkcs8::SecretDocument::from_pem(&made.key).unwrap();
    let info = pkcs8::PrivateKeyInfo::from_der(document.as_bytes()).unwrap();
    info.encrypt_with_params(parameters, password).unwrap()
}

fn with_key(made: &Made, key: &pkcs8::SecretDocument) -> String {
    let key = key
        .to_pem("ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF)
        .unwrap();
    format!("{}{}", made.certificate, *key)
}

fn pbkdf2(iterations: u32) -> Parameters<'static> {
    Parameters::pbkdf2_sha256_aes256cbc(iterations, &[7; 16], &[9; 16]).unwrap()
}

#[test]
fn t21_a_key_that_would_take_hours_to_open_is_refused_at_once() {
    let made = Made::new();
    let scrypt = pkcs8::pkcs5::scrypt::Params::new(24, 8, 1, 32).unwrap();
    let scrypt = Parameters::scrypt_aes256cbc(scrypt, &[7; 16], &[9; 16]).unwrap();
    for parameters in [pbkdf2(90_000_000), scrypt] {
        let info = pkcs8::EncryptedPrivateKeyInfo {
            encryption_algorithm: parameters.into(),
            encrypted_data: &[1; 32],
        };
        let key = pkcs8::SecretDocument::encode_msg(&info)
            .unwrap()
            .to_pem("ENCRYPTED PRIVATE KEY", pkcs8::LineEnding::LF)
            .unwrap();
        let error = refused(format!("{}{}", made.certificate, *key), Some("canary"));
        assert!(error.to_string().contains("takes too long"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_encrypted_key_needs_its_password() {
    const PASSWORD: &str = "canary ünd blank";
    let pem = encrypted(&Made::new(), PASSWORD);

    let script = Script::new([token()]);
    let certificate = ClientCertificate::from_bytes(pem.as_str()).with_password(PASSWORD);
    assert!(!format!("{certificate:?}").contains("canary"));
    let credential = ClientCertificateCredential::builder("contoso.com", "app-id", certificate)
        .transport(script.transport())
        .build()
        .unwrap();
    let request = vault().with_runtime(Arc::new(ManualRuntime::with_seed(1)));
    credential.token(&request).await.unwrap();

    let error = refused(pem.as_str(), None);
    assert!(
        error.to_string().contains("no password is given"),
        "{error}"
    );
    let error = refused(pem.as_str(), Some("canary"));
    assert!(error.to_string().contains("does not open"), "{error}");
}

#[test]
fn keys_are_taken_as_openssl_has_encrypted_them_through_the_years() {
    let made = Made::new();
    let iv = [9; 8];
    let of = |prf, encryption| Parameters {
        kdf: Pbkdf2Params {
            salt: &[7; 16],
            iteration_count: 1_000,
            key_length: None,
            prf,
        }
        .into(),
        encryption,
    };
    for parameters in [
        // What `openssl req` does to this day.
        of(
            Pbkdf2Prf::HmacWithSha256,
            EncryptionScheme::DesEde3Cbc { iv: &iv },
        ),
        of(
            Pbkdf2Prf::HmacWithSha1,
            EncryptionScheme::Aes256Cbc { iv: &[9; 16] },
        ),
        of(
            Pbkdf2Prf::HmacWithSha512,
            EncryptionScheme::Aes128Cbc { iv: &[9; 16] },
        ),
    ] {
        let key = encrypted_key(&made, "canary", parameters);
        let certificate =
            ClientCertificate::from_bytes(with_key(&made, &key)).with_password("canary");
        ClientCertificateCredential::builder("contoso.com", "app-id", certificate)
            .transport(Script::new([]).transport())
            .build()
            .unwrap();
    }

    // AES-256 in a mode that there is none of.
    let known: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
    let key = encrypted_key(&made, "canary", pbkdf2(1_000));
    let mut unknown = key.as_bytes().to_vec();
    let at = unknown
        .windows(known.len())
        .position(|part| part == known)
        .unwrap();
    unknown[at + known.len() - 1] = 0x7f;
    let key = pkcs8::SecretDocument::try_from(unknown).unwrap();
    let error = refused(with_key(&made, &key), Some("canary"));
    assert!(
        error
            .to_string()
            .contains("an encryption that is not known"),
        "{error}"
    );
}

#[test]
fn pkcs12_is_taken_with_its_feature_and_named_without() {
    const PASSWORD: &str = "canary";
    let made = Made::new();
    for algorithm in [
        EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
        EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc,
        EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
    ] {
        let pfx = made.pkcs12_by(PASSWORD, algorithm);
        if cfg!(feature = "pkcs12") {
            let certificate = ClientCertificate::from_bytes(pfx.clone()).with_password(PASSWORD);
            ClientCertificateCredential::builder("contoso.com", "app-id", certificate)
                .transport(Script::new([]).transport())
                .build()
                .unwrap();
            let error = refused(pfx, Some("wrong"));
            assert!(error.to_string().contains("check the password"), "{error}");
        } else {
            let error = refused(pfx, Some(PASSWORD));
            assert!(error.to_string().contains("feature pkcs12"), "{error}");
        }
    }
}

#[test]
fn t21_what_is_no_file_of_a_fitting_size_is_refused() {
    let folder = Folder::new();
    folder.folder("folder");
    folder.write("large", "canary".repeat(100_000));
    let link = folder.at("link");
    std::os::unix::fs::symlink(folder.at("nowhere"), link).unwrap();
    for name in ["folder", "large", "link", "none"] {
        let error = ClientCertificateCredential::new(
            "contoso.com",
            "app-id",
            ClientCertificate::from_file(folder.at(name)),
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(name), "{error}");
        assert!(error.advice().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn r10_r13_failures_that_may_pass_are_tried_three_times_within_the_limit() {
    let pem = Made::new().pem();
    for (replies, kind) in [
        (vec![reply(503, "")], ErrorKind::Unreachable),
        (vec![Reply::Hang], ErrorKind::Timeout),
    ] {
        let script = Script::new(replies);
        let credential = builder(&pem)
            .transport(script.transport())
            .timeout(Duration::from_secs(40))
            .build()
            .unwrap();
        let started = tokio::time::Instant::now();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(script.requests() <= 3);
        assert!(started.elapsed() <= Duration::from_secs(41));
    }
}

#[tokio::test(start_paused = true)]
async fn i10_neither_key_nor_assertion_is_shown_even_if_the_server_echoes_it() {
    let made = Made::new();
    let script = Script::new([reply(200, "{}")]);
    let credential = builder(&made.pem())
        .transport(script.transport())
        .build()
        .unwrap();
    let _ = credential.token(&vault()).await;
    let sent = script.seen()[0].field("client_assertion").unwrap();
    let script = Script::new([reply(
        401,
        format!(r#"{{"error":"invalid_client","error_description":"bad {sent}"}}"#),
    )]);
    let builder = builder(&made.pem()).transport(script.transport());
    let shown = format!("{builder:?}");
    let credential = builder.build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    let shown = format!("{shown} {credential:?} {error:?}");
    let second = script.seen()[0].field("client_assertion").unwrap();
    assert!(!shown.contains(&second), "{shown}");
    for line in made.key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!shown.contains(line));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn t20_no_copy_of_the_key_is_left_in_memory() {
    let folder = Folder::new();
    let made = Made::new();
    let body: String = made
        .key
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = STANDARD.decode(&body).unwrap();
    // From the private exponent and the primes, well within.
    let mut needles: Vec<_> = [400, 600, 750, 900]
        .into_iter()
        .map(|at| der[at..at + 24].to_vec())
        .collect();
    let lines: Vec<_> = made.key.lines().collect();
    needles.extend([10, 15].map(|at| lines[at].as_bytes()[4..44].to_vec()));
    let hidden: Vec<_> = needles
        .iter()
        .map(|needle| needle.iter().map(|byte| byte ^ MASK).collect::<Vec<_>>())
        .map(|needle| URL_SAFE_NO_PAD.encode(needle))
        .collect();
    let encrypted = encrypted(&made, "s3cret-canary");
    for (content, password) in [(made.pem(), ""), (encrypted, "s3cret-canary")] {
        let file = folder.write("key.pem", content);
        in_own_process(
            "child_leaves_no_key_in_memory",
            &[
                ("FILE", file.to_str().unwrap()),
                ("PASSWORD", password),
                ("NEEDLES", &hidden.join(" ")),
            ],
        );
    }
}

/// What is searched for is kept in another form, so that the search does not
/// find itself.
#[cfg(target_os = "linux")]
const MASK: u8 = 0x15;

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn child_leaves_no_key_in_memory() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let needles: Vec<_> = variable("NEEDLES")
        .split(' ')
        .map(|needle| URL_SAFE_NO_PAD.decode(needle).unwrap())
        .collect();
    let mut search = memory::Search::new();
    let mut copies = || -> Vec<_> {
        needles
            .iter()
            .map(|needle| search.copies(needle, MASK))
            .collect()
    };
    let password = variable("PASSWORD");
    let mut certificate = ClientCertificate::from_file(variable("FILE"));
    if !password.is_empty() {
        certificate = certificate.with_password(password.as_str());
    }
    let credential = ClientCertificateCredential::builder("contoso.com", "app", certificate)
        .transport(Script::new([token()]).transport())
        .build()
        .unwrap();
    let found = copies();
    let (key, file) = found.split_at(4);
    assert_eq!(key, [0; 4]);
    let is_kept = file.iter().all(|count| *count == 1);
    assert_eq!(
        is_kept,
        password.is_empty(),
        "what is kept is the file: {found:?}"
    );
    credential.token(&vault()).await.unwrap();
    drop(credential);
    tokio::task::yield_now().await;
    assert_eq!(copies(), vec![0; needles.len()]);
}

#[test]
fn the_environment_gives_a_credential_or_the_names_that_are_missing() {
    let folder = Folder::new();
    let path = folder.write("client.pem", Made::new().pem());
    in_own_process(
        "child_misses_the_environment",
        &[("AZURE_TENANT_ID", "contoso.com")],
    );
    in_own_process(
        "child_reads_the_environment",
        &[
            ("AZURE_TENANT_ID", "contoso.com"),
            ("AZURE_CLIENT_ID", "app"),
            ("AZURE_CLIENT_CERTIFICATE_PATH", path.to_str().unwrap()),
            ("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "true"),
        ],
    );
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_misses_the_environment() {
    let error = ClientCertificateCredential::from_env().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.message(),
        "not set in the environment: AZURE_CLIENT_ID, AZURE_CLIENT_CERTIFICATE_PATH"
    );
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_reads_the_environment() {
    let shown = format!("{:?}", ClientCertificateCredential::from_env().unwrap());
    assert!(
        shown.contains("contoso.com") && shown.contains("\"app\""),
        "{shown}"
    );
}
