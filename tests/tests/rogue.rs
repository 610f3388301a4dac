//! Members of the cluster that mean harm, with good certificates: they end nothing, speak for nobody
//! but themselves, and keep nobody from hearing or being heard.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use tidings_tests::rogue::letter::{
    ack, ack_of_blocks, known, packed, syn, syn_ack, told, value, version,
};
use tidings_tests::rogue::{
    Closed, Hearsay, Mask, Rogue, RogueLink, Run, Value, bucket_key, bucket_text,
};
use tidings_tests::{
    Cluster, Figures, Guest, Http, Inbox, Node, create_certificate, millis, wait_until,
};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
/// By how much an attack may delay what nodes learn of each other.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// By how much a member may make a node grow.
const MEMORY_KIB_MAX: u64 = 64 << 10;
/// What 60,000 members of another node may add to one.
const MEMBERS_KIB_MAX: u64 = 160 << 10;
/// For how long nobody with one violation gets a link.
const PAUSE: Duration = Duration::from_secs(1);
/// The scope of the client gateway.
const SCOPE: &str = "default";
/// How many buckets a node has, which is the most it may have.
const BUCKETS: u32 = 1_024;

/// Three nodes, a member of `news` at each.
struct Scene {
    cluster: Cluster,
    nodes: Vec<Node>,
    inboxes: Vec<Inbox>,
    logged: Vec<usize>,
}

impl Scene {
    async fn up() -> Result<Self> {
        let cluster = Cluster::up(3)?;
        let nodes = cluster.nodes()?;
        let inboxes = nodes.iter().map(|node| Inbox::open(node, "news"));
        let inboxes = try_join_all(inboxes).await?;
        cluster.wait_members(&[1, 2, 3], "news", 3, SOON).await?;
        let logs = nodes.iter().map(|node| Ok(cluster.log(&node.node)?.len()));
        let logged = logs.collect::<Result<_>>()?;
        Ok(Self {
            cluster,
            nodes,
            inboxes,
            logged,
        })
    }

    fn addr(&self, number: usize) -> Result<SocketAddr> {
        Ok(self.nodes[number - 1].cluster.parse()?)
    }

    /// A rogue of this name with a link to a node, by which it is known as a node like any.
    async fn rogue(&self, name: &str, to: usize) -> Result<(Rogue, Mask, RogueLink)> {
        let rogue = Rogue::new(&self.cluster, name)?;
        let mut mask = Mask::new(rogue.voice(BUCKETS)?);
        let mut link = rogue.link(self.addr(to)?).await?;
        let introduced = mask.introduce(&mut link, &["n1", "n2", "n3"]);
        timeout(SOON, introduced)
            .await
            .context("not introduced")??;
        Ok((rogue, mask, link))
    }

    /// How often this was found to be wrong with gossip, at all nodes together.
    async fn found(&self, what: &str) -> Result<f64> {
        let mut sum = 0.0;
        for node in &self.nodes {
            let (metrics, label) = (node.http()?.metrics().await?, format!("what=\"{what}\""));
            sum += metrics.with_label("tidings_gossip_malformed_total", &label);
        }
        Ok(sum)
    }

    /// While the attack goes on, each node always shows the members of all three.
    async fn nobody_is_missing(&self, attack: impl Future<Output = Result<()>>) -> Result<()> {
        let watch = async {
            loop {
                for node in &self.nodes {
                    let members = node.http()?.members("news").await?;
                    let of: Vec<_> = members.into_iter().map(|member| member.node).collect();
                    ensure!(of == ["n1", "n2", "n3"], "{} sees {of:?}", node.node);
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = attack => done,
            ended = watch => ended,
        }
    }

    /// What any node publishes comes to all, in full.
    async fn messages_arrive(&mut self) -> Result<()> {
        const COUNT: usize = 20;
        for node in &self.nodes {
            let (name, publisher) = (&node.node, node.connect().await?);
            let texts: Vec<_> = (0..COUNT).map(|n| format!("{n} of {name}")).collect();
            for text in &texts {
                publisher.publish("news", text.clone().into()).await?;
            }
            publisher.flush().await?;
            for inbox in &mut self.inboxes {
                ensure!(inbox.texts(COUNT).await? == texts, "{name} is misheard");
            }
        }
        Ok(())
    }

    /// Messages arrive, and since the scene began no node has taken another for dead or lost the link
    /// to it.
    async fn down(mut self) -> Result<()> {
        self.messages_arrive().await?;
        for (node, logged) in self.nodes.iter().zip(self.logged) {
            ensure!(node.runs(), "{} has ended", node.node);
            let log = self.cluster.log(&node.node)?;
            let names = ["n1", "n2", "n3"];
            let names_peer =
                |line: &str| names.iter().any(|name| line.contains(&format!("={name} ")));
            let wrong = log[logged..].lines().find(|line| {
                (line.contains("node is down") || line.contains("link down")) && names_peer(line)
            });
            ensure!(wrong.is_none(), "{} says: {wrong:?}", node.node);
        }
        self.cluster.down()
    }
}

/// The node closes the link for a violation.
async fn is_closed_for_it(link: &RogueLink) -> Result<()> {
    let closed = link.closed().await?;
    ensure!(closed.is_violation(), "{closed}");
    ensure!(closed.reason.starts_with("bad gossip"), "{closed}");
    Ok(())
}

/// The node keeps the link, for longer than it takes to read what was said on it.
async fn stays(mask: &mut Mask, link: &mut RogueLink) -> Result<()> {
    match timeout(PAUSE / 2, mask.wear(link)).await {
        Ok(ended) => ended,
        Err(_) => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_ends_a_node_or_a_link_of_others() -> Result<()> {
    let scene = Scene::up().await?;
    let wrong = [
        "key", "node", "version", "version", "version", "version", "format", "cluster",
    ];
    let message = |attack: usize, mask: &Mask, victim: &str| -> Result<Vec<u8>> {
        let voice = &mask.voice;
        let (run, at) = (voice.run().bytes(), voice.version());
        let goes_on = |values: &[Value]| {
            let values = values.iter().map(value);
            ack(&[told(&run, at)]
                .into_iter()
                .chain(values)
                .collect::<Vec<_>>())
        };
        let word = |key: &str, version| voice.forge(voice.run(), &[], key, "", version);
        Ok(match attack {
            0 => goes_on(&[word("no key", at + 1)?]),
            1 => ack(&[told(&run, at), told(&run, at)]),
            2 => goes_on(&[word("b/0", at + 1)?, word("b/1", at + 1)?]),
            3 => goes_on(&[word("b/0", u64::MAX)?]),
            4 => {
                let own = mask.hearsay.run(victim)?;
                let last = voice.forge(own, &[], "b/0", "", u64::MAX)?;
                ack(&[told(&own.bytes(), 1), value(&last)])
            }
            5 => syn(voice.cluster(), &[known(&run, (u64::MAX, 0), at)]),
            6 => ack(&[told(&run, at), value(&word("b/0", 100)?), version(50)]),
            _ => syn("another", &[voice.entry()]),
        })
    };
    let kept_out = join_all((0..wrong.len() * 3).map(async |number| {
        let (attack, node) = (number / 3, number % 3 + 1);
        let name = format!("mallory-{attack}-{node}");
        let (rogue, mask, link) = scene.rogue(&name, node).await?;
        let said = Instant::now();
        link.say(&message(attack, &mask, &format!("n{node}"))?)
            .await?;
        is_closed_for_it(&link).await.context(attack)?;
        let again = rogue.link(scene.addr(node)?).await;
        if said.elapsed() >= PAUSE {
            return Ok(false);
        }
        let refused = again.err().context("it has a link in the pause")?;
        let closed: &Closed = refused.downcast_ref().context("it was not closed")?;
        ensure!(closed.is_violation(), "{closed}");
        Ok(true)
    }));
    let mut were_kept_out = 0;
    for kept_out in kept_out.await {
        were_kept_out += usize::from(kept_out?);
    }
    ensure!(were_kept_out > 0, "the machine is too slow to tell");
    for what in wrong {
        ensure!(scene.found(what).await? >= 3.0, "{what} was not counted");
    }

    // Nodes that there are not, so many that a digest of them leaves no room for anything else.
    let (_rogue, mut mask, mut link) = scene.rogue("mallory", 1).await?;
    for (count, length) in [(646, 60), (790, 40)] {
        let phantom = |n: usize| {
            let node = format!("p{n:0>width$}", width = length - 1);
            let run = Run {
                node,
                incarnation: 1,
                addr: ([10, 1, 1, 1], 7946).into(),
            };
            known(&run.bytes(), (1, 0), 1)
        };
        let entries: Vec<_> = [mask.voice.entry()]
            .into_iter()
            .chain((0..count).map(phantom))
            .collect();
        link.say(&syn(mask.voice.cluster(), &entries)).await?;
        stays(&mut mask, &mut link).await?;
    }
    for node in &scene.nodes {
        let nodes = node.http()?.nodes().await?;
        let invented = nodes.iter().find(|node| node.node.starts_with('p'));
        ensure!(invented.is_none(), "{invented:?}");
    }
    scene.down().await
}

/// What others have said, and a rogue says otherwise in their name.
struct Lies<'a> {
    mask: &'a Mask,
    of: &'a Run,
    has: Vec<Value>,
}

impl<'a> Lies<'a> {
    fn of(mask: &'a Mask, node: &str) -> Result<Self> {
        let (of, has) = (mask.hearsay.run(node)?, mask.hearsay.values(node)?);
        Ok(Self { mask, of, has })
    }

    fn version(&self) -> u64 {
        self.has.last().map_or(0, |value| value.version)
    }

    /// A value more, with a seal of the rogue.
    fn forged(&self, key: &str, says: &str) -> Result<Value> {
        let at = self.version() + 1;
        self.mask.voice.forge(self.of, &self.has, key, says, at)
    }

    /// A message with these values after all others.
    fn tell(&self, values: &[Value]) -> Vec<u8> {
        let values = values.iter().map(value);
        let told = told(&self.of.bytes(), self.version());
        ack(&[told].into_iter().chain(values).collect::<Vec<_>>())
    }

    /// All that it has ever said, but as another run.
    fn as_run(&self, incarnation: u64) -> Result<Vec<u8>> {
        let run = Run {
            incarnation,
            ..self.of.clone()
        };
        let (voice, mut has) = (&self.mask.voice, Vec::new());
        for value in &self.has {
            let (says, _) = value.value.rsplit_once('.').context("a record")?;
            has.push(voice.forge(&run, &has, &value.key, says, value.version)?);
        }
        let values = has.iter().map(value);
        Ok(ack(&[told(&run.bytes(), 0)]
            .into_iter()
            .chain(values)
            .collect::<Vec<_>>()))
    }

    /// A Syn that knows of the node only this.
    fn beat(&self, beat: u64, version: u64) -> Vec<u8> {
        let voice = &self.mask.voice;
        let entries = [voice.entry(), known(&self.of.bytes(), (beat, 7), version)];
        syn(voice.cluster(), &entries)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_says_that_a_node_has_left_or_changed() -> Result<()> {
    let mut scene = Scene::up().await?;
    type Lie = fn(&Lies<'_>) -> Result<Vec<u8>>;
    let lies: [(&str, Lie); 11] = [
        ("seal", |n3| Ok(n3.tell(&[n3.forged("left", "1")?]))),
        ("seal", |n3| {
            let (key, value) = ("left".into(), "1".into());
            let version = n3.version() + 1;
            Ok(n3.tell(&[Value {
                key,
                value,
                version,
            }]))
        }),
        ("seal", |n3| {
            // The true seal of something else.
            let last = n3.has.last().context("it has said something")?;
            let (_, seal) = last.value.rsplit_once('.').context("a record")?;
            let (key, value) = ("left".into(), format!("1.{seal}"));
            let version = n3.version() + 1;
            Ok(n3.tell(&[Value {
                key,
                value,
                version,
            }]))
        }),
        ("seal", |n3| {
            let buckets = n3.has.iter().filter(|value| value.key.starts_with("b/"));
            let emptied: Vec<_> = buckets
                .zip(1..)
                .map(|(value, more)| {
                    let at = n3.version() + more;
                    n3.mask.voice.forge(n3.of, &n3.has, &value.key, "", at)
                })
                .collect::<Result<_>>()?;
            Ok(n3.tell(&emptied))
        }),
        ("seal", |n3| Ok(n3.tell(&[n3.forged("pulse", "0 1 1")?]))),
        ("seal", |n3| n3.as_run(n3.of.incarnation + 1)),
        ("version", |n3| n3.as_run(u64::MAX)),
        ("beat", |n3| Ok(n3.beat(1_000, 1))),
        ("beat", |n3| Ok(n3.beat(4_095, 1))),
        ("version", |n3| Ok(n3.beat(u64::MAX, 1))),
        ("version", |n3| Ok(n3.beat(1, u64::MAX))),
    ];
    let lie = async |number: usize| -> Result<()> {
        let (what, lie) = lies[number];
        let (_rogue, mask, link) = scene.rogue(&format!("liar-{number}"), 1).await?;
        let found = scene.found(what).await?;
        link.say(&lie(&Lies::of(&mask, "n3")?)?).await?;
        is_closed_for_it(&link).await.context(number)?;
        ensure!(scene.found(what).await? > found, "{number} was not counted");
        Ok(())
    };
    // Where it cannot be told who has made it up, it is left out and the link stays.
    let hint = async |victim: usize| -> Result<()> {
        let (_rogue, mut mask, mut link) = scene.rogue(&format!("gossip-{victim}"), victim).await?;
        let n3 = Lies::of(&mask, "n3")?;
        let later = Run {
            incarnation: n3.of.incarnation + 1,
            ..n3.of.clone()
        };
        let hints = [
            n3.beat(1 << 53, 1),
            n3.beat(1, 1 << 53),
            ack(&[
                told(&n3.of.bytes(), n3.version()),
                version(n3.version() + 1_000),
            ]),
            syn(
                mask.voice.cluster(),
                &[mask.voice.entry(), known(&later.bytes(), (1, 7), 1)],
            ),
        ];
        let to_itself = n3.tell(&[n3.forged("left", "1")?]);
        for hint in &hints {
            link.say(hint).await?;
        }
        if victim == 3 {
            link.say(&to_itself).await?;
        }
        stays(&mut mask, &mut link).await
    };
    let itself = scene.found("itself").await?;
    let attack = async {
        join_all((0..lies.len()).map(lie))
            .await
            .into_iter()
            .collect::<Result<()>>()?;
        try_join_all([1, 3].map(hint)).await?;
        // Who were believed to be silent, or dead, would be out of the views by then.
        sleep(Duration::from_secs(3)).await;
        Ok(())
    };
    scene.nobody_is_missing(attack).await?;
    ensure!(scene.found("itself").await? >= itself + 3.0);
    scene.messages_arrive().await?;
    scene.down().await
}

/// A node beside n1 that has just been started.
fn newcomer(scene: &Scene, slot: u16) -> Result<(Guest, SocketAddr)> {
    let directory = tempfile::tempdir()?;
    let (name, ca) = (format!("new{slot}"), scene.cluster.directory().join("ca"));
    create_certificate(&ca, directory.path(), &name, &[])?;
    let guest = Guest::start(&scene.cluster, (1, slot), &name, directory.path(), &[1])?;
    // It reads its files while it starts.
    let _kept = directory.keep();
    let mut addr = scene.addr(1)?;
    addr.set_port(7950 + slot);
    Ok((guest, addr))
}

/// Tells a node the same again and again, whenever there is a link to be had.
async fn insist(rogue: &Rogue, addr: SocketAddr, messages: &[Vec<u8>]) -> Result<()> {
    loop {
        let Ok(link) = rogue.link(addr).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        while link.is_open() {
            for message in messages {
                // It may be closed meanwhile; then it is dialled again.
                let _ = link.say(message).await;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What a node sees of the members of n3, each as a topic.
async fn topics_of_n3(http: &Http, topics: &[String]) -> BTreeSet<String> {
    let seen = topics.iter().map(async |topic| {
        let members = http.members(topic).await.unwrap_or_default();
        members
            .iter()
            .any(|member| member.node == "n3")
            .then(|| topic.clone())
    });
    join_all(seen).await.into_iter().flatten().collect()
}

/// A message with these values of the node, after nothing.
fn whole(run: &Run, values: &[Value]) -> Vec<u8> {
    let values = values.iter().map(value);
    ack(&[told(&run.bytes(), 0)]
        .into_iter()
        .chain(values)
        .collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_hear_all_though_true_words_are_held_back_or_old() -> Result<()> {
    const TOPICS: usize = 20;
    const OLD: usize = 10;
    let scene = Scene::up().await?;
    let topics: Vec<_> = (0..TOPICS).map(|n| format!("all.{n}")).collect();
    let n3 = scene.nodes[2].connect().await?;
    let mut inboxes = Vec::new();
    for topic in &topics[..OLD] {
        inboxes.push(Inbox::on(n3.clone(), topic).await?);
    }
    let (rogue, mut mask, mut link) = scene.rogue("mallory", 3).await?;
    let keys = |topics: &[String]| {
        let keys = topics.iter().map(|topic| bucket_key(SCOPE, topic, BUCKETS));
        keys.collect::<BTreeSet<_>>()
    };
    let heard = async |mask: &mut Mask, link: &mut RogueLink, topics: &[String]| -> Result<()> {
        let keys = keys(topics);
        let has_all = |hearsay: &Hearsay| {
            let values = hearsay.values("n3").unwrap_or_default();
            keys.iter()
                .all(|key| values.iter().any(|value| value.key == *key))
        };
        let begun = Instant::now();
        while !has_all(&mask.hearsay) {
            ensure!(begun.elapsed() < SOON, "it does not hear all");
            let some = timeout(Duration::from_millis(100), mask.wear(link)).await;
            if let Ok(ended) = some {
                ended?;
            }
        }
        Ok(())
    };
    heard(&mut mask, &mut link, &topics[..OLD]).await?;
    let old = mask.hearsay.clone();
    for topic in &topics[OLD..] {
        inboxes.push(Inbox::on(n3.clone(), topic).await?);
    }
    inboxes.remove(0).unsubscribe().await?;
    heard(&mut mask, &mut link, &topics).await?;
    drop(link);
    let is_so: BTreeSet<_> = topics[1..].iter().cloned().collect();
    let (run, values) = (mask.hearsay.run("n3")?.clone(), mask.hearsay.values("n3")?);
    let buckets = || values.iter().filter(|value| value.key.starts_with("b/"));
    let [first, last] = [buckets().next(), buckets().next_back()];
    let but = |one: Option<&Value>| {
        let values = values.iter().filter(|value| Some(*value) != one);
        whole(&run, &values.cloned().collect::<Vec<_>>())
    };
    let with_its_own =
        |message: &Vec<u8>| -> Vec<_> { mask.voice.since(0).chain([message.clone()]).collect() };
    let mut figures = Figures::default();
    let told = [but(first), but(last), whole(&run, &old.values("n3")?)];
    for (slot, message) in told.iter().enumerate() {
        let (guest, addr) = newcomer(&scene, slot as u16)?;
        let http = guest.http()?;
        let begun = wait_for_node(&http, "n3", run.incarnation);
        let learns = async {
            begun.await;
            let sees_all = async || topics_of_n3(&http, &topics).await == is_so;
            let took = wait_until("it sees all of n3", 2 * DELAY_MAX, sees_all).await;
            Ok::<_, anyhow::Error>(took)
        };
        let messages = with_its_own(message);
        tokio::select! {
            took = learns => figures.add(took?),
            ended = insist(&rogue, addr, &messages) => ended?,
        }
    }
    figures.print("a newcomer that is told a part sees all of a node that it sees");

    // What an earlier run has said is never shown again, nor does anybody miss the later one for it.
    scene.cluster.kill("n3")?;
    drop((inboxes, n3));
    scene.cluster.start("n3")?;
    let again = scene.cluster.node(3)?;
    let n1 = scene.nodes[0].http()?;
    wait_until("n3 is back", SOON, async || again.connect().await.is_ok()).await;
    let _inbox = Inbox::open(&again, &topics[0]).await?;
    let now = BTreeSet::from([topics[0].clone()]);
    let sees_now = async |http: &Http| topics_of_n3(http, &topics).await == now;
    wait_until("n1 sees the later run", SOON, async || sees_now(&n1).await).await;
    let (guest, addr) = newcomer(&scene, 9)?;
    let http = guest.http()?;
    let messages = with_its_own(&whole(&run, &values));
    let watch = async {
        wait_until("it sees the later run", SOON, async || {
            sees_now(&http).await
        })
        .await;
        for _ in 0..20 {
            ensure!(
                sees_now(&n1).await && sees_now(&http).await,
                "an old member is back"
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::select! {
        done = watch => done?,
        ended = insist(&rogue, addr, &messages) => ended?,
        ended = insist(&rogue, scene.addr(1)?, &messages) => ended?,
    }
    drop(guest);
    scene.cluster.down()
}

/// Waits until a node shows this run of another, or a later one, as live.
async fn wait_for_node(http: &Http, name: &str, incarnation: u64) {
    wait_until(&format!("it sees {name}"), SOON, async || {
        let live = http.live().await.unwrap_or_default();
        live.iter()
            .any(|(node, run)| node == name && *run >= incarnation)
    })
    .await;
}

/// How long n1 waits at most for what n2 has, again and again while something else goes on.
async fn slowest_change(
    scene: &Scene,
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    let (n1, client) = (scene.nodes[0].http()?, scene.nodes[1].connect().await?);
    let (is_over, mut slowest) = (Cell::new(false), Duration::ZERO);
    let meanwhile = async {
        meanwhile.await?;
        is_over.set(true);
        Ok(())
    };
    let changes = async {
        let mut number = 0;
        // The one that is under way at the end counts, too.
        while !is_over.get() {
            number += 1;
            let topic = format!("fresh.{number}");
            let begun = Instant::now();
            let inbox = Inbox::on(client.clone(), &topic).await?;
            let sees = async || {
                n1.members(&topic)
                    .await
                    .is_ok_and(|members| members.len() == 1)
            };
            wait_until("n1 sees it", SOON, sees).await;
            slowest = slowest.max(begun.elapsed());
            inbox.unsubscribe().await?;
            sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::try_join!(meanwhile, changes)?;
    Ok(slowest)
}

/// Changes are seen about as soon as without the attack.
async fn delays_no_change(
    scene: &Scene,
    what: &str,
    attack: impl Future<Output = Result<()>>,
) -> Result<()> {
    let rest = async {
        sleep(Duration::from_secs(1)).await;
        Ok(())
    };
    let before = slowest_change(scene, rest).await?;
    let slowest = slowest_change(scene, attack).await?;
    let (before_ms, slowest_ms) = (millis(before), millis(slowest));
    println!(
        "figure: {what}: a change is seen after {slowest_ms} ms at most, {before_ms} ms before"
    );
    ensure!(
        slowest < before + DELAY_MAX,
        "{what}: a change took {slowest:?}"
    );
    Ok(())
}

/// What the processes of the nodes take.
fn memory_kib(scene: &Scene) -> Result<Vec<u64>> {
    let of = |node: &Node| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid))?;
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = memory.and_then(|memory| memory.split_whitespace().next());
        Ok(number.context("a process has memory")?.parse()?)
    };
    scene.nodes.iter().map(of).collect()
}

/// By how much the nodes grow at most while something goes on.
async fn growth_kib(scene: &Scene, attack: impl Future<Output = Result<()>>) -> Result<u64> {
    let (before, mut most) = (memory_kib(scene)?, 0);
    let watch = async {
        loop {
            let now = memory_kib(scene)?;
            let grown = now
                .iter()
                .zip(&before)
                .map(|(now, before)| now.saturating_sub(*before));
            most = most.max(grown.max().unwrap_or(0));
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        done = attack => done?,
        ended = watch => return ended,
    }
    Ok(most)
}

/// The attack makes no node grow by more than it may.
async fn takes_little_memory(
    scene: &Scene,
    what: &str,
    attack: impl Future<Output = Result<()>>,
) -> Result<()> {
    takes_at_most(MEMORY_KIB_MAX, scene, what, attack).await
}

async fn takes_at_most(
    most: u64,
    scene: &Scene,
    what: &str,
    attack: impl Future<Output = Result<()>>,
) -> Result<()> {
    let grown = growth_kib(scene, attack).await?;
    println!("figure: {what}: a node grows by {grown} KiB at most");
    ensure!(grown <= most, "{what}: a node has grown by {grown} KiB");
    Ok(())
}

/// Gossips with all nodes until each knows all that the rogue says of itself.
async fn tell_all(scene: &Scene, rogue: &Rogue, mask: &Mask) -> Result<()> {
    let knowing = Cell::new(0);
    let tell = async |number: usize| -> Result<()> {
        let (mut mask, mut link) = (mask.clone(), rogue.link(scene.addr(number)?).await?);
        let introduced = mask.introduce(&mut link, &[]);
        timeout(3 * SOON, introduced)
            .await
            .context("not all is taken")??;
        knowing.set(knowing.get() + 1);
        while knowing.get() < scene.nodes.len() {
            if let Ok(ended) = timeout(Duration::from_millis(100), mask.wear(&mut link)).await {
                ended?;
            }
        }
        Ok(())
    };
    try_join_all((1..=scene.nodes.len()).map(tell))
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_unpacks_to_much_takes_little_memory_and_delays_nobody() -> Result<()> {
    const AT_ONCE: usize = 20;
    let scene = Scene::up().await?;
    let frame = packed(&vec![0; 16_384])?;
    let bombs = [
        // As much as a message may unpack to, and more.
        ack_of_blocks(&vec![(1, frame.clone()); 512]),
        ack_of_blocks(&vec![(1, frame); 2_000]),
        ack_of_blocks(&[(1, packed(&vec![0; 1 << 27])?)]),
    ];
    let bomb = async |number: usize| -> Result<()> {
        let rogue = Rogue::new(&scene.cluster, &format!("mallory-{number}"))?;
        let link = rogue.link(scene.addr(number % 3 + 1)?).await?;
        for message in bombs.iter().cycle().skip(number).take(6) {
            // It is closed at the first one.
            let _ = link.say(message).await;
        }
        is_closed_for_it(&link).await
    };
    let attack = async {
        for round in 0..3 {
            let bombs = (0..AT_ONCE).map(|number| bomb(round * AT_ONCE + number));
            try_join_all(bombs).await?;
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    let watched = takes_little_memory(&scene, "60 bombs", attack);
    delays_no_change(&scene, "60 bombs", watched).await?;
    scene.down().await
}

/// Topics that are in different buckets of so many, and for each bucket its text.
fn buckets_of(topics: &[String], buckets: u32) -> Vec<(String, String)> {
    let mut of: BTreeMap<String, Vec<(&str, u32)>> = BTreeMap::new();
    for topic in topics {
        of.entry(bucket_key(SCOPE, topic, buckets))
            .or_default()
            .push((topic, 1));
    }
    let text = |(key, mut topics): (String, Vec<(&str, u32)>)| {
        topics.sort_unstable();
        (key, bucket_text(SCOPE, &topics))
    };
    of.into_iter().map(text).collect()
}

/// Has it told to all nodes, and waits until their views have so many topics.
async fn is_told(scene: &Scene, rogue: &Rogue, mask: &Mask, topics: usize) -> Result<()> {
    tell_all(scene, rogue, mask).await?;
    for number in 1..=3 {
        let sees_all = async || {
            let seen = scene.cluster.metric(&[number], "tidings_topics").await;
            seen.is_ok_and(|seen| seen >= topics as f64)
        };
        wait_until("they are in the view", SOON, sees_all).await;
    }
    // The nodes go on telling each other.
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_members_of_one_node_take_little_memory_and_delay_no_change() -> Result<()> {
    const WILDCARDS: usize = 60_000;
    let scene = Scene::up().await?;
    let rogue = Rogue::new(&scene.cluster, "mallory")?;
    let mut voice = rogue.voice(BUCKETS)?;
    let topics: Vec<_> = (0..WILDCARDS).map(|n| format!("wild.{n}.*")).collect();
    for (key, text) in buckets_of(&topics, BUCKETS) {
        voice.say(&key, &text)?;
    }
    let mask = Mask::new(voice);
    let attack = async {
        let told = is_told(&scene, &rogue, &mask, WILDCARDS);
        // Members cost what members cost, and so many a node may have.
        takes_at_most(MEMBERS_KIB_MAX, &scene, "60,000 wildcards", told).await
    };
    delays_no_change(&scene, "60,000 wildcards", attack).await?;
    scene.down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_says_of_itself_takes_little_memory_and_delays_no_change() -> Result<()> {
    let scene = Scene::up().await?;
    let rogue = Rogue::new(&scene.cluster, "mallory")?;
    let mut voice = rogue.voice(BUCKETS)?;
    for index in 0..BUCKETS {
        // No bucket, but as long as one. A node holds 6 MiB of them.
        voice.say(&format!("b/{index:x}"), &"x".repeat(5_500))?;
    }
    let mask = Mask::new(voice);
    let attack = takes_little_memory(&scene, "6 MiB", is_told(&scene, &rogue, &mask, 0));
    delays_no_change(&scene, "6 MiB", attack).await?;
    scene.down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_agree_whatever_a_member_says_of_itself() -> Result<()> {
    let scene = Scene::up().await?;
    // What is as long as may be, and what is longer.
    let (longest, longer) = ("x".repeat(48_000), "x".repeat(65_000));
    let rogue = Rogue::new(&scene.cluster, "mallory")?;
    let mut voice = rogue.voice(BUCKETS)?;
    for index in 0..8 {
        voice.say(&format!("b/{index:x}"), &longest)?;
    }
    let mask = Mask::new(voice);
    tell_all(&scene, &rogue, &mask).await?;
    let (_rogue, mut other, link) = scene.rogue("mallory-too", 1).await?;
    let (said, found) = (other.voice.version(), scene.found("size").await?);
    other.voice.say("b/0", &longer)?;
    for message in other.voice.since(said) {
        link.say(&message).await?;
    }
    is_closed_for_it(&link).await?;
    ensure!(scene.found("size").await? > found);

    let (guest, addr) = newcomer(&scene, 0)?;
    let http = guest.http()?;
    let agrees = async {
        for name in ["n1", "n2", "n3"] {
            wait_for_node(&http, name, 0).await;
        }
        let sees_all = async || {
            http.members("news")
                .await
                .is_ok_and(|members| members.len() == 3)
        };
        wait_until("a newcomer sees all members", SOON, sees_all).await;
    };
    let messages: Vec<_> = mask.voice.since(0).collect();
    tokio::select! {
        () = agrees => {}
        ended = insist(&rogue, addr, &messages) => ended?,
    }
    drop(guest);
    scene.down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_gossip_delay_no_change() -> Result<()> {
    let scene = Scene::up().await?;
    let phantom = |n: u32| {
        let node = format!("p{n:039}");
        let addr = ([10, 1, 1, 1], 7946).into();
        let run = Run {
            node,
            incarnation: 1,
            addr,
        };
        known(&run.bytes(), (1, 0), 1)
    };
    let flood = async |what: &str| -> Result<()> {
        let (_rogue, mask, link) = scene.rogue(&what.replace(' ', "-"), 1).await?;
        let (own, others) = (mask.voice.entry(), (0..790).map(phantom));
        let full: Vec<_> = [own.clone()].into_iter().chain(others).collect();
        let message = match what {
            "greetings" => syn(mask.voice.cluster(), &[own]),
            "full greetings" => syn(mask.voice.cluster(), &full),
            _ => syn_ack(&full, &[]),
        };
        let (end, mut said) = (Instant::now() + Duration::from_secs(2), 0);
        while Instant::now() < end {
            // Where it is held up, it waits.
            if let Ok(done) = timeout(Duration::from_millis(100), link.say(&message)).await {
                done?;
                said += 1;
            }
        }
        println!("figure: {said} {what} were said in two seconds");
        ensure!(link.is_open(), "{what} ended the link");
        Ok(())
    };
    for what in ["greetings", "full greetings", "full answers"] {
        delays_no_change(&scene, what, flood(what)).await?;
    }
    scene.down().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_an_address_is_its_own_takes_nothing_that_is_meant_for_another() -> Result<()>
{
    const COUNT: usize = 200;
    let mut scene = Scene::up().await?;
    let mut rogue = Rogue::new(&scene.cluster, "mallory")?;
    rogue.run.addr = scene.addr(3)?;
    let voice = rogue.voice(BUCKETS)?;
    let hijack = async |number: usize| -> Result<()> {
        let addr = scene.addr(number)?;
        let mut links = 0;
        loop {
            // It may be refused.
            if let Ok(link) = rogue.link(addr).await {
                let _ = link.say(&syn(voice.cluster(), &[voice.entry()])).await;
                for message in voice.since(0) {
                    let _ = link.say(&message).await;
                }
                links += 1;
                sleep(Duration::from_millis(500)).await;
            } else {
                ensure!(links > 0, "there never was a link");
                sleep(Duration::from_millis(100)).await;
            }
        }
    };
    let publisher = scene.nodes[0].connect().await?;
    let texts: Vec<_> = (0..COUNT).map(|n| n.to_string()).collect();
    let publish = async {
        for text in &texts {
            publisher.publish("news", text.clone().into()).await?;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    let attack = async {
        tokio::select! {
            done = publish => done,
            ended = hijack(1) => ended,
            ended = hijack(2) => ended,
        }
    };
    scene.nobody_is_missing(attack).await?;
    for inbox in &mut scene.inboxes {
        ensure!(inbox.texts(COUNT).await? == texts, "not all has arrived");
    }
    scene.down().await
}
