//! Nothing waits without a limit, and nothing is left behind.

use super::*;

const HOSTS: [&[(&str, &str)]; 6] = [
    &MACHINE,
    &APP_SERVICE,
    &MACHINE_LEARNING,
    &CLOUD_SHELL,
    &AZURE_ARC,
    &SERVICE_FABRIC,
];

#[tokio::test(start_paused = true)]
async fn one_deadline_holds_for_probe_attempts_and_waits() {
    for variables in HOSTS {
        for chained in [false, true] {
            for replies in [
                vec![Reply::Hang],
                vec![reply(503, "")],
                // The probe takes some of it, then nothing answers.
                vec![reply(400, ""), reply(503, ""), Reply::Hang],
            ] {
                let script = Script::new(replies);
                let credential = on(&script, variables)
                    .probe(chained)
                    .probe_timeout(Duration::from_secs(30))
                    .timeout(Duration::from_secs(3))
                    .build()
                    .unwrap();
                let started = tokio::time::Instant::now();
                credential.token(&vault()).await.unwrap_err();
                let took = started.elapsed();
                assert!(
                    took <= Duration::from_millis(3001),
                    "{variables:?}: {took:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_deadline_holds_for_the_question_of_azure_arc_and_the_proof() {
    let azure = Azure::start().await.unwrap();
    let key = azure.arc_key_folder().join("a.key");
    std::fs::write(&key, "key").unwrap();
    let realm = format!("Basic realm={}", key.display());
    let question = reply(401, "").header("www-authenticate", &realm);
    let script = Script::new([reply(503, ""), question, Reply::Hang]);
    let credential = azure
        .arc_identity()
        .transport(script.transport())
        .timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(script.requests(), 3);
    assert!(started.elapsed() <= Duration::from_millis(3001));

    // An attempt is both.
    let question = reply(401, "").header("www-authenticate", &realm);
    let script = Script::new([question, Reply::Hang]);
    let credential = azure
        .arc_identity()
        .transport(script.transport())
        .attempt_timeout(Duration::from_secs(2))
        .timeout(Duration::from_millis(2500))
        .build()
        .unwrap();
    let started = tokio::time::Instant::now();
    credential.token(&vault()).await.unwrap_err();
    let took = started.elapsed();
    assert!((2.0..2.1).contains(&took.as_secs_f64()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_probe_takes_as_long_as_it_was_given() {
    for limit in [Duration::from_millis(250), Duration::from_secs(6)] {
        let script = Script::new([Reply::Hang]);
        let credential = on(&script, &MACHINE)
            .probe(true)
            .probe_timeout(limit)
            .build()
            .unwrap();
        let started = tokio::time::Instant::now();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let took = started.elapsed();
        assert!(
            (limit..limit + Duration::from_millis(5)).contains(&took),
            "{took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn where_variables_name_the_host_there_is_no_probe() {
    for variables in &HOSTS[1..] {
        let script = Script::new([token()]);
        let credential = on(&script, variables).probe(true).build().unwrap();
        let _ = credential.token(&vault()).await;
        let seen = &script.seen()[0];
        let asked = match seen.method.as_str() {
            "POST" => seen.field("resource"),
            _ => seen.field("api-version"),
        };
        assert!(asked.is_some(), "{variables:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ahead_of_need_and_other_tenants_are_asked_for_as_usual() {
    for variables in HOSTS {
        let script = Script::new([token()]);
        let credential = on(&script, variables).build().unwrap();
        let other = TenantId::new("other.com").unwrap();
        assert_eq!(credential.tenant(&other), None, "{variables:?}");
        let _ = credential.token(&vault().with_tenant(other)).await;
        assert!(!script.seen()[0].uri.to_string().contains("other.com"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_retries_of_all_acquisitions_together_have_a_limit() {
    for variables in HOSTS {
        let script = Script::new([reply(503, "")]);
        let credential = on(&script, variables).build().unwrap();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let credential = credential.clone();
            asking.spawn(async move { credential.token(&vault()).await });
        }
        while let Some(asked) = asking.join_next().await {
            asked.unwrap().unwrap_err();
        }
        let lasted = script.moments().last().copied().unwrap();
        let retries = u32::try_from(script.requests() - 50).unwrap();
        // Ten that were saved up, a tenth of the acquisitions, one a second.
        assert!(
            f64::from(retries) <= 10.0 + 5.0 + lasted,
            "{variables:?}: {retries} in {lasted} s"
        );
    }
}

#[tokio::test]
async fn a_cache_asks_a_host_for_five_tokens_at_once_and_not_for_more() {
    let azure = Azure::start().await.unwrap();
    for (round, variables) in [
        vec![("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.imds_host())],
        azure.app_service_environment(),
    ]
    .into_iter()
    .enumerate()
    {
        let builder = ManagedIdentityCredential::builder().environment(variables);
        let tokens = TokenCache::new(builder.build().unwrap());
        let before = azure.token_requests();
        let hold = azure.hold_token_requests();
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..20 {
            let tokens = tokens.clone();
            let audience = format!("api://{round}-{number}");
            asking.spawn(async move { tokens.token(&*audience).await });
        }
        soon(azure.wait_for_token_requests(before + 5)).await;
        hold.release();
        while let Some(asked) = soon(asking.join_next()).await {
            asked.unwrap().unwrap();
        }
        assert_eq!(azure.token_requests(), before + 20);
        assert_eq!(azure.max_concurrent_token_requests(), 5);
    }
}

#[tokio::test]
async fn who_gives_up_leaves_nothing_behind_that_hinders_others() {
    let azure = Azure::start().await.unwrap();
    let builder = |variables| ManagedIdentityCredential::builder().environment(variables);
    let mut asked = 0;
    for credential in [
        builder(azure.app_service_environment()).build().unwrap(),
        builder(azure.machine_learning_environment())
            .build()
            .unwrap(),
        builder(azure.cloud_shell_environment()).build().unwrap(),
        builder(azure.service_fabric_environment()).build().unwrap(),
        azure.arc_identity().build().unwrap(),
    ] {
        let hold = azure.hold_token_requests();
        asked += 1;
        let waiting = {
            let credential = credential.clone();
            tokio::spawn(async move { credential.token(&vault()).await })
        };
        soon(azure.wait_for_token_requests(asked)).await;
        waiting.abort();
        assert!(soon(waiting).await.unwrap_err().is_cancelled());
        drop(hold);
        asked += 1;
        soon(credential.token(&vault())).await.unwrap();
        assert_eq!(azure.token_requests(), asked, "{credential:?}");
    }
}

#[tokio::test]
async fn t18_an_answer_without_an_end_is_not_read_to_it() {
    let azure = Azure::start().await.unwrap();
    azure.fail_token_requests(Failure::endless(300 << 20));
    for variables in [
        azure.app_service_environment(),
        azure.service_fabric_environment(),
    ] {
        let builder = ManagedIdentityCredential::builder()
            .environment(variables)
            .timeout(Duration::from_secs(1));
        let error = soon(builder.build().unwrap().token(&vault()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
        assert!(error.message().contains("larger than 1 MiB"), "{error}");
    }
}
