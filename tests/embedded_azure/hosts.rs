//! The other hosts of managed identities: what they want, and what they answer.

use super::*;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn value(variables: &[(&'static str, String)], name: &str) -> String {
    let found = variables.iter().find(|(known, _)| *known == name);
    found.unwrap().1.clone()
}

fn ask(url: &str, query: Pairs<'_>, headers: Pairs<'_>) -> Request<Full<Bytes>> {
    let mut request = Request::get(format!("{url}?{}", encoded(query)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

async fn opens_the_vault(azure: &Azure, client: &HttpClient, token: &Value) {
    azure.vault().set_secret("db", "s3cret");
    let response = send(client, get(DB, token.as_str())).await;
    assert_eq!(response.status(), 200, "{}", body(&response));
}

#[tokio::test]
async fn app_service_answers_by_version_2019() {
    let azure = Azure::start().await.unwrap();
    let client = azure.http_client();
    let variables = azure.app_service_environment();
    let url = value(&variables, "IDENTITY_ENDPOINT");
    let secret = value(&variables, "IDENTITY_HEADER");
    let proof = [("X-IDENTITY-HEADER", secret.as_str())];
    let version = ("api-version", "2019-08-01");
    let resource = ("resource", VAULT);

    let response = send(&client, ask(&url, &[version, resource], &proof)).await;
    let answer = body(&response);
    let mut fields: Vec<_> = answer.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "access_token",
            "client_id",
            "expires_on",
            "not_before",
            "resource",
            "token_type"
        ]
    );
    assert!(
        answer["expires_on"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    opens_the_vault(&azure, &client, &answer["access_token"]).await;

    let wrong = [("X-IDENTITY-HEADER", "wrong")];
    let older = [("secret", secret.as_str())];
    for (what, query, headers, status) in [
        ("no secret", &[version, resource][..], &[][..], 401),
        ("another secret", &[version, resource], &wrong, 401),
        ("the older name", &[version, resource], &older, 401),
        ("no version", &[resource], &proof, 400),
        (
            "a version to come",
            &[("api-version", "2030-01-01"), resource],
            &proof,
            400,
        ),
        ("no resource", &[version], &proof, 400),
        (
            "no audience",
            &[version, ("resource", "vault")],
            &proof,
            500,
        ),
        (
            "a stranger",
            &[version, resource, ("client_id", "x")],
            &proof,
            400,
        ),
        (
            "nobody",
            &[version, resource, ("client_id", "")],
            &proof,
            400,
        ),
        (
            "the older id",
            &[version, resource, ("clientid", "x")],
            &proof,
            400,
        ),
        (
            "the id of IMDS",
            &[version, resource, ("msi_res_id", "x")],
            &proof,
            400,
        ),
        (
            "two ids",
            &[version, resource, ("client_id", "x"), ("mi_res_id", "y")],
            &proof,
            400,
        ),
        ("twice", &[version, resource, resource], &proof, 400),
    ] {
        let response = send(&client, ask(&url, query, headers)).await;
        assert_eq!(response.status(), status, "{what}");
        let answer = body(&response);
        let nested = answer["error"]["code"] == "UnsupportedApiVersion";
        let is_flat = answer["statusCode"] == status && answer["correlationId"].is_string();
        assert!(nested || is_flat, "{what}: {answer}");
    }
    azure.app_service_refuses_2019(true);
    let response = send(&client, ask(&url, &[version, resource], &proof)).await;
    assert_eq!(body(&response)["error"]["code"], "UnsupportedApiVersion");
}

#[tokio::test]
async fn the_older_protocol_answers_with_dates_or_numbers() {
    let clock = ManualRuntime::new();
    let azure = Azure::builder()
        .runtime(Arc::new(clock.clone()))
        .start()
        .await
        .unwrap();
    let client = azure.http_client();
    let query = [("api-version", "2017-09-01"), ("resource", VAULT)];
    for (variables, is_date) in [
        (azure.app_service_2017_environment(), true),
        (azure.machine_learning_environment(), false),
    ] {
        let url = value(&variables, "MSI_ENDPOINT");
        let secret = value(&variables, "MSI_SECRET");
        let proof = [("secret", secret.as_str())];
        for on_windows in [false, true] {
            azure.app_service_on_windows(on_windows);
            let answer = body(&send(&client, ask(&url, &query, &proof)).await);
            if is_date {
                let date = answer["expires_on"].as_str().unwrap();
                assert!(date.ends_with(" +00:00"), "{date}");
                assert_eq!(date.contains('M'), on_windows, "{date}");
            } else {
                assert!(answer["expires_on"].is_u64(), "{answer}");
            }
            opens_the_vault(&azure, &client, &answer["access_token"]).await;
        }
        let stranger = [&query[..], &[("clientid", "x")]].concat();
        for (query, headers, status) in [
            (
                &query[..],
                &[("X-IDENTITY-HEADER", secret.as_str())][..],
                401,
            ),
            (&stranger, &proof, 400),
            (&[("api-version", "2017-09-01")], &proof, 400),
        ] {
            let response = send(&client, ask(&url, query, headers)).await;
            assert_eq!(response.status(), status);
            assert!(body(&response)["CorrelationId"].is_string());
        }
    }
}

#[tokio::test]
async fn cloud_shell_wants_a_form() {
    let azure = Azure::start().await.unwrap();
    let client = azure.http_client();
    let url = value(&azure.cloud_shell_environment(), "MSI_ENDPOINT");
    let form = |pairs: Pairs<'_>| {
        Request::post(&url)
            .header("Metadata", "true")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(Full::from(encoded(pairs)))
            .unwrap()
    };
    let answer = body(&send(&client, form(&[("resource", VAULT)])).await);
    assert_eq!(answer["refresh_token"], "");
    assert!(answer["expires_on"].is_string());
    opens_the_vault(&azure, &client, &answer["access_token"]).await;

    let mut no_form = form(&[("resource", VAULT)]);
    no_form.headers_mut().remove("content-type");
    let mut no_metadata = form(&[("resource", VAULT)]);
    no_metadata.headers_mut().remove("metadata");
    for (request, status, code) in [
        (form(&[]), 400, "BadRequest"),
        (form(&[("resource", "vault")]), 400, "AudienceNotSupported"),
        (
            form(&[("resource", VAULT), ("client_id", "x")]),
            400,
            "BadRequest",
        ),
        (no_form, 400, "BadRequest"),
        (no_metadata, 400, "BadRequest"),
        (
            ask(&url, &[("resource", VAULT)], &[("Metadata", "true")]),
            405,
            "MethodNotAllowed",
        ),
    ] {
        let response = send(&client, request).await;
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(body(&response)["error"]["code"], code);
        assert!(body(&response)["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn azure_arc_gives_a_token_for_what_its_key_file_holds_and_once() {
    let azure = Azure::start().await.unwrap();
    let client = azure.http_client();
    let url = value(&azure.arc_environment(), "IDENTITY_ENDPOINT");
    let query = [("api-version", "2020-06-01"), ("resource", VAULT)];
    let metadata = ("Metadata", "true");

    let response = send(&client, ask(&url, &query, &[])).await;
    assert_eq!(response.status(), 400, "without Metadata");

    let response = send(&client, ask(&url, &query, &[metadata])).await;
    let path = challenge(&response).strip_prefix("Basic realm=").unwrap();
    let path = std::path::Path::new(path);
    assert_eq!(path.parent(), Some(azure.arc_key_folder()));
    let key = std::fs::read_to_string(path).unwrap();
    let proof = format!("Basic {key}");
    let encoded_again = format!("Basic {}", STANDARD.encode(&key));
    for (authorization, status) in [
        ("Basic wrong", 401),
        (&*encoded_again, 401),
        (&*proof, 200),
        (&*proof, 401),
    ] {
        let headers = [metadata, ("Authorization", authorization)];
        let response = send(&client, ask(&url, &query, &headers)).await;
        assert_eq!(response.status(), status, "{authorization}");
        if status == 200 {
            let answer = body(&response);
            let system = azure.system_assigned_identity();
            assert_eq!(answer["msi_res_id"], system.resource_id());
            assert!(answer["expires_in"].is_string());
            opens_the_vault(&azure, &client, &answer["access_token"]).await;
        }
    }
    assert!(!path.exists(), "a key is good for one request");
    assert_eq!(azure.token_requests(), 4, "questions do not count");
}

#[tokio::test]
async fn key_files_do_not_pile_up() {
    let azure = Azure::start().await.unwrap();
    let client = azure.http_client();
    let url = value(&azure.arc_environment(), "IDENTITY_ENDPOINT");
    for _ in 0..120 {
        let response = send(&client, ask(&url, &[], &[("Metadata", "true")])).await;
        assert_eq!(response.status(), 401);
    }
    let kept = std::fs::read_dir(azure.arc_key_folder()).unwrap().count();
    assert_eq!(kept, 100);
}

#[tokio::test]
async fn the_hosts_share_holds_failures_and_rewrites() {
    let azure = Azure::start().await.unwrap();
    let client = azure.http_client();
    let variables = azure.app_service_environment();
    let url = value(&variables, "IDENTITY_ENDPOINT");
    let secret = value(&variables, "IDENTITY_HEADER");
    let request = || {
        let query = [("api-version", "2019-08-01"), ("resource", VAULT)];
        ask(&url, &query, &[("X-IDENTITY-HEADER", &secret)])
    };
    azure.fail_next_token_requests(1, Failure::status(StatusCode::BAD_GATEWAY));
    assert_eq!(send(&client, request()).await.status(), 502);
    azure.rewrite_token_answers(|answer| answer.replace("Bearer", "pop"));
    assert_eq!(body(&send(&client, request()).await)["token_type"], "pop");
    assert_eq!(azure.token_requests(), 2);
    let recorded = azure.requests();
    assert_eq!(recorded[0].endpoint(), Endpoint::AppService);
    assert_eq!(recorded[0].parameter_names(), ["api-version", "resource"]);
    assert_eq!(azure.imds_requests(), 0);
}
