//! Whatever honest nodes say to each other passes, in whatever order it comes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tidings_identity::NodeRun;
use tokio::time::advance;

use super::bench::{Bench, author, guard, prove_sound};
use super::blocks::{BLOCK_BYTES_MAX, BLOCKS_MAX};
use crate::bucket::{Bucket, MemberEntry};
use crate::packed::{pack, packed_bytes_max};
use crate::peer::{LEFT_KEY, bucket_key};
use crate::scope::SCOPE_BYTES_MAX;
use crate::topic::TOPIC_BYTES_MAX;
use crate::{MemberId, Metadata, Pattern, Scope};

#[derive(Debug, Clone)]
enum Deed {
    /// A bucket of a node gets so many members, or none.
    Change(Index, usize, u8),
    Leave(Index),
    Gossip(Index, Index),
    /// A message that is under way arrives, and stays under way if it is to come twice.
    Arrive(Index, bool),
    Lose(Index),
    Restart(Index),
    Wait(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let any = || any::<Index>();
    let bucket = prop_oneof![0..4_usize, 0..64_usize];
    prop_oneof![
        6 => (any(), bucket, 0..40_u8).prop_map(|(n, at, size)| Deed::Change(n, at, size)),
        1 => any().prop_map(Deed::Leave),
        6 => (any(), any()).prop_map(|(a, b)| Deed::Gossip(a, b)),
        14 => (any(), proptest::bool::weighted(0.2)).prop_map(|(m, twice)| Deed::Arrive(m, twice)),
        1 => any().prop_map(Deed::Lose),
        1 => any().prop_map(Deed::Restart),
        2 => prop_oneof![Just(1), Just(11), Just(301), Just(601)].prop_map(Deed::Wait),
    ]
}

/// The text of a bucket with so many members in some topics.
fn bucket_text(members: u8) -> String {
    let mut bucket = Bucket::default();
    for n in 0..members {
        let pattern = Pattern::parse(&format!("topic.{}.{}", n % 7, members)).unwrap();
        let (member, agent) = (MemberId::from_bytes([n; 16]), None);
        let entry = MemberEntry {
            member,
            agent,
            metadata: Metadata::default(),
            queue: None,
        };
        bucket.join(&Scope::default(), &pattern, entry);
    }
    pack(&bucket, |_| 0)
}

async fn live(count: usize, deeds: Vec<Deed>) {
    let mut nodes = BTreeMap::new();
    for n in 0..count {
        nodes.insert(n, (Bench::start(n as u8, 1).await, 1));
    }
    let at = |addr: SocketAddr| match addr.ip() {
        std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
        std::net::IpAddr::V6(_) => usize::MAX,
    };
    // From whom, to whom, and what.
    let mut under_way: Vec<(NodeRun, SocketAddr, Bytes)> = Vec::new();
    for deed in deeds {
        let mut said = None;
        match deed {
            Deed::Change(n, index, size) => {
                let (node, _) = nodes.get_mut(&n.index(count)).unwrap();
                node.set(&bucket_key(index), &bucket_text(size)).await;
            }
            Deed::Leave(n) => {
                nodes
                    .get_mut(&n.index(count))
                    .unwrap()
                    .0
                    .set(LEFT_KEY, "1")
                    .await
            }
            Deed::Gossip(a, b) => {
                let to = nodes[&b.index(count)].0.run.addr;
                let (node, _) = nodes.get_mut(&a.index(count)).unwrap();
                said = Some((node.run.clone(), node.gossip(to).await));
            }
            Deed::Arrive(m, twice) if !under_way.is_empty() => {
                let m = m.index(under_way.len());
                let (from, to, bytes) = if twice {
                    under_way[m].clone()
                } else {
                    under_way.remove(m)
                };
                if let Some((node, _)) = nodes.get_mut(&at(to)) {
                    let run = node.run.clone();
                    said = Some((run, node.receive(&from, bytes).await));
                    assert_eq!(node.faults().total(), 0, "{:?}", node.faults());
                }
            }
            Deed::Lose(m) if !under_way.is_empty() => {
                under_way.remove(m.index(under_way.len()));
            }
            Deed::Restart(n) => {
                let n = n.index(count);
                let run = nodes.remove(&n).unwrap().1 + 1;
                nodes.insert(n, (Bench::start(n as u8, run).await, run));
            }
            Deed::Wait(seconds) => advance(Duration::from_secs(seconds)).await,
            Deed::Arrive(..) | Deed::Lose(_) => {}
        }
        if let Some((from, said)) = said {
            under_way.extend(
                said.into_iter()
                    .map(|(to, bytes)| (from.clone(), to, bytes)),
            );
        }
    }
    for (node, _) in nodes.values_mut() {
        prove_sound(node).await;
        assert_eq!(node.faults().total(), 0, "{:?}", node.faults());
    }
}

proptest! {
    #[test]
    fn whatever_honest_nodes_say_passes(
        count in 2..5_usize,
        deeds in proptest::collection::vec(deed(), 0..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live(count, deeds));
    }
}

/// A bucket of this length whose topics are so long, and as much alike as can be.
fn bucket_of_alike_topics(bytes: usize, topic_bytes: usize) -> String {
    let scope = Scope::parse(&"s".repeat(SCOPE_BYTES_MAX)).unwrap();
    let mut bucket = Bucket::default();
    for n in 0.. {
        let pattern = Pattern::parse(&format!("{n:x>topic_bytes$}")).unwrap();
        let entry = MemberEntry {
            member: MemberId::from_bytes([1; 16]),
            agent: None,
            metadata: Metadata::default(),
            queue: None,
        };
        if bucket.packed_bytes_with(&scope, &pattern, &entry) > packed_bytes_max(bytes) {
            break;
        }
        bucket.join(&scope, &pattern, entry);
    }
    pack(&bucket, |_| 0)
}

#[tokio::test(start_paused = true)]
async fn no_more_blocks_are_said_at_once_than_there_may_be() {
    // A bucket must fit beside all that is packed already, so small ones make for more.
    let bytes = say_all_of(&bucket_of_alike_topics(12_000, 255)).await;
    assert!(bytes > 40_000, "it is full");
    // These pack so well that the message is cut off long before it is full.
    say_all_of(&bucket_of_alike_topics(12_000, TOPIC_BYTES_MAX)).await;
}

/// Lets a node that has heard this bucket many times tell a newcomer all at once, which reads it. How
/// long the message is.
async fn say_all_of(text: &str) -> usize {
    let mut full = Bench::start(0, 1).await;
    for n in 1..=50 {
        let mut other = Bench::start(n, 1).await;
        for bucket in 0..64 {
            other.set(&bucket_key(bucket), text).await;
        }
        let syn = full.gossip(other.run.addr).await.remove(0).1;
        let syn_ack = other.receive(&full.run, syn).await.remove(0).1;
        full.receive(&other.run, syn_ack).await;
    }
    assert_eq!(full.faults().total(), 0, "{:?}", full.faults());
    let mut newcomer = Bench::start(250, 1).await;
    let syn = newcomer.gossip(full.run.addr).await.remove(0).1;
    let syn_ack = full.receive(&newcomer.run, syn).await.remove(0).1;
    let letter = guard(1, 1, &author(1, 1)).read(&syn_ack).unwrap();
    let blocks = letter.write().len() / BLOCK_BYTES_MAX;
    assert!((80..BLOCKS_MAX).contains(&blocks), "{blocks}");
    syn_ack.len()
}
