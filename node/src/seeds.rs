use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

/// Where to find the cluster: `host:port`, the host an address or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seed(Box<str>);

/// A text is not `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port, such as 10.0.0.1:7946")]
pub struct SeedError(String);

impl Seed {
    /// Parses a seed. Whether the host exists is not looked at.
    ///
    /// # Errors
    /// When the text is not `host:port`.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && is_port(port) => Ok(Self(text.into())),
            _ => Err(SeedError(text.into())),
        }
    }

    /// The seed as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Seed {
    type Error = SeedError;

    fn try_from(text: String) -> Result<Self, SeedError> {
        Self::parse(&text)
    }
}

impl From<SocketAddr> for Seed {
    fn from(addr: SocketAddr) -> Self {
        Self(addr.to_string().into())
    }
}

impl From<Seed> for String {
    fn from(seed: Seed) -> Self {
        seed.0.into()
    }
}

/// The addresses of the seeds that are given as addresses, known without asking anybody.
pub(crate) fn literal(seeds: &[Seed]) -> BTreeSet<SocketAddr> {
    seeds
        .iter()
        .filter_map(|seed| seed.0.parse().ok())
        .collect()
}

/// Keeps the seeds' addresses up to date, for as long as anybody reads them. Ends at once if no
/// seed is a name.
pub(crate) async fn follow(seeds: Vec<Seed>, addrs: watch::Sender<Vec<SocketAddr>>) {
    let literal = literal(&seeds);
    let names: Vec<_> = seeds
        .iter()
        .filter(|seed| seed.0.parse::<SocketAddr>().is_err())
        .collect();
    if names.is_empty() {
        return;
    }
    let mut complained = false;
    while !addrs.is_closed() {
        let mut found = literal.clone();
        for name in &names {
            match tokio::net::lookup_host(name.as_str()).await {
                Ok(resolved) => found.extend(resolved),
                Err(error) if !complained => warn!(seed = %name, %error, "cannot resolve a seed"),
                Err(error) => debug!(seed = %name, %error, "cannot resolve a seed"),
            }
        }
        let is_empty = found.is_empty();
        complained = is_empty;
        if !is_empty {
            let found: Vec<_> = found.into_iter().collect();
            addrs.send_if_modified(|known| {
                let is_new = *known != found;
                *known = found;
                is_new
            });
        }
        sleep(if is_empty { RETRY } else { REFRESH }).await;
    }
}

/// How often names are looked up again: hosts move.
const REFRESH: Duration = Duration::from_secs(10);
/// How often while none could be found.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[test]
    fn a_seed_is_a_host_and_a_port() {
        for text in ["10.0.0.1:7946", "[::1]:1", "n1.example:65535"] {
            assert_eq!(Seed::parse(text).unwrap().as_str(), text);
        }
        for text in ["nowhere", ":1", "n1:0", "n1:65536", "n1:"] {
            assert_eq!(Seed::parse(text), Err(SeedError(text.into())));
        }
    }

    #[tokio::test]
    async fn names_and_addresses_become_addresses() {
        let seeds = ["127.0.0.2:7946", "localhost:7947"].map(|seed| seed.parse().unwrap());
        let seeds = seeds.to_vec();
        let start: Vec<_> = literal(&seeds).into_iter().collect();
        assert_eq!(start, ["127.0.0.2:7946".parse().unwrap()]);
        let (sender, mut addrs) = watch::channel(start);
        let following = follow(seeds, sender);
        let both = async {
            addrs
                .wait_for(|addrs| addrs.iter().any(|addr| addr.port() == 7947))
                .await
                .unwrap()
                .len()
        };
        let found = tokio::select! {
            () = following => unreachable!("it follows for ever"),
            found = timeout(Duration::from_secs(20), both) => found.unwrap(),
        };
        assert!(found >= 2);
    }
}
