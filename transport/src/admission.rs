//! Who may begin a handshake with us.
//!
//! A first packet costs its sender next to nothing, and the address it says it comes from may be
//! anybody's. The handshake that answers it costs us a signature, memory and some waiting. So there
//! is a bounded number of places for handshakes. One that fails before its sender has shown a
//! certificate keeps its place for as long as one that says nothing more, or else strangers could
//! have as many as they like, one after the other.
//!
//! - While few are taken, whoever comes gets one.
//! - After that only whoever has shown that it receives what is sent to its address. Others are
//!   asked to, by a Retry, which costs us no memory: the proof is in what they send next. So first
//!   packets that nothing comes after take no place from an honest peer, which is in one round trip
//!   later.
//! - When half of the places are taken, somebody with real addresses may be taking them. From then
//!   on one source gets few, so that the other half is for others. Before that it does not matter,
//!   because many nodes may be one source: behind one NAT, or on one host.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The places for handshakes that peers have begun.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: usize,
    /// Places of those who have shown their address. Others may have named anybody's, and must not
    /// count against whose it is.
    by_source: BTreeMap<Source, usize>,
}

/// What becomes of a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It has a place, until that is [given back](Places::give_back).
    Admitted(Place),
    /// Its sender is to show its address first.
    Retry,
    /// There is no place for it. It gets no answer: nothing is cheaper, and an honest peer sends it
    /// again after a while.
    Ignored,
}

/// A place that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a place that is not given back is lost"]
pub(crate) struct Place(Option<Source>);

/// Whoever may use all of some addresses: one of IPv4, or a network of IPv6, since any host there
/// has as many addresses as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source(IpAddr);

impl Places {
    /// Decides about a first packet. `validated` is whether the sender has shown that it receives
    /// what is sent to `remote`.
    pub(crate) fn admit(&mut self, remote: SocketAddr, validated: bool) -> Admission {
        if !validated {
            if self.taken >= UNVALIDATED_MAX {
                return Admission::Retry;
            }
            self.taken += 1;
            return Admission::Admitted(Place(None));
        }
        let source = Source::of(remote.ip());
        let held = self.by_source.get(&source).copied().unwrap_or_default();
        let scarce = self.taken >= PLACES_MAX / 2;
        if self.taken >= PLACES_MAX || (scarce && held >= SOURCE_MAX) {
            return Admission::Ignored;
        }
        self.taken += 1;
        self.by_source.insert(source, held + 1);
        Admission::Admitted(Place(Some(source)))
    }

    /// The place is free for somebody else.
    pub(crate) fn give_back(&mut self, place: Place) {
        self.taken -= 1;
        let Some(source) = place.0 else { return };
        if let Some(held) = self.by_source.get_mut(&source) {
            *held -= 1;
            if *held == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Source {
    fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & NETWORK).into(),
            v4 => v4,
        })
    }
}

/// Handshakes of peers that may be under way.
pub(crate) const PLACES_MAX: usize = 256;
/// With so many under way, only those who have shown their address may begin one more.
const UNVALIDATED_MAX: usize = 32;
/// Places that one source may hold, for it to get one of the second half.
const SOURCE_MAX: usize = 8;
/// The first half of an address of IPv6, which is the same for all in a network.
const NETWORK: u128 = !0 << 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a test knows of the places: who holds them.
    #[derive(Debug, Default)]
    struct World {
        places: Places,
        held: Vec<Place>,
    }

    impl World {
        fn arrive(&mut self, ip: &str, validated: bool) -> Admission {
            let remote = SocketAddr::new(ip.parse().unwrap(), 7946);
            let admission = self.places.admit(remote, validated);
            if let Admission::Admitted(place) = admission {
                self.held.push(place);
            }
            admission
        }

        fn is_admitted(&mut self, ip: &str, validated: bool) -> bool {
            matches!(self.arrive(ip, validated), Admission::Admitted(_))
        }
    }

    #[test]
    fn whoever_comes_gets_a_place_while_few_are_taken() {
        let mut world = World::default();
        for _ in 0..UNVALIDATED_MAX {
            assert!(world.is_admitted("192.0.2.1", false));
        }
        assert_eq!(world.arrive("192.0.2.1", false), Admission::Retry);
        assert_eq!(world.arrive("192.0.2.2", false), Admission::Retry);
        world.places.give_back(world.held.pop().unwrap());
        assert!(world.is_admitted("192.0.2.2", false));
    }

    #[test]
    fn an_address_that_others_have_named_keeps_its_places() {
        let mut world = World::default();
        for _ in 0..UNVALIDATED_MAX {
            assert!(world.is_admitted("192.0.2.1", false));
        }
        for number in 0..PLACES_MAX / 2 {
            assert!(world.is_admitted(&format!("198.51.100.{number}"), true));
        }
        for _ in 0..SOURCE_MAX {
            assert!(world.is_admitted("192.0.2.1", true));
        }
        assert_eq!(world.arrive("192.0.2.1", true), Admission::Ignored);
    }

    #[test]
    fn many_nodes_behind_one_address_get_half_of_the_places() {
        let mut world = World::default();
        for _ in 0..PLACES_MAX / 2 {
            assert!(world.is_admitted("192.0.2.1", true));
        }
        assert_eq!(world.arrive("192.0.2.1", true), Admission::Ignored);
        assert_eq!(world.arrive("::ffff:192.0.2.1", true), Admission::Ignored);
        assert!(world.is_admitted("192.0.2.2", true));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut world = World::default();
        for number in 0..PLACES_MAX / 2 {
            assert!(world.is_admitted(&format!("2001:db8::{number:x}"), true));
        }
        assert_eq!(world.arrive("2001:db8::f:1", true), Admission::Ignored);
        assert!(world.is_admitted("2001:db8:0:1::1", true));
    }

    /// Something that happens: a first packet from one of a few sources, or the end of a handshake.
    #[derive(Debug, Clone)]
    enum Event {
        Packet { host: u8, validated: bool },
        End(prop::sample::Index),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0_u8..40, any::<bool>()).prop_map(|(host, validated)| {
                // One host sends half of all.
                let host = host.saturating_sub(20);
                Event::Packet { host, validated }
            }),
            1 => any::<prop::sample::Index>().prop_map(Event::End),
        ]
    }

    proptest! {
        /// Whatever happens: the places are bounded, most of them are out of reach of those who
        /// show no address, one source has no more than half, and whoever has shown its address
        /// and holds few is kept out only when there is no place at all.
        #[test]
        fn nobody_takes_what_is_meant_for_others(events in prop::collection::vec(event(), 0..1500)) {
            let mut world = World::default();
            for event in events {
                match event {
                    Event::Packet { host, validated } => {
                        let ip = format!("192.0.2.{host}");
                        let source = Source::of(ip.parse().unwrap());
                        let own = world.held.iter().filter(|p| p.0 == Some(source)).count();
                        let taken = world.held.len();
                        match world.arrive(&ip, validated) {
                            Admission::Admitted(place) => {
                                prop_assert_eq!(place.0.is_some(), validated);
                            }
                            Admission::Retry => {
                                prop_assert!(!validated && taken >= UNVALIDATED_MAX);
                            }
                            Admission::Ignored => prop_assert!(
                                validated
                                    && (taken == PLACES_MAX
                                        || (own >= SOURCE_MAX && taken >= PLACES_MAX / 2))
                            ),
                        }
                        let own = world.held.iter().filter(|p| p.0 == Some(source)).count();
                        prop_assert!(own <= PLACES_MAX / 2);
                    }
                    Event::End(which) if !world.held.is_empty() => {
                        let place = world.held.swap_remove(which.index(world.held.len()));
                        world.places.give_back(place);
                    }
                    Event::End(_) => {}
                }
                let unvalidated = world.held.iter().filter(|place| place.0.is_none()).count();
                prop_assert!(unvalidated <= UNVALIDATED_MAX);
                prop_assert!(world.held.len() <= PLACES_MAX);
                prop_assert_eq!(world.places.taken, world.held.len());
            }
            for place in world.held.drain(..) {
                world.places.give_back(place);
            }
            prop_assert_eq!(world.places.taken, 0);
            prop_assert!(world.places.by_source.is_empty());
        }
    }
}
