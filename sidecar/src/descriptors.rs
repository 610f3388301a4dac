//! How many files, sockets among them, the process may have open, and what they are for.
//!
//! A door that took them all would leave none for the links to other nodes, and none to tell
//! anybody so. Each door has a share, and the rest is for the node.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the highest that the system allows the process, and returns
/// what it is then.
///
/// # Errors
/// When the system refuses; the limit is as it was.
pub fn raise() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(open_files_max())
}

/// How many files the process may have open.
pub fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// How many connections a client gateway serves at a time if it may serve so many: at most three
/// quarters of the open files.
pub fn client_slots(wanted: usize) -> usize {
    share(open_files_max(), 6, wanted)
}

/// How many connections HTTP serves at a time if it may serve so many: at most an eighth of the
/// open files.
pub(crate) fn http_slots(wanted: usize) -> usize {
    share(open_files_max(), 1, wanted)
}

fn share(open_files_max: usize, eighths: usize, wanted: usize) -> usize {
    wanted
        .min((open_files_max / 8).saturating_mul(eighths))
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_leave_some_for_each_other_and_for_the_node() {
        let (clients, http) = (share(256, 6, 10_000), share(256, 1, 64));
        assert_eq!((clients, http), (192, 32));
        assert!(clients + http <= 256 - 32);
        assert_eq!(share(1 << 20, 6, 10_000), 10_000);
        assert_eq!(share(usize::MAX, 6, 10_000), 10_000);
        assert_eq!(share(4, 1, 64), 1, "a door serves somebody");
    }
}
