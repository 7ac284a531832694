//! Who signs in if nobody says it.

use super::*;

#[tokio::test]
async fn without_a_string_three_ways_are_tried_and_told() {
    let provider = TokenProvider::builder()
        .environment(nowhere())
        .build()
        .unwrap();
    let error = provider.token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .starts_with("tried 3 ways to get a token for https://vault.azure.net, and none of them worked\n  1. ManagedIdentityCredential ("),
        "{error}"
    );
    let names: Vec<_> = error
        .attempts()
        .iter()
        .map(|attempt| attempt.error().credential().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "ManagedIdentityCredential",
            "VisualStudioCredential",
            "AzureCliCredential"
        ]
    );
    for attempt in error.attempts() {
        assert_eq!(attempt.error().kind(), ErrorKind::Unavailable);
        assert!(attempt.error().advice().is_some(), "{attempt}");
    }
}

#[tokio::test]
async fn where_nothing_works_it_is_told_whether_it_may_later() {
    let folder = Folder::new();
    let mut variables = nowhere();
    variables[0].1 = install_az(
        &folder,
        "echo 'ERROR: connection refused by login.microsoftonline.com' >&2; exit 1",
    );
    let error_in = async |variables| {
        let provider = TokenProvider::builder().environment(variables);
        provider.build().unwrap().token(VAULT).await.unwrap_err()
    };
    let error = error_in(variables).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let last = error.attempts().last().unwrap().error();
    assert_eq!(last.kind(), ErrorKind::Unreachable, "{last}");
    assert!(error.is_transient());
    assert!(!error_in(nowhere()).await.is_transient());
}

/// What was not there when it was looked for may come up later.
#[tokio::test]
async fn r29_a_managed_identity_that_was_not_there_is_looked_for_again_after_half_a_minute() {
    let azure = Azure::start().await.unwrap();
    let provider = TokenProvider::builder()
        .environment(on_a_machine_of(&azure))
        .build()
        .unwrap();
    let credential = provider.credential();
    let clock = ManualRuntime::new();
    let request = TokenRequest::new(VAULT).with_runtime(Arc::new(clock.clone()));
    azure.fail_imds_probes(Failure::no_answer());
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.attempts().len(), 3, "{error}");
    azure.recover_imds_probes();
    clock.advance(Duration::from_secs(29));
    let error = credential.token(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    clock.advance(Duration::from_secs(1));
    let token = credential.token(&request).await.unwrap();
    assert_eq!(token.credential(), "ManagedIdentityCredential");
}

#[tokio::test(start_paused = true)]
async fn the_look_for_a_managed_identity_takes_as_long_as_it_was_given() {
    let azure = Azure::start().await.unwrap();
    azure.fail_imds_probes(Failure::hang());
    for (given, expected) in [(None, 1), (Some(5), 5)] {
        let mut builder = TokenProvider::builder().environment(on_a_machine_of(&azure));
        if let Some(seconds) = given {
            builder = builder.probe_timeout(Duration::from_secs(seconds));
        }
        let provider = builder.build().unwrap();
        let error = provider.token(VAULT).await.unwrap_err();
        assert_eq!(error.attempts()[0].took().as_secs(), expected, "{error}");
    }
}

/// Whoever finds the machine's identity does not become the developer when it
/// has an outage.
#[tokio::test(start_paused = true)]
async fn an_outage_of_the_managed_identity_is_not_answered_by_a_developers_tool() {
    let azure = Azure::start().await.unwrap();
    let folder = Folder::new();
    let mut variables = on_a_machine_of(&azure);
    variables[0].1 = install_az(&folder, "echo asked > \"${0%/*}/../asked\"; exit 1");
    azure.fail_token_requests(Failure::status(StatusCode::SERVICE_UNAVAILABLE));
    let provider = TokenProvider::builder().environment(variables);
    let error = provider.build().unwrap().token(VAULT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(error.credential(), Some("ManagedIdentityCredential"));
    assert!(!folder.at("asked").exists());
}
