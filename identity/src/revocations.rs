use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{AuthorityKey, ClusterName, ForeignListError, Identity, NodeId, RevocationList};

/// What a node knows to be revoked: the newest list of each authority that it trusts.
///
/// Cheap to clone; all clones are the same. Asking takes no lock. What was learnt is there for
/// those who ask before those who [watch](Self::watch) are told.
#[derive(Debug, Clone)]
pub struct Revocations {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: ClusterName,
    known: ArcSwap<Known>,
    /// Whoever changes what is known holds its lock, and so those who change take turns.
    changes: watch::Sender<()>,
}

/// The trusted authorities, and of each the newest list if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known(BTreeMap<AuthorityKey, Option<RevocationList>>);

/// Tells whenever there is something new in [`Revocations`].
#[derive(Debug, Clone)]
pub struct RevocationWatch(watch::Receiver<()>);

/// What became of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// It is the newest now.
    New,
    /// It is the newest now, and the one before had the same number: the authority is in use in two
    /// copies, and what only one of them has revoked is lost.
    Conflict,
    /// It, or a newer one, was known.
    Known,
    /// Its authority is not trusted here. Nothing has changed.
    Stranger,
}

impl Revocations {
    /// What a node of this identity knows at first: the lists that are in it.
    pub fn new(identity: &Identity) -> Self {
        let inner = Inner {
            cluster: identity.cluster().clone(),
            known: ArcSwap::default(),
            changes: watch::Sender::new(()),
        };
        let revocations = Self {
            inner: Arc::new(inner),
        };
        revocations.trust(identity);
        revocations
    }

    /// Whether a certificate of `node` that begins at `not_before`, since the Unix epoch, is void.
    pub fn is_revoked(&self, node: &NodeId, not_before: Duration) -> bool {
        let at = self.revoked_at(node);
        at.is_some_and(|at| not_before <= at)
    }

    /// When `node` was revoked last, if it was, since the Unix epoch: its certificates that begin
    /// then or before are void.
    pub fn revoked_at(&self, node: &NodeId) -> Option<Duration> {
        let known = self.inner.known.load();
        let lists = known.0.values().flatten();
        lists.filter_map(|list| list.revoked_at(node)).max()
    }

    /// Takes in a list, if it is newer than what is known of its authority.
    ///
    /// # Errors
    /// When the list is of a trusted authority and for another cluster.
    pub fn learn(&self, list: &RevocationList) -> Result<Learnt, ForeignListError> {
        let mut learnt = Ok(Learnt::Known);
        self.change(|known| learnt = known.learn(list, &self.inner.cluster));
        learnt
    }

    /// The newest list of each authority, by its key.
    pub fn lists(&self) -> Vec<RevocationList> {
        let known = self.inner.known.load();
        known.0.values().flatten().cloned().collect()
    }

    /// Whether the newest list of some authority is just these bytes, for which they need not be
    /// understood.
    pub fn is_known(&self, bytes: &[u8]) -> bool {
        let known = self.inner.known.load();
        let mut lists = known.0.values().flatten();
        lists.any(|list| list.as_bytes() == bytes)
    }

    /// From now on the authorities of `identity` are trusted and no others, whose lists are
    /// forgotten. The lists in it are taken in. It must be of the same cluster as the one before.
    pub fn trust(&self, identity: &Identity) {
        self.change(|known| {
            let mut before = std::mem::take(&mut known.0);
            for key in identity.authorities() {
                known.0.insert(*key, before.remove(key).flatten());
            }
            for list in identity.revoked() {
                // An identity has no lists for clusters but its own.
                let _ = known.learn(list, &self.inner.cluster);
            }
        });
    }

    /// Tells of all that changes from now on.
    pub fn watch(&self) -> RevocationWatch {
        RevocationWatch(self.inner.changes.subscribe())
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        self.inner.changes.send_if_modified(|()| {
            let before = self.inner.known.load_full();
            let mut known = (*before).clone();
            change(&mut known);
            let is_changed = known != *before;
            if is_changed {
                self.inner.known.store(Arc::new(known));
            }
            is_changed
        });
    }
}

impl RevocationWatch {
    /// Whether something has changed since the last time, or since the watch was made.
    pub fn has_changed(&mut self) -> bool {
        self.0.borrow_and_update().has_changed()
    }

    /// Waits until something has changed since the last time, or since the watch was made. It never
    /// returns when nothing can change any more. Cancelling the call loses nothing.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Known {
    fn learn(
        &mut self,
        list: &RevocationList,
        cluster: &ClusterName,
    ) -> Result<Learnt, ForeignListError> {
        let Some(newest) = self.0.get_mut(list.authority()) else {
            return Ok(Learnt::Stranger);
        };
        list.check_cluster(cluster)?;
        if newest
            .as_ref()
            .is_some_and(|known| !list.is_newer_than(known))
        {
            return Ok(Learnt::Known);
        }
        let before = newest.replace(list.clone());
        let is_conflict = before.is_some_and(|before| before.sequence() == list.sequence());
        Ok(if is_conflict {
            Learnt::Conflict
        } else {
            Learnt::New
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authority, Validity};

    const MOMENT: Duration = Duration::from_secs(1_800_000_000);

    fn validity() -> Validity {
        Validity::starting(MOMENT, Duration::from_secs(3600)).unwrap()
    }

    fn authority(cluster: &str) -> Authority {
        Authority::create(&cluster.parse().unwrap(), validity()).unwrap()
    }

    /// An identity by the first authority that trusts all of them.
    fn identity(authorities: &[&Authority]) -> Identity {
        let node = authorities[0]
            .issue(&"n1".parse().unwrap(), validity())
            .unwrap();
        let pems = authorities.iter().map(|one| one.certificate_pem());
        let ca: String = pems.collect();
        Identity::from_pem(&ca, &node.certificate_pem, &node.key_pem).unwrap()
    }

    fn revoke(
        authority: &Authority,
        before: Option<&RevocationList>,
        node: &str,
    ) -> RevocationList {
        authority
            .revoke(before, &node.parse().unwrap(), MOMENT)
            .unwrap()
    }

    #[test]
    fn what_was_certified_up_to_the_moment_is_void_and_what_comes_later_is_good() {
        let authority = authority("c");
        let revocations = Revocations::new(&identity(&[&authority]));
        let is_revoked = |node: &str, at| revocations.is_revoked(&node.parse().unwrap(), at);
        assert!(!is_revoked("n2", MOMENT));
        let list = revoke(&authority, None, "n2");
        assert_eq!(revocations.learn(&list), Ok(Learnt::New));
        assert!(is_revoked("n2", Duration::ZERO) && is_revoked("n2", MOMENT));
        assert!(!is_revoked("n2", MOMENT + Duration::from_secs(1)));
        assert!(!is_revoked("n3", MOMENT));
    }

    #[test]
    fn only_a_newer_list_of_a_trusted_authority_changes_anything() {
        let (ours, theirs) = (authority("c"), authority("c"));
        let revocations = Revocations::new(&identity(&[&ours]));
        let mut watch = revocations.watch();
        let first = revoke(&ours, None, "n2");
        let second = revoke(&ours, Some(&first), "n3");
        let twin = revoke(&ours, Some(&first), "n4");
        let learn = |list: &RevocationList| revocations.learn(list).unwrap();
        assert_eq!(learn(&revoke(&theirs, None, "n5")), Learnt::Stranger);
        assert!(!watch.has_changed());
        assert_eq!(learn(&second), Learnt::New);
        assert!(watch.has_changed() && !watch.has_changed());
        assert_eq!(learn(&first), Learnt::Known);
        assert_eq!(learn(&second), Learnt::Known);
        assert!(revocations.is_known(second.as_bytes()));
        assert!(!watch.has_changed());
        let is_newer = twin.is_newer_than(&second);
        let expected = if is_newer {
            Learnt::Conflict
        } else {
            Learnt::Known
        };
        assert_eq!(learn(&twin), expected);
    }

    #[test]
    fn the_list_of_another_cluster_is_an_error() {
        let ours = authority("c");
        let revocations = Revocations::new(&identity(&[&ours]));
        // The same key, as that of an authority that serves two clusters.
        let key = ours.public_key().unwrap();
        let other = "other".parse().unwrap();
        let list = RevocationList::signed(key, &other, 1, BTreeMap::new(), |m| ours.sign(m));
        let refused = revocations.learn(&list.unwrap()).unwrap_err();
        assert_eq!(refused.listed, other);
    }

    #[test]
    fn lists_go_with_the_trust_in_their_authority() {
        let (old, new) = (authority("c"), authority("c"));
        let revocations = Revocations::new(&identity(&[&old, &new]));
        let lists = [revoke(&old, None, "n2"), revoke(&new, None, "n3")];
        for list in &lists {
            assert_eq!(revocations.learn(list), Ok(Learnt::New));
        }
        let is_revoked = |node: &str| revocations.is_revoked(&node.parse().unwrap(), MOMENT);
        assert!(is_revoked("n2") && is_revoked("n3"));
        revocations.trust(&identity(&[&new]));
        assert!(!is_revoked("n2") && is_revoked("n3"));
        assert_eq!(revocations.lists(), [lists[1].clone()]);
        revocations.trust(
            &identity(&[&old])
                .with_revoked(vec![lists[0].clone()])
                .unwrap(),
        );
        assert!(is_revoked("n2") && !is_revoked("n3"));
    }
}
