//! What is sent to whom, and what is never shown.

use super::*;

/// Every host of `azure`, by the variables that it sets.
fn hosts(azure: &Azure) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let machine = vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds_host())];
    vec![
        ("virtual machine", machine),
        ("App Service", azure.app_service_environment()),
        ("App Service 2017", azure.app_service_2017_environment()),
        ("Container Apps", azure.container_apps_environment()),
        ("Machine Learning", azure.machine_learning_environment()),
        ("Cloud Shell", azure.cloud_shell_environment()),
        ("Service Fabric", azure.service_fabric_environment()),
    ]
}

#[tokio::test]
async fn t8_each_host_gets_the_headers_of_its_list_and_no_others() {
    let azure = Azure::start().await.unwrap();
    for (host, variables) in hosts(&azure) {
        let builder = ManagedIdentityCredential::builder().environment(variables);
        soon(builder.build().unwrap().token(&vault()))
            .await
            .unwrap();
        let requests = azure.requests();
        let mut sent: Vec<_> = requests
            .last()
            .unwrap()
            .header_names()
            .iter()
            .map(http::HeaderName::as_str)
            .collect();
        sent.sort_unstable();
        let expected: &[&str] = match host {
            "virtual machine" => &["host", "metadata"],
            "App Service" | "Container Apps" => &["host", "metadata", "x-identity-header"],
            "App Service 2017" | "Machine Learning" => &["host", "secret"],
            "Cloud Shell" => &["content-length", "content-type", "host", "metadata"],
            _ => &["accept", "host", "secret"],
        };
        assert_eq!(sent, expected, "{host}");
    }
    soon(azure.arc_identity().build().unwrap().token(&vault()))
        .await
        .unwrap();
    let requests = azure.requests();
    let [.., question, proof] = &requests[..] else {
        panic!("two requests");
    };
    assert_eq!(question.header_names(), ["metadata", "host"]);
    assert_eq!(proof.header_names(), ["metadata", "authorization", "host"]);
}

#[tokio::test(start_paused = true)]
async fn t9_a_secret_goes_to_the_endpoint_that_came_with_it_and_nowhere_else() {
    let strays = [
        ("IDENTITY_HEADER", "canary-identity"),
        ("MSI_SECRET", "canary-msi"),
    ];
    for (variables, allowed) in [
        (&MACHINE[..], None),
        (&CLOUD_SHELL, None),
        (&AZURE_ARC, None),
        (&APP_SERVICE, Some("canary-identity")),
        (&SERVICE_FABRIC, Some("canary-identity")),
        (&MACHINE_LEARNING, Some("canary-msi")),
    ] {
        for chained in [false, true] {
            // Those that would make it another host are left out.
            let more = strays.iter().filter(|(name, _)| match *name {
                "IDENTITY_HEADER" => variables[0].0 != "IDENTITY_ENDPOINT",
                _ => variables[0].0 != "MSI_ENDPOINT",
            });
            let variables: Vec<_> = variables.iter().chain(more).copied().collect();
            let script = Script::new([reply(400, ""), reply(400, "")]);
            let credential = on(&script, &variables).probe(chained).build().unwrap();
            credential.token(&vault()).await.unwrap_err();
            for seen in script.seen() {
                let sent = format!("{} {:?}", seen.uri, seen.body);
                assert!(!sent.contains("canary"), "{sent}");
                for value in seen.headers.values() {
                    let value = value.to_str().unwrap();
                    let is_secret = value.contains("canary");
                    assert!(
                        !is_secret || Some(value) == allowed,
                        "{variables:?}: {value}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_no_proxy_variable_sends_a_request_of_any_host_to_a_proxy() {
    let azure = Azure::start().await.unwrap();
    let proxy = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    for (host, variables) in hosts(&azure) {
        let url = proxy.url();
        let before = azure.token_requests();
        tokio::task::spawn_blocking(move || {
            let names = [
                "HTTP_PROXY",
                "http_proxy",
                "HTTPS_PROXY",
                "https_proxy",
                "ALL_PROXY",
                "all_proxy",
            ];
            let variables: Vec<_> = variables
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .chain(names.map(|name| (name, url.as_str())))
                .collect();
            in_own_process("secrets::child_asks_on_its_host", &variables);
        })
        .await
        .unwrap();
        assert_eq!(azure.token_requests(), before + 1, "{host}");
    }
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
#[ignore = "run in a process of its own, by the test above"]
async fn child_asks_on_its_host() {
    let credential = ManagedIdentityCredential::new().unwrap();
    credential.token(&vault()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn i10_no_secret_is_shown_even_if_the_host_echoes_it() {
    let azure = Azure::start().await.unwrap();
    let key = azure.arc_key_folder().join("a.key");
    std::fs::write(&key, "canary-key\n".trim()).unwrap();
    let realm = format!("Basic realm={}", key.display());
    let echo = "canary-identity canary-msi canary-key";
    let answers = [
        reply(
            400,
            format!(
                r#"{{"error":"{echo}","error_description":"{echo}","correlation_id":"{echo}"}}"#
            ),
        ),
        reply(
            401,
            format!(r#"{{"message":"{echo}","correlationId":"{echo}"}}"#),
        ),
        reply(
            403,
            format!(
                r#"{{"error":{{"code":"{echo}","message":"{echo}","correlationId":"{echo}"}}}}"#
            ),
        ),
        reply(400, "").header("x-ms-request-id", echo),
        reply(500, echo),
        reply(
            200,
            format!(r#"{{"access_token":"{echo}","expires_in":1}}"#),
        ),
        reply(
            200,
            format!(r#"{{"access_token":"canary","expires_on":"{echo}"}}"#),
        ),
        reply(200, format!(r#"{{"access_token":{{"{echo}":1}}"#)),
    ];
    for (variables, secret) in [
        (&APP_SERVICE[..], "canary-identity"),
        (&SERVICE_FABRIC, "canary-identity"),
        (&MACHINE_LEARNING, "canary-msi"),
    ] {
        let builder = on(&Script::new([token()]), variables);
        let credential = builder.clone().build().unwrap();
        let debugged = format!("{builder:?} {credential:?} {builder:#?} {credential:#?}");
        assert!(!debugged.contains("canary"), "{debugged}");
        for answer in answers.clone() {
            let (error, _) = refused_on(variables, [answer]).await;
            assert!(!shown(&error).contains(secret), "{error:?}");
        }
    }
    for answer in answers {
        let question = reply(401, "").header("www-authenticate", &realm);
        let script = Script::new([question.clone(), answer.clone(), question, answer]);
        let builder = azure.arc_identity().transport(script.transport());
        let error = builder.build().unwrap().token(&vault()).await.unwrap_err();
        assert!(!shown(&error).contains("canary-key"), "{error:?}");
    }
}
