use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Subscriber};
use futures::StreamExt;
use futures::future::try_join_all;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Cluster, Node, wait_until};

/// Clients that publish and subscribe all the time, while nodes come and go: on each node one that
/// publishes numbered messages and one that receives those of all. A client whose node is gone
/// connects again by itself. What has to arrive is said by [`Traffic::promise`] and
/// [`Traffic::suspend`], and looked at in the end.
#[derive(Debug)]
pub struct Traffic {
    published: Vec<Arc<AtomicUsize>>,
    /// By subscriber.
    received: Vec<Arc<Mutex<Received>>>,
    /// Those of the subscribers.
    clients: Vec<Client>,
    tasks: JoinSet<()>,
    over: Arc<AtomicBool>,
    /// By subscriber and publisher.
    promises: Vec<Vec<Promises>>,
}

/// The numbers that came, by publisher, in the order in which they came.
type Received = Vec<Vec<usize>>;

/// Which numbers of one publisher have to arrive at one subscriber.
#[derive(Debug, Clone, Default)]
struct Promises {
    kept: Vec<Range<usize>>,
    /// From this number on everything.
    since: Option<usize>,
}

/// What became of the messages, summed up over all pairs of clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// How many were published, each once for each subscriber.
    pub published: usize,
    /// Those of them that had to arrive.
    pub promised: usize,
    /// Those that arrived.
    pub received: usize,
}

impl Traffic {
    /// The topic of all messages.
    pub const TOPIC: &'static str = "traffic";

    /// Connects a publisher and a subscriber to each node, whose order numbers them from 0.
    /// Nothing is promised yet.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let nodes = cluster.nodes()?;
        let mut traffic = Self {
            published: Vec::new(),
            received: Vec::new(),
            clients: Vec::new(),
            tasks: JoinSet::new(),
            over: Arc::default(),
            promises: vec![vec![Promises::default(); nodes.len()]; nodes.len()],
        };
        for node in &nodes {
            let client = connect(node).await?;
            let inbox = client.subscribe(Self::TOPIC).await?;
            client.flush().await?;
            traffic.clients.push(client);
            let received = Arc::new(Mutex::new(vec![Vec::new(); nodes.len()]));
            traffic.received.push(received.clone());
            traffic.tasks.spawn(receive(inbox, received));
        }
        for (number, node) in nodes.iter().enumerate() {
            let client = connect(node).await?;
            let published = Arc::<AtomicUsize>::default();
            traffic.published.push(published.clone());
            let over = traffic.over.clone();
            let publishing = publish(client, number, published, over);
            traffic.tasks.spawn(publishing);
        }
        Ok(traffic)
    }

    /// From now on all that these two publish has to arrive at the other.
    pub fn promise(&mut self, one: usize, other: usize) {
        for (subscriber, publisher) in both(one, other) {
            let next = self.published(publisher) + 1;
            self.promises[subscriber][publisher]
                .since
                .get_or_insert(next);
        }
    }

    /// Waits until each publisher has published so many more, and all that was promised and
    /// published before has arrived.
    pub async fn settle(&self, more: usize, limit: Duration) {
        let goals = self.published.iter().map(|n| n.load(Relaxed) + more);
        let goals: Vec<usize> = goals.collect();
        wait_until("what was promised has arrived", limit, async || {
            (0..goals.len()).all(|publisher| {
                self.published(publisher) >= goals[publisher]
                    && (0..goals.len()).all(|subscriber| {
                        let is_promised = self.promises[subscriber][publisher].since.is_some();
                        !is_promised || self.latest(subscriber, publisher) >= goals[publisher]
                    })
            })
        })
        .await;
    }

    /// From now on nothing that these two publish has to arrive at the other; what has arrived
    /// already, and all before it, had to.
    pub fn suspend(&mut self, one: usize, other: usize) {
        for (subscriber, publisher) in both(one, other) {
            let latest = self.latest(subscriber, publisher);
            let promises = &mut self.promises[subscriber][publisher];
            if let Some(since) = promises.since.take() {
                promises.kept.push(since..latest + 1);
            }
        }
    }

    /// Ends it, and looks at what has arrived: all that was promised, in order, and nothing twice.
    pub async fn finish(mut self, limit: Duration) -> Result<Outcome> {
        self.settle(0, limit).await;
        for (one, other) in pairs(self.published.len()) {
            self.suspend(one, other);
        }
        self.over.store(true, Relaxed);
        try_join_all(self.clients.iter().map(Client::drain)).await?;
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let mut outcome = Outcome::default();
        for (subscriber, received) in self.received.iter().enumerate() {
            let received = received.lock().unwrap_or_else(PoisonError::into_inner);
            for (publisher, numbers) in received.iter().enumerate() {
                let promises = &self.promises[subscriber][publisher];
                let promised = promises.check(numbers);
                outcome.promised += promised
                    .with_context(|| format!("from n{} to n{}", publisher + 1, subscriber + 1))?;
                outcome.published += self.published(publisher);
                outcome.received += numbers.len();
            }
        }
        Ok(outcome)
    }

    fn published(&self, publisher: usize) -> usize {
        self.published[publisher].load(Relaxed)
    }

    fn latest(&self, subscriber: usize, publisher: usize) -> usize {
        let received = self.received[subscriber].lock();
        let received = received.unwrap_or_else(PoisonError::into_inner);
        received[publisher].last().copied().unwrap_or(0)
    }
}

impl Promises {
    /// How many messages were promised, if all of them have come.
    fn check(&self, numbers: &[usize]) -> Result<usize> {
        for pair in numbers.windows(2) {
            ensure!(pair[0] < pair[1], "{} came before {}", pair[0], pair[1]);
        }
        let mut promised = 0;
        for range in &self.kept {
            for number in range.clone() {
                let came = numbers.binary_search(&number).is_ok();
                ensure!(came, "{number} did not come, of {:?}", self.kept);
                promised += 1;
            }
        }
        Ok(promised)
    }
}

/// All pairs of so many, each with itself too.
pub fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |one| (0..=one).map(move |other| (one, other)))
}

fn both(one: usize, other: usize) -> impl Iterator<Item = (usize, usize)> {
    let reverse = (one != other).then_some((other, one));
    [(one, other)].into_iter().chain(reverse)
}

async fn connect(node: &Node) -> Result<Client> {
    let options = ConnectOptions::new()
        .ignore_discovered_servers()
        .reconnect_delay_callback(|_| RECONNECT_DELAY);
    let client = options.connect(&node.client).await;
    client.with_context(|| format!("connect {}", node.node))
}

async fn publish(
    client: Client,
    number: usize,
    published: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) {
    while !over.load(Relaxed) {
        let next = published.load(Relaxed) + 1;
        let text = format!("{number} {next}");
        let result = client.publish(Traffic::TOPIC, text.into()).await;
        result.expect("a client takes messages, also while it connects again");
        published.store(next, Relaxed);
        sleep(PUBLISH_EVERY).await;
    }
}

async fn receive(mut inbox: Subscriber, received: Arc<Mutex<Received>>) {
    while let Some(message) = inbox.next().await {
        let text = String::from_utf8_lossy(&message.payload);
        let mut words = text.split(' ').map(str::parse::<usize>);
        let (Some(Ok(publisher)), Some(Ok(number))) = (words.next(), words.next()) else {
            panic!("unexpected {text:?}");
        };
        let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
        received[publisher].push(number);
    }
}

const RECONNECT_DELAY: Duration = Duration::from_millis(50);
const PUBLISH_EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_twice_or_out_of_order_is_found() {
        let promises = Promises {
            kept: vec![1..4, 6..8],
            since: None,
        };
        assert_eq!(promises.check(&[1, 2, 3, 6, 7]).unwrap(), 5);
        assert_eq!(promises.check(&[1, 2, 3, 5, 6, 7, 8]).unwrap(), 5);
        for wrong in [
            &[1, 2, 3, 6][..],
            &[1, 3, 6, 7],
            &[1, 2, 2, 3, 6, 7],
            &[1, 3, 2, 6, 7],
        ] {
            promises.check(wrong).unwrap_err();
        }
    }
}
