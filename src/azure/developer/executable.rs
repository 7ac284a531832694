//! Where a tool is. Never in the working directory, and never where anybody
//! could have put it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::printable;
use crate::{Error, ErrorKind};

/// More than any search path has that was made by people.
const MAX_DIRECTORIES: usize = 256;

const MAX_SHOWN: usize = 16;

/// What is looked for, and in which places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The best one first.
    names: &'static [&'static str],
    given: Option<PathBuf>,
    /// Absolute, in the order in which they are looked at.
    directories: Vec<PathBuf>,
    /// Whether the search path has entries that mean the working directory.
    relative_were_left_out: bool,
}

impl Places {
    /// The file that is `given`, else one of `names` in the directories that
    /// `variables` list, and then where installers put it.
    pub(super) fn new(
        names: &'static [&'static str],
        given: Option<PathBuf>,
        variables: &[&str],
        environment: &Environment,
    ) -> Result<Self, Error> {
        if let Some(path) = given.as_ref().filter(|path| !path.is_absolute()) {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("the executable {} is no absolute path", shown(path)),
            )
            .with_advice("give the whole path, such as /usr/bin/az"));
        }
        let mut directories = Vec::new();
        let mut relative_were_left_out = false;
        let listed = variables.iter().filter_map(|name| environment.raw(name));
        for list in listed {
            for directory in std::env::split_paths(&list) {
                if directory.is_absolute() {
                    directories.push(directory);
                } else {
                    relative_were_left_out = true;
                }
            }
        }
        directories.extend(installed_to(environment));
        let mut unique = Vec::new();
        for directory in directories.into_iter().take(MAX_DIRECTORIES) {
            if !unique.contains(&directory) {
                unique.push(directory);
            }
        }
        Ok(Self {
            names,
            given,
            directories: unique,
            relative_were_left_out,
        })
    }

    /// Looks for it. Reads directories, so it may block.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] with the places that were looked at.
    pub(super) fn find(&self) -> Result<PathBuf, Error> {
        if let Some(path) = &self.given {
            if is_executable(path) {
                return Ok(path.clone());
            }
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{} is no executable file", shown(path)),
            ));
        }
        let mut open_to_all = Vec::new();
        for name in self.names {
            for directory in &self.directories {
                let path = directory.join(name);
                if !is_executable(&path) {
                    continue;
                }
                if is_open_to_all(&path) {
                    open_to_all.push(path);
                } else {
                    return Ok(path);
                }
            }
        }
        Err(self.not_found(&open_to_all))
    }

    fn not_found(&self, open_to_all: &[PathBuf]) -> Error {
        let mut message = format!(
            "there is no {} in {}",
            self.names.join(" or "),
            list(&self.directories)
        );
        if !open_to_all.is_empty() {
            let _ = write!(
                message,
                "; passed over, since every user of this machine may change it: {}",
                list(open_to_all)
            );
        }
        if self.relative_were_left_out {
            message.push_str("; entries of PATH that are relative or empty were passed over");
        }
        Error::new(ErrorKind::Unavailable, message)
    }
}

fn list(paths: &[PathBuf]) -> String {
    let mut text = paths
        .iter()
        .take(MAX_SHOWN)
        .map(|path| shown(path))
        .collect::<Vec<_>>()
        .join(", ");
    if paths.len() > MAX_SHOWN {
        let _ = write!(text, " and {} more", paths.len() - MAX_SHOWN);
    }
    text
}

pub(super) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

#[cfg(unix)]
fn installed_to(_: &Environment) -> Vec<PathBuf> {
    [
        "/opt/homebrew/bin",
        "/usr/local/bin",
        "/usr/bin",
        "/bin",
        "/snap/bin",
        "/home/linuxbrew/.linuxbrew/bin",
    ]
    .map(PathBuf::from)
    .into()
}

#[cfg(not(unix))]
fn installed_to(environment: &Environment) -> Vec<PathBuf> {
    const BELOW: [(&str, &str); 6] = [
        ("ProgramFiles", r"Microsoft SDKs\Azure\CLI2\wbin"),
        ("ProgramFiles(x86)", r"Microsoft SDKs\Azure\CLI2\wbin"),
        ("LOCALAPPDATA", r"Programs\Azure Dev CLI"),
        ("ProgramFiles", r"Azure Dev CLI"),
        ("ProgramFiles", r"PowerShell\7"),
        ("SystemRoot", r"System32\WindowsPowerShell\v1.0"),
    ];
    BELOW
        .iter()
        .filter_map(|(variable, below)| Some(PathBuf::from(environment.raw(variable)?).join(below)))
        .filter(|directory| directory.is_absolute())
        .collect()
}

#[cfg(unix)]
pub(super) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
pub(super) fn is_executable(path: &Path) -> bool {
    path.is_file()
}

/// Whether any user may change what lies at `path` or put something else there:
/// by the file, or by a directory on the way to it, of the path itself and of
/// where links lead.
#[cfg(unix)]
pub(super) fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    /// As many as Linux follows.
    const MAX_LINKS: usize = 40;
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let is_open = |path: &Path, may_be_sticky: bool| {
        path.metadata().map_or(true, |file| {
            let mode = file.permissions().mode();
            mode & OTHERS_WRITE != 0 && !(may_be_sticky && mode & STICKY != 0)
        })
    };
    let steps = |path: &Path| {
        let steps = path.components().rev();
        steps
            .map(|step| step.as_os_str().to_owned())
            .collect::<Vec<_>>()
    };
    let mut here = PathBuf::from("/");
    let mut ahead = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            here.pop();
            continue;
        }
        // In /tmp anybody may add a name, but only its owner change it.
        if is_open(&here, !ahead.is_empty()) {
            return true;
        }
        let next = here.join(step);
        match next.read_link() {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return true;
                }
                ahead.extend(steps(&target));
            }
            Err(_) => here = next,
        }
    }
    is_open(&here, false)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

/// The name of a program without what leads to it, for messages.
pub(super) fn name(path: &Path) -> String {
    printable(
        &path
            .file_name()
            .map(OsStr::to_string_lossy)
            .unwrap_or_default(),
    )
}
