//! Whole meshes: nodes that keep and forget each other, restart and gossip, over connections that
//! cross, break and deliver in any order.

mod connection;
mod node;
mod promises;
mod step;
mod world;

use proptest::prelude::*;

use super::*;
use step::step;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_happens_who_keeps_a_peer_ends_with_one_link_to_it(
        nodes in 2usize..=4,
        steps in prop::collection::vec(step(), 0..150),
        order in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let mut world = World::new(nodes);
        steps.into_iter().for_each(|step| world.step(step));
        let mut order = order.into_iter().cycle();
        world.come_to_rest(|| order.next().unwrap_or(0));
        world.assert_at_rest();
    }
}

fn run(node: &str, incarnation: u64, port: u16) -> NodeRun {
    let addr = ([10, 0, 0, 1], port).into();
    NodeRun::new(node.parse().unwrap(), incarnation.into(), addr)
}

fn mesh() -> Mesh<u32> {
    let own = run("m", 1, 1);
    Mesh::new(&own, own.addr)
}

#[test]
fn a_kept_peer_is_dialled_and_its_later_run_takes_the_place_of_the_link() {
    let mut mesh = mesh();
    let (first, second) = (run("z", 1, 2), run("z", 2, 3));
    mesh.keep(&first);
    let revive = Effect::ReviveLanes(first.node.clone());
    let dialled = |run: &NodeRun| [Effect::StartDial(run.addr), Effect::WakeDial(run.addr)];
    let [start, wake] = dialled(&first);
    assert_eq!(mesh.effects(), [revive.clone(), start, wake]);

    let number = mesh.offer(&first.node, 7).unwrap();
    let incarnation = first.incarnation;
    let claim = Claim {
        incarnation,
        number,
    };
    mesh.answered(&first.node, claim, 7).unwrap();
    assert!(mesh.up(&first.node, 7, first.addr, Some(first.addr)));
    assert_eq!(mesh.effects(), std::slice::from_ref(&revive));
    assert_eq!(mesh.next_dial(first.addr), DialStep::End);

    mesh.keep(&second);
    let close = Effect::Close {
        connection: 7,
        code: CloseCode::Stale,
    };
    let restart = Effect::RestartLanes(second.node.clone());
    let [start, wake] = dialled(&second);
    assert_eq!(mesh.effects(), [revive, close, restart, start, wake]);
    mesh.keep(&first);
    assert_eq!(mesh.effects(), [], "an earlier run is not news");
}

#[test]
fn a_run_that_broke_the_protocol_loses_its_connection_and_a_later_one_does_not() {
    let mut mesh = mesh();
    let (first, second) = (run("a", 1, 2), run("a", 2, 2));
    let claim = |counter, incarnation| Claim {
        incarnation,
        number: (0..counter).fold(LinkNumber::default(), |number, _| number.next(1.into())),
    };
    mesh.answer(&first.node, claim(1, first.incarnation), 7)
        .unwrap();
    assert!(mesh.up(&first.node, 7, first.addr, None));
    mesh.effects();
    mesh.violated(&first.node, first.incarnation);
    let close = Effect::Close {
        connection: 7,
        code: CloseCode::Violation,
    };
    assert_eq!(mesh.effects(), [close]);
    assert_eq!(mesh.link(&first.node), None);

    mesh.answer(&second.node, claim(2, second.incarnation), 8)
        .unwrap();
    assert!(mesh.up(&second.node, 8, second.addr, None));
    mesh.effects();
    mesh.violated(&first.node, first.incarnation);
    assert_eq!(mesh.effects(), []);
    assert_eq!(mesh.link(&second.node), Some(8));
}

/// A link to this run comes up that it has dialled.
fn link(mesh: &mut Mesh<u32>, run: &NodeRun, connection: u32) {
    let claim = Claim {
        incarnation: run.incarnation,
        number: (0..connection).fold(LinkNumber::default(), |number, _| number.next(1.into())),
    };
    mesh.answer(&run.node, claim, connection).unwrap();
    assert!(mesh.up(&run.node, connection, run.addr, None));
    mesh.effects();
}

#[test]
fn an_address_that_two_claim_is_of_the_one_that_answers_there() {
    let mut mesh = mesh();
    let (liar, honest) = (run("a", 1, 2), run("b", 1, 2));
    let addr = honest.addr;
    link(&mut mesh, &liar, 7);
    assert!(matches!(
        mesh.gossip(addr, Bytes::new()),
        Route::Link { connection: 7, .. }
    ));
    link(&mut mesh, &honest, 8);
    let attempt = |target| DialStep::Attempt {
        target,
        redial: false,
    };
    assert_eq!(
        mesh.next_dial(addr),
        attempt(Target::Anyone),
        "it is to be found out"
    );
    assert_eq!(mesh.gossip(addr, Bytes::new()), Route::Waiting);
    mesh.dial_ended(addr, DialOutcome::Superseded(honest.node.clone()));
    assert_eq!(mesh.next_dial(addr), DialStep::End);
    for connection in 9..12 {
        mesh.ended(&liar.node, connection - 2);
        link(&mut mesh, &liar, connection);
        assert!(matches!(
            mesh.gossip(addr, Bytes::new()),
            Route::Link { connection: 8, .. }
        ));
        assert!(mesh.is_of_another(addr, &liar.node));
        assert!(!mesh.is_of_another(addr, &honest.node));
    }
    // Once the one is gone it may be the other's.
    mesh.ended(&honest.node, 8);
    assert!(!mesh.is_of_another(addr, &liar.node));
}

#[test]
fn who_is_not_where_it_says_is_dialled_no_more_but_who_else_is_to_be_there_is() {
    let mut mesh = mesh();
    let (liar, honest) = (run("a", 1, 2), run("b", 1, 2));
    let addr = honest.addr;
    let target = |mesh: &mut Mesh<u32>| loop {
        match mesh.next_dial(addr) {
            DialStep::Pause { .. } => {}
            DialStep::Attempt { target, .. } => return Some(target),
            DialStep::Linger | DialStep::End => return None,
        }
    };
    mesh.keep(&liar);
    mesh.keep(&honest);
    assert_eq!(target(&mut mesh), Some(Target::Peer(liar.node.clone())));
    mesh.dial_ended(addr, DialOutcome::Elsewhere(liar.node.clone()));
    mesh.keep(&liar);
    assert_eq!(target(&mut mesh), Some(Target::Peer(honest.node.clone())));
    mesh.forget(&honest.node);
    assert_eq!(target(&mut mesh), None);
    // Another run is another chance.
    mesh.keep(&run("a", 2, 2));
    assert_eq!(target(&mut mesh), Some(Target::Peer(liar.node.clone())));
}

#[test]
fn a_node_does_not_keep_itself_nor_gossip_with_itself() {
    let mut mesh = mesh();
    mesh.keep(&run("m", 2, 2));
    assert_eq!(
        mesh.gossip(([10, 0, 0, 1], 1).into(), Bytes::new()),
        Route::Dropped
    );
    assert_eq!(mesh.effects(), []);
}

#[test]
fn no_more_addresses_than_the_bound_are_dialled() {
    let mut mesh = mesh();
    let addr = |n: usize| SocketAddr::from(([10, 0, 0, 2], u16::try_from(n).unwrap()));
    for n in 0..DIALS_MAX {
        assert_eq!(mesh.gossip(addr(n), Bytes::new()), Route::Waiting);
    }
    mesh.effects();
    let further = addr(DIALS_MAX);
    assert_eq!(mesh.gossip(further, Bytes::new()), Route::Dropped);
    assert_eq!(mesh.effects(), [Effect::TooManyDials(further)]);
}

#[test]
fn a_node_that_drains_neither_dials_nor_takes_links_and_loses_what_waits_for_them() {
    let mut mesh = mesh();
    let peer = run("z", 1, 2);
    mesh.gossip(peer.addr, Bytes::new());
    mesh.effects();
    mesh.drain();
    assert_eq!(mesh.effects(), [Effect::GossipLost(1)]);
    mesh.keep(&peer);
    assert_eq!(mesh.effects(), [Effect::ReviveLanes(peer.node.clone())]);
    assert_eq!(mesh.next_dial(peer.addr), DialStep::End);
    assert_eq!(mesh.offer(&peer.node, 1), None);
    let claim = Claim {
        incarnation: peer.incarnation,
        number: LinkNumber::default(),
    };
    let answer = mesh.answer(&peer.node, claim, 2);
    assert_eq!(answer, Err(CloseCode::Shutdown));
}
