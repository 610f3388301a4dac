use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use crate::FileMode;
use crate::acceptor::Listener;

/// A Unix socket that clients connect to by its file, which is there as long as this is.
///
/// A file that a process left behind is replaced; one at which somebody listens is not.
#[derive(Debug)]
pub struct UnixDoor {
    listener: UnixListener,
    _file: SocketFile,
}

/// The file of a socket, removed when it is dropped, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and number of the file, by which it is known again.
    identity: (u64, u64),
}

impl UnixDoor {
    /// Listens at this path, which those whom the mode lets in can connect to.
    ///
    /// # Errors
    /// `AddrInUse` if somebody listens there, `AlreadyExists` if there is a file that is no socket;
    /// and what the system says when it refuses.
    pub async fn bind(path: &Path, mode: FileMode) -> io::Result<Self> {
        make_room(path).await?;
        // It gets its name once it has its mode.
        let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}", std::process::id()));
        let draft = path.with_file_name(name);
        let _ = std::fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft)?;
        let placed = SocketFile::place(&draft, path, mode);
        if placed.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        Ok(Self {
            listener,
            _file: placed?,
        })
    }
}

/// Makes sure that the path may be taken: nothing is there, or a socket at which nobody listens.
async fn make_room(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            let problem = "there is a file that is no socket";
            return Err(io::Error::new(ErrorKind::AlreadyExists, problem));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Someone is there, also if there is no place in the queue or we are not let in.
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

impl AsFd for UnixDoor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Listener for UnixDoor {
    type Stream = UnixStream;
    type Addr = SocketAddr;

    fn accept(&self) -> impl Future<Output = io::Result<(UnixStream, SocketAddr)>> + Send {
        self.listener.accept()
    }
}

impl SocketFile {
    /// Gives the socket its mode, then its name, in place of what is there.
    fn place(draft: &Path, path: &Path, mode: FileMode) -> io::Result<Self> {
        std::fs::set_permissions(draft, PermissionsExt::from_mode(mode.bits()))?;
        let identity = identity(draft)?;
        std::fs::rename(draft, path)?;
        Ok(Self {
            path: path.to_owned(),
            identity,
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
