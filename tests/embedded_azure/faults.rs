//! Holds, delays and failures on demand.

use super::*;

#[tokio::test]
async fn held_token_requests_wait_until_the_guard_is_gone() {
    let (azure, client) = with_secret().await;
    let hold = azure.hold_token_requests();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { imds_token(&client).await })
        })
        .collect();
    soon(azure.wait_for_token_requests(3)).await;
    assert_eq!(azure.max_concurrent_token_requests(), 3);
    assert_eq!(azure.tokens_issued(), 0);
    assert!(waiting.iter().all(|task| !task.is_finished()));

    hold.release();
    for task in waiting {
        soon(task).await.unwrap();
    }
    assert_eq!(azure.tokens_issued(), 1, "IMDS gives all of them the same");
    imds_token(&client).await;
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_nothing_behind() {
    let (azure, client) = with_secret().await;
    azure.fail_next_token_requests(1, Failure::hang());
    let task = tokio::spawn(client.request(imds_request(&GOOD_QUERY)));
    soon(azure.wait_for_token_requests(1)).await;
    task.abort();
    soon(task).await.unwrap_err();
    imds_token(&client).await;
    let hold = azure.vault().hold_requests();
    let task = tokio::spawn(client.request(get(DB, None)));
    soon(azure.vault().wait_for_requests(1)).await;
    task.abort();
    drop(hold);
    assert_eq!(send(&client, get(DB, None)).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn delays_are_on_tokios_clock() {
    let (azure, client) = with_secret().await;
    azure.delay_token_requests(Duration::from_secs(3));
    azure.vault().delay_requests(Duration::from_secs(5));
    let begun = tokio::time::Instant::now();
    let token = imds_token(&client).await;
    assert!(begun.elapsed() >= Duration::from_secs(3));
    send(&client, get(DB, Some(&token))).await;
    assert!(begun.elapsed() >= Duration::from_secs(8));
}

#[tokio::test]
async fn each_failure_is_what_it_says() {
    let (azure, client) = with_secret().await;
    let ask = async |failure| {
        azure.fail_token_requests(failure);
        let sent = send(&client, imds_request(&GOOD_QUERY)).await;
        azure.recover_token_requests();
        sent
    };
    let wait = Duration::from_secs(17);
    let sent = ask(Failure::status(StatusCode::TOO_MANY_REQUESTS).with_retry_after(wait)).await;
    assert_eq!(
        (sent.status().as_u16(), &sent.headers()["retry-after"]),
        (429, &"17".parse().unwrap())
    );

    let failure = Failure::oauth_error(StatusCode::BAD_REQUEST, "invalid_grant", 50_012);
    let sent = ask(failure).await;
    assert_eq!(body(&sent)["error"], "invalid_grant");
    assert_eq!(body(&sent)["error_codes"], json!([50_012]));

    let sent = ask(Failure::html()).await;
    assert!(
        sent.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(sent.body().starts_with(b"<!DOCTYPE html>"));

    assert!(ask(Failure::empty()).await.body().is_empty());
    let mistyped = body(&ask(Failure::mistyped()).await);
    assert!(mistyped["access_token"].is_number());
    let truncated = ask(Failure::truncated()).await;
    assert_eq!(truncated.status(), 200);
    assert!(
        serde_json::from_slice::<Value>(truncated.body())
            .unwrap_err()
            .is_eof()
    );
    let endless = ask(Failure::endless(5_000_000)).await;
    assert!(endless.body().len() > 5_000_000);
    assert!(!endless.headers().contains_key("content-length"));
    let custom = ask(Failure::answer(StatusCode::IM_A_TEAPOT, "short")).await;
    assert_eq!(
        (custom.status().as_u16(), &custom.body()[..]),
        (418, &b"short"[..])
    );

    let dripped = ask(Failure::drip(Duration::from_nanos(1))).await;
    assert_eq!(body(&dripped)["access_token"], "dripped");
}

#[tokio::test]
async fn broken_connections_break_where_they_say() {
    let (azure, client) = with_secret().await;
    azure.fail_token_requests(Failure::disconnect());
    let response = soon(client.request(imds_request(&GOOD_QUERY)))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    soon(response.into_body().collect()).await.unwrap_err();

    azure.fail_token_requests(Failure::no_answer());
    soon(client.request(imds_request(&GOOD_QUERY)))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn an_answer_of_300_megabytes_is_never_in_memory() {
    let (azure, client) = with_secret().await;
    azure.fail_token_requests(Failure::endless(300 << 20));
    let request = entra_request(&azure, &good_form(&azure));
    let mut body = soon(client.request(request)).await.unwrap().into_body();
    let mut read = 0;
    while read < 4 << 20 {
        let frame = soon(body.frame()).await.unwrap().unwrap();
        read += frame.into_data().unwrap().len();
    }
    // Who has enough goes away, and the server notices.
    drop(body);
    azure.recover_token_requests();
    imds_token(&client).await;
}

#[tokio::test]
async fn failures_can_be_counted_and_belong_to_one_endpoint() {
    let (azure, client) = with_secret().await;
    let down = || Failure::status(StatusCode::SERVICE_UNAVAILABLE);
    azure.fail_next_token_requests(2, down());
    for status in [503, 503, 200, 200] {
        let sent = send(&client, imds_request(&GOOD_QUERY)).await;
        assert_eq!(sent.status(), status);
    }
    let token = imds_token(&client).await;
    azure.vault().fail_next_requests(1, down());
    imds_token(&client).await;
    for status in [503, 200] {
        assert_eq!(send(&client, get(DB, Some(&token))).await.status(), status);
    }
    azure.vault().fail_requests(down());
    assert_eq!(send(&client, get(DB, Some(&token))).await.status(), 503);
    azure.vault().recover();
    assert_eq!(send(&client, get(DB, Some(&token))).await.status(), 200);
}

#[tokio::test]
async fn good_answers_can_be_rewritten() {
    let (azure, client) = with_secret().await;
    azure.rewrite_token_answers(|answer| answer.replace(r#""86400""#, "86400.5"));
    let response = send(&client, imds_request(&GOOD_QUERY)).await;
    assert_eq!(body(&response)["expires_in"], 86_400.5);
    azure.keep_token_answers();
    let response = send(&client, imds_request(&GOOD_QUERY)).await;
    assert_eq!(body(&response)["expires_in"], "86400");
}
