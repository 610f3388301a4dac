use std::future::pending;

use tidings::{FollowError, Followed, Following};

/// A stream that a client listens to.
///
/// It is followed only while something may be told of it, so a client that does not read holds nothing but its place.
#[derive(Debug)]
pub(super) struct ListenedStream {
    pub(super) uri: String,
    /// None after the end.
    following: Option<Following>,
}

impl ListenedStream {
    pub(super) fn new(uri: String, following: Following) -> Self {
        let following = Some(following);
        Self { uri, following }
    }

    /// Waits until there is more of it, it has ended, or it cannot be read any more, and returns its URI. None if nothing more
    /// will be told to this client. Cancelling it loses nothing.
    pub(super) async fn changed(&mut self) -> Option<String> {
        let Some(following) = &mut self.following else {
            return pending().await;
        };
        let mut followed = loop {
            match following.next().await {
                Ok(followed) => break Some(followed),
                Err(FollowError::Unreachable { .. }) => {}
                Err(FollowError::Ended) => return None,
                // Who reads it is told why.
                Err(_) => {
                    self.following = None;
                    return Some(self.uri.clone());
                }
            }
        };
        // What is here is told at once.
        while let Some(next) = followed {
            if let Followed::End(_) = next {
                self.following = None;
                break;
            }
            followed = following.at_hand();
        }
        Some(self.uri.clone())
    }
}
