//! Virtual machines: what is sent, how long it insists, and how it finds out
//! that it is somewhere else.

use super::*;

const NOT_ASSIGNED: &str =
    r#"{"error":"invalid_request","error_description":"Identity not found"}"#;

fn builder(script: &Script) -> ManagedIdentityCredentialBuilder {
    ManagedIdentityCredential::builder()
        .endpoint("http://127.0.0.1:1")
        .transport(script.transport())
}

async fn error_after(replies: impl IntoIterator<Item = Reply>) -> (Error, Script) {
    let script = Script::new(replies);
    let credential = builder(&script).build().unwrap();
    (credential.token(&vault()).await.unwrap_err(), script)
}

#[tokio::test(start_paused = true)]
async fn the_request_is_as_the_metadata_service_wants_it() {
    let script = Script::new([token()]);
    let credential = builder(&script).build().unwrap();
    let token = credential.token(&vault()).await.unwrap();

    let seen = &script.seen()[0];
    assert_eq!(seen.method, "GET");
    assert_eq!(
        seen.uri,
        "http://127.0.0.1:1/metadata/identity/oauth2/token\
         ?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
    );
    assert_eq!(seen.body, "");
    assert_eq!(token.secret(), "t0k3n");
    assert_eq!(token.credential(), "ManagedIdentityCredential");
    assert_eq!(token.principal().principal_type(), Some(PrincipalType::App));
    assert_eq!(token.principal().app_id(), Some(CLIENT_ID));
}

#[tokio::test(start_paused = true)]
async fn one_identity_is_named_and_everything_is_encoded() {
    let resource = "/subscriptions/s/resourcegroups/r&x=1/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i";
    for (id, field) in [
        (
            ManagedIdentityId::ClientId(CLIENT_ID.to_owned()),
            "client_id",
        ),
        (
            ManagedIdentityId::ObjectId(CLIENT_ID.to_owned()),
            "object_id",
        ),
        (
            ManagedIdentityId::ResourceId(resource.to_owned()),
            "msi_res_id",
        ),
    ] {
        let script = Script::new([token()]);
        let credential = builder(&script).user_assigned(id).build().unwrap();
        credential
            .token(&TokenRequest::new(
                "api://a&client_id=b c#d".replace(' ', "%20"),
            ))
            .await
            .unwrap();
        let seen = &script.seen()[0];
        let fields = seen.fields();
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["api-version", "resource", field]);
        assert_eq!(fields[1].1, "api://a&client_id=b%20c#d");
        if field == "msi_res_id" {
            assert_eq!(fields[2].1, resource);
        }
    }
    let script = Script::new([token()]);
    let credential = builder(&script).build().unwrap();
    for (audience, resource) in [
        (
            "https://management.azure.com/",
            "https://management.azure.com/",
        ),
        (
            "https://management.azure.com//.default",
            "https://management.azure.com/",
        ),
        ("api://x/.default", "api://x"),
    ] {
        credential
            .token(&TokenRequest::new(audience))
            .await
            .unwrap();
        let seen = script.seen();
        assert_eq!(
            seen.last().unwrap().field("resource").as_deref(),
            Some(resource)
        );
    }
}

#[test]
fn settings_that_cannot_be_used_are_refused_with_advice() {
    let id = |id: &str| {
        ManagedIdentityCredential::builder()
            .user_assigned(ManagedIdentityId::ClientId(id.to_owned()))
    };
    let endpoint = |text: &str| ManagedIdentityCredential::builder().endpoint(text);
    for builder in [
        id(""),
        id(" "),
        id("a b"),
        id("a\nb"),
        ManagedIdentityCredential::builder()
            .user_assigned(ManagedIdentityId::ObjectId(String::new())),
        ManagedIdentityCredential::builder()
            .user_assigned(ManagedIdentityId::ResourceId(String::new())),
        endpoint(""),
        endpoint("169.254.169.254"),
        endpoint("http://metadata.example"),
        endpoint("http://8.8.8.8"),
        endpoint("https://metadata.example"),
        endpoint("http://127.0.0.1/metadata/identity/oauth2/token"),
    ] {
        let shown = format!("{builder:?}");
        let error = builder.build().expect_err(&shown);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{shown}");
        assert!(error.advice().is_some(), "{error}");
        assert_eq!(error.credential(), Some("ManagedIdentityCredential"));
    }
}

#[tokio::test(start_paused = true)]
async fn tenant_and_claims_are_passed_over() {
    let script = Script::new([token()]);
    let credential = builder(&script).build().unwrap();
    let request = vault()
        .with_tenant(TenantId::new("other.com").unwrap())
        .with_claims(Claims::from_json(r#"{"access_token":{}}"#).unwrap());
    credential.token(&request).await.unwrap();
    assert_eq!(script.seen()[0].fields().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_tried_six_times() {
    for failure in [
        reply(404, ""),
        reply(408, ""),
        reply(429, ""),
        reply(500, r#"{"error":"unknown"}"#),
        reply(503, ""),
        Reply::Fail(io::ErrorKind::ConnectionRefused),
        Reply::Fail(io::ErrorKind::TimedOut),
    ] {
        let (error, script) = error_after([failure]).await;
        assert!(error.is_transient(), "{error}");
        let moments = script.moments();
        assert_eq!(moments.len(), 6, "{error}: {moments:?}");
        for (wait, expected) in moments.windows(2).zip([1.0, 2.0, 4.0, 8.0, 16.0]) {
            let wait = wait[1] - wait[0];
            assert!(
                (expected - 0.01..expected * 1.5 + 0.01).contains(&wait),
                "{moments:?}"
            );
        }
    }
    for refusal in [400, 401, 403] {
        let (_, script) = error_after([reply(refusal, r#"{"error":"invalid_resource"}"#)]).await;
        assert_eq!(script.requests(), 1, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_is_waited_for_whatever_came_first() {
    for before in 0..6 {
        let replies = std::iter::repeat_n(reply(404, ""), before).chain([reply(410, "")]);
        let (error, script) = error_after(replies).await;
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let last = *script.moments().last().unwrap();
        assert!((70.0..72.0).contains(&last), "{:?}", script.moments());
        assert!(script.requests() <= 12, "{:?}", script.moments());
    }
    // The service is back after 69 seconds.
    let script = Script::new(std::iter::repeat_n(reply(410, ""), 6).chain([token()]));
    let credential = builder(&script).build().unwrap();
    credential.token(&vault()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_to_or_returned() {
    let script = Script::new([reply(429, "").header("retry-after", "5"), token()]);
    let credential = builder(&script).build().unwrap();
    credential.token(&vault()).await.unwrap();
    assert!((5.0..5.1).contains(&script.moments()[1]));

    for status in [404, 429, 503] {
        let (error, script) = error_after([reply(status, "").header("retry-after", "81")]).await;
        assert_eq!(error.retry_after(), Some(Duration::from_secs(81)));
        assert_eq!(script.moments(), [0.0]);
    }
}

#[tokio::test(start_paused = true)]
async fn r13_a_black_hole_costs_no_more_than_the_budget() {
    let started = tokio::time::Instant::now();
    let (error, _) = error_after([Reply::Hang]).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        started.elapsed() <= Duration::from_secs(80),
        "{:?}",
        started.elapsed()
    );
    assert!(
        error
            .to_string()
            .contains("does not look like an Azure virtual machine"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_identity_that_is_not_assigned_is_said_to_be_so() {
    let (error, script) = error_after([reply(400, NOT_ASSIGNED)]).await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(
        error
            .to_string()
            .contains("no identity is assigned to this machine"),
        "{error}"
    );
    assert_eq!(script.requests(), 1);

    let script = Script::new([reply(400, NOT_ASSIGNED)]);
    let credential = builder(&script)
        .user_assigned(ManagedIdentityId::ClientId(CLIENT_ID.to_owned()))
        .build()
        .unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("client id {CLIENT_ID:?}")),
        "{error}"
    );

    // In a chain it means: go on.
    let script = Script::new([reply(400, ""), reply(400, NOT_ASSIGNED)]);
    let credential = builder(&script).probe(true).build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);

    let (error, _) = error_after([reply(
        400,
        r#"{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal named x was not found"}"#,
    )])
    .await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.advice().unwrap().contains("audience"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn t8_a_redirect_is_an_error_and_not_followed() {
    let (error, script) =
        error_after([reply(302, "").header("location", "http://127.0.0.1:2/elsewhere")]).await;
    assert_eq!(error.kind(), ErrorKind::InvalidResponse);
    assert!(
        error
            .to_string()
            .contains("to 127.0.0.1:2, which is not followed"),
        "{error}"
    );
    assert_eq!(script.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_probe_looks_once_and_without_the_header() {
    let in_any_form = [400, 408, 410, 429, 500, 503].map(|status| reply(status, "anything"));
    // An error in the form of Azure is one of Azure, whatever its status.
    let in_json = [200, 401, 403, 404, 502].map(|status| reply(status, r#"{"error":"any"}"#));
    for answer in in_any_form.into_iter().chain(in_json) {
        let script = Script::new([answer, token()]);
        let credential = builder(&script).probe(true).build().unwrap();
        for _ in 0..3 {
            credential.token(&vault()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(100_000)).await;
        }
        let seen = script.seen();
        assert_eq!(seen.len(), 4);
        assert_eq!(
            seen[0].uri,
            "http://127.0.0.1:1/metadata/identity/oauth2/token"
        );
        assert!(seen[0].headers.is_empty(), "{:?}", seen[0].headers);
        assert_eq!(seen[1].headers["metadata"], "true");
    }
}

/// What is at the address of the metadata service in other clouds and on some
/// networks, by status and body.
const NOT_AZURE: [(u16, &str); 8] = [
    (200, "<html>sign in"),
    (200, r#"{"meta-data":"latest"}"#),
    (200, "[]"),
    (
        401,
        "<?xml version=\"1.0\"?><html>401 - Unauthorized</html>",
    ),
    (403, "<html>Missing Metadata-Flavor</html>"),
    (404, "<html>404 - Not Found</html>"),
    (502, "<html>bad gateway"),
    (504, ""),
];

#[tokio::test(start_paused = true)]
async fn what_other_clouds_have_at_the_address_is_no_metadata_service() {
    for (status, body) in NOT_AZURE {
        let script = Script::new([reply(status, body)]);
        let credential = builder(&script).probe(true).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}: {error}");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(status));
        assert!(error.message().contains("not as the metadata"), "{error}");
        assert!(error.advice().unwrap().contains("does not look"), "{error}");
        assert_eq!(script.requests(), 1, "a probe costs nobody more");
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_a_token_request_shows_to_be_elsewhere_is_unavailable_in_a_chain() {
    for (status, body) in NOT_AZURE {
        if status == 502 || status == 504 {
            // An outage, as far as anybody can tell.
            continue;
        }
        let script = Script::new([reply(400, "who are you?"), reply(status, body)]);
        let credential = builder(&script).probe(true).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}: {error}");
        assert!(error.advice().unwrap().contains("does not look"), "{error}");

        // Who asks for nothing else gets the error, and is told the same.
        let (error, _) = error_after([reply(status, body)]).await;
        let expected = match status {
            200 => ErrorKind::InvalidResponse,
            404 => ErrorKind::Unreachable,
            _ => ErrorKind::Rejected,
        };
        assert_eq!(error.kind(), expected, "{status}: {error}");
        assert!(error.advice().is_some(), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_the_endpoint_of_identities_is_unavailable_in_a_chain() {
    let missing = || reply(404, r#"{"error":"not_found"}"#);
    let probed = || reply(400, r#"{"error":"bad_request_102"}"#);
    let script = Script::new([probed(), missing()]);
    let credential = builder(&script).probe(true).build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(script.requests(), 1 + 6, "it may be an update");

    let script = Script::new([probed(), token(), missing()]);
    let credential = builder(&script).probe(true).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "it had one: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_metadata_service_that_fails_is_no_sign_of_being_elsewhere() {
    let probed = || reply(400, r#"{"error":"bad_request_102"}"#);
    let expired = format!(
        r#"{{"access_token":"t0k3n","expires_in":"-5","expires_on":"1500000000","client_id":"{CLIENT_ID}"}}"#
    );
    for (failure, kind) in [
        (reply(200, expired), ErrorKind::InvalidResponse),
        (reply(200, "<html>"), ErrorKind::InvalidResponse),
        (reply(403, "<html>"), ErrorKind::Rejected),
        (reply(429, ""), ErrorKind::Throttled),
        (reply(503, ""), ErrorKind::Unreachable),
        (
            Reply::Fail(io::ErrorKind::ConnectionRefused),
            ErrorKind::Unreachable,
        ),
        (Reply::Hang, ErrorKind::Timeout),
    ] {
        let script = Script::new([probed(), failure]);
        let credential = builder(&script).probe(true).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let advice = error.advice().unwrap_or_default();
        assert!(!advice.contains("does not look"), "{error}");
        if error.status().is_none() {
            assert!(advice.contains("has answered before"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_that_microsoft_documents_come_with_what_to_do() {
    for (status, code, kind, requests, advice) in [
        (
            400,
            "invalid_resource",
            ErrorKind::Rejected,
            1,
            "check the audience",
        ),
        (
            400,
            "invalid_scope",
            ErrorKind::Rejected,
            1,
            "check the audience",
        ),
        (
            401,
            "unauthorized_client",
            ErrorKind::Rejected,
            1,
            "no identity is assigned to this machine",
        ),
        (
            500,
            "unknown",
            ErrorKind::Unreachable,
            6,
            "has a managed identity",
        ),
        (
            401,
            "unknown_source",
            ErrorKind::Rejected,
            1,
            "check that the endpoint",
        ),
        (400, "invalid_request", ErrorKind::Rejected, 1, ""),
        (400, "access_denied", ErrorKind::Rejected, 1, ""),
        (400, "unsupported_response_type", ErrorKind::Rejected, 1, ""),
    ] {
        let body = format!(r#"{{"error":"{code}","error_description":"what Azure says"}}"#);
        let (error, script) = error_after([reply(status, body.clone())]).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.oauth_error(), Some(code));
        assert!(error.message().contains("what Azure says"), "{error}");
        assert_eq!(script.requests(), requests, "{error}");
        let given = error.advice().unwrap_or_default();
        assert!(
            given.contains(advice) && given.is_empty() == advice.is_empty(),
            "{error}"
        );

        // Only that there is no identity lets a chain go on.
        let script = Script::new([reply(400, ""), reply(status, body)]);
        let credential = builder(&script).probe(true).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        let is_unavailable = error.kind() == ErrorKind::Unavailable;
        assert_eq!(is_unavailable, code == "unauthorized_client", "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn r29_a_probe_that_finds_nothing_is_remembered_for_thirty_seconds_at_most() {
    for nothing in [
        Reply::Hang,
        Reply::Fail(io::ErrorKind::ConnectionRefused),
        reply(
            403,
            "A socket operation was attempted to an Unreachable network",
        ),
        reply(403, r#"{"error":"connect: network is unreachable"}"#),
        reply(302, "").header("location", "http://portal.example/"),
    ] {
        let script = Script::new([nothing, reply(400, ""), token()]);
        let credential = builder(&script).probe(true).build().unwrap();
        let started = tokio::time::Instant::now();
        for _ in 0..10 {
            let error = credential.token(&vault()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.advice().is_some());
        }
        assert!(started.elapsed() <= Duration::from_millis(1010));
        assert_eq!(script.requests(), 1);

        tokio::time::sleep(Duration::from_secs(30)).await;
        credential.token(&vault()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn while_probing_what_is_no_metadata_service_is_unavailable() {
    let script = Script::new([reply(200, "<html>"), reply(200, "<html>")]);
    let credential = builder(&script).probe(true).build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

    // Once it has issued a token it is one, and garbage is garbage.
    let script = Script::new([reply(400, ""), token(), reply(200, "<html>")]);
    let credential = builder(&script).probe(true).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
}

#[tokio::test]
async fn t8_only_headers_of_the_allow_list_are_sent() {
    let (heads, mut received) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            while let Some((head, body)) = read_request(&mut stream).await {
                heads.send((head, body)).unwrap();
                write_json(&mut stream, "200 OK", scripted::TOKEN).await;
            }
        }
    })
    .await;
    let credential = ManagedIdentityCredential::builder()
        .endpoint(server.url())
        .build()
        .unwrap();
    credential.token(&vault()).await.unwrap();
    let (head, body) = received.recv().await.unwrap();
    let mut lines = head.lines();
    assert_eq!(
        lines.next(),
        Some(
            "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1"
        )
    );
    let mut headers: Vec<_> = lines.map(str::to_ascii_lowercase).collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            format!("host: {}", server.address),
            "metadata: true".to_owned()
        ]
    );
    assert_eq!(body, "");
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_told_from_one_that_refuses() {
    let address = closed_port();
    let credential = ManagedIdentityCredential::builder()
        .endpoint(format!("http://{address}"))
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    // No time for a wait, and a clock that cannot cut the one try short.
    let request = vault().with_runtime(Arc::new(HandClock::new()));
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(
        text.contains(&format!(
            "{address} could not be reached: Connection refused"
        )),
        "{text}"
    );
    assert!(
        text.contains("does not look like an Azure virtual machine"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_no_proxy_variable_sends_a_metadata_request_to_a_proxy() {
    let proxy = Server::start(|_, mut stream| async move {
        read_request(&mut stream).await;
    })
    .await;
    let metadata = Server::start(|_, mut stream| async move {
        let (head, _) = read_request(&mut stream).await.unwrap();
        assert!(!head.to_ascii_lowercase().contains("x-identity-header"));
        write_json(&mut stream, "200 OK", scripted::TOKEN).await;
    })
    .await;
    // Not in the form that no transport sends to a proxy.
    let host = metadata.url().replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let url = proxy.url();
    tokio::task::spawn_blocking(move || {
        let mut variables = vec![
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", host.as_str()),
            ("IDENTITY_HEADER", "canary"),
        ];
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            variables.push((name, &url));
        }
        in_own_process("imds::child_asks_for_a_token", &variables);
    })
    .await
    .unwrap();
    assert_eq!(metadata.connections(), 1);
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
#[ignore = "run in a process of its own, by the test above"]
async fn child_asks_for_a_token() {
    let credential = ManagedIdentityCredential::new().unwrap();
    credential.token(&vault()).await.unwrap();
}
