use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Its owner only.
    Private,
}

/// Writes files into a directory, which is made if there is none.
///
/// Without `force` nothing is written if one of them is there already: a key that is overwritten is
/// lost for good. Each file is written aside and moved into place, so that none is ever there in part.
pub(crate) fn write(
    directory: &Path,
    files: &[(&str, &[u8], Access)],
    force: bool,
) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    for (name, _, _) in files {
        let path = directory.join(name);
        if !force && fs::symlink_metadata(&path).is_ok() {
            bail!("{} is there already; --force overwrites it", path.display());
        }
    }
    for (name, bytes, access) in files {
        let (path, aside) = (directory.join(name), directory.join(format!(".{name}.new")));
        let written = create(&aside, *access)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&aside, &path));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A new file with this access from the start, so that a key is readable by nobody else at any time.
fn create(path: &Path, access: Access) -> std::io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mode = match access {
        Access::Public => 0o644,
        Access::Private => 0o600,
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nothing_is_overwritten_without_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let files = |key| {
            [
                ("a.pem", &b"public"[..], Access::Public),
                ("key.pem", key, Access::Private),
            ]
        };
        write(path, &files(b"one")[1..], false).unwrap();
        let error = write(path, &files(b"two"), false).unwrap_err().to_string();
        assert!(error.contains("key.pem is there already"), "{error}");
        assert!(!path.join("a.pem").exists(), "nothing is written then");
        write(path, &files(b"two"), true).unwrap();
        assert_eq!(fs::read_to_string(path.join("key.pem")).unwrap(), "two");
        let mode = |name| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("key.pem"), 0o600);
        assert_eq!(
            fs::read_dir(path).unwrap().count(),
            2,
            "nothing else is left"
        );
    }
}
