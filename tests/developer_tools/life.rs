//! How a tool is run, for how long, and what is left of it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tower_bearer::azure::{
    AzureCliCredential, AzureDeveloperCliCredential, VisualStudioCredential,
};
use tower_bearer::{Credential as _, ErrorKind, TokenCache};

use super::tool_stub::{Folder, Stub, eventually, write_stub};
use super::{Clock, VAULT, assert_says, az, cli_answer, request, token_of};

#[cfg(target_os = "linux")]
use super::tool_stub::{group_of, is_there};

/// Starts processes of its own, says its process id, and does not end.
const HANGS: &str = "\
sleep 1000 &
(sleep 1000 & sleep 1000) &
echo $$ >\"$here/pid\"
wait";

#[cfg(target_os = "linux")]
async fn is_gone(leader: &str) {
    eventually(|| (group_of(leader).is_empty() && !is_there(leader)).then_some(())).await;
}

/// Until the stub and all that it starts are there.
#[cfg(target_os = "linux")]
async fn hangs(stub: &Stub) -> String {
    let leader = stub.folder.written("pid").await;
    eventually(|| (group_of(&leader).len() >= 4).then_some(())).await;
    leader
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn r50_a_tool_that_hangs_is_killed_with_all_that_it_started() {
    const LAST_MOMENT: Duration = Duration::from_millis(9_999);
    let stub = Stub::new("az", HANGS);
    let credential = az(&stub);
    let clock = Clock::new();
    let asked = request().with_runtime(Arc::new(clock.clone()));
    let asking = tokio::spawn(async move { credential.token(&asked).await });
    let leader = hangs(&stub).await;
    clock.advance(LAST_MOMENT);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished() && is_there(&leader));

    clock.advance(Duration::from_millis(1));
    let error = asking.await.unwrap().unwrap_err();
    assert_says(
        &error,
        ErrorKind::Timeout,
        &["did not end within 10 s", "az account show"],
    );
    is_gone(&leader).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn r50_a_program_of_visual_studio_has_half_a_minute() {
    let stub = Stub::new("provider.exe", HANGS);
    let list = stub.folder.write(
        "tokenprovider.json",
        format!(
            r#"{{"TokenProviders":[{{"Path":"{}","Preference":1}}]}}"#,
            stub.path.display()
        ),
    );
    let credential = VisualStudioCredential::builder().token_provider_file(list);
    let credential = credential.build().unwrap();
    let clock = Clock::new();
    let asked = request().with_runtime(Arc::new(clock.clone()));
    let asking = tokio::spawn(async move { credential.token(&asked).await });
    let leader = hangs(&stub).await;
    clock.advance(Duration::from_millis(29_999));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished() && is_there(&leader));
    clock.advance(Duration::from_millis(1));
    let error = asking.await.unwrap().unwrap_err();
    assert_says(&error, ErrorKind::Timeout, &["did not end within 30 s"]);
    is_gone(&leader).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn r50_a_call_that_is_cancelled_leaves_no_process_behind() {
    let stub = Stub::new("az", HANGS);
    let credential = az(&stub);
    let asking = tokio::spawn(async move { credential.token(&request()).await });
    let leader = hangs(&stub).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    is_gone(&leader).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn i7_r50_dropping_the_last_cache_leaves_no_process_behind() {
    let stub = Stub::new("az", HANGS);
    let tokens = TokenCache::builder(az(&stub)).runtime(Clock::new()).build();
    let caller = tokens.clone();
    let asking = tokio::spawn(async move { caller.token(VAULT).await });
    let leader = hangs(&stub).await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    // The flight is nobody's: it goes on until the last handle is gone.
    assert!(is_there(&leader));
    drop(tokens);
    is_gone(&leader).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn t13_a_tool_that_writes_without_end_is_stopped() {
    for redirected in ["", ">&2"] {
        let stub = Stub::new(
            "az",
            &format!("echo $$ >\"$here/pid\"\nhead -c 1073741824 /dev/zero {redirected}"),
        );
        let error = super::error_of(&az(&stub)).await;
        assert_says(
            &error,
            ErrorKind::InvalidResponse,
            &["more than 1024 KiB of output"],
        );
        is_gone(&stub.folder.written("pid").await).await;
    }
}

/// It keeps the pipes open, so that nothing shows that all has been read.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn r50_what_a_tool_leaves_behind_delays_nobody_and_is_killed() {
    let stub = Stub::new(
        "az",
        "sleep 1000 &\ncat \"$here/stdout\"\necho $$ >\"$here/pid\"",
    );
    stub.folder.write("stdout", cli_answer("t0k3n"));
    let credential = az(&stub);
    let clock = Clock::new();
    let asked = request().with_runtime(Arc::new(clock.clone()));
    let asking = tokio::spawn(async move { credential.token(&asked).await });
    let leader = stub.folder.written("pid").await;
    eventually(|| (!is_there(&leader)).then_some(())).await;
    while !asking.is_finished() {
        clock.advance(Duration::from_millis(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(asking.await.unwrap().unwrap().secret(), "t0k3n");
    is_gone(&leader).await;
}

/// The Azure CLI sends its telemetry so.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_tool_has_detached_from_itself_goes_on() {
    let stub = Stub::new(
        "az",
        "sleep 1000 </dev/null >/dev/null 2>&1 &\necho $! >\"$here/detached\"\ncat \"$here/stdout\"",
    );
    stub.folder.write("stdout", cli_answer("t0k3n"));
    token_of(&az(&stub)).await;
    let detached = stub.folder.read("detached");
    assert!(is_there(detached.trim()));
    let kill = Command::new("kill").arg(detached.trim()).status();
    assert!(kill.unwrap().success());
}

#[tokio::test]
async fn one_tool_runs_at_a_time_whichever_credential_runs_it() {
    let folder = Folder::new();
    let script = "\
mkdir \"$here/running\" || echo overlap >>\"$here/overlaps\"
for i in 1 2 3 4 5 6 7 8 9; do cat \"$here/stdout\" >/dev/null; done
rmdir \"$here/running\"
echo run >>\"$here/runs\"
cat \"$here/stdout\"";
    folder.write("stdout", cli_answer("t0k3n"));
    let path = write_stub(folder.path(), folder.path(), "az", script);
    let asking: Vec<_> = (0..6)
        .map(|_| {
            let credential = AzureCliCredential::builder().executable(&path).build();
            tokio::spawn(async move { credential.unwrap().token(&request()).await })
        })
        .collect();
    for asked in asking {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(folder.read("runs").lines().count(), 6);
    assert!(!folder.at("overlaps").exists());
}

/// azd, so that no other test waits for its turn meanwhile.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn i8_a_turn_is_waited_for_no_longer_than_the_limit() {
    let azd = |path: &std::path::Path, seconds| {
        AzureDeveloperCliCredential::builder()
            .executable(path)
            .timeout(Duration::from_secs(seconds))
            .build()
            .unwrap()
    };
    let stub = Stub::new("azd", HANGS);
    let (first, second) = (azd(&stub.path, 3600), azd(&stub.path, 5));
    let asking = tokio::spawn(async move { first.token(&request()).await });
    let leader = hangs(&stub).await;

    let clock = Clock::new();
    let asked = request().with_runtime(Arc::new(clock.clone()));
    let waiting = tokio::spawn(async move { second.token(&asked).await });
    while !waiting.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = waiting.await.unwrap().unwrap_err();
    assert_says(
        &error,
        ErrorKind::Timeout,
        &["the Azure Developer CLI was busy with other tokens for 5 s"],
    );
    asking.abort();
    is_gone(&leader).await;
}

#[tokio::test]
async fn t12_a_tool_works_where_nothing_is_planted() {
    let stub = Stub::new(
        "az",
        "pwd >\"$here/cwd\"\nenv >\"$here/env\"\ncat \"$here/stdout\"",
    );
    stub.folder.write("stdout", cli_answer("t0k3n"));
    token_of(&az(&stub)).await;
    assert_eq!(stub.folder.read("cwd"), "/\n");
    let environment = stub.folder.read("env");
    for line in [
        "AZURE_CORE_NO_COLOR=true",
        "NO_COLOR=1",
        "PYTHONIOENCODING=utf-8",
    ] {
        assert!(environment.lines().any(|set| set == line), "{line}");
    }
    // What it needs to find its own files and the way out.
    assert!(environment.contains("\nPATH=") || environment.starts_with("PATH="));
}

/// Its own test may have no input either, which would show nothing.
#[test]
fn a_tool_reads_nothing_of_the_input_of_its_program() {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::it_reads_nothing", "--ignored"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = program.stdin.take().unwrap();
    input.write_all(b"for the program\n").unwrap();
    let output = program.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("1 passed"), "{shown}");
}

#[tokio::test]
#[ignore = "run by a_tool_reads_nothing_of_the_input_of_its_program"]
async fn it_reads_nothing() {
    let script = "head -c 1 >\"$here/input\"\ncat \"$here/stdout\"";
    let stub = Stub::new("az", script);
    stub.folder.write("stdout", cli_answer("t0k3n"));
    token_of(&az(&stub)).await;
    assert_eq!(stub.folder.read("input"), "");
}

#[test]
fn outside_a_runtime_it_is_an_error_and_no_panic() {
    let stub = Stub::printing("az", cli_answer("t0k3n"));
    let credential = az(&stub);
    let request = request();
    let mut asking = std::pin::pin!(credential.token(&request));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = asking.as_mut().poll(&mut context) else {
        panic!("it waits for what cannot come");
    };
    assert_says(&error, ErrorKind::Configuration, &["Tokio runtime"]);
}
