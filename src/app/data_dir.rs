//! The data folder of the embedded footing: one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::{FAILED, Failure};

/// The lock file's name; it holds the process id of whoever has the folder.
const LOCK_FILE: &str = "ganger.lock";

/// The folder, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct DataDir {
    _lock: File,
}

/// Makes the folder if needed and takes it.
pub(super) fn take(folder: &Path) -> Result<DataDir, Failure> {
    let failed = |did: &str, error: std::io::Error| {
        Failure::new(FAILED, format!("cannot {did} the data folder {}: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed("create", error))?;
    let path = folder.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed("write to", error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The id is there to help; without it the message still says what is wrong.
            let _unreadable = file.read_to_string(&mut holder);
            let words = format!(
                "the data folder {} is in use by another ganger (process {}); stop it first, or give this one its own --data-dir",
                folder.display(),
                holder.trim()
            );
            return Err(Failure::new(FAILED, words));
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", error)),
    }
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .and_then(|()| file.flush());
    // A full disk must not keep the daemon down that could empty it: the lock itself needs no bytes.
    if let Err(error) = noted {
        tracing::warn!("The process id could not be noted in {}: {error}", path.display());
    }
    Ok(DataDir { _lock: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let held = take(folder.path()).unwrap();
        let refused = take(folder.path()).unwrap_err();
        assert!(refused.message.contains(&std::process::id().to_string()), "{}", refused.message);
        drop(held);
        assert!(take(folder.path()).is_ok());
    }
}
