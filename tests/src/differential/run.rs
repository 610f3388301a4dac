use std::collections::BTreeMap;
use std::iter;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::time::Instant;

use super::heard::Told;
use super::raw::Raw;
use super::script::{Deed, Script};
use super::site::Site;

/// What each client was told in each step.
pub type Seen = Vec<BTreeMap<String, Told>>;

/// How what clients send comes to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Each step at once.
    Steps,
    /// Byte by byte, but for what is very long.
    Bytes,
}

/// Runs a script, and says what the clients saw.
///
/// After each step every client waits for the answer to a PING of its own, which comes after all messages that were there
/// before. A run ends with the first step in which something else was seen than is `expected`. Between
/// nodes a message takes a while. So in a cluster what was seen elsewhere, `expected`, is
/// waited for, and a step that changed subscriptions is over when all nodes know of it.
pub async fn run(script: &Script, site: &Site, cut: Cut, expected: Option<&Seen>) -> Result<Seen> {
    let mut clients: BTreeMap<String, Raw> = BTreeMap::new();
    let mut seen = Seen::new();
    for (number, step) in script.steps.iter().enumerate() {
        if !clients.contains_key(&step.client) {
            let raw = Raw::connect(site.addr(clients.len())).await?;
            clients.insert(step.client.clone(), raw);
        }
        let client = clients.get_mut(&step.client).context("it is there")?;
        let mut changes_subscriptions = false;
        let pieces = |bytes| cut.pieces(bytes);
        match &step.deed {
            Deed::Line(line) => {
                client.send(pieces(line)).await;
                client.sync(pings(script, number)).await?;
                changes_subscriptions = line
                    .to_ascii_uppercase()
                    .windows(4)
                    .any(|four| four == b"SUB ");
            }
            Deed::Part(bytes) => client.send(pieces(bytes)).await,
            Deed::Last(line) => {
                client.send(pieces(line)).await;
                client.end().await?;
            }
            Deed::Close => {
                clients.remove(&step.client);
                seen.push(BTreeMap::new());
                continue;
            }
        }
        for (name, other) in &mut clients {
            // Who is in the middle of something must not say anything else.
            if *name != step.client && !in_the_middle(script, number, name) {
                other.sync(0).await?;
            }
        }
        if site.is_cluster() && changes_subscriptions {
            everywhere(site).await?;
        }
        let expected = expected.and_then(|steps| steps.get(number));
        let differs = |clients: &BTreeMap<String, Raw>| {
            let told =
                |(name, raw): (&String, &Raw)| expected?.get(name).map(|told| told == raw.told());
            expected.is_some() && clients.iter().any(|client| told(client) != Some(true))
        };
        let deadline = Instant::now() + PATIENCE;
        while site.is_cluster() && differs(&clients) && Instant::now() < deadline {
            for raw in clients.values_mut() {
                raw.hear_for(MOMENT).await?;
            }
        }
        let is_over = differs(&clients);
        let told = clients.iter_mut();
        seen.push(told.map(|(name, raw)| (name.clone(), raw.take())).collect());
        if is_over {
            break;
        }
    }
    Ok(seen)
}

impl Cut {
    fn pieces(self, bytes: &[u8]) -> std::slice::Chunks<'_, u8> {
        match self {
            Self::Bytes if bytes.len() <= CUT_BYTES_MAX => bytes.chunks(1),
            Self::Bytes | Self::Steps => bytes.chunks(bytes.len().max(1)),
        }
    }
}

/// Whether the last that a client sent up to this step has no end.
fn in_the_middle(script: &Script, number: usize, client: &str) -> bool {
    let steps = script.steps[..=number].iter().rev();
    let mut own = steps.filter(|step| step.client == client);
    matches!(own.next().map(|step| &step.deed), Some(Deed::Part(_)))
}

/// How many answers there will be to what a client sends up to this step, since it last sent a whole line.
fn pings(script: &Script, number: usize) -> isize {
    let client = &script.steps[number].client;
    let before = script.steps[..number].iter().rev();
    let own = before.filter(|step| step.client == *client);
    let parts = own.map_while(|step| match &step.deed {
        Deed::Part(bytes) => Some(&bytes[..]),
        _ => None,
    });
    let last = match &script.steps[number].deed {
        Deed::Line(bytes) => &bytes[..],
        _ => &[],
    };
    let mut parts: Vec<_> = iter::once(last).chain(parts).collect();
    parts.reverse();
    let sent = parts.concat();
    let lines = sent.split(|byte| *byte == b'\n');
    let pings = lines.filter(|line| line.to_ascii_uppercase().starts_with(b"PING"));
    pings.count() as isize
}

/// Waits until all nodes know what is subscribed at each of them: each has told it all others, once
/// something is known everywhere that was subscribed after it. That is in a scope of its own, so that clients do
/// not see it.
async fn everywhere(site: &Site) -> Result<()> {
    try_join_all(site.addrs().iter().map(|addr| told_everywhere(addr))).await?;
    Ok(())
}

async fn told_everywhere(addr: &str) -> Result<()> {
    let mut helper = Raw::connect(addr).await?;
    helper.take();
    helper.send(iter::once(BARRIER)).await;
    let deadline = Instant::now() + 2 * PATIENCE;
    while *helper.told() == Told::default() && Instant::now() < deadline {
        helper.hear_for(MOMENT).await?;
    }
    let told = helper.told().to_string();
    ensure!(
        told.contains("\"everywhere\":true"),
        "not everywhere: {told}"
    );
    Ok(())
}

/// Asks to be told when all that the node knows is known everywhere.
const BARRIER: &[u8] =
    b"CONNECT {\"verbose\":false,\"user\":\"scope=barrier\"}\r\nSUB answer 1\r\n\
    PUB $TIDINGS.barrier answer 3\r\n10s\r\n";
/// What is longer is not cut, because it would take long.
const CUT_BYTES_MAX: usize = 10_000;
/// How long what is expected of a cluster may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one listens at a time.
const MOMENT: Duration = Duration::from_millis(2);
