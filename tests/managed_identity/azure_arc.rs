//! Servers with Azure Arc: the proof, and what a challenge must not have read.

use std::path::Path;

use super::*;

/// Asks through `script`, with the embedded agent's folder for keys.
fn scripted(azure: &Azure, script: &Script) -> ManagedIdentityCredentialBuilder {
    azure.arc_identity().transport(script.transport())
}

fn challenge(path: &Path) -> Reply {
    let realm = format!("Basic realm={}", path.display());
    reply(401, "").header("www-authenticate", &realm)
}

fn token_of(fields: &str) -> Reply {
    reply(
        200,
        format!(
            r#"{{"access_token":"t0k3n","expires_in":"3599","expires_on":"4102444800"{fields}}}"#
        ),
    )
}

#[tokio::test]
async fn the_embedded_agent_gives_a_token_for_the_proof() {
    let azure = Azure::start().await.unwrap();
    let credential = azure.arc_identity().build().unwrap();
    for round in 1..=2 {
        let token = soon(credential.token(&vault())).await.unwrap();
        let system = azure.system_assigned_identity();
        assert_eq!(token.principal().app_id(), Some(system.client_id()));
        // A question and its proof.
        assert_eq!(azure.requests().len(), 2 * round);
        assert_eq!(azure.token_requests(), round as u64);
    }
    let left = std::fs::read_dir(azure.arc_key_folder()).unwrap().count();
    assert_eq!(left, 0, "each key is good for one request");
}

#[tokio::test(start_paused = true)]
async fn the_content_of_the_key_file_is_sent_as_it_is() {
    let azure = Azure::start().await.unwrap();
    let path = azure.arc_key_folder().join("a.key");
    let key = "cmVhZA==:not encoded again";
    std::fs::write(&path, key).unwrap();
    let script = Script::new([challenge(&path), token()]);
    let credential = scripted(&azure, &script).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let seen = script.seen();
    assert_eq!(seen.len(), 2);
    assert!(!seen[0].headers.contains_key("authorization"));
    assert_eq!(seen[1].headers["authorization"], format!("Basic {key}"));
    assert!(seen[1].headers["authorization"].is_sensitive());
    for seen in &seen {
        assert_eq!(seen.headers["metadata"], "true");
        assert_eq!(seen.method, "GET");
    }
    assert_eq!(seen[0].uri, seen[1].uri);
    assert_eq!(
        seen[0].fields(),
        [
            ("api-version".to_owned(), "2020-06-01".to_owned()),
            ("resource".to_owned(), "https://vault.azure.net".to_owned()),
        ]
    );
}

/// The errors of every challenge in `challenges`, of which none may have read
/// or sent anything.
async fn refused(azure: &Azure, challenges: &[String]) {
    for challenge in challenges {
        let question = reply(401, "").header("www-authenticate", challenge);
        let script = Script::new([question, token()]);
        let credential = scripted(azure, &script).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidResponse,
            "{challenge}: {error}"
        );
        assert_eq!(script.requests(), 1, "{challenge}");
        assert!(error.advice().is_some(), "{error}");
        assert!(!shown(&error).contains("canary"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t6_no_file_is_read_but_a_key_in_the_agents_folder() {
    let azure = Azure::start().await.unwrap();
    let folder = azure.arc_key_folder();
    let outside = folder.with_extension("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for file in [
        outside.join("a.key"),
        folder.join("sub/a.key"),
        folder.join("a.pem"),
        folder.join("a.key.bak"),
        folder.join(".key"),
    ] {
        std::fs::write(file, "canary").unwrap();
    }
    let folder = folder.display();
    let paths = [
        format!("{}/a.key", outside.display()),
        format!(
            "{folder}/../{}/a.key",
            outside.file_name().unwrap().to_str().unwrap()
        ),
        format!("{folder}/sub/a.key"),
        format!("{folder}/sub/../a.key"),
        format!("{folder}//sub/a.key"),
        format!("{folder}/a.pem"),
        format!("{folder}/a.key.bak"),
        format!("{folder}/.key"),
        format!("{folder}/"),
        format!("{folder}"),
        "/proc/self/environ".to_owned(),
        "/etc/passwd".to_owned(),
        "a.key".to_owned(),
        String::new(),
    ];
    let challenges: Vec<_> = paths
        .iter()
        .flat_map(|path| {
            [
                format!("Basic realm={path}"),
                format!("Basic realm=\"{path}\""),
            ]
        })
        .chain([
            String::new(),
            "Basic".to_owned(),
            format!("Bearer realm={folder}/a.key"),
            format!("Basic realm={folder}/a.key, Basic realm={folder}/b.key"),
            format!("Basic realm=\"{folder}/a.key"),
        ])
        .collect();
    refused(&azure, &challenges).await;
    std::fs::remove_dir_all(outside).unwrap();
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn t6_only_a_small_regular_file_of_the_agent_is_read() {
    let azure = Azure::start().await.unwrap();
    let at = |name: &str| azure.arc_key_folder().join(name);
    std::fs::write(at("good.txt"), "canary").unwrap();
    std::os::unix::fs::symlink(at("good.txt"), at("link.key")).unwrap();
    std::os::unix::fs::symlink("/proc/self/environ", at("environ.key")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("zero.key")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe.key"))
        .status();
    assert!(made.unwrap().success());
    std::fs::create_dir(at("folder.key")).unwrap();
    std::fs::write(at("large.key"), "c".repeat(4097)).unwrap();
    std::fs::write(at("empty.key"), "").unwrap();
    std::fs::write(at("lines.key"), "canary\r\nx-evil: 1").unwrap();
    std::fs::write(at("binary.key"), b"canary\0").unwrap();
    let names = [
        "link", "environ", "zero", "pipe", "folder", "large", "empty", "lines", "binary", "hard",
    ];
    // Another name of a file that lies elsewhere.
    let elsewhere = azure.arc_key_folder().with_extension("elsewhere");
    std::fs::write(&elsewhere, "canary").unwrap();
    std::fs::hard_link(&elsewhere, at("hard.key")).unwrap();
    let mut challenges = Vec::from(names.map(|name| {
        let path = at(&format!("{name}.key"));
        format!("Basic realm={}", path.display())
    }));
    // Only root can give a file to somebody else.
    std::fs::write(at("foreign.key"), "canary").unwrap();
    if std::os::unix::fs::chown(at("foreign.key"), Some(54_321), None).is_ok() {
        challenges.push(format!("Basic realm={}", at("foreign.key").display()));
    }
    refused(&azure, &challenges).await;
    std::fs::remove_file(elsewhere).unwrap();

    // As large as it may be.
    std::fs::write(at("whole.key"), "c".repeat(4096)).unwrap();
    let script = Script::new([challenge(&at("whole.key")), token()]);
    let credential = scripted(&azure, &script).build().unwrap();
    credential.token(&vault()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_is_asked_for_once_more() {
    let azure = Azure::start().await.unwrap();
    let path = azure.arc_key_folder().join("late.key");
    let script = Script::new([challenge(&path)]);
    let credential = scripted(&azure, &script).build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
    assert!(
        error.message().contains("late.key does not exist"),
        "{error}"
    );
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_proof_and_not_another() {
    let azure = Azure::start().await.unwrap();
    let path = azure.arc_key_folder().join("a.key");
    std::fs::write(&path, "canary").unwrap();
    let script = Script::new([challenge(&path)]);
    let credential = scripted(&azure, &script).build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert!(
        error.advice().unwrap().contains("refuses the key"),
        "{error}"
    );
    assert_eq!(script.requests(), 2);

    // A server that wants none is not the agent.
    let script = Script::new([token()]);
    let credential = scripted(&azure, &script).build().unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{error}");
    assert!(
        error.message().contains("without asking for the proof"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn t8_no_redirect_is_followed_with_the_proof_or_without() {
    let azure = Azure::start().await.unwrap();
    let path = azure.arc_key_folder().join("a.key");
    std::fs::write(&path, "canary").unwrap();
    let elsewhere = || reply(307, "").header("location", "http://127.0.0.1:9/");
    for replies in [vec![elsewhere()], vec![challenge(&path), elsewhere()]] {
        let sent = replies.len();
        let script = Script::new(replies);
        let credential = scripted(&azure, &script).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert!(error.message().contains("is not followed"), "{error}");
        assert_eq!(script.requests(), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_may_pass_begin_with_a_new_proof() {
    let azure = Azure::start().await.unwrap();
    let path = azure.arc_key_folder().join("a.key");
    std::fs::write(&path, "canary").unwrap();
    for failure in [404, 408, 429, 500, 503] {
        let script = Script::new([
            reply(failure, ""),
            challenge(&path),
            reply(failure, ""),
            challenge(&path),
            token(),
        ]);
        let credential = scripted(&azure, &script).build().unwrap();
        credential.token(&vault()).await.unwrap();
        let proofs: Vec<_> = script
            .seen()
            .iter()
            .map(|seen| seen.headers.contains_key("authorization"))
            .collect();
        assert_eq!(proofs, [false, false, true, false, true], "{failure}");
    }
    let script = Script::new([reply(503, "")]);
    let credential = scripted(&azure, &script).build().unwrap();
    credential.token(&vault()).await.unwrap_err();
    assert_eq!(script.requests(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_agent_must_say_that_the_token_is_for_the_identity_that_was_asked_for() {
    let azure = Azure::start().await.unwrap();
    let path = azure.arc_key_folder().join("a.key");
    std::fs::write(&path, "canary").unwrap();
    let ask = async |id: ManagedIdentityId, fields: &str| {
        let script = Script::new([challenge(&path), token_of(fields)]);
        let builder = scripted(&azure, &script).user_assigned(id);
        builder.build().unwrap().token(&vault()).await
    };
    let upper = OBJECT_ID.to_uppercase();
    for (id, echo) in [
        (client_id("ab-CD"), r#","client_id":"AB-cd""#.to_owned()),
        (object_id(OBJECT_ID), format!(r#","object_id":"{upper}""#)),
        (resource_id("/R/i"), r#","msi_res_id":"/r/I""#.to_owned()),
        (
            resource_id("/R/i"),
            r#","mi_res_id":"/r/i","client_id":"x""#.to_owned(),
        ),
    ] {
        ask(id, &echo).await.unwrap();
    }
    for (id, echo) in [
        (client_id("ab-cd"), ""),
        (client_id("ab-cd"), r#","client_id":"other""#),
        (client_id("ab-cd"), r#","client_id":"""#),
        (client_id("ab-cd"), r#","client_id":["ab-cd"]"#),
        (client_id("ab-cd"), r#","object_id":"ab-cd""#),
        (client_id("ab-cd"), r#","client_id":"ab-cd ""#),
        (object_id("ab-cd"), r#","client_id":"ab-cd""#),
        (resource_id("/r/i"), r#","client_id":"/r/i""#),
        (
            resource_id("/r/i"),
            r#","msi_res_id":"/r/j","mi_res_id":"/r/i""#,
        ),
    ] {
        let error = ask(id, echo).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{echo}: {error}");
        assert!(
            error.advice().unwrap().contains("update the agent"),
            "{error}"
        );
    }
    // The machine's own needs no echo.
    let script = Script::new([challenge(&path), token_of("")]);
    let credential = scripted(&azure, &script).build().unwrap();
    credential.token(&vault()).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_knows_no_other_identities_is_found_out() {
    let azure = Azure::start().await.unwrap();
    let worker = azure.assign_user_identity("worker");
    for id in [
        client_id(worker.client_id()),
        object_id(worker.object_id()),
        resource_id(worker.resource_id()),
    ] {
        let credential = azure.arc_identity().user_assigned(id).build().unwrap();
        azure.arc_knows_user_assigned(true);
        let token = soon(credential.token(&vault())).await.unwrap();
        assert_eq!(token.principal().app_id(), Some(worker.client_id()));
        azure.arc_knows_user_assigned(false);
        let error = soon(credential.token(&vault())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        assert!(error.advice().unwrap().contains("update the agent"));
    }
    // Nor does it look whether there is such an identity.
    let stranger = azure.arc_identity().user_assigned(client_id(CLIENT_ID));
    let error = soon(stranger.build().unwrap().token(&vault()))
        .await
        .unwrap_err();
    assert!(error.advice().unwrap().contains("update the agent"));
    // Its own identity is one that it may lack.
    azure.assign_system_identity(false);
    let error = soon(azure.arc_identity().build().unwrap().token(&vault()))
        .await
        .unwrap_err();
    assert!(error.message().contains("Identity not found"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn in_a_chain_an_agent_that_does_not_run_is_passed_over() {
    let azure = Azure::start().await.unwrap();
    for (chained, kind) in [
        (false, ErrorKind::Unreachable),
        (true, ErrorKind::Unavailable),
    ] {
        let script = Script::new([Reply::Fail(io::ErrorKind::ConnectionRefused)]);
        let credential = scripted(&azure, &script).probe(chained).build().unwrap();
        let error = credential.token(&vault()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.advice().unwrap().contains("azcmagent"), "{error}");
    }
    // One that has served before is out of order.
    let path = azure.arc_key_folder().join("a.key");
    std::fs::write(&path, "canary").unwrap();
    let stopped = Reply::Fail(io::ErrorKind::ConnectionRefused);
    let script = Script::new([challenge(&path), token(), stopped]);
    let credential = scripted(&azure, &script).probe(true).build().unwrap();
    credential.token(&vault()).await.unwrap();
    let error = credential.token(&vault()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn the_embedded_agent_is_as_strict_as_the_real_one() {
    let azure = Azure::start().await.unwrap();
    azure.set_arc_challenge(Some("Basic realm=/etc/passwd"));
    let credential = azure.arc_identity().build().unwrap();
    let error = soon(credential.token(&vault())).await.unwrap_err();
    assert!(error.message().contains("\"/etc/passwd\""), "{error}");
    azure.set_arc_challenge(None);

    // A key that is none of the agent's.
    let forged = azure.arc_key_folder().join("forged.key");
    std::fs::write(&forged, "forged").unwrap();
    azure.set_arc_challenge(Some(&format!("Basic realm={}", forged.display())));
    let error = soon(credential.token(&vault())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
    assert_eq!(error.status().map(|status| status.as_u16()), Some(401));
    azure.set_arc_challenge(None);
    soon(credential.token(&vault())).await.unwrap();

    let request = TokenRequest::new("vault");
    let error = soon(credential.token(&request)).await.unwrap_err();
    assert_eq!(error.oauth_error(), Some("invalid_resource"));
    let stranger = azure.arc_identity().user_assigned(client_id(CLIENT_ID));
    let error = soon(stranger.build().unwrap().token(&vault()))
        .await
        .unwrap_err();
    assert!(error.message().contains("Identity not found"), "{error}");
    assert!(
        error.advice().unwrap().contains("assigned to this machine"),
        "{error}"
    );
    let folder = azure.arc_key_folder().to_owned();
    drop((credential, azure));
    // Whatever was left there.
    for _ in 0..1000 {
        if !folder.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the folder with the keys is still there");
}
