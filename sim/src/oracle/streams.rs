use std::collections::BTreeMap;
use std::time::Duration;

use crate::note::{Finish, Note, Phase, Telling};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// What is followed is what was written, or the beginning of it and then that it has aborted.
///
/// *Once and in order*: each chunk follows on the one before, from where the follower began, and is as it was
/// written. *The end* is that of the stream, after all of its chunks; that it has aborted or is not known may be told
/// before, but when nothing goes wrong only if its writer or its node is gone. *Never in silence*: as long as
/// there is something to tell, who follows is told something within some seconds, be it that the node cannot be reached;
/// when nothing goes wrong, what there is to tell.
#[derive(Debug, Default)]
pub struct Streams {
    streams: Vec<Stream>,
    followers: Vec<Follower>,
    /// Those of them that are not over, by number.
    open: BTreeMap<usize, Waiting>,
    /// Since when nothing goes wrong any more.
    quiet: Option<Duration>,
}

#[derive(Debug)]
struct Stream {
    host: usize,
    /// When the run of its node has ended.
    gone: Option<Duration>,
    /// When each chunk was pushed.
    pushed: Vec<Duration>,
    finish: Option<(Duration, Finish)>,
}

#[derive(Debug)]
struct Follower {
    stream: usize,
    host: usize,
    next: u64,
}

/// Since when a follower was told nothing, and nothing that says more than that the node is out of reach.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Duration,
    for_more: Duration,
}

impl Stream {
    /// Since when there is something to tell to who has had so many chunks.
    fn due(&self, next: u64) -> Option<Duration> {
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        let chunk = self.pushed.get(next).copied();
        chunk.or(self.finish.map(|(at, _)| at)).or(self.gone)
    }
}

impl Streams {
    fn told(&mut self, number: usize, told: Telling, truth: &Truth) -> Result<(), String> {
        let follower = &mut self.followers[number];
        let stream = &self.streams[follower.stream];
        let wrong = |what: String| {
            Err(format!(
                "streams: who follows stream {} on host {} after {} chunks {what}",
                follower.stream, follower.host, follower.next
            ))
        };
        let written = stream.pushed.len() as u64;
        let finish = stream.finish.map(|(_, finish)| finish);
        let began_quiet = self.quiet.is_some_and(|since| {
            self.open
                .get(&number)
                .is_some_and(|waiting| waiting.for_more >= since)
        });
        match told {
            Telling::Chunk {
                offset,
                is_as_written,
            } => {
                if offset != follower.next || offset >= written || !is_as_written {
                    let what = format!("is told one after {offset} of {written}: {is_as_written}");
                    return wrong(what);
                }
                follower.next += 1;
            }
            Telling::Complete | Telling::Failed => {
                let expected = match told {
                    Telling::Complete => Finish::Finish,
                    _ => Finish::Fail,
                };
                if finish != Some(expected) || follower.next < written {
                    return wrong(format!("of {written} is told {told:?}, not {finish:?}"));
                }
            }
            Telling::Aborted | Telling::Unknown => {
                let is_so = finish == Some(Finish::Drop) && follower.next >= written;
                if began_quiet && stream.gone.is_none() && !is_so {
                    return wrong(format!("is told {told:?} though its node goes on"));
                }
            }
            Telling::Missed => return wrong("is told that some are missing".into()),
            Telling::Unreachable => {}
        }
        match told {
            Telling::Chunk { .. } => {
                if let Some(waiting) = self.open.get_mut(&number) {
                    (waiting.since, waiting.for_more) = (truth.at, truth.at);
                }
            }
            Telling::Unreachable => {
                if let Some(waiting) = self.open.get_mut(&number) {
                    waiting.since = truth.at;
                }
            }
            _ => {
                self.open.remove(&number);
            }
        }
        Ok(())
    }

    /// Whether somebody waits for what there is to tell.
    fn is_late(&self, truth: &Truth) -> Result<(), String> {
        for (number, waiting) in &self.open {
            let follower = &self.followers[*number];
            let stream = &self.streams[follower.stream];
            let due = stream.due(follower.next);
            if truth.hosts[follower.host].frozen {
                continue;
            }
            let Some(due) = due else { continue };
            let silent = waiting.since.max(due);
            let lacking = self.quiet.map(|since| waiting.for_more.max(due).max(since));
            let late = |since: Duration| truth.at.saturating_sub(since) > LATE;
            if late(silent) || lacking.is_some_and(late) {
                return Err(format!(
                    "streams: who follows stream {} on host {} waits in silence after {} chunks of {}",
                    follower.stream,
                    follower.host,
                    follower.next,
                    stream.pushed.len()
                ));
            }
        }
        Ok(())
    }

    /// Those on this host do not follow any more, or begin to wait only now.
    fn of_host(&mut self, host: usize, at: Duration, are_gone: bool) {
        let followers = &self.followers;
        self.open.retain(|number, waiting| {
            let is_here = followers[*number].host == host;
            if is_here {
                (waiting.since, waiting.for_more) = (at, at);
            }
            !(is_here && are_gone)
        });
    }
}

impl Oracle for Streams {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::Phase { phase } => self.quiet = (*phase == Phase::Quiet).then_some(truth.at),
            Note::Crashed { host } | Note::Leaving { host } => {
                self.of_host(*host, truth.at, true);
                let own = self.streams.iter_mut().filter(|own| own.host == *host);
                own.for_each(|own| own.gone = own.gone.or(Some(truth.at)));
            }
            Note::Frozen { host, .. } => self.of_host(*host, truth.at, false),
            Note::StreamBegun { host, .. } => self.streams.push(Stream {
                host: *host,
                gone: None,
                pushed: Vec::new(),
                finish: None,
            }),
            Note::StreamPushed { stream } => self.streams[*stream].pushed.push(truth.at),
            Note::StreamFinished { stream, finish } => {
                self.streams[*stream].finish = Some((truth.at, *finish));
            }
            Note::StreamFollowed { stream, host, from } => {
                let waiting = Waiting {
                    since: truth.at,
                    for_more: truth.at,
                };
                self.open.insert(self.followers.len(), waiting);
                self.followers.push(Follower {
                    stream: *stream,
                    host: *host,
                    next: *from,
                });
            }
            Note::StreamTold { follower, told } => return self.told(*follower, *told, truth),
            _ => return self.is_late(truth),
        }
        Ok(())
    }

    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        self.is_late(truth)
    }
}

/// How long nothing may be told: three seconds, and what a question takes that was about to be answered.
const LATE: Duration = Duration::from_millis(4_200);

#[cfg(test)]
mod tests {
    use super::*;

    /// On host 0 a stream of two chunks, on host 1 somebody who follows it.
    struct Scene {
        truth: Truth,
        streams: Streams,
        wrong: Option<String>,
    }

    impl Scene {
        fn new(phase: Phase) -> Self {
            let mut scene = Self {
                truth: Truth::new(2),
                streams: Streams::default(),
                wrong: None,
            };
            for host in 0..2 {
                scene.note(Note::Started {
                    host,
                    incarnation: 7.into(),
                });
            }
            scene.note(Note::Phase { phase });
            scene.note(Note::StreamBegun {
                stream: 5,
                host: 0,
                id: "n0-7-1".into(),
            });
            scene.note(Note::StreamFollowed {
                stream: 0,
                host: 1,
                from: 0,
            });
            (0..2).for_each(|_| scene.note(Note::StreamPushed { stream: 0 }));
            scene
        }

        fn note(&mut self, note: Note) {
            let judged = self.streams.note(&note, &self.truth);
            self.wrong = self.wrong.take().or(judged.err());
            self.truth.apply(&note);
        }

        fn finish(&mut self, finish: Finish) {
            self.note(Note::StreamFinished { stream: 0, finish });
        }

        fn told(&mut self, told: Telling) -> &mut Self {
            self.note(Note::StreamTold { follower: 0, told });
            self
        }

        fn chunk(&mut self, offset: u64, is_as_written: bool) -> &mut Self {
            self.told(Telling::Chunk {
                offset,
                is_as_written,
            })
        }

        /// Whether all is well this much later.
        fn holds_after(&mut self, ms: u64) -> bool {
            self.truth.at += Duration::from_millis(ms);
            self.wrong = self.wrong.take().or(self.streams.finish(&self.truth).err());
            self.wrong.is_none()
        }
    }

    #[test]
    fn a_chunk_that_comes_twice_or_is_left_out_or_is_another_is_found() {
        let chaos = || Scene::new(Phase::Chaos);
        assert!(chaos().chunk(0, true).chunk(1, true).holds_after(0));
        assert!(!chaos().chunk(0, true).chunk(0, true).holds_after(0));
        assert!(!chaos().chunk(1, true).holds_after(0));
        assert!(!chaos().chunk(0, false).holds_after(0));
        let mut invented = chaos();
        invented.chunk(0, true).chunk(1, true).chunk(2, true);
        assert!(!invented.holds_after(0));
    }

    #[test]
    fn an_end_that_is_not_that_of_the_stream_is_found() {
        let ended = |finish, chunks, told| {
            let mut scene = Scene::new(Phase::Chaos);
            scene.finish(finish);
            (0..chunks).for_each(|n| {
                scene.chunk(n, true);
            });
            scene.told(told).holds_after(60_000)
        };
        assert!(ended(Finish::Finish, 2, Telling::Complete));
        assert!(ended(Finish::Fail, 2, Telling::Failed));
        assert!(ended(Finish::Drop, 2, Telling::Aborted));
        assert!(
            ended(Finish::Finish, 1, Telling::Aborted),
            "it may be cut off"
        );
        assert!(
            !ended(Finish::Finish, 1, Telling::Complete),
            "one is missing"
        );
        assert!(!ended(Finish::Fail, 2, Telling::Complete));
        assert!(!ended(Finish::Drop, 2, Telling::Failed));
        let mut early = Scene::new(Phase::Chaos);
        early.chunk(0, true).chunk(1, true).told(Telling::Complete);
        assert!(!early.holds_after(0));
    }

    #[test]
    fn that_it_has_aborted_though_nothing_goes_wrong_is_found() {
        let mut scene = Scene::new(Phase::Quiet);
        assert!(!scene.told(Telling::Aborted).holds_after(0));
        let mut scene = Scene::new(Phase::Quiet);
        scene.note(Note::Crashed { host: 0 });
        assert!(scene.told(Telling::Aborted).holds_after(60_000));
    }

    #[test]
    fn silence_is_found_and_that_a_node_is_out_of_reach_when_all_is_well() {
        assert!(Scene::new(Phase::Chaos).holds_after(4_000));
        assert!(!Scene::new(Phase::Chaos).holds_after(5_000));
        let mut read = Scene::new(Phase::Chaos);
        assert!(read.chunk(0, true).chunk(1, true).holds_after(60_000));
        let unreachable = |phase| {
            let mut scene = Scene::new(phase);
            scene.holds_after(3_000);
            scene.told(Telling::Unreachable).holds_after(3_000)
        };
        assert!(unreachable(Phase::Chaos));
        assert!(!unreachable(Phase::Quiet));
        let mut dead = Scene::new(Phase::Chaos);
        dead.chunk(0, true).chunk(1, true);
        dead.note(Note::Crashed { host: 0 });
        assert!(!dead.holds_after(5_000), "nobody says that it is gone");
        let mut frozen = Scene::new(Phase::Chaos);
        frozen.note(Note::Frozen {
            host: 1,
            frozen: true,
        });
        assert!(frozen.holds_after(60_000));
    }
}
