//! Stubs of the developer tools: shell scripts that are written when a test
//! runs, into a folder of their own, and that record how they were run.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses what it needs of it"
)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A folder that is gone when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "tower-bearer-tools-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.at(name)).unwrap()).unwrap()
    }

    /// What a stub has written to `name`, once it is there and whole.
    pub async fn written(&self, name: &str) -> String {
        let path = self.at(name);
        eventually(|| {
            let text = std::fs::read_to_string(&path).ok()?;
            text.ends_with('\n').then(|| text.trim_end().to_owned())
        })
        .await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits for what will be there at some time, however slow the machine is.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    /// So that what never comes is a test that fails, not one that hangs.
    const LIMIT: Duration = Duration::from_secs(60);
    let looking = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.expect("what is waited for does not come")
}

/// A tool that does what a script says.
pub struct Stub {
    pub folder: Folder,
    pub path: PathBuf,
}

impl Stub {
    /// `script` runs in `sh`, with the stub's folder in `$here`. The arguments
    /// have been written to the file `argv`, one a line.
    pub fn new(name: &str, script: &str) -> Self {
        let folder = Folder::new();
        let path = write_stub(folder.path(), folder.path(), name, script);
        Self { folder, path }
    }

    /// One that writes `stdout` and ends with 0.
    pub fn printing(name: &str, stdout: impl AsRef<[u8]>) -> Self {
        let stub = Self::new(name, "cat \"$here/stdout\"");
        stub.folder.write("stdout", stdout);
        stub
    }

    /// One that writes `stderr` and fails with `code`.
    pub fn failing(name: &str, code: i32, stderr: impl AsRef<[u8]>) -> Self {
        let stub = Self::new(name, &format!("cat \"$here/stderr\" >&2\nexit {code}"));
        stub.folder.write("stderr", stderr);
        stub
    }

    pub fn arguments(&self) -> Vec<String> {
        self.folder
            .read("argv")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn was_run(&self) -> bool {
        self.folder.at("argv").exists()
    }
}

/// Puts a stub named `name` into `directory`, which keeps its records in
/// `here`.
///
/// Another process writes the file: a test that forks while this one had it open
/// for writing would keep it from being run ("text file busy").
pub fn write_stub(directory: &Path, here: &Path, name: &str, script: &str) -> PathBuf {
    let path = directory.join(name);
    let here = here.to_str().unwrap();
    let text = format!(
        "#!/bin/sh\nhere='{here}'\nfor a in \"$@\"; do printf '%s\\n' \"$a\"; done >\"$here/argv\"\n{script}\n"
    );
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

/// Whether a process with this id is there, be it only as a zombie.
pub fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Processes whose process group is that of `leader`. Zombies are counted if
/// they are this process's to reap.
pub fn group_of(leader: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in brackets, may hold anything.
            let (_, after_name) = stat.rsplit_once(") ")?;
            let mut fields = after_name.split(' ');
            let (state, parent, group) = (fields.next()?, fields.next()?, fields.next()?);
            (group == leader && (state != "Z" || parent == own))
                .then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}
