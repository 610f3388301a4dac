use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::{Cluster, Http};

/// Looks all the time at whether nodes that run, and should know each other, see each other live.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Mutex<Shared>>,
    /// One for each node; they end when this is dropped.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// Who should see whom: those of the same group, which is none while a node comes or goes.
    groups: Vec<Option<usize>>,
    /// How often that was changed.
    changes: usize,
    longest: Duration,
}

impl Watch {
    /// Begins with all nodes in one group.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let nodes = cluster.nodes()?;
        let shared = Arc::new(Mutex::new(Shared {
            groups: vec![Some(0); nodes.len()],
            changes: 0,
            longest: Duration::ZERO,
        }));
        let names: Vec<String> = nodes.iter().map(|node| node.node.clone()).collect();
        let mut tasks = JoinSet::new();
        for (observer, node) in nodes.iter().enumerate() {
            tasks.spawn(look(observer, node.http()?, names.clone(), shared.clone()));
        }
        Ok(Self {
            shared,
            _tasks: tasks,
        })
    }

    /// A node is in another group from now on, or in none.
    pub fn place(&self, node: usize, group: Option<usize>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.groups[node] = group;
        shared.changes += 1;
    }

    /// The longest time for which a node did not see one of its group live.
    pub fn longest_absence(&self) -> Duration {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.longest
    }
}

async fn look(observer: usize, http: Http, names: Vec<String>, shared: Arc<Mutex<Shared>>) {
    let now = || {
        let shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        (shared.groups.clone(), shared.changes)
    };
    let mut absent_since = vec![None; names.len()];
    loop {
        sleep(EVERY).await;
        let (groups, changes) = now();
        let asked = Instant::now();
        let answer = http.live().await;
        if now().1 != changes {
            continue; // it may have looked before or after
        }
        for (node, since) in absent_since.iter_mut().enumerate() {
            let is_expected = groups[observer].is_some() && groups[node] == groups[observer];
            let is_seen = match &answer {
                Ok(live) => live.iter().any(|(name, _)| *name == names[node]),
                Err(_) => false,
            };
            if !is_expected || is_seen {
                *since = None;
                continue;
            }
            let absence = since.get_or_insert(asked).elapsed();
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            shared.longest = shared.longest.max(absence);
        }
    }
}

const EVERY: Duration = Duration::from_millis(50);
