//! Which host it finds itself on, where that is, and by which ids the host knows
//! its identities.

use super::*;

fn found(variables: &[(&str, &str)]) -> Result<ManagedIdentityCredential, Error> {
    on(&Script::new([token()]), variables).build()
}

#[test]
fn the_first_host_whose_variables_are_all_set_is_the_one() {
    let all = [
        &SERVICE_FABRIC[..],
        &[
            ("IMDS_ENDPOINT", "http://127.0.0.1:5"),
            ("MSI_ENDPOINT", "http://127.0.0.1:6/MSI/auth"),
            ("MSI_SECRET", "canary-msi"),
        ],
        &MACHINE,
    ]
    .concat();
    let without = |names: &[&str]| -> Vec<(&str, &str)> {
        let kept = all.iter().filter(|(name, _)| !names.contains(name));
        kept.copied().collect()
    };
    // The next host's endpoint must be one that it could have.
    let mut plain = without(&["IDENTITY_SERVER_THUMBPRINT", "IDENTITY_ENDPOINT"]);
    plain.push(APP_SERVICE[0]);
    let no_header: Vec<_> = plain
        .iter()
        .copied()
        .filter(|(name, _)| *name != "IDENTITY_HEADER")
        .collect();
    for (variables, source, endpoint) in [
        (
            all.clone(),
            ManagedIdentitySource::ServiceFabric,
            "localhost:2",
        ),
        (plain, ManagedIdentitySource::AppService, "127.0.0.1:3"),
        (no_header, ManagedIdentitySource::AzureArc, "127.0.0.1:3"),
        (
            without(&["IDENTITY_ENDPOINT"]),
            ManagedIdentitySource::MachineLearning,
            "127.0.0.1:6",
        ),
        (
            without(&["IDENTITY_HEADER", "IMDS_ENDPOINT"]),
            ManagedIdentitySource::MachineLearning,
            "127.0.0.1:6",
        ),
        (
            without(&["IDENTITY_ENDPOINT", "MSI_SECRET"]),
            ManagedIdentitySource::CloudShell,
            "127.0.0.1:6",
        ),
        (
            without(&["IDENTITY_ENDPOINT", "MSI_ENDPOINT"]),
            ManagedIdentitySource::Imds,
            "127.0.0.1:7",
        ),
        (MACHINE.to_vec(), ManagedIdentitySource::Imds, "127.0.0.1:7"),
        (Vec::new(), ManagedIdentitySource::Imds, "169.254.169.254"),
    ] {
        let credential = found(&variables).unwrap();
        assert_eq!(credential.source(), source, "{variables:?}");
        let shown = format!("{credential:?}");
        assert!(shown.contains(&format!("{source:?}")), "{shown}");
        assert!(shown.contains(&format!("endpoint: {endpoint}")), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let mut variables = [
        &APP_SERVICE[..],
        &[("MSI_ENDPOINT", ""), ("IMDS_ENDPOINT", "")],
        &MACHINE,
    ]
    .concat();
    assert_eq!(
        found(&variables).unwrap().source(),
        ManagedIdentitySource::AppService
    );
    variables[1].1 = "";
    assert_eq!(
        found(&variables).unwrap().source(),
        ManagedIdentitySource::Imds
    );
}

#[test]
fn an_endpoint_that_is_given_is_that_of_a_metadata_service() {
    let script = Script::new([token()]);
    let credential = on(&script, &APP_SERVICE)
        .endpoint("http://127.0.0.1:8")
        .build()
        .unwrap();
    assert_eq!(credential.source(), ManagedIdentitySource::Imds);
    assert!(format!("{credential:?}").contains("127.0.0.1:8"));
}

#[test]
fn sources_have_names_for_people() {
    let credential = found(&APP_SERVICE).unwrap();
    assert_eq!(credential.source().to_string(), "Azure App Service");
    let machine = found(&MACHINE).unwrap();
    assert_eq!(machine.source().to_string(), "an Azure virtual machine");
}

#[test]
fn t9_no_variable_leads_in_the_clear_to_a_far_host() {
    let with = |variables: &[(&'static str, &'static str)],
                name: &str,
                value: &'static str|
     -> Vec<(&'static str, &'static str)> {
        let mut variables = variables.to_vec();
        for variable in &mut variables {
            if variable.0 == name {
                variable.1 = value;
            }
        }
        variables
    };
    let far = [
        "http://identity.example/token",
        "http://8.8.8.8/token",
        "http://[2001:db8::1]/token",
        "http://127.0.0.1.evil.example/token",
        "http://127.0.0.1@evil.example/token",
        "http://user:canary@127.0.0.1/token",
        "http://2130706433/token",
        "ftp://127.0.0.1/token",
        "127.0.0.1:80/token",
        "canary token",
    ];
    for url in far {
        for (variables, name) in [
            (&SERVICE_FABRIC[..], "IDENTITY_ENDPOINT"),
            (&APP_SERVICE, "IDENTITY_ENDPOINT"),
            (&AZURE_ARC, "IDENTITY_ENDPOINT"),
            (&MACHINE_LEARNING, "MSI_ENDPOINT"),
            (&CLOUD_SHELL, "MSI_ENDPOINT"),
            (&MACHINE, "AZURE_POD_IDENTITY_AUTHORITY_HOST"),
        ] {
            let error = found(&with(variables, name, url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{name} {url}");
            assert!(error.message().contains(name), "{error}");
            assert!(error.advice().is_some(), "{error}");
            assert!(!shown(&error).contains("canary"), "{error:?}");
        }
    }
    for near in [
        "http://localhost:42356/msi/token",
        "http://127.0.0.1:41741/MSI/token/",
        "http://169.254.129.2:8081/msi/token",
        "http://10.0.0.4/msi/token",
        "https://identity.example/token",
    ] {
        assert!(
            found(&with(&APP_SERVICE, "IDENTITY_ENDPOINT", near)).is_ok(),
            "{near}"
        );
    }
}

#[test]
fn what_the_built_in_transport_cannot_speak_is_said_when_it_is_made() {
    let variables = [
        ("IDENTITY_ENDPOINT", "https://127.0.0.1:3/msi/token"),
        ("IDENTITY_HEADER", "canary"),
    ];
    let error = ManagedIdentityCredential::builder()
        .environment(variables)
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains("plain http only"), "{error}");
}

#[test]
fn a_secret_that_no_header_can_carry_is_refused_without_being_shown() {
    for (variables, secret) in [
        (&APP_SERVICE[..], 1),
        (&SERVICE_FABRIC, 1),
        (&MACHINE_LEARNING, 1),
    ] {
        for odd in ["canary\n", "canary\r\nx-evil: 1", "canary\u{7f}"] {
            let mut variables = variables.to_vec();
            let name = variables[secret].0;
            variables[secret].1 = odd;
            let error = found(&variables).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{odd:?}");
            assert!(error.message().contains(name), "{error}");
            assert!(!shown(&error).contains("canary"), "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_host_has_its_own_names_for_the_ids_or_none() {
    let ids = [
        client_id(CLIENT_ID),
        object_id(OBJECT_ID),
        resource_id(RESOURCE_ID),
    ];
    for (variables, names) in [
        (
            &MACHINE[..],
            [Some("client_id"), Some("object_id"), Some("msi_res_id")],
        ),
        (
            &APP_SERVICE,
            [Some("client_id"), Some("principal_id"), Some("mi_res_id")],
        ),
        (
            &AZURE_ARC,
            [Some("client_id"), Some("object_id"), Some("msi_res_id")],
        ),
        (&MACHINE_LEARNING, [Some("clientid"), None, None]),
        (&CLOUD_SHELL, [None, None, None]),
        (&SERVICE_FABRIC, [None, Some("principalId"), None]),
    ] {
        for (id, name) in ids.iter().zip(names) {
            let script = Script::new([token()]);
            let built = on(&script, variables).user_assigned(id.clone()).build();
            let Some(name) = name else {
                let error = built.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration, "{variables:?}");
                assert!(error.advice().is_some(), "{error}");
                continue;
            };
            let request = TokenRequest::new("api://a&client_id=b%20c#d");
            // Azure Arc does not take a token without a proof.
            let _ = built.unwrap().token(&request).await;
            let fields = script.seen()[0].fields();
            let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["api-version", "resource", name], "{variables:?}");
            assert_eq!(fields[1].1, "api://a&client_id=b%20c#d");
            let value = [CLIENT_ID, OBJECT_ID, RESOURCE_ID].contains(&fields[2].1.as_str());
            assert!(value, "{fields:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_id_is_no_parameter_and_the_default_suffix_goes() {
    for (variables, version) in [
        (&MACHINE[..], "2018-02-01"),
        (&APP_SERVICE, "2019-08-01"),
        (&AZURE_ARC, "2020-06-01"),
        (&MACHINE_LEARNING, "2017-09-01"),
        (&SERVICE_FABRIC, "2019-07-01-preview"),
    ] {
        let script = Script::new([token()]);
        let credential = on(&script, variables).build().unwrap();
        let request = TokenRequest::new("https://management.azure.com//.default");
        let _ = credential.token(&request).await;
        assert_eq!(
            script.seen()[0].fields(),
            [
                ("api-version".to_owned(), version.to_owned()),
                (
                    "resource".to_owned(),
                    "https://management.azure.com/".to_owned()
                ),
            ],
            "{variables:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_audience_that_is_none_is_refused_before_anything_is_sent() {
    for variables in [
        &MACHINE[..],
        &APP_SERVICE,
        &AZURE_ARC,
        &MACHINE_LEARNING,
        &CLOUD_SHELL,
        &SERVICE_FABRIC,
    ] {
        for audience in ["", "a b", "a\nb"] {
            let script = Script::new([token()]);
            let credential = on(&script, variables).build().unwrap();
            let error = credential
                .token(&TokenRequest::new(audience))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{audience:?}");
            assert_eq!(script.requests(), 0);
        }
    }
}
