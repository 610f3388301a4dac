use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

/// How often names are looked up again: hosts move.
const REFRESH: Duration = Duration::from_secs(10);
/// How often while none could be found.
const RETRY: Duration = Duration::from_secs(1);

/// The addresses of the seeds that are given as addresses, known without asking anybody.
pub(crate) fn literal(seeds: &[String]) -> BTreeSet<SocketAddr> {
    seeds.iter().filter_map(|seed| seed.parse().ok()).collect()
}

/// Keeps the seeds' addresses up to date, for as long as anybody reads them. Ends at once if no
/// seed is a name.
pub(crate) async fn follow(seeds: Vec<String>, addrs: watch::Sender<Vec<SocketAddr>>) {
    let literal = literal(&seeds);
    let names: Vec<_> = seeds
        .iter()
        .filter(|s| s.parse::<SocketAddr>().is_err())
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn names_and_addresses_become_addresses() {
        let seeds = vec!["127.0.0.2:7946".to_owned(), "localhost:7947".to_owned()];
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
