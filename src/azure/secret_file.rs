//! Files with keys, assertions and certificates: read whole and within bounds,
//! whatever turns out to lie in their place.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::blocking::blocking;

/// What a file may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::azure) struct Bounds {
    pub(in crate::azure) max_bytes: usize,
    /// Kubernetes puts projected files behind symbolic links; where a server
    /// names the file there may be none.
    pub(in crate::azure) follow_links: bool,
}

/// Why a file was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::azure) enum Unreadable {
    Missing,
    Denied,
    /// A symbolic link where none may be, a directory, a pipe or a device.
    NotAFile,
    TooLarge,
    /// Neither root nor who owns the folder owns the file.
    ForeignOwner,
    /// It lies somewhere else as well, by a hard link.
    Linked,
    Failed(io::ErrorKind),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::Denied => f.write_str("may not be read by this user"),
            Self::NotAFile => f.write_str("is no regular file"),
            Self::TooLarge => f.write_str("is too large to be what it should be"),
            Self::ForeignOwner => f.write_str("belongs to another user than its folder"),
            Self::Linked => f.write_str("has more names than one"),
            Self::Failed(kind) => write!(f, "could not be read: {kind}"),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            kind => Self::Failed(kind),
        }
    }
}

/// Reads the file at `path`. Its bytes are wiped when they are dropped.
pub(in crate::azure) async fn read(
    path: PathBuf,
    bounds: Bounds,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    off_the_runtime(move || read_now(&path, bounds)).await
}

/// As [`read`], but only what root or the owner of the folder has put there, and
/// there alone, as far as the system knows owners and links.
pub(in crate::azure) async fn read_of_folder_owner(
    path: PathBuf,
    bounds: Bounds,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    off_the_runtime(move || {
        let file = open(&path, bounds)?;
        check_origin(&file, &path)?;
        read_open(file, bounds)
    })
    .await
}

async fn off_the_runtime(
    read: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, Unreadable> + Send + 'static,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    // A file may lie on a network's disk that hangs.
    blocking(read)
        .await
        .unwrap_or(Err(Unreadable::Failed(io::ErrorKind::Interrupted)))
}

/// As [`read`], on the thread that calls it: for the start of a program.
pub(in crate::azure) fn read_now(
    path: &Path,
    bounds: Bounds,
) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    read_open(open(path, bounds)?, bounds)
}

fn read_open(file: File, bounds: Bounds) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
    // Looked at through the open file, so that nothing can be put in its place
    // in between.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Unreadable::NotAFile);
    }
    let max_bytes = u64::try_from(bounds.max_bytes).unwrap_or(u64::MAX);
    if metadata.len() > max_bytes {
        return Err(Unreadable::TooLarge);
    }
    // A vector that grows leaves its old bytes behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bounds.max_bytes.saturating_add(1)));
    file.take(max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() > bounds.max_bytes {
        return Err(Unreadable::TooLarge);
    }
    Ok(bytes)
}

#[cfg(unix)]
fn check_origin(file: &File, path: &Path) -> Result<(), Unreadable> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = file.metadata()?;
    let folder = path.parent().ok_or(Unreadable::Missing)?;
    if metadata.uid() != 0 && metadata.uid() != folder.metadata()?.uid() {
        return Err(Unreadable::ForeignOwner);
    }
    // A folder has a link from each folder in it.
    if metadata.is_file() && metadata.nlink() > 1 {
        return Err(Unreadable::Linked);
    }
    Ok(())
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "other systems do look")]
fn check_origin(_: &File, _: &Path) -> Result<(), Unreadable> {
    Ok(())
}

#[cfg(unix)]
fn open(path: &Path, bounds: Bounds) -> Result<File, Unreadable> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;

    // To open a pipe that nobody writes to would take for ever.
    let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    if !bounds.follow_links {
        flags |= OFlags::NOFOLLOW;
    }
    let flags =
        i32::try_from(flags.bits()).map_err(|_| Unreadable::Failed(io::ErrorKind::Unsupported))?;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| {
            let is_link = rustix::io::Errno::from_io_error(&error)
                .is_some_and(|errno| errno == rustix::io::Errno::LOOP);
            if is_link {
                Unreadable::NotAFile
            } else {
                error.into()
            }
        })
}

#[cfg(not(unix))]
fn open(path: &Path, bounds: Bounds) -> Result<File, Unreadable> {
    if !bounds.follow_links && path.symlink_metadata()?.is_symlink() {
        return Err(Unreadable::NotAFile);
    }
    Ok(OpenOptions::new().read(true).open(path)?)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const BOUNDS: Bounds = Bounds {
        max_bytes: 8,
        follow_links: false,
    };

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn t21_only_small_regular_files_are_read() {
        let folder = Folder::new("tower-bearer-secret-file");
        let at = |name: &str| folder.0.join(name);
        std::fs::write(at("good"), "12345678").unwrap();
        std::fs::write(at("large"), "123456789").unwrap();
        symlink(at("good"), at("link")).unwrap();
        let pipe = std::process::Command::new("mkfifo")
            .arg(at("pipe"))
            .status();
        assert!(pipe.unwrap().success());

        assert_eq!(&**read_now(&at("good"), BOUNDS).unwrap(), b"12345678");
        let refused = |name: &str| read_now(&at(name), BOUNDS).unwrap_err();
        assert_eq!(refused("large"), Unreadable::TooLarge);
        assert_eq!(refused("link"), Unreadable::NotAFile);
        assert_eq!(refused("pipe"), Unreadable::NotAFile);
        assert_eq!(refused("."), Unreadable::NotAFile);
        assert_eq!(refused("none"), Unreadable::Missing);
        let followed = Bounds {
            follow_links: true,
            ..BOUNDS
        };
        assert!(read_now(&at("link"), followed).is_ok());
        // A file of no length that never ends.
        assert_ne!(
            read_now(Path::new("/dev/zero"), followed).unwrap_err(),
            Unreadable::Missing
        );
    }

    #[tokio::test]
    async fn t6_what_others_have_put_into_the_folder_is_not_read() {
        let folder = Folder::new("tower-bearer-owned-file");
        let file = folder.0.join("key");
        std::fs::write(&file, "1234").unwrap();
        let read = read_of_folder_owner(file.clone(), BOUNDS).await.unwrap();
        assert_eq!(&**read, b"1234");
        let link = folder.0.join("hard-link");
        std::fs::hard_link(&file, &link).unwrap();
        let refused = read_of_folder_owner(link.clone(), BOUNDS).await;
        assert_eq!(refused.unwrap_err(), Unreadable::Linked);
        std::fs::remove_file(link).unwrap();

        // Root can give a file away; all others can put one of their own into
        // a folder of root's.
        let stranger = 54_321;
        let foreign = match std::os::unix::fs::chown(&file, Some(stranger), None) {
            Ok(()) => file,
            Err(_) => folder.0.with_extension("key"),
        };
        std::fs::write(&foreign, "1234").unwrap();
        let refused = read_of_folder_owner(foreign.clone(), BOUNDS).await;
        let _ = std::fs::remove_file(foreign);
        assert_eq!(refused.unwrap_err(), Unreadable::ForeignOwner);
    }
}
