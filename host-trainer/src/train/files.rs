//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Why a file of a run could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A directory could not be made.
    #[error("{}: the directory cannot be made: {cause}; give another one", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
    /// A file could not be written. What was there before is untouched.
    #[error("{}: cannot be written: {cause}{}", path.display(), hint(cause))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
    /// A file could not be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
}

fn hint(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::StorageFull => "; free some space, or write elsewhere",
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "; write where you may"
        }
        _ => "",
    }
}

/// Makes a directory and those above it.
///
/// # Errors
/// [`FileError::Directory`].
pub fn make_directory(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|cause| FileError::Directory { path: path.into(), cause })
}

/// Writes `bytes` to a file beside `path`, then moves it there: whatever happens, `path` is the old file or the new one.
///
/// # Errors
/// [`FileError::Write`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|cause| {
        // Best effort: the error that matters is the one that led here.
        let _ = fs::remove_file(&temporary);
        FileError::Write { path: path.into(), cause }
    })
}

/// Reads a whole file.
///
/// # Errors
/// [`FileError::Read`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|cause| FileError::Read { path: path.into(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.smg");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(read_file(&path).unwrap(), b"new");
        // A directory in the way of the temporary file.
        fs::create_dir(directory.path().join("model.smg.tmp")).unwrap();
        let error = write_atomically(&path, b"newer").unwrap_err().to_string();
        assert!(error.contains("model.smg: cannot be written"), "{error}");
        assert_eq!(read_file(&path).unwrap(), b"new");
    }
}
