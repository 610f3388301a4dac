use bytes::Bytes;
use tidings_identity::{RevocationList, RevocationWatch, Revocations};

/// What is still to be said of revocations over one link: of each authority the newest list, once
/// when the link comes up, and again whenever there is a newer one.
#[derive(Debug)]
pub(crate) struct Bulletin {
    revocations: Revocations,
    watch: RevocationWatch,
    said: Vec<RevocationList>,
    unsaid: Vec<RevocationList>,
}

impl Bulletin {
    pub(crate) fn new(revocations: &Revocations) -> Self {
        // What changes in between is seen twice rather than not at all.
        let watch = revocations.watch();
        Self {
            revocations: revocations.clone(),
            watch,
            said: Vec::new(),
            unsaid: revocations.lists(),
        }
    }

    /// The next list to send, if there is one.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        if self.watch.has_changed() {
            self.unsaid = self.revocations.lists();
            self.unsaid.retain(|list| !self.said.contains(list));
        }
        let list = self.unsaid.pop()?;
        self.said
            .retain(|said| said.authority() != list.authority());
        let bytes = Bytes::copy_from_slice(list.as_bytes());
        self.said.push(list);
        Some(bytes)
    }

    /// Waits until there may be another. Cancelling the call loses nothing.
    pub(crate) async fn changed(&mut self) {
        self.watch.changed().await;
        self.unsaid = self.revocations.lists();
        self.unsaid.retain(|list| !self.said.contains(list));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_identity::{Authority, Identity, Validity};

    use super::*;

    #[test]
    fn each_list_is_said_once_and_the_newest_only() {
        let s = Duration::from_secs;
        let validity = Validity::starting(s(1_800_000_000), s(3600)).unwrap();
        let authority = Authority::create(&"c".parse().unwrap(), validity).unwrap();
        let node = authority.issue(&"n1".parse().unwrap(), validity).unwrap();
        let ca = authority.certificate_pem();
        let identity = Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).unwrap();
        let revocations = Revocations::new(&identity);
        let mut before = Bulletin::new(&revocations);
        assert_eq!(before.next(), None);

        let mut list = None;
        for node in ["n2", "n3"] {
            let next = authority.revoke(list.as_ref(), &node.parse().unwrap(), s(9));
            let next = next.unwrap();
            revocations.learn(&next).unwrap();
            list = Some(next);
        }
        let newest = list.map(|list| Bytes::copy_from_slice(list.as_bytes()));
        assert_eq!([before.next(), before.next()], [newest.clone(), None]);
        let mut after = Bulletin::new(&revocations);
        assert_eq!([after.next(), after.next()], [newest, None]);
    }
}
