//! Who signs in if a connection string says it.

use super::*;

#[tokio::test]
async fn each_string_gives_a_token_of_the_identity_that_it_names() {
    let azure = Azure::start().await.unwrap();
    let worker = azure.assign_user_identity("worker");
    let folder = Folder::new();
    let made = Made::new();
    let pem = folder.write("client.pem", made.pem());
    azure
        .register_certificate(azure.tenant_id(), "with-certificate", &made.certificate)
        .unwrap();
    azure.vault().set_certificate("app", &made.pem());

    let tenant = azure.tenant_id();
    for (string, credential, app_id) in [
        (
            "RunAs=App".to_owned(),
            "ManagedIdentityCredential",
            azure.system_assigned_identity().client_id().to_owned(),
        ),
        (
            format!("runas=app; appid = {}", worker.client_id()),
            "ManagedIdentityCredential",
            worker.client_id().to_owned(),
        ),
        (
            secret_string(&azure),
            "ClientSecretCredential",
            azure.client_id().to_owned(),
        ),
        (
            format!(
                "RunAs=App;AppId=with-certificate;TenantId={tenant};CertificatePath={}",
                pem.display()
            ),
            "ClientCertificateCredential",
            "with-certificate".to_owned(),
        ),
        (
            "RunAs=App;AppId=with-certificate;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app".to_owned(),
            "KeyVaultCertificateCredential",
            "with-certificate".to_owned(),
        ),
    ] {
        let provider = told(&azure, &string).build().unwrap();
        let token = provider.token(VAULT).await.unwrap();
        assert_eq!(token.credential(), credential);
        let principal = provider.principal(VAULT).await.unwrap();
        assert_eq!(principal.app_id(), Some(app_id.as_str()));
        let shown = principal.to_string();
        assert!(
            shown.starts_with(&format!(
                "IsAuthenticated:True Type:App AppId:{app_id} TenantId:{tenant}"
            )),
            "{shown}"
        );
        assert_eq!(shown.contains("CertificateThumbprint:"), app_id == "with-certificate");
        assert!(provider.connection_string().unwrap().warnings().is_empty());
    }
}

#[tokio::test]
async fn a_developers_tool_is_run_if_the_string_says_so() {
    let folder = Folder::new();
    let bin = folder.folder("bin");
    let az = folder.write(
        "bin/az",
        r#"#!/bin/sh
echo "{\"accessToken\":\"canary-of-az\",\"expires_on\":$(($(/bin/date +%s) + 3600)),\"tokenType\":\"Bearer\",\"tenant\":\"t\"}"
"#,
    );
    std::fs::set_permissions(az, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut variables = nowhere();
    variables[0].1 = bin.display().to_string();
    let provider = TokenProvider::builder()
        .connection_string("RunAs=Developer; DeveloperTool=AzureCLI")
        .environment(variables.clone())
        .build()
        .unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.credential(), "AzureCliCredential");
    assert_eq!(token.secret(), "canary-of-az");

    // Without a string it is the last way that is tried.
    let provider = TokenProvider::builder()
        .environment(variables)
        .build()
        .unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.credential(), "AzureCliCredential");
}

#[tokio::test]
async fn a_tool_is_asked_for_the_tenant_of_the_string_and_for_others_if_they_are_allowed() {
    let folder = Folder::new();
    let script = format!(
        r#"echo "$@" >> {asked}
echo "{{\"accessToken\":\"canary-of-az\",\"expires_on\":$(($(/bin/date +%s) + 3600)),\"tokenType\":\"Bearer\"}}""#,
        asked = folder.at("asked").display()
    );
    let mut variables = nowhere();
    variables[0].1 = install_az(&folder, &script);
    let builder = || {
        TokenProvider::builder()
            .connection_string("RunAs=Developer;DeveloperTool=AzureCLI;TenantId=own.example")
            .environment(variables.clone())
    };
    let other = TokenRequest::new(VAULT).with_tenant(TenantId::new("other.example").unwrap());
    let strict = builder().build().unwrap();
    strict.token(VAULT).await.unwrap();
    let error = strict.token_for(&other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let open = builder().additionally_allowed_tenants(["other.example"]);
    open.build().unwrap().token_for(&other).await.unwrap();
    let asked = folder.read("asked");
    let tenants: Vec<_> = asked
        .lines()
        .map(|line| line.split_once("--tenant ").unwrap().1)
        .map(|rest| rest.split(' ').next().unwrap())
        .collect();
    assert_eq!(tenants, ["own.example", "other.example"]);
}

#[tokio::test]
async fn a_string_that_was_made_of_its_parts_says_who_signs_in() {
    let azure = Azure::start().await.unwrap();
    let string = ConnectionStringBuilder::client_secret(
        azure.tenant_id(),
        azure.client_id(),
        azure.client_secret(),
    )
    .build()
    .unwrap();
    let mut variables = on_a_machine_of(&azure);
    variables.push((VARIABLE, "RunAs=App".to_owned()));
    let builder = TokenProvider::builder()
        .parsed_connection_string(string)
        .environment(variables)
        .transport(Transport::new(azure.http_client()));
    assert!(!format!("{builder:?}").contains(azure.client_secret()));
    let provider = builder.build().unwrap();
    let token = provider.token(VAULT).await.unwrap();
    assert_eq!(token.credential(), "ClientSecretCredential");

    let warned_of = ConnectionString::parse("RunAs=App;Colour=blue").unwrap();
    let builder = TokenProvider::builder().parsed_connection_string(warned_of);
    let error = builder.deny_warnings().build().unwrap_err();
    assert!(error.to_string().contains("Colour"), "{error}");
}

#[tokio::test]
async fn the_variable_counts_unless_a_string_is_given_even_a_blank_one() {
    let azure = Azure::start().await.unwrap();
    let mut variables = on_a_machine_of(&azure);
    variables.push((VARIABLE, secret_string(&azure)));
    let builder = || {
        TokenProvider::builder()
            .environment(variables.clone())
            .transport(Transport::new(azure.http_client()))
    };
    let credential = async |builder: TokenProviderBuilder| {
        let provider = builder.build().unwrap();
        provider.token(VAULT).await.unwrap().credential().to_owned()
    };
    assert_eq!(credential(builder()).await, "ClientSecretCredential");
    let found = "ManagedIdentityCredential";
    assert_eq!(credential(builder().connection_string("")).await, found);
    assert_eq!(credential(builder().connection_string(" \n")).await, found);
    assert_eq!(
        credential(builder().connection_string("RunAs=App")).await,
        found
    );
    variables.last_mut().unwrap().1 = "  ".to_owned();
    let blank = TokenProvider::builder().environment(variables.clone());
    assert_eq!(credential(blank).await, found);
}

#[test]
fn t22_wrong_strings_are_told_without_their_values() {
    for string in [
        "RunAs=App;AppKey=canary",
        "RunAs=App;ClientId=x;TenantId=t;AppKey=canary",
        "RunAs=canary",
        "RunAs=App;AppId=a;TenantId=t;AppKey='canary",
        "AppKey=canary;AppKey=canary",
        "RunAs=App;AppId=a;TenantId=t;CertificatePath=/nowhere/c.pem;CertificatePassword=canary",
        "RunAs=CurrentUser",
        "RunAs=App;AppId=a;TenantId=t;CertificateThumbprint=0123;CertificateStoreLocation=LocalMachine",
        "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=http://v.vault.azure.net/secrets/a",
    ] {
        for from_variable in [false, true] {
            let mut variables = nowhere();
            let mut builder = TokenProvider::builder();
            if from_variable {
                variables.push((VARIABLE, string.to_owned()));
            } else {
                builder = builder.connection_string(string);
            }
            assert!(!format!("{builder:?}").contains("canary"));
            let error = builder.environment(variables).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{string}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
    }
}

#[test]
fn warnings_can_be_read_or_refused() {
    let string = "RunAs=App;Colour=blue";
    let builder = || {
        TokenProvider::builder()
            .connection_string(string)
            .environment(nowhere())
    };
    let provider = builder().build().unwrap();
    let warnings = provider.connection_string().map(ConnectionString::warnings);
    assert_eq!(warnings.unwrap().len(), 1);
    let mut variables = nowhere();
    variables.push((VARIABLE, string.to_owned()));
    for (builder, context) in [
        (builder(), ""),
        (TokenProvider::builder().environment(variables), VARIABLE),
    ] {
        let error = builder.deny_warnings().build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("Colour"), "{error}");
        assert!(error.to_string().contains(context), "{error}");
    }
}

#[test]
fn the_environment_of_the_process_is_read() {
    in_own_process(
        "told::child_is_told_by_its_environment",
        &[(
            VARIABLE,
            "RunAs=App;AppId=a;TenantId=t.example;AppKey=canary",
        )],
    );
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_is_told_by_its_environment() {
    let provider = TokenProvider::from_env().unwrap();
    let shown = format!("{provider:?}");
    assert!(
        shown.contains("AppKey") && !shown.contains("canary"),
        "{shown}"
    );
    assert!(TokenProvider::from_connection_string("RunAs=App").is_ok());
}

/// Few look at warnings before something fails.
#[tokio::test]
async fn an_error_says_what_is_suspicious_about_the_string() {
    let azure = Azure::start().await.unwrap();
    let advice = async |string: &str| {
        let provider = told(&azure, string).build().unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert!(!format!("{error}{error:?}").contains("canary"), "{error}");
        error.advice().unwrap().to_owned()
    };
    let advice_of_host = advice("RunAs=App;AppId=nobody").await;
    assert!(!advice_of_host.contains("connection string"));
    assert_eq!(
        advice("RunAs=App;AppId=nobody;TenantId=b.com;ClientSecret=canary").await,
        format!(
            "{advice_of_host}; also, the connection string was taken for that of a user-assigned \
             managed identity, but look at character 24: TenantId is ignored, for this string \
             selects a user-assigned managed identity: take it out; character 39: ClientSecret is \
             not a key and is ignored: write AppKey, if that is meant"
        )
    );
}

#[tokio::test]
async fn a_workload_identity_is_told_by_the_string_or_by_the_environment() {
    let azure = Azure::start().await.unwrap();
    let variables = azure.workload_identity_environment().unwrap();
    let file = &variables.last().unwrap().1;
    let named = format!(
        "RunAs=Workload;AppId={};TenantId={};TokenFile={file}",
        azure.client_id(),
        azure.tenant_id()
    );
    for (string, variables) in [
        ("RunAs=Workload", variables.clone()),
        (named.as_str(), Vec::new()),
    ] {
        let provider = TokenProvider::builder()
            .connection_string(string)
            .environment(variables)
            .authority_host("login.microsoftonline.com")
            .transport(Transport::new(azure.http_client()))
            .build()
            .unwrap();
        let token = provider.token(VAULT).await.unwrap();
        assert_eq!(token.credential(), "WorkloadIdentityCredential");
        assert_eq!(token.principal().app_id(), Some(azure.client_id()));
    }
}

/// As .NET signs in, for applications that trust a subject name and an issuer.
#[cfg(feature = "pkcs12")]
#[tokio::test(start_paused = true)]
async fn the_chain_of_a_certificate_is_sent_and_its_file_may_have_a_password() {
    let folder = Folder::new();
    let made = Made::new();
    let pfx = folder.write("client.pfx", made.pkcs12("canary; 'x'"));
    let string = |password: &str| {
        let string = ConnectionStringBuilder::client_certificate("b.example", "app", &pfx)
            .certificate_password(password);
        TokenProvider::builder().parsed_connection_string(string.build().unwrap())
    };
    let script = Script::new([token()]);
    let provider = string("canary; 'x'").transport(script.transport());
    let got = provider.build().unwrap().token(VAULT).await.unwrap();
    assert_eq!(got.credential(), "ClientCertificateCredential");
    let assertion = script.seen()[0].field("client_assertion").unwrap();
    let header = assertion.split('.').next().unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(header["x5c"].as_array().unwrap().len(), 1);

    let error = string("canary").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(!format!("{error}{error:?}").contains("canary"), "{error}");
}

/// Nobody looks whether a managed identity is there that was asked for by name:
/// it has its full number of attempts.
#[tokio::test]
async fn a_managed_identity_that_the_string_names_is_not_looked_for_first() {
    let azure = Azure::start().await.unwrap();
    azure.fail_imds_probes(Failure::hang());
    let provider = told(&azure, "RunAs=App").build().unwrap();
    provider.token(VAULT).await.unwrap();
    assert_eq!(azure.imds_probes(), 0);
    let error = told(&azure, "RunAs=App;AppId=nobody").build().unwrap();
    let error = error.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert!(error.advice().unwrap().contains("assign it"), "{error}");
}

#[tokio::test]
async fn the_timeout_of_the_string_ends_the_attempts_for_a_managed_identity() {
    let azure = Azure::start().await.unwrap();
    let in_vault = "RunAs=App;AppId=a;KeyVaultCertificateSecretIdentifier=https://myvault.vault.azure.net/secrets/app";
    for (string, seconds) in [
        ("RunAs=App;MsiRetryTimeout=3".to_owned(), 3),
        ("RunAs=App;AppId=a;MsiRetryTimeout=2".to_owned(), 2),
        (format!("{in_vault};MsiRetryTimeout=4"), 4),
        // As long as an attempt may take, where nothing is said.
        ("RunAs=App;MsiRetryTimeout=0".to_owned(), 10),
        ("RunAs=App".to_owned(), 10),
    ] {
        let hold = azure.hold_token_requests();
        let clock = ManualRuntime::new();
        let credential = told(&azure, &string).build().unwrap().credential().clone();
        let request = TokenRequest::new(VAULT).with_runtime(Arc::new(clock.clone()));
        let before = azure.token_requests();
        let asked = tokio::spawn(async move { credential.token(&request).await });
        azure.wait_for_token_requests(before + 1).await;
        let limit = Duration::from_secs(seconds);
        assert_eq!(clock.next_wake(), Some(limit), "{string}");
        if seconds < 10 {
            clock.advance(limit);
            let error = asked.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        }
        hold.release();
    }
}
