//! Members that lie: the links of the product, certified like all others, and in place of membership a
//! `Forger`, which says what honest nodes never would.

mod forger;
mod letter;
mod memory;
mod seal;
mod tricks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tidings::{Identity, Incarnation, LinksConfig, Net, Validity};
use tidings_transport::{
    Budget, Credit, GossipReceiver, Gossiped, Local, Peer, Receive, Transport, Violation,
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::forger::{Forger, Word};
use self::letter::Run;
use crate::host::Site;
use crate::journal::Journal;
use crate::network::Network;
use crate::note::Note;
use crate::seam::{HostNet, Life};
use crate::{name, seed};

/// A host on which a liar runs.
#[derive(Debug)]
pub struct LyingHost {
    /// Its end keeps the links up.
    _transport: Transport,
    life: Life,
    /// Ends what it says.
    speaking: CancellationToken,
}

impl LyingHost {
    /// Starts the liar of this number among those of the plan, with chance from this seed.
    ///
    /// # Errors
    /// When its transport does not start.
    pub fn start(site: &Site, seed: u64, number: usize) -> anyhow::Result<Self> {
        let nodes = site.plan.nodes;
        let (host, life) = (nodes + number, Life::default());
        let net = HostNet::new(site.network.clone(), host, site.began, 0, life.clone());
        let incarnation = net.unix_time().as_millis() as u64;
        let name = name::of_liar(number);
        let validity = Validity::starting(net.unix_time(), CERTIFIED)?;
        let certificate = site.authority.issue(&name, validity)?;
        let ca = site.authority.certificate_pem();
        let identity = Identity::from_pem(ca, &certificate.certificate_pem, &certificate.key_pem)?;
        let cluster = identity.cluster().to_string();
        let local = Local {
            listen: Network::addr(host),
            advertise: None,
            incarnation: Incarnation::new(incarnation),
            frame_bytes_max: FRAME_BYTES_MAX,
            budget: Arc::new(Budget::new(FRAME_BYTES_MAX)),
        };
        let (transport, gossip) = Transport::start(
            LinksConfig::default(),
            local,
            identity,
            Arc::new(net),
            Arc::new(Deaf),
            life.tasks.clone(),
            life.token.clone(),
        )?;
        let own = Run {
            name: name.to_string(),
            incarnation,
            addr: transport.advertise(),
        };
        let liar = site.plan.liar[number].clone();
        let peers = (0..nodes).map(Network::addr).collect();
        let random = seed::stream(seed, "liar", &[number as u64]);
        let speaking = life.token.child_token();
        let tongue = Tongue {
            number,
            transport: transport.clone(),
            journal: site.journal.clone(),
            resting: BTreeMap::new(),
        };
        let pause = Duration::from_secs_f64(1.0 / liar.rate);
        let forger = Forger::new(cluster, own, peers, liar, random);
        let random = seed::stream(seed, "liar's pauses", &[number as u64]);
        let speak = tongue.run(forger, gossip, pause, random);
        let speak = speaking.clone().run_until_cancelled_owned(speak);
        life.spawn(async {
            speak.await;
        });
        Ok(Self {
            _transport: transport,
            life,
            speaking,
        })
    }

    /// It says and hears nothing any more, though its links stay.
    pub fn fall_silent(&self) {
        self.speaking.cancel();
    }
}

impl Drop for LyingHost {
    fn drop(&mut self) {
        self.life.token.cancel();
    }
}

/// Says what a forger makes up.
struct Tongue {
    number: usize,
    transport: Transport,
    journal: Journal,
    /// Peers that are not to be dialled yet.
    resting: BTreeMap<SocketAddr, Instant>,
}

impl Tongue {
    async fn run(
        mut self,
        mut forger: Forger,
        mut gossip: GossipReceiver,
        pause: Duration,
        mut random: ChaCha8Rng,
    ) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                heard = gossip.recv() => {
                    let Some((from, bytes)) = heard else { return };
                    for word in forger.hear(from.addr, &bytes) {
                        self.say(word);
                    }
                }
                () = sleep_until(next) => {
                    next += pause.mul_f64(random.random_range(0.5..1.5));
                    if let Some(word) = forger.speak() {
                        self.say(word);
                    }
                }
            }
        }
    }

    fn say(&mut self, word: Word) {
        let Word { to, bytes, lie } = word;
        let now = Instant::now();
        if self.resting.get(&to).is_some_and(|until| now < *until) {
            return;
        }
        match self.transport.gossip(to, bytes) {
            Gossiped::Sent => {}
            Gossiped::Waiting | Gossiped::Dropped => {
                self.resting.insert(to, now + DIAL_EACH);
            }
        }
        if let (Some(lie), Some(host)) = (lie, Network::host(to)) {
            let liar = self.number;
            self.journal.note(Note::Lied { liar, host, lie });
        }
    }
}

/// Nobody publishes to a liar.
struct Deaf;

impl Receive for Deaf {
    fn frame(&self, _: &Arc<Peer>, _: Incarnation, _: Bytes) -> Result<(), Violation> {
        Ok(())
    }

    fn credit(&self, _: &Arc<Peer>, _: Incarnation, _: Credit) {}
}

/// Longer than any run.
const CERTIFIED: Duration = Duration::from_secs(86_400);
/// That of the product.
const FRAME_BYTES_MAX: usize = (1 << 20) + (9 << 10);
/// How often a peer is dialled that gives no link.
const DIAL_EACH: Duration = Duration::from_millis(300);
