use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use super::heard::Heard;
use super::hearsay::Hearsay;
use super::letter::{known, syn, syn_ack};
use super::link::RogueLink;
use super::voice::Voice;

/// How a rogue is taken for a node like any: it gossips as they do.
#[derive(Debug, Clone)]
pub struct Mask {
    /// What it says of itself.
    pub voice: Voice,
    /// What it has heard of others.
    pub hearsay: Hearsay,
    /// What it says of itself in messages, each with the version that it goes up to: made once, so that
    /// the rogue keeps no processor from others.
    messages: Arc<[(u64, Vec<u8>)]>,
}

impl Mask {
    /// Tells this of itself, and has heard nothing yet.
    pub fn new(voice: Voice) -> Self {
        Self {
            messages: voice.cut(0).collect(),
            hearsay: Hearsay::default(),
            voice,
        }
    }

    /// Gossips on a link for as long as it is there. Ends with an error, and can be cut short.
    pub async fn wear(&mut self, link: &mut RogueLink) -> Result<()> {
        self.wear_until(link, |_, _| false).await
    }

    /// Gossips until it has told all that it says of itself and has heard of all these nodes.
    pub async fn introduce(&mut self, link: &mut RogueLink, nodes: &[&str]) -> Result<()> {
        let mut is_known = false;
        let is_over = |mask: &Self, heard: &Heard| {
            is_known |= mask.told(heard) == mask.voice.version();
            is_known && nodes.iter().all(|node| mask.hearsay.run(node).is_ok())
        };
        self.wear_until(link, is_over).await
    }

    /// Gossips until a message comes after which it is enough.
    async fn wear_until(
        &mut self,
        link: &mut RogueLink,
        mut is_over: impl FnMut(&Self, &Heard) -> bool,
    ) -> Result<()> {
        let mut round = interval(INTERVAL);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = link.hear() => {
                    let heard = heard?;
                    self.answer(link, &heard).await?;
                    if is_over(self, &heard) {
                        return Ok(());
                    }
                }
                _ = round.tick() => {
                    link.say(&syn(self.voice.cluster(), &self.digest())).await?;
                }
            }
        }
    }

    /// Up to which version the sender of a message says that it knows the rogue.
    fn told(&self, heard: &Heard) -> u64 {
        let known = heard.digest.iter().find(|(run, _)| run == self.voice.run());
        known.map_or(0, |(_, version)| *version)
    }

    async fn answer(&mut self, link: &RogueLink, heard: &Heard) -> Result<()> {
        self.hearsay.take(heard);
        if heard.kind == 0 {
            link.say(&syn_ack(&self.digest(), &[])).await?;
        }
        if heard.kind < 2 {
            let told = self.told(heard);
            let new = self.messages.iter().filter(|(upto, _)| *upto > told);
            for (_, message) in new.take(ANSWERS_MAX) {
                link.say(message).await?;
            }
        }
        Ok(())
    }

    fn digest(&self) -> Vec<Vec<u8>> {
        let others = self.hearsay.versions();
        let others = others.map(|(run, version)| (run, known(&run.bytes(), (0, 0), version)));
        let own = (self.voice.run(), self.voice.entry());
        let mut entries: Vec<_> = others.chain([own]).collect();
        entries.sort();
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

const INTERVAL: Duration = Duration::from_millis(250);
/// How many messages it says at once.
const ANSWERS_MAX: usize = 4;
