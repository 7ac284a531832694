//! Where a tool is looked for, and where not.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tower_bearer::azure::{AzureCliCredential, AzureDeveloperCliCredential};
use tower_bearer::{Credential as _, ErrorKind};

use super::loopback::in_own_process;
use super::tool_stub::{Folder, Stub, eventually, write_stub};
use super::{Clock, assert_says, az, cli_answer, error_of, request, token_of};

/// What stubs and the tests themselves need.
const SYSTEM: &str = "/usr/bin:/bin";

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Directories with an `az` each, that give tokens named after them.
fn plant(folder: &Folder, name: &str) -> String {
    let directory = folder.folder(name);
    let here = folder.folder(&format!("{name}-records"));
    std::fs::write(here.join("stdout"), cli_answer(name)).unwrap();
    write_stub(&directory, &here, "az", "cat \"$here/stdout\"");
    directory.to_str().unwrap().to_owned()
}

#[test]
fn t12_nothing_is_run_from_where_anybody_could_have_put_it() {
    let folder = Folder::new();
    let working_directory = plant(&folder, "planted-in-cwd");
    let open = plant(&folder, "planted-in-open-directory");
    mode(Path::new(&open), 0o777);
    let sticky = plant(&folder, "planted-in-sticky-directory");
    mode(Path::new(&sticky), 0o1777);
    let below_open = plant(&folder, "open-parent/planted-below");
    mode(&folder.at("open-parent"), 0o777);
    let open_file = plant(&folder, "planted-open-file");
    mode(&Path::new(&open_file).join("az"), 0o777);
    let linked = folder.folder("planted-link");
    symlink(Path::new(&open).join("az"), linked.join("az")).unwrap();
    // On the way there are links that anybody may turn to somewhere else.
    let closed = plant(&folder, "planted-closed");
    symlink(&closed, folder.at("open-parent/link")).unwrap();
    let by_open_link = folder.at("open-parent/link");
    let twice_linked = folder.folder("planted-twice-linked");
    symlink(by_open_link.join("az"), twice_linked.join("az")).unwrap();
    let (by_open_link, twice_linked) = (by_open_link.display(), twice_linked.display());
    let not_executable = plant(&folder, "planted-not-executable");
    mode(&Path::new(&not_executable).join("az"), 0o644);
    std::fs::create_dir(folder.folder("planted-directory").join("az")).unwrap();
    let good = plant(&folder, "good");

    let linked = linked.to_str().unwrap();
    let directory = folder.at("planted-directory");
    let path = format!(
        ":.:./:{relative}:{open}:{sticky}:{below_open}:{open_file}:{linked}:{by_open_link}:{twice_linked}:{not_executable}:{}:{good}:{SYSTEM}:",
        directory.display(),
        relative = "../planted-in-cwd",
    );
    for variables in [
        [("PATH", path.as_str()), ("AzureCLIPath", "")],
        [("PATH", SYSTEM), ("AzureCLIPath", path.as_str())],
    ] {
        let [path, cli_path] = variables;
        in_own_process(
            "search::the_good_one_is_run_in_a_working_directory_with_another",
            &[path, cli_path, ("WORKING_DIRECTORY", &working_directory)],
        );
        let run = std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().join("argv").exists())
            .count();
        assert_eq!(run, 1);
        assert!(folder.at("good-records").join("argv").exists());
        std::fs::remove_file(folder.at("good-records").join("argv")).unwrap();
    }
}

#[tokio::test]
#[ignore = "run by t12_nothing_is_run_from_where_anybody_could_have_put_it"]
async fn the_good_one_is_run_in_a_working_directory_with_another() {
    std::env::set_current_dir(std::env::var_os("WORKING_DIRECTORY").unwrap()).unwrap();
    let credential = AzureCliCredential::new().unwrap();
    assert_eq!(token_of(&credential).await.secret(), "good");
}

#[test]
fn the_directory_of_the_cli_comes_before_the_path() {
    let folder = Folder::new();
    let (first, second) = (plant(&folder, "first"), plant(&folder, "second"));
    let path = format!("{second}:{SYSTEM}");
    in_own_process(
        "search::the_first_is_run",
        &[("PATH", &path), ("AzureCLIPath", &first)],
    );
    let path = format!("{first}:{second}:{SYSTEM}");
    in_own_process("search::the_first_is_run", &[("PATH", &path)]);
}

#[tokio::test]
#[ignore = "run by the_directory_of_the_cli_comes_before_the_path"]
async fn the_first_is_run() {
    let credential = AzureCliCredential::new().unwrap();
    assert_eq!(token_of(&credential).await.secret(), "first");
}

#[test]
fn what_was_found_is_kept_until_it_is_gone() {
    let folder = Folder::new();
    let (first, second) = (plant(&folder, "first"), plant(&folder, "second"));
    let path = format!("{first}:{second}:{SYSTEM}");
    in_own_process(
        "search::the_first_is_run_until_it_is_gone",
        &[("PATH", &path), ("FIRST", &first)],
    );
}

#[tokio::test]
#[ignore = "run by what_was_found_is_kept_until_it_is_gone"]
async fn the_first_is_run_until_it_is_gone() {
    let first = Path::new(&std::env::var("FIRST").unwrap()).join("az");
    let credential = AzureCliCredential::new().unwrap();
    assert_eq!(token_of(&credential).await.secret(), "first");
    std::fs::rename(&first, first.with_extension("away")).unwrap();
    assert_eq!(token_of(&credential).await.secret(), "second");
    std::fs::rename(first.with_extension("away"), &first).unwrap();
    assert_eq!(token_of(&credential).await.secret(), "second");
}

#[test]
fn i8_a_disk_that_does_not_answer_is_not_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        // Whoever reads a file has to wait for this.
        let (answer, disk) = std::sync::mpsc::channel::<()>();
        let reading = tokio::task::spawn_blocking(move || disk.recv());
        let credential = az(&Stub::printing("az", cli_answer("t0k3n")));
        let clock = Clock::new();
        let asked = request().with_runtime(Arc::new(clock.clone()));
        let asking = tokio::spawn(async move { credential.token(&asked).await });
        eventually(|| {
            clock.advance(Duration::from_secs(1));
            asking.is_finished().then_some(())
        })
        .await;
        let error = asking.await.unwrap().unwrap_err();
        assert_says(
            &error,
            ErrorKind::Timeout,
            &["the disk did not answer within 10 s"],
        );
        drop(answer);
        assert!(reading.await.unwrap().is_err());
    });
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_not_available() {
    let folder = Folder::new();
    let credential = AzureCliCredential::builder()
        .executable(folder.at("az"))
        .build()
        .unwrap();
    let error = error_of(&credential).await;
    assert_says(
        &error,
        ErrorKind::Unavailable,
        &[
            "AzureCliCredential",
            "no executable file",
            "https://aka.ms/azure-cli",
        ],
    );
    // It is looked for again: the developer has installed it.
    folder.write("stdout", cli_answer("t0k3n"));
    write_stub(folder.path(), folder.path(), "az", "cat \"$here/stdout\"");
    assert_eq!(token_of(&credential).await.secret(), "t0k3n");
    // And it is gone again.
    std::fs::remove_file(folder.at("az")).unwrap();
    assert_says(&error_of(&credential).await, ErrorKind::Unavailable, &[]);
}

#[tokio::test]
async fn what_cannot_be_started_is_not_available() {
    let folder = Folder::new();
    let path = folder.write("azd", "#!/nowhere/interpreter\n");
    mode(&path, 0o755);
    let credential = AzureDeveloperCliCredential::builder().executable(&path);
    let error = error_of(&credential.build().unwrap()).await;
    assert_says(&error, ErrorKind::Unavailable, &["could not be started"]);
}

#[test]
fn a_path_that_is_given_is_absolute() {
    for relative in ["az", "./az", "bin/az", ""] {
        let error = AzureCliCredential::builder().executable(relative).build();
        assert_says(
            &error.unwrap_err(),
            ErrorKind::Configuration,
            &["no absolute path"],
        );
    }
}

#[test]
fn t12_the_error_says_where_was_looked_and_what_was_passed_over() {
    let folder = Folder::new();
    let open = folder.folder("open");
    let stub = Stub::printing("azd", "");
    std::fs::copy(&stub.path, open.join("azd")).unwrap();
    mode(&open, 0o777);
    let empty = folder.folder("empty");
    let path = format!(":{}:{}", open.display(), empty.display());
    let output = in_own_process("search::there_is_none", &[("PATH", &path)]);
    let shown = String::from_utf8(output.stdout).unwrap();
    for part in [
        "there is no azd in",
        empty.to_str().unwrap(),
        "every user of this machine may change it",
        open.join("azd").to_str().unwrap(),
        "relative or empty",
        "https://aka.ms/azd",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

/// No machine that tests run on has one: it would be a real one.
#[tokio::test]
#[ignore = "run by t12_the_error_says_where_was_looked_and_what_was_passed_over"]
async fn there_is_none() {
    let error = error_of(&AzureDeveloperCliCredential::new().unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    println!("{error}");
}
