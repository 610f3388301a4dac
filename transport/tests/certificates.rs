//! What becomes of links when certificates run out, are revoked or are renewed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::time::Duration;

use cluster::log::Log;
use cluster::raw::Raw;
use cluster::{Cluster, Node, eventually, hour, linked, local, name};
use tidings_identity::{Authority, Identity, Learnt, RevocationList, Validity};
use tidings_transport::{CloseCode, Config, Net, RenewError, SystemNet};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Duration {
    SystemNet.unix_time()
}

/// The next list of this authority, which revokes `node` as of now.
fn revoke(cluster: &Cluster, before: Option<&RevocationList>, node: &str) -> RevocationList {
    let authority = &cluster.authority;
    authority.revoke(before, &name(node), now()).unwrap()
}

fn start(identity: Identity) -> Node {
    Node::start(identity, Config::default(), local())
}

/// Waits until these two have no link with each other, for at most a second.
async fn parted(a: &Node, b: &Node) {
    let parted = async {
        while a.linked(b) || b.linked(a) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SECOND, parted)
        .await
        .expect("the link is closed within a second");
}

#[tokio::test]
async fn a_node_that_is_revoked_loses_its_links_everywhere_and_gets_no_others() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    for (one, other) in [(&a, &b), (&b, &c), (&a, &c)] {
        one.keep(other);
        linked(one, other).await;
    }
    let list = revoke(&cluster, None, "c");
    assert_eq!(a.transport.revocations().learn(&list), Ok(Learnt::New));
    parted(&a, &c).await;
    // It was told by the first.
    parted(&b, &c).await;
    assert_eq!(b.transport.revocations().lists(), [list]);
    assert_eq!(log.lines_with("reason=the certificate is revoked"), 2);
    assert!(a.linked(&b) && b.linked(&a));

    let refused = c.transport.stats().handshakes_refused;
    c.keep(&a);
    c.keep(&b);
    eventually("it is refused again and again", || {
        c.transport.stats().handshakes_refused > refused + 4
    })
    .await;
    assert!(log.lines_with("reason=our certificate is revoked") > 0);
    assert!(log.lines_with("reason=its certificate is revoked") > 0);
    assert!(c.links_up().is_empty());
}

#[tokio::test]
async fn a_link_that_comes_up_brings_what_is_revoked() {
    let cluster = Cluster::new("c");
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    a.keep(&b);
    linked(&a, &b).await;
    b.keep(&c);
    linked(&b, &c).await;
    let first = revoke(&cluster, None, "x");
    let second = revoke(&cluster, Some(&first), "y");
    // Whoever is behind is told, whoever dials.
    b.transport.revocations().learn(&first).unwrap();
    let late = cluster.start("late");
    late.transport.revocations().learn(&second).unwrap();
    late.keep(&a);
    eventually("all know the newest", || {
        let knows = |node: &Node| node.transport.revocations().lists() == [second.clone()];
        [&a, &b, &c, &late].into_iter().all(knows)
    })
    .await;
    assert_eq!(a.links_up().len(), 2, "it costs no link");
}

#[tokio::test]
async fn a_certificate_that_begins_after_the_revocation_is_good() {
    let cluster = Cluster::new("c");
    let (a, old) = (cluster.start("a"), cluster.start("b"));
    a.keep(&old);
    linked(&a, &old).await;
    a.transport
        .revocations()
        .learn(&revoke(&cluster, None, "b"))
        .unwrap();
    parted(&a, &old).await;
    let validity = hour().beginning_after(now()).unwrap();
    // It begins with the next second.
    sleep(SECOND).await;
    let certificate = cluster.authority.issue(&name("b"), validity).unwrap();
    old.transport
        .renew(&cluster.identity_of(&certificate))
        .unwrap();
    linked(&a, &old).await;
}

#[tokio::test]
async fn a_list_that_does_not_hold_ends_the_link_of_who_sends_it() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let a = cluster.start("a");
    let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "tidings/1");
    let say = async |list: &[u8]| {
        let hello = [
            0, 0, 0, 14, 1, 0, 5, 1, 0, 127, 0, 0, 1, 0xe8, 0x39, 1, 0, 0,
        ];
        let length = u32::try_from(list.len() + 1).unwrap().to_be_bytes();
        let ready = [0, 0, 0, 1, 2];
        let all = [&hello[..], &ready, &length, &[6], list].concat();
        raw.say(&a, &all).await
    };
    let list = revoke(&cluster, None, "x");
    let mut forged = list.as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(say(&forged).await, Some(CloseCode::Violation));
    assert_eq!(
        log.lines_with("signature of the revocation list does not hold"),
        1
    );
    let again = async {
        // In its pause it is not heard.
        while a.transport.stats().violations == 1 {
            assert_eq!(say(b"").await, Some(CloseCode::Violation));
        }
    };
    timeout(10 * SECOND, again).await.unwrap();
    assert_eq!(a.transport.revocations().lists(), []);
    assert_eq!(a.transport.stats().violations, 2);
}

#[tokio::test]
async fn a_list_of_an_authority_that_is_not_trusted_is_passed_over() {
    let (ours, theirs) = (Cluster::new("c"), Cluster::new("c"));
    // As while an authority takes the place of another: `a` does not trust the new one yet.
    let both = [&ours, &theirs]
        .map(|one| one.authority.certificate_pem())
        .concat();
    let certificate = ours.certificate("b");
    let identity = Identity::from_pem(&both, &certificate.certificate_pem, &certificate.key_pem);
    let (a, b) = (ours.start("a"), start(identity.unwrap()));
    a.keep(&b);
    linked(&a, &b).await;
    let [of_theirs, of_ours] = [&theirs, &ours].map(|one| revoke(one, None, "x"));
    b.transport.revocations().learn(&of_theirs).unwrap();
    b.transport.revocations().learn(&of_ours).unwrap();
    eventually("it learns what it can", || {
        a.transport.revocations().lists() == [of_ours.clone()]
    })
    .await;
    assert!(a.linked(&b));
    assert_eq!(a.transport.stats().violations, 0);
}

#[tokio::test]
async fn a_link_ends_within_a_second_of_the_end_of_a_certificate() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let end = Duration::from_secs(now().as_secs() + 4);
    let validity = Validity::between(end - 4 * SECOND, end).unwrap();
    let short = cluster.authority.issue(&name("b"), validity).unwrap();
    let (a, b, c) = (
        cluster.start("a"),
        start(cluster.identity_of(&short)),
        cluster.start("c"),
    );
    for other in [&b, &c] {
        a.keep(other);
        linked(&a, other).await;
    }
    // Its last second is good to the end.
    while now() < end {
        assert!(a.linked(&b), "it ends before its time");
        sleep(Duration::from_millis(10)).await;
    }
    sleep(end + SECOND - now()).await;
    parted(&a, &b).await;
    eventually("it is not let in again", || {
        log.lines_with("its certificate is expired") > 0
    })
    .await;
    assert_eq!(log.lines_with("reason=the certificate has run out"), 1);
    assert!(!a.linked(&b) && a.linked(&c));
}

#[tokio::test]
async fn a_renewed_certificate_takes_the_place_of_one_that_ends_whoever_dials() {
    let cluster = Cluster::new("c");
    let end = Duration::from_secs(now().as_secs() + 2);
    let validity = Validity::between(end - 2 * SECOND, end).unwrap();
    let short = cluster.authority.issue(&name("b"), validity).unwrap();
    let (a, c) = (cluster.start("a"), cluster.start("c"));
    let b = start(cluster.identity_of(&short));
    a.keep(&b);
    b.keep(&c);
    linked(&a, &b).await;
    linked(&b, &c).await;
    let number = |peer| b.link_to(peer).and_then(|link| link.up).map(|up| up.number);
    let numbers = || [&a, &c].map(number);
    let before = numbers();
    b.transport.renew(&cluster.identity("b")).unwrap();
    assert!(b.transport.validity().not_after() > end);
    eventually("there are other links by the new certificate", || {
        let mut pairs = numbers().into_iter().zip(before);
        pairs.all(|(now, before)| now > before)
    })
    .await;
    assert!(now() > end, "the old one was good as long as it was");
    linked(&a, &b).await;
    linked(&b, &c).await;
}

#[tokio::test]
async fn links_stay_over_a_renewal_but_for_those_of_an_authority_that_is_gone() {
    let (old, new) = (Cluster::new("c"), Cluster::new("c"));
    let both = [&old, &new]
        .map(|one| one.authority.certificate_pem())
        .concat();
    let trusting = |ca: &str, authority: &Authority, node: &str| {
        let node = authority.issue(&name(node), hour()).unwrap();
        Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).unwrap()
    };
    let a = start(trusting(&both, &new.authority, "a"));
    let left = start(trusting(&both, &old.authority, "left"));
    let moved = start(trusting(&both, &new.authority, "moved"));
    for other in [&left, &moved] {
        a.keep(other);
        linked(&a, other).await;
    }
    let number = a.link_to(&moved).unwrap().up.unwrap().number;
    a.transport
        .renew(&trusting(&both, &new.authority, "a"))
        .unwrap();
    let since = Instant::now();
    while since.elapsed() < SECOND {
        assert!(a.linked(&left) && a.linked(&moved));
        sleep(Duration::from_millis(20)).await;
    }
    let only_new = new.authority.certificate_pem();
    a.transport
        .renew(&trusting(only_new, &new.authority, "a"))
        .unwrap();
    parted(&a, &left).await;
    let still = a.link_to(&moved).unwrap().up.unwrap().number;
    assert_eq!(still, number, "the other link is the same");
}

#[tokio::test]
async fn the_identity_of_somebody_else_changes_nothing() {
    let (cluster, other) = (Cluster::new("c"), Cluster::new("other"));
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let before = a.transport.validity();
    let refused = a.transport.renew(&cluster.identity("b")).unwrap_err();
    assert!(matches!(refused, RenewError::Name { .. }), "{refused}");
    let refused = a.transport.renew(&other.identity("a")).unwrap_err();
    assert!(matches!(refused, RenewError::Cluster { .. }), "{refused}");
    assert_eq!(a.transport.validity(), before);
    a.keep(&b);
    linked(&a, &b).await;
}
