use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tidings_identity::Incarnation;

/// The file in the data directory that holds the last incarnation as text.
const FILE: &str = "incarnation";

/// The number of this run of the node, greater than that of every run before.
///
/// It is the wall clock in milliseconds, or one more than the last number kept in the data
/// directory where that is greater because the clock has stepped back.
pub(crate) fn next(data_dir: Option<&Path>, unix_ms: u64) -> Result<Incarnation, IncarnationError> {
    let Some(dir) = data_dir else {
        return Ok(unix_ms.into());
    };
    fs::create_dir_all(dir).map_err(|source| IncarnationError::write(dir, source))?;
    let path = dir.join(FILE);
    let last: u64 = match fs::read_to_string(&path) {
        Ok(text) => {
            let text = text.trim();
            text.parse()
                .map_err(|_| IncarnationError::Content { path: path.clone() })?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(source) => return Err(IncarnationError::Read { path, source }),
    };
    let next = unix_ms.max(last.saturating_add(1));
    // Written aside and renamed, so that a crash leaves the old number or the new one.
    let aside = dir.join("incarnation.new");
    let written = fs::write(&aside, format!("{next}\n")).and_then(|()| fs::rename(&aside, &path));
    written.map_err(|source| IncarnationError::write(&path, source))?;
    Ok(next.into())
}

/// Why the incarnation could not be determined. A node does not run then: with a number that it had
/// before, others would mistake its new state for old.
#[derive(Debug, thiserror::Error)]
pub enum IncarnationError {
    /// The file is there and cannot be read.
    #[error("cannot read {path}, which holds the last incarnation")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory or file cannot be written.
    #[error("cannot write {path}, which is to hold the incarnation")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file has something else in it than a number.
    #[error("{path} does not hold a number; remove it if no node of this name ran in this minute")]
    Content {
        /// The file.
        path: PathBuf,
    },
}

impl IncarnationError {
    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.into(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_grow_also_when_the_clock_steps_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |unix_ms| next(Some(dir.path()), unix_ms).unwrap().get();
        assert_eq!(
            [at(1_000), at(5_000), at(4_000), at(4_000), at(9_000)],
            [1_000, 5_000, 5_001, 5_002, 9_000]
        );
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "x").unwrap();
        let error = next(Some(dir.path()), 1).unwrap_err();
        assert!(matches!(error, IncarnationError::Content { .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "x");
    }
}
