//! What the events of a plan do that are about streams.

use std::time::Duration;

use crate::fault::Event;
use crate::stream::{Follower, Writer};
use crate::world::World;

impl World {
    /// Who writes and who follows. On a host that stands still nobody does anything.
    pub(crate) fn stream(&mut self, event: &Event) {
        match event {
            Event::Write {
                host,
                stream,
                chunks,
                pause_ms,
                finish,
            } => {
                let own = &self.hosts[*host];
                let Some(run) = own.run().filter(|_| !own.is_frozen()) else {
                    return;
                };
                let writer = Writer {
                    node: run.node.clone(),
                    host: *host,
                    stream: *stream,
                    chunks: *chunks,
                    pause: Duration::from_millis(*pause_ms),
                    finish: *finish,
                    journal: self.site.journal.clone(),
                };
                run.life.spawn(writer.write());
            }
            Event::Follow {
                host,
                stream,
                from,
                pause_ms,
            } => {
                let begun = self.site.journal.truth(|truth| {
                    let mut last = truth.streams.iter().enumerate().rev();
                    let last = last.find(|(_, own)| own.stream == *stream);
                    last.map(|(begun, _)| begun)
                });
                if let Some(begun) = begun {
                    self.follow(*host, begun, (*from, *pause_ms));
                }
            }
            _ => {}
        }
    }

    /// Follows each stream from its beginning, from some hosts.
    pub(crate) fn follow_everywhere(&mut self) {
        let streams = self.site.journal.truth(|truth| truth.streams.len());
        for stream in 0..streams {
            for host in 0..self.hosts.len().min(FOLLOWED_FROM) {
                self.follow(host, stream, (0, 0));
            }
        }
    }

    fn follow(&mut self, host: usize, stream: usize, (from, pause_ms): (u64, u64)) {
        let own = &self.hosts[host];
        let Some(run) = own.run().filter(|_| !own.is_frozen()) else {
            return;
        };
        let id = self
            .site
            .journal
            .truth(|truth| truth.streams[stream].id.clone());
        let follower = Follower {
            node: run.node.clone(),
            host,
            stream,
            id: id.parse().expect("a node gives streams names that can be"),
            from,
            pause: Duration::from_millis(pause_ms),
            journal: self.site.journal.clone(),
        };
        run.life.spawn(follower.follow());
    }
}

/// From how many hosts all are followed in the end.
const FOLLOWED_FROM: usize = 3;
