//! Folders for what clients read from disk.

use std::path::{Path, PathBuf};

use crate::runtime::{Runtime as _, TokioRuntime};
use crate::{Error, ErrorKind};

/// Gone with all that is in it when this is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make(purpose: &str) -> Result<Self, Error> {
        let random = TokioRuntime::new().random();
        let path = std::env::temp_dir().join(format!("embedded-azure-{purpose}-{random:016x}"));
        // Never one that somebody else has made there.
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(Error::new(
                ErrorKind::Configuration,
                format!("the folder {} could not be made", path.display()),
            )
            .with_advice("point TMPDIR at a directory that can be written to")
            .with_source(source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
